"""Answers those who watch: /health for people and uptime monitors, /ready for load balancers, /metrics for
Prometheus. Knows no Django.

What takes time, the main database first of all, is looked at in threads of its own, at most once a second, and is not
waited for longer than two. So these addresses answer while the database is away, and never hold up a webhook.
"""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Generic, Protocol, TypeVar
from urllib.parse import parse_qs

from granian.rsgi import HTTPProtocol, Scope  # type: ignore[attr-defined]  # has them unsaid

from tagwarden.core import clock, health, words
from tagwarden.core.env import Env
from tagwarden.core.errors import SettingsError
from tagwarden.core.health import Check, Vitals
from tagwarden.receiver import metrics
from tagwarden.receiver.app import Receiver
from tagwarden.spool import log as spool
from tagwarden.spool.door import DoorTable
from tagwarden.spool.group_commit import GroupCommit

KEPT = 1.0  # seconds for which a look serves
PATIENCE = 2.0  # seconds that a look may take
NO_DISK = "The data folder doesn't answer."
NOT_KNOWN = "Not known while the main database doesn't answer."

log = logging.getLogger(__name__)

T = TypeVar("T")
Answer = tuple[int, str, bytes]  # status, content type, body


class Journal(Protocol):
    """What we ask the main database; journal/vitals.py has it."""

    def look(self, spool: str) -> Vitals | None: ...
    def standings(self) -> dict[tuple[int, str], int]: ...


class Watch(Generic[T]):
    """A look that may take time, in a thread of its own: never two at once, never one sooner than a second."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="watch")
        self._running: asyncio.Future[T] | None = None
        self._began = float("-inf")

    async def latest(self) -> T | None:
        """What the last look saw; None if it takes too long. Raises what the look raises."""
        if self._running is None or (self._running.done() and time.monotonic() - self._began > KEPT):
            self._began = time.monotonic()
            self._running = asyncio.get_running_loop().run_in_executor(self._thread, self._look)
        done, _ = await asyncio.wait({self._running}, timeout=PATIENCE)
        return self._running.result() if done else None

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


class Monitor:
    """One per process, beside the receiver."""

    def __init__(
        self,
        *,
        settings: Env,
        door: DoorTable,
        commit: GroupCommit,
        receiver: Receiver,
        journal: Journal | None,
    ) -> None:
        """`journal`: None if Django can't start; then the database's state isn't known."""
        self._data, self._folder = settings.data, spool.spool_folder(settings.data)
        self._token = settings.metrics_token
        self._door, self._commit, self._receiver, self._journal = door, commit, receiver, journal
        self._spool = spool.spool_id(self._folder)
        self._carried: spool.Position | None = None
        self._carried_known = False
        self._vitals = Watch(self._look_at_journal)
        self._standings = Watch(self._look_at_counters)
        self._local = Watch(self._look_at_disk)
        self._pages: dict[str, Callable[[Scope], Awaitable[Answer]]] = {
            "/health": self._health,
            "/ready": self._ready,
            "/metrics": self._metrics,
        }

    def close(self) -> None:
        """Lets its threads end."""
        self._vitals.close()
        self._standings.close()
        self._local.close()

    async def handle(self, scope: Scope, protocol: HTTPProtocol) -> bool:
        """Answers the request if it is for us; False if it is not."""
        page = self._pages.get(scope.path)
        if page is None:
            return False
        if scope.method not in ("GET", "HEAD"):
            protocol.response_empty(405, [("allow", "GET")])
            return True
        status, kind, body = await page(scope)
        headers = [("content-type", kind), ("cache-control", "no-store")]
        if scope.method == "HEAD":
            protocol.response_empty(status, headers)
        else:
            protocol.response_bytes(status, headers, body)
        return True

    async def _ready(self, scope: Scope) -> Answer:
        check = self._taking()
        return (200 if check.ok else 503), "text/plain; charset=utf-8", f"{check.sentence}\n".encode()

    async def _health(self, scope: Scope) -> Answer:
        checks = self._checks(await self._vitals.latest(), *await self._seen_here())
        well = all(check.ok for check in checks)
        strict = "strict" in parse_qs(scope.query_string, keep_blank_values=True)
        status = 503 if not self._taking().ok or (strict and not well) else 200
        said = {check.name: {"ok": check.ok, "sentence": check.sentence, **check.figures} for check in checks}
        body = json.dumps({"ok": well, "checks": said}, ensure_ascii=False, indent=1)
        return status, "application/json", f"{body}\n".encode()

    async def _metrics(self, scope: Scope) -> Answer:
        if not metrics.may_read(scope, self._token):
            return 403, "text/plain; charset=utf-8", metrics.REFUSED
        vitals = await self._vitals.latest()
        disk, backlog = await self._seen_here()
        seen = metrics.Seen(
            receiver=self._receiver,
            commit=self._commit,
            checks=self._checks(vitals, disk, backlog),
            vitals=vitals,
            backlog=backlog if self._carried_known else None,
            oldest=_age(backlog),
            standings=await self._standings.latest() if vitals and vitals.fits else None,
        )
        return 200, metrics.CONTENT_TYPE, metrics.text(seen)

    async def _seen_here(self) -> tuple[Check, spool.Backlog | None]:
        return await self._local.latest() or (health.unanswered("disk", NO_DISK), None)

    def _checks(self, vitals: Vitals | None, disk: Check, backlog: spool.Backlog | None) -> list[Check]:
        """All checks, the nearest first."""
        found = [self._taking(), disk, health.database(vitals), self._intake(vitals, backlog)]
        if vitals is None or not vitals.fits:
            return [*found, *(health.unanswered(name, NOT_KNOWN) for name in health.OF_WORK)]
        return [*found, *health.of_work(vitals)]

    def _taking(self) -> Check:
        """Whether calls are taken here: their secrets are known, and they can be put on disk."""
        return health.spool(self._door.was_ever_filled, **asdict(self._commit.state()))

    def _intake(self, vitals: Vitals | None, backlog: spool.Backlog | None) -> Check:
        if backlog is None:
            return health.unanswered("intake", "The spool can't be read.")
        if vitals and vitals.fits:
            return health.intake(vitals, self._spool, backlog.rows, _age(backlog))
        if not self._carried_known:
            return health.unanswered("intake", NOT_KNOWN)
        waits = f"{words.count(backlog.rows, 'call')} on disk wait for the main database."
        return Check("intake", False, waits, {"backlog": backlog.rows})

    # In the threads of the watches.

    def _look_at_journal(self) -> Vitals | None:
        try:
            vitals = self._journal.look(self._spool) if self._journal else None
        except Exception:
            log.exception("Looking at the main database broke.")
            return None
        if vitals and vitals.fits:
            self._carried = spool.Position(*vitals.carried) if vitals.carried else None
            self._carried_known = True
        return vitals

    def _look_at_counters(self) -> dict[tuple[int, str], int] | None:
        try:
            return self._journal.standings() if self._journal else None
        except Exception:
            log.exception("Reading the journal's counters broke.")
            return None

    def _look_at_disk(self) -> tuple[Check, spool.Backlog | None]:
        try:
            backlog = spool.backlog(self._folder, self._carried)
        except (sqlite3.Error, OSError, SettingsError) as error:
            log.warning("The spool can't be read: %s", error)
            return health.disk(self._data), None
        return health.disk(self._data), backlog


def _age(backlog: spool.Backlog | None) -> float | None:
    """For how many seconds the oldest call waits."""
    return (clock.now_ms() - backlog.oldest) / 1000 if backlog and backlog.oldest else None
