"""A whole server as processes, in a data folder of its own, and a look at which processes there are."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tagwarden.cli import supervisor
from tagwarden.cli.demo import free_port

ROOT = Path(__file__).parents[1]
PART = "tagwarden part "


def wait_until(is_so: Callable[[], object], seconds: float = 30) -> None:
    """Polls until it is so; fails after that many seconds."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "it didn't happen in time"
        time.sleep(0.05)


def descendants(pid: int) -> dict[int, str]:
    """The processes below that one: process id → command line. A zombie is none."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            commands[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if state != "Z":
            parents[int(folder.name)] = int(parent)
    found: set[int] = set()
    grown = {child for child, parent in parents.items() if parent == pid}
    while grown - found:
        found |= grown
        grown = {child for child, parent in parents.items() if parent in found}
    return {child: commands[child] for child in found}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Server:
    """A running `tagwarden serve`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def part(self, name: str) -> int:
        """The process id of a part, 0 if it doesn't run."""
        below = descendants(self.process.pid)
        return min((pid for pid, line in below.items() if f"{PART}{name} " in line), default=0)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/", timeout=2).status_code > 0
        except httpx.TransportError:
            return False

    def wait_until_ready(self) -> None:
        wait_until(lambda: self.answers() and self.part("intake") and self.part("worker"))


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return kept | {"TAGWARDEN_DATA": str(folder), "PYTHONPATH": str(ROOT)}


def tagwarden(folder: Path, *arguments: str) -> str:
    """Runs a command there that must go well. Returns what it said on standard output."""
    command = [sys.executable, "-m", "tagwarden", *arguments]
    ran = subprocess.run(command, env=environment(folder), capture_output=True, text=True, timeout=50, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """`tagwarden serve` on a free port; ended with all its children."""
    port = free_port(18_000 + os.getpid() % 1000 * 10)
    command = [sys.executable, "-m", "tagwarden", "serve", "--port", str(port)]
    with open(folder / "server.log", "ab") as log:
        process = subprocess.Popen(command, env=environment(folder), stdout=log, stderr=log, process_group=0)
    server = Server(folder, port, process)
    children: dict[int, str] = {}
    try:
        yield server
    finally:
        children |= descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(supervisor.GRACE + 5)
        except subprocess.TimeoutExpired:
            process.kill()
        for pid in children:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()
