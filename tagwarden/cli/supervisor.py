"""Keeps a few child processes alive, and ends them in order. Knows nothing of what they do."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from tagwarden.core import orphans

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds before a child that died is started again
WELL_AFTER = 30.0  # a child that lived so long starts again after the first pause
GRACE = 20.0  # seconds that all children together have to end cleanly

log = logging.getLogger("tagwarden.serve")


@dataclass
class Child:
    """A command of ours that should always run. `ready`: it is not started before this says so."""

    name: str
    arguments: Sequence[str]
    ready: Callable[[], bool] = lambda: True
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    again_at: float = field(default=0.0)

    def tend(self) -> None:
        """Starts it if it is time, and notices its death."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.again_at and self.ready():
                self.process, self.started = start(*self.arguments), now
            return
        code = self.process.poll()
        if code is None:
            return
        self._died(code, now)

    def _died(self, code: int, now: float) -> None:
        if now - self.started >= WELL_AFTER:
            self.pause = FIRST_PAUSE
        log.warning("The %s %s. It starts again in %g s.", self.name, _how(code), self.pause)
        kill_group(self.process)
        self.process, self.again_at = None, now + self.pause
        self.pause = min(self.pause * 2, LONGEST_PAUSE)

    def stop(self, until: float) -> None:
        """Ends it, cleanly if it does so before `until` (monotonic seconds)."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("The %s did not end in time and was killed.", self.name)
        kill_group(self.process)
        self.process.wait()
        self.process = None


def start(*arguments: str, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """One of our own commands as a child, in a process group of its own: Ctrl-C reaches its starter only.

    `output`: where its lines go; None: where ours go.
    """
    command = [sys.executable, "-m", "tagwarden", *arguments]
    environ = os.environ | {orphans.STARTER: str(os.getpid())}
    return subprocess.Popen(command, process_group=0, stdout=output, stderr=output, env=environ)


def kill_group(process: subprocess.Popen[bytes] | None) -> None:
    """Kills what a child may have left behind in its process group."""
    if process is None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def supervise(children: Sequence[Child]) -> None:
    """Runs them until SIGTERM or SIGINT, then ends them in the order given."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        while not stopping.is_set():
            for child in children:
                child.tend()
            stopping.wait(0.2)
    finally:
        until = time.monotonic() + GRACE
        for child in children:
            child.stop(until)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
