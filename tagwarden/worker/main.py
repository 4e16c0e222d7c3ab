"""The worker: drains lanes until it is told to stop."""

import logging
import signal
import threading
from pathlib import Path

from django.db import DatabaseError, connection

from tagwarden.core import locks
from tagwarden.core.env import env
from tagwarden.core.errors import SettingsError
from tagwarden.journal import leases, schema

if env().on_postgresql:  # on SQLite Procrastinate isn't even loaded
    from tagwarden.worker import engine_procrastinate as engine
else:
    from tagwarden.worker import engine_embedded as engine  # type: ignore[no-redef]  # either has an Engine

log = logging.getLogger(__name__)


def run() -> None:
    """Works until SIGTERM or SIGINT. Raises SettingsError if another worker has this data folder (SQLite)."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    if connection.vendor == "sqlite":
        lock = _only_worker(env().data)  # held until the process ends
        _take_over(stop)
        log.debug("holding %s", lock)
    engine.Engine().run(stop)


def _only_worker(data: Path) -> int:
    """Locks the data folder for one worker. Returns the open lock file."""
    try:
        return locks.take(data / "worker.lock", wait=locks.HANDOVER)
    except locks.Taken as taken:
        raise SettingsError(
            f"Another worker (process {taken.holder}) uses the data folder {data} already. "
            "On SQLite there is one; use PostgreSQL for more."
        ) from None


def _take_over(stop: threading.Event) -> None:
    """Every lease in the file is a dead worker's. Waits for a database that is locked or not migrated yet."""
    while not stop.is_set():
        try:
            if schema.fits():
                if left := leases.take_over_all():
                    log.info("took over %d lanes that a worker left behind", left)
                return
        except DatabaseError as error:
            log.warning("the database can't be used now, work waits: %s", error)
            connection.close()
        stop.wait(0.2)
