"""`tagwarden serve`: everything, under one command and on one port."""

import errno
import logging
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Annotated

import typer

from tagwarden import __version__
from tagwarden.cli import init, show, supervisor
from tagwarden.cli.supervisor import Child
from tagwarden.core import crypto, locks, logs
from tagwarden.core.env import env
from tagwarden.core.errors import SettingsError
from tagwarden.spool.log import SpoolWriter, spool_folder

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]

PORT_HANDOVER = 2.0  # seconds that a port may still be held by a server that has just left

log = logging.getLogger("tagwarden.serve")


@app.command()
def serve(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run everything: webhooks, pages and the work behind them, on one port.

    Webhooks are taken at once, also while the database migrates. Ends cleanly on Ctrl-C or SIGTERM.
    """
    migration = Migration()
    worker = Child("worker", ["part", "worker"], ready=migration.is_done)
    run(host, port, [intake(migration.is_done), worker], extra=migration)


def run(host: str, port: int, others: list[Child], *, extra: "Migration | None" = None) -> None:
    """The web part and these others, until a signal comes."""
    prepare(host, port)
    web = Child("web server", ["part", "web", "--host", host, "--port", str(port)])
    supervisor.supervise([web, *others])
    if extra is not None:
        extra.stop()
    log.info("Stopped.")


def prepare(host: str, port: int) -> None:
    """Checks what would stop the start, with a sentence, and says what is about to run."""
    logs.set_up(env(), "serve")
    crypto.read_keys(env().keys_file)
    # A server that was killed leaves children behind for a moment; one that runs on is told from them by time.
    SpoolWriter(spool_folder(env().data), wait=locks.HANDOVER).close()
    check_port(host, port, wait=PORT_HANDOVER)
    shown = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
    show.say(
        f"Tagwarden {__version__}",
        f"  Address   http://{shown}:{port}",
        f"  Data      {env().data}",
        f"  Database  {init.database_name(env())}",
    )


def check_port(host: str, port: int, wait: float = 0) -> None:
    """Raises SettingsError with a sentence if nothing can listen there, not even after so many seconds."""
    until = time.monotonic() + wait
    while error := _trouble_with(host, port):
        if error.errno != errno.EADDRINUSE or time.monotonic() >= until:
            sentence = f"Port {port} on {host} can't be used: {error.strerror}. Choose another with --port."
            raise SettingsError(sentence) from error
        time.sleep(0.1)


def _trouble_with(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def intake(ready: Callable[[], bool] = lambda: True) -> Child:
    """What carries webhooks from this machine's spool into the journal."""
    return Child("intake", ["part", "intake"], ready=ready)


class Migration:
    """The database's migration, in a process of its own, tried until it succeeds."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._done = False
        self._again_at = 0.0

    def is_done(self) -> bool:
        """Whether the database has this version's schema. Starts the migration, or looks after it."""
        if self._done or time.monotonic() < self._again_at:
            return self._done
        if self._process is None:
            self._process = supervisor.start("part", "migrate")
            return False
        code = self._process.poll()
        if code is not None:
            self._ended(code)
        return self._done

    def _ended(self, code: int) -> None:
        self._process, self._done = None, code == 0
        if code:
            self._again_at = time.monotonic() + supervisor.LONGEST_PAUSE
            log.warning("The database can't be brought up to date. Webhooks are kept; next try in 10 s.")

    def stop(self) -> None:
        """Ends a migration that is under way; the database rolls it back."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
