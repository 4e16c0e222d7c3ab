"""A server's parts as processes on chosen cores, in a data folder of their own, and what is on its disk."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from tagwarden.spool import log as spool

ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started within stays on that core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def until(happened: Callable[[], Any], seconds: float, what: str) -> Any:
    """Waits until it has happened and gives what that was."""
    deadline = time.monotonic() + seconds
    while not (result := happened()):
        if time.monotonic() > deadline:
            raise SystemExit(f"Not within {seconds:g} s: {what}")
        time.sleep(0.02)
    return result


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def move_postgres(url: str, core: int) -> None:
    """Puts a PostgreSQL server of this machine and what it starts from now on on that core."""
    with psycopg.connect(url) as server:
        postmaster = int(Path(f"/proc/{server.info.backend_pid}/stat").read_text().rpartition(")")[2].split()[1])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in [postmaster, *map(int, children)]:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(pid, {core})


class Place:
    """A fresh data folder with a site and a connection. `server_url`: a PostgreSQL server; "" is SQLite."""

    def __init__(self, core: int, server_url: str = "") -> None:
        self.core = core
        self.data = Path(tempfile.mkdtemp(prefix="tagwarden-bench-"))
        self.url = self._new_database(server_url) if server_url else ""
        self.port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.tagwarden("init")
        self.tagwarden("site", "add", "Bench", "--host", "127.0.0.1")
        key = self.data / "key.json"
        key.write_text('{"api_key": "sandbox-key"}')
        said = self.tagwarden("connection", "add", "Bench", "--crm", "sandbox", "--credentials-file", str(key))
        secret = next(line.split()[1] for line in said.splitlines() if line.startswith("Handshake"))
        self.path = f"/?aal_updateuser={secret}"
        self._empty = self._database_bytes()

    def _new_database(self, server_url: str) -> str:
        name = f"bench_{uuid4().hex[:8]}"
        with psycopg.connect(server_url, autocommit=True) as server:
            server.execute(f'create database "{name}"')
        return server_url.rpartition("/")[0] + f"/{name}"

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        settings = {"TAGWARDEN_DATA": str(self.data), "PYTHONPATH": str(ROOT), "TAGWARDEN_LOG_LEVEL": "WARNING"}
        return kept | settings | ({"DATABASE_URL": self.url} if self.url else {})

    def tagwarden(self, *arguments: str) -> str:
        """Runs a command to its end; gives what it said."""
        command = [sys.executable, "-m", "tagwarden", *arguments]
        ran = subprocess.run(command, env=self._environment(), capture_output=True, text=True, timeout=60, check=False)
        if ran.returncode:
            raise SystemExit(ran.stdout + ran.stderr)
        return ran.stdout

    # Its parts.

    def start(self, *module: str) -> subprocess.Popen[bytes]:
        """`python -m …` on this place's core, in a process group of its own."""
        with pinned(self.core), (self.data / "log").open("ab") as log:
            command = [sys.executable, "-m", *module]
            process = subprocess.Popen(
                # A group and no session: Linux weighs niceness within a session only, and `serve` is one, too.
                command,
                env=self._environment(),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        self._processes.append(process)
        return process

    def web(self) -> None:
        self.start("tagwarden", "part", "web", "--host", "127.0.0.1", "--port", str(self.port))
        self.until_open()

    def door(self, name: str) -> None:
        """One of benchmarks/doors.py."""
        self.start("benchmarks.doors", name, str(self.port))
        self.until_open()

    def intake(self) -> None:
        """Returns when it carries; if nothing waits for it, a call is made for that."""
        before = self.carried
        if not self.waiting:
            self._call_once()
        self.start("tagwarden", "part", "intake")
        until(lambda: self.carried > before, 30, f"intake carries, see {self.data / 'log'}")

    def _call_once(self) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as client:
            client.request("POST", self.path, b"contactId=1")
            client.getresponse().read()

    def until_open(self) -> None:
        def is_open() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"HEAD /hooks/x HTTP/1.1\r\nHost: x\r\n\r\n")
                return bool(probe.recv(1))
            return False

        until(is_open, 30, f"the port opens, see {self.data / 'log'}")

    def stop(self) -> None:
        """Ends what was started here."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._processes.clear()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.data)

    def cpu_seconds(self) -> float:
        """Processor time that all processes started here have taken so far, with those that they started."""
        groups = {process.pid for process in self._processes}
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12]) if int(fields[2]) in groups else 0
        return ticks / os.sysconf("SC_CLK_TCK")

    # Its disk.

    def _one(self, query: str) -> tuple[Any, ...] | None:
        if self.url:
            with psycopg.connect(self.url, autocommit=True) as server:
                return server.execute(query).fetchone()
        file = f"{(self.data / 'tagwarden.db').as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(file, uri=True, timeout=20)) as database:
            return database.execute(query).fetchone()  # type: ignore[no-any-return]

    def _position(self) -> spool.Position | None:
        found = self._one("select segment, line from journal_spoolposition")
        return spool.Position(*found) if found else None

    @property
    def carried(self) -> int:
        """How many calls intake has carried (of one day's segment: a run across midnight counts wrong)."""
        position = self._position()
        return position.row if position else 0

    @property
    def waiting(self) -> int:
        """How many calls are in the spool and not in the journal."""
        return spool.backlog(spool.spool_folder(self.data), self._position()).rows

    def _database_bytes(self) -> int:
        if self.url:
            found = self._one("select pg_database_size(current_database())")
            return int(found[0]) if found else 0
        return sum(path.stat().st_size for path in self.data.glob("tagwarden.db"))

    def bytes_each(self) -> dict[str, float]:
        """Bytes a delivery takes in the spool and, with its job, in the main database. After `stop`."""
        spooled = sum(path.stat().st_size for path in spool.spool_folder(self.data).glob("*.sqlite"))
        carried, waiting = self.carried, self.waiting
        each = {"spool": spooled / max(1, carried + waiting)}
        return each | ({"database": (self._database_bytes() - self._empty) / carried} if carried else {})


def load(core: int, port: int, path: str, *options: str) -> subprocess.Popen[str]:
    """Starts benchmarks/load.py on that core; `result` gives what it measured."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), path, *options]
    with pinned(core):
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, _ = process.communicate(timeout=60)
    if process.returncode:
        raise SystemExit("The load broke off; see above.")
    measured: dict[str, Any] = json.loads(said)
    return measured
