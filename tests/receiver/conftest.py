"""A receiver as a process of its own, and what one can do with it."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tagwarden.core.crypto import make_keys, read_keys
from tagwarden.spool import door, log
from tagwarden.spool.door import Entry
from tagwarden.spool.log import Row

ROOT = Path(__file__).parents[2]
HARNESS = Path(__file__).with_name("harness.py")
SECRET = "live-0123456789abcdefghijklmnopqrstuvwxyz"
SCOPED = "scoped-0123456789abcdefghijklmnopqrstuvw"
REVOKED = "revoked-0123456789abcdefghijklmnopqrstuv"
GETTING = "getting-0123456789abcdefghijklmnopqrstuv"


def until(happened: Callable[[], object], seconds: float = 10) -> None:
    """Waits until it has happened; fails if it doesn't in time."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.01)


class Door:
    """A running receiver with its data folder. `url`: to post to, with SECRET as handshake of updateuser."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.spool = log.spool_folder(data)
        make_keys(data / "keys")
        self.digest = read_keys(data / "keys").digest
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)
        self.url = f"/?aal_updateuser={SECRET}"
        self.process: subprocess.Popen[bytes] | None = None

    def entry(self, secret: str, number: int, **changes: object) -> Entry:
        return Entry(self.digest(secret), number, 1, 3, "keap", **changes)  # type: ignore[arg-type]  # each test's own

    def fill(self, *more: Entry) -> None:
        entries = [
            self.entry(SECRET, 1),
            self.entry(SCOPED, 2, scopes=("batchsync",)),
            self.entry(REVOKED, 3, revoked=True),
            self.entry(GETTING, 4, get_allowed=True),
        ]
        door.fill(door.door_path(self.data), [*entries, *more])

    def launch(self, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        """A receiver's process; its output goes to the file `log` in the data folder."""
        settings = {"TAGWARDEN_DATA": str(self.data), "PYTHONPATH": str(ROOT)} | environ
        with (self.data / "log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, str(HARNESS), str(self.port), *arguments],
                env=os.environ | settings,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def start(self, *arguments: str, **environ: str) -> None:
        self.process = self.launch(*arguments, **environ)
        until(self.is_open, 20)

    def is_open(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"HEAD /hooks/x HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.settimeout(5)
            return connection.recv(12).startswith(b"HTTP/1.1 204")
        return False

    def worker(self) -> int:
        """The process id of the server's worker, 0 if there is none."""
        assert self.process
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[-1]) if children else 0

    def post(self, url: str = "", body: bytes | Iterator[bytes] = b"contactId=526", **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(url or self.url, content=body, headers=names)

    def raw(self, request: bytes, seconds: float = 5) -> http.client.HTTPResponse:
        """Sends these bytes and reads the answer."""
        with socket.create_connection(("127.0.0.1", self.port), seconds) as connection:
            connection.sendall(request)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            answer.body = answer.read()  # type: ignore[attr-defined]  # kept, since the socket closes here
            return answer

    def rows(self) -> list[Row]:
        """All that is on disk."""
        found = []
        position = None
        while batch := log.read_after(self.spool, position, 1000):
            found += [row for _, row in batch]
            position = batch[-1][0]
        return found

    def last(self) -> Row:
        return self.rows()[-1]

    def stop(self, seconds: float = 20) -> int:
        """Ends it as a supervisor does; gives its exit code."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Ends it as a power cut does."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


@pytest.fixture
def closed_door(tmp_path: Path) -> Iterator[Door]:
    """One that isn't started yet, its table never filled."""
    place = Door(tmp_path)
    yield place
    place.client.close()
    place.kill()


@pytest.fixture
def own_door(closed_door: Door) -> Door:
    """A running one of one's own, for tests that break it."""
    closed_door.fill()
    closed_door.start()
    return closed_door


@pytest.fixture(scope="module")
def the_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A running one that all tests of a file share."""
    place = Door(tmp_path_factory.mktemp("door"))
    place.fill()
    place.start()
    yield place
    place.client.close()
    place.kill()
