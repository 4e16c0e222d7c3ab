"""The sandbox CRM as a process of its own, and somebody at the other end of its webhooks."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
QUIET = {"latency_ms": 0, "rate_limit": 10_000, "lag_seconds": 0, "fault_rate": 0, "faults": [], "seed": 1}


def until_it_answers(process: subprocess.Popen[bytes], client: httpx.Client, path: str) -> None:
    """Waits until the server of that process can be asked."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.ConnectError):
            client.get(path)
            return
        time.sleep(0.02)
    raise AssertionError(f"it didn't start: {process.args}, {process.poll()}")


class Crm:
    """A running sandbox CRM."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.api = httpx.Client(base_url=self.url, headers={"Authorization": "Bearer sandbox-key"})
        self.admin = httpx.Client(base_url=self.url)  # also a browser's, without cookies

    def set(self, **settings: object) -> None:
        assert self.admin.put("/admin/settings", json=settings).status_code == 200

    def contact(self, contact: int) -> dict[str, Any]:
        """As it is, read fresh."""
        found: dict[str, Any] = self.api.get(f"/api/contacts/{contact}").json()["contact"]
        return found

    def in_bulk(self, *ids: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.api.get("/api/contacts", params={"ids": ",".join(map(str, ids))}).json()[
            "contacts"
        ]
        return rows

    def new_tag(self, name: str) -> int:
        tag: int = self.api.post("/api/tags", json={"name": name}).json()["tag"]["id"]
        return tag

    def tag(self, tag: int, *ids: int) -> httpx.Response:
        return self.api.post(f"/api/tags/{tag}/contacts", json={"ids": list(ids)})

    def untag(self, tag: int, *ids: int) -> httpx.Response:
        return self.api.request("DELETE", f"/api/tags/{tag}/contacts", json={"ids": list(ids)})

    def writes(self, after: int = 0) -> list[dict[str, Any]]:
        """All writes younger than the one with the id `after`, oldest first."""
        rows: list[dict[str, Any]] = []
        while page := self.admin.get("/admin/writes", params={"after": after}).json()["writes"]:
            rows += page
            after = page[-1]["id"]
        return rows

    def counters(self) -> dict[str, Any]:
        counted: dict[str, Any] = self.admin.get("/admin/counters").json()
        return counted

    def stop(self) -> int:
        """Ends the process by SIGTERM; its exit code."""
        self.api.close()
        self.admin.close()
        self.process.terminate()
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()


def names(contact: dict[str, Any]) -> set[str]:
    return {tag["name"] for tag in contact["tags"]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(file: Path, contacts: int, *more: str) -> Iterator[Crm]:
    port = free_port()
    command = [sys.executable, "-m", "tagwarden.sandbox.crm", "--port", str(port), "--file", str(file)]
    crm = Crm(subprocess.Popen([*command, "--contacts", str(contacts), *more], cwd=ROOT), port)
    try:
        until_it_answers(crm.process, crm.api, "/api/ping")
        yield crm
    finally:
        crm.stop()


@pytest.fixture(scope="session")
def shared_crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    with running(tmp_path_factory.mktemp("sandbox") / "crm.sqlite3", 250) as crm:
        yield crm


@pytest.fixture
def crm(shared_crm: Crm) -> Crm:
    """A sandbox CRM of at least 250 contacts, without latency, lag or faults."""
    shared_crm.set(**QUIET)
    shared_crm.admin.post("/admin/counters/reset")
    return shared_crm


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Crm]]:
    """Starts a sandbox CRM of one's own, each time over the same file."""
    with contextlib.ExitStack() as stack:
        yield lambda contacts=0, *more: stack.enter_context(running(tmp_path / "crm.sqlite3", contacts, *more))


class Receiver:
    """Somebody who takes webhooks and answers as told: 200, or what `answers` says for a body."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/?aal_updateuser=secret"
        self.bodies: list[bytes] = []
        self.calls: list[tuple[dict[str, str], bytes]] = []  # the same, with their headers
        self.paths: set[str] = set()
        self.answers: dict[bytes, int] = {}
        self.silent = threading.Event()  # set: says nothing until it is cleared


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.bodies.append(body)
            heard.calls.append((dict(self.headers), body))
            heard.paths.add(self.path)
            if not heard.silent.is_set():
                self.send_response(heard.answers.get(body, 200))
                self.end_headers()
            while heard.silent.is_set():
                time.sleep(0.01)

        def log_request(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

    with Server(("127.0.0.1", 0), Handler) as server:
        heard = Receiver(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield heard
        heard.silent.clear()
        server.shutdown()
        thread.join()
