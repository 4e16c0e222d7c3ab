"""Prism: a mock made of a vendor's published description, which says what is wrong with a request.

It comes by npx from npm, which has to be there and reach a registry or its cache.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.sandbox.conftest import free_port

VERSION = "5.14.2"
PATIENCE_S = 240  # to be fetched, and to read a description of a megabyte on a busy machine


def description(name: str) -> Path:
    """The file of that name; skips the test, and says so, if there is none."""
    file = Path(os.environ.get("OPENAPI_DIR") or Path(__file__).parent / "openapi", name)
    if not file.exists():
        pytest.skip(f"{file} isn't there: set OPENAPI_DIR to the folder with the vendors' descriptions")
    return file


@contextlib.contextmanager
def prism(file: Path, log: Path) -> Iterator[str]:
    """The mock of that description; its address. What it says goes to `log`."""
    if shutil.which("npx") is None:
        pytest.skip("npx isn't there: install Node 20 to check requests against the vendors' descriptions")
    port = free_port()
    command = ["npx", "--yes", f"@stoplight/prism-cli@{VERSION}", "mock", str(file), "-h", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        try:
            _until_ready(process, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # npx and the node below it, a session of our own
            process.wait(10)


def _until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/", timeout=30)
            return
        time.sleep(0.1)
    raise AssertionError(f"Prism didn't start: {log.read_text(errors='replace')[-2000:]}")


class Complaints:
    """Hears what Prism says of each request of a client. What its own answers lack is not our business."""

    def __init__(self, client: httpx.Client) -> None:
        self.told: list[str] = []
        self.calls: list[str] = []
        client.event_hooks["response"].append(self._heard)

    def _heard(self, response: httpx.Response) -> None:
        call = f"{response.request.method} {response.request.url.raw_path.decode()}"
        self.calls.append(call)
        found: list[dict[str, Any]] = json.loads(response.headers.get("sl-violations", "[]"))
        self.told += [one["message"] for one in found if one["location"][0] == "request"]
        if response.status_code >= 400:
            response.read()
            refused = response.json()
            reasons = [one["message"] for one in refused.get("validation", ()) if one["message"] not in self.told]
            self.told += reasons or ([] if self.told else [f"{call}: {response.status_code}"])
