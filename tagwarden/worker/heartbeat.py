"""The sign of life of a process that can't be asked over HTTP."""

import logging
import os
import socket
import time

from django.db import DatabaseError

from tagwarden.core import clock, health, tally
from tagwarden.journal import store

EVERY = 5.0  # seconds

log = logging.getLogger(__name__)


class Heartbeat:
    """Beats from the loop that does the work, so that one that hangs falls silent."""

    def __init__(self, kind: str, name: str = "") -> None:
        """`kind`: "worker" or "intake". `name`: one that the process after this one has, too, if that is known."""
        self._host, self._pid = socket.gethostname()[:64], os.getpid()
        self._kind, self._name = kind, name or f"{kind}:{self._host}:{self._pid}"
        self._started = clock.now_ms()
        self._next = 0.0

    def beat(self) -> None:
        """Every five seconds says that we are alive; else does nothing. Raises DatabaseError."""
        if time.monotonic() < self._next:
            return
        store.beat(
            name=self._name,
            kind=self._kind,
            host=self._host,
            pid=self._pid,
            started=self._started,
            counts=tally.counts(),
        )
        self._next = time.monotonic() + EVERY

    def end(self) -> None:
        """A clean stop, which nobody need wonder at."""
        try:
            store.beat_no_more(self._name)
        except DatabaseError as error:
            log.debug("the last sign of life stays, the database can't be used: %s", error)


def of_intake(spool: str) -> Heartbeat:
    """Of the one intake of that spool."""
    return Heartbeat("intake", health.intake_name(spool))
