"""A fake CRM as a process of its own, steered by its admin API."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx

from tests.sandbox.conftest import ROOT, free_port, until_it_answers


class FakeServer:
    """A running fake."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.admin = httpx.Client(base_url=self.url, timeout=60)

    def post(self, path: str, **content: Any) -> dict[str, Any]:
        """An admin call, e.g. post("/admin/tag", tag="Gold", contacts="all")."""
        answer = self.admin.post(path, json=content)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def set(self, **settings: object) -> None:
        assert self.admin.put("/admin/settings", json=settings).is_success

    def counters(self) -> dict[str, int]:
        counted: dict[str, int] = self.admin.get("/admin/counters").json()
        return counted

    def writes(self, after: int = 0) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while page := self.admin.get("/admin/writes", params={"after": after}).json()["writes"]:
            rows += page
            after = page[-1]["id"]
        return rows

    def truth(self, contact: object) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.get(f"/admin/contacts/{contact}").json()
        return found

    def stop(self) -> None:
        self.admin.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()


@contextlib.contextmanager
def running_fake(name: str, contacts: int = 0) -> Iterator[FakeServer]:
    """The fake of that vendor with so many invented contacts, on a port of its own."""
    port = free_port()
    command = [sys.executable, "-m", f"tests.fakes.{name}", "--port", str(port), "--contacts", str(contacts)]
    fake = FakeServer(subprocess.Popen(command, cwd=ROOT), port)
    try:
        until_it_answers(fake.process, fake.admin, "/admin/counters")
        yield fake
    finally:
        fake.stop()
