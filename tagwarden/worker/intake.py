"""From the spool beside the door into the journal, and handshakes the other way. A process of its own.

Each batch is copied together with its position in one transaction, so that a crash repeats nothing and skips nothing.
"""

import logging
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from django.db import DatabaseError, connection, transaction

from tagwarden.accounts.models import Site
from tagwarden.connections import handshakes, triggers
from tagwarden.core import catalogue, clock, failpoints, locks, logs, redact
from tagwarden.core.env import env
from tagwarden.core.errors import SettingsError
from tagwarden.journal import schema, sql, store
from tagwarden.spool import log as spool
from tagwarden.worker import heartbeat, plan
from tagwarden.worker.doors import Doors

log = logging.getLogger(__name__)

Carried = tuple[spool.Position, spool.Row]

BATCH = 1_000
IDLE_SECONDS = 0.05
DOOR_SECONDS = 0.1
CLEAN_SECONDS = 3_600
AFTER_TROUBLE_SECONDS = 0.5
TOLD_FOR = timedelta(days=30)  # how long an event that is told again is known as a repeat


class Intake:
    """Carries one receiver's spool."""

    def __init__(self, data: Path, name: str = "web") -> None:
        self._folder = spool.spool_folder(data, name)
        self._words = catalogue.listed("tagwarden.operations")

    def carry(self) -> int:
        """Copies the next batch into the journal. Returns how many rows it held."""
        spool_id = spool.spool_id(self._folder)
        if not spool_id:
            return 0
        reached = store.position(spool_id)
        position = spool.Position(*reached) if reached else None
        rows = spool.read_after(self._folder, position, BATCH)  # read whole before the transaction begins
        if not rows:
            return 0
        with logs.concerning(row.id for _, row in rows):
            self._copy_all(spool_id, rows)
            log.debug("calls carried into the journal: %d", len(rows))
        return len(rows)

    def _copy_all(self, spool_id: str, rows: list[Carried]) -> None:
        """Copies these rows; if one breaks it, each is copied alone, and the one that breaks is put aside."""
        try:
            self._copy(spool_id, rows)
        except sql.AWAY:
            raise  # nothing is wrong with the rows
        except Exception as error:
            if len(rows) == 1:
                self._put_aside(spool_id, *rows[0], error)
                return
            log.warning("a batch of %d calls broke (%r): each is copied alone", len(rows), error)
            for one in rows:
                with logs.concerning([one[1].id]):
                    self._copy_all(spool_id, [one])

    def _copy(self, spool_id: str, rows: list[Carried]) -> None:
        last, arrived = rows[-1][0], [row for _, row in rows]
        known = [row for row in arrived if row.kind != "stranger"]
        places = plan.places(row.connection or 0 for row in known)
        jobs = self._jobs([row for row in known if row.kind != "hook"], places)
        with transaction.atomic():
            jobs += self._jobs([row for row in known if row.kind == "hook"], places)  # remembers what is told
            store.record(
                deliveries=[_delivery(row, places[row.connection or 0]) for row in known],
                jobs=jobs,
                strangers=_strangers([row for row in arrived if row.kind == "stranger"]),
                spool=spool_id,
                segment=last.segment,
                line=last.row,
            )
            handshakes.note_used(_uses(known))
            failpoints.reach(failpoints.COPY_AND_COMMIT)

    def _jobs(self, rows: Sequence[spool.Row], places: Mapping[int, plan.Place]) -> list[store.NewJob]:
        return [job for row in rows for job in plan.jobs_of(_arrived(row), places[row.connection or 0], self._words)]

    def _put_aside(self, spool_id: str, position: spool.Position, row: spool.Row, error: Exception) -> None:
        """A call that we can't copy is our mistake: it is kept as far as it goes, failed, and holds up no other."""
        log.error("the call could not be read: %r", error)
        query = row.query.replace("\0", "")
        place = plan.places([row.connection or 0])[row.connection or 0]
        kept = _delivery(row, place)._replace(method="", path="", query=query, headers="[]", host="", address="")
        job = plan.not_readable(_arrived(row), error)
        with transaction.atomic():
            store.record(deliveries=[kept], jobs=[job], spool=spool_id, segment=position.segment, line=position.row)

    def clean(self) -> None:
        """Deletes segments that were carried whole more than seven days ago, and forgets which events were told."""
        triggers.forget_told(clock.now() - TOLD_FOR)
        reached = store.position(spool.spool_id(self._folder))
        if reached:
            day = (clock.now() - timedelta(days=7)).date()
            for name in spool.delete_segments(self._folder, day, spool.Position(*reached)):
                log.info("deleted the spool's segment %s", name)


def _arrived(row: spool.Row) -> plan.Arrived:
    return plan.Arrived(
        id=row.id,
        site=row.site or 0,
        connection=row.connection or 0,
        received=row.received,
        kind=row.kind,
        method=row.method,
        query=row.query,
        headers=row.headers,
        body=row.body,
        status=row.status,
        reason=row.reason,
        handshake=row.handshake or 0,
    )


def _delivery(row: spool.Row, place: plan.Place) -> store.NewDelivery:
    """The call as it is kept: without the value of a field that is mapped as password."""
    return store.NewDelivery(
        id=row.id,
        site=row.site or 0,
        connection=row.connection or 0,
        handshake=row.handshake or 0,
        received=row.received,
        kind=row.kind,
        method=row.method,
        path=row.path,
        query=redact.query(row.query, place.secret),
        headers=row.headers,
        body=redact.field(row.body, place.secret),
        body_size=len(row.body),
        address=row.address,
        host=row.host,
        status=row.status,
    )


def _strangers(rows: Sequence[spool.Row]) -> list[store.NewStranger]:
    hosts = {row.host.rsplit(":", 1)[0].lower() for row in rows}
    sites = dict(Site.objects.filter(host__in=hosts).values_list("host", "pk")) if rows else {}
    return [
        store.NewStranger(
            site=sites.get(row.host.rsplit(":", 1)[0].lower(), 0),
            received=row.received,
            word=row.word[:60],
            path=row.path,
            address=row.address,
            host=row.host,
        )
        for row in rows
    ]


def _uses(rows: Sequence[spool.Row]) -> dict[tuple[int, str], datetime]:
    return {
        (row.handshake, row.word.lower().removeprefix("aal_")[:40]): clock.from_ms(row.received)
        for row in rows
        if row.handshake and row.status == 200
    }


class _Clock:
    """Says every so often that it is time."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next = seconds, 0.0

    def strikes(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._seconds
        return True


def _only_intake(folder: Path) -> int:
    """Locks the spool for one intake. Returns the open lock file."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return locks.take(folder / "intake.lock", wait=locks.HANDOVER)
    except locks.Taken as taken:
        raise SettingsError(f"Another intake (process {taken.holder}) carries the spool {folder} already.") from None


def run() -> None:
    """Carries until SIGTERM or SIGINT. A database that is away, locked or migrating is waited for.

    Raises SettingsError if another intake carries this spool: two would count calls twice.
    """
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    lock = _only_intake(spool.spool_folder(env().data))  # held until the process ends
    log.debug("holding %s", lock)
    intake, doors = Intake(env().data), Doors(env().data)
    alive = heartbeat.of_intake(spool.spool_id(spool.spool_folder(env().data)))
    look_at_doors, clean = _Clock(DOOR_SECONDS), _Clock(CLEAN_SECONDS)
    while not stop.is_set():
        try:
            if not schema.fits():
                stop.wait(AFTER_TROUBLE_SECONDS)
                continue
            alive.beat()
            if look_at_doors.strikes():
                doors.follow()
            if clean.strikes():
                intake.clean()
            if not intake.carry():
                stop.wait(IDLE_SECONDS)
        except DatabaseError as error:
            log.warning("the database can't be used now, calls wait in the spool: %s", error)
            connection.close()
            stop.wait(AFTER_TROUBLE_SECONDS)
    alive.end()
