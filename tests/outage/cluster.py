"""A PostgreSQL server of one's own, to be stopped and started."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.sandbox.conftest import free_port
from tests.serving import descendants


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl, of the newest version there is."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda path: int(path.parts[-3]), default=None)
    return newest.parent if newest else None


class Cluster:
    """A server in a temporary folder. PostgreSQL refuses root, so that it then runs as another user."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"postgresql://tagwarden@127.0.0.1:{self.port}/postgres"
        self._folder = Path(tempfile.mkdtemp(prefix="tagwarden-postgres-", dir="/tmp"))
        self._user = _other_user() if os.geteuid() == 0 else ""
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-U", "tagwarden", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c max_connections=40"
        self._run("pg_ctl", "-l", str(self._folder / "log"), "-w", "-o", options, "start")

    def stop(self, how: str) -> None:
        """`how`: "immediate", which is a crash, or "fast", which ends all connections first."""
        self._run("pg_ctl", "-m", how, "-w", "stop")

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """All its processes stand still: connections stay open and nothing answers."""
        pid = int((self._folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        stopped = [pid, *descendants(pid)]
        for each in stopped:
            os.kill(each, signal.SIGSTOP)
        try:
            yield
        finally:
            for each in stopped:
                os.kill(each, signal.SIGCONT)

    def remove(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):  # it may be stopped already
            self.stop("immediate")
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        folder = binaries()
        assert folder is not None
        command = [str(folder / program), "-D", str(self._folder / "data"), *arguments]
        prefix = ["runuser", "-u", self._user, "--"] if self._user else []
        # Into a file, not a pipe: the server inherits it and would keep a pipe open.
        with (self._folder / "said").open("wb") as said:
            subprocess.run([*prefix, *command], cwd="/", stdout=said, stderr=said, timeout=60, check=True)


def _other_user() -> str:
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
