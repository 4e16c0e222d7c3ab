"""Group commit: many calls, one writer thread, one transaction for all that came while the last one ran.

A call is answered when its batch is on disk. It waits for room in the queue and for its commit, 4 s together;
the queue is bounded by bytes, so that a slow disk can't fill the memory.
"""

import asyncio
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from dataclasses import dataclass
from queue import SimpleQueue

from tagwarden.core import failpoints, logs
from tagwarden.core.deadlines import Deadlines
from tagwarden.core.tally import Spread
from tagwarden.spool.log import Row, SpoolWriter

PATIENCE = 4.0  # seconds: a sender hangs up after 5, and some never send again
ROOM = 64 << 20  # bytes queued
LARGEST_BATCH = 1_000  # rows
LARGEST_BATCH_BYTES = 8 << 20
ROW_OVERHEAD = 1_000  # bytes of memory a queued row takes besides its texts, about
TROUBLE_LASTS = 10.0  # seconds after a batch that failed; then the next calls show whether it is over

log = logging.getLogger(__name__)


class NotCommitted(Exception):
    """The call could not be put on disk in time. It may be there all the same, so it may come twice."""


@dataclass(frozen=True, slots=True)
class State:
    """How the writer is. `last_commit`: seconds since the last one, None before the first. `trouble`: "" if well."""

    last_commit: float | None
    queued_bytes: int
    trouble: str


class Record:
    """What the writer did so far. Written by its thread, read by any. Moments are monotonic seconds."""

    def __init__(self) -> None:
        self.began: float | None = None  # the batch that is in hand
        self.committed: float | None = None
        self.failed: tuple[float, str] | None = None
        self.batches = Spread((1, 2, 5, 10, 20, 50, 100, 200, 500))  # rows
        self.seconds = Spread((0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 4))

    def begins(self) -> None:
        self.began = time.monotonic()

    def ended(self, rows: int, error: Exception | None) -> None:
        now = time.monotonic()
        if error:
            self.failed = (now, str(error))
        else:
            self.committed, self.failed = now, None
            self.batches.note(rows)
            self.seconds.note(now - (self.began or now))
        self.began = None

    def trouble(self) -> str:
        """What keeps calls from the disk now, or ""."""
        now, began, failed = time.monotonic(), self.began, self.failed
        if began is not None and now - began > PATIENCE:
            return f"a batch has waited for the disk for {now - began:.0f} s"
        return failed[1] if failed and now - failed[0] < TROUBLE_LASTS else ""


class _Item:
    """A row in the queue and who waits for it; a waiter that has gone is done."""

    __slots__ = ("row", "size", "waiter")

    def __init__(self, row: Row, waiter: asyncio.Future[None]) -> None:
        self.row = row
        self.waiter = waiter
        self.size = ROW_OVERHEAD + len(row.body) + len(row.headers) + len(row.query)


class GroupCommit:
    """The queue and its writer thread. All but the thread itself belongs to one event loop."""

    def __init__(self, writer: SpoolWriter, loop: asyncio.AbstractEventLoop) -> None:
        self._writer = writer
        self._loop = loop
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._bytes = 0
        self.record = Record()
        self._overflow: deque[_Item] = deque()
        self._deadlines: Deadlines[asyncio.Future[None]] = Deadlines(loop, PATIENCE, _give_up)
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._thread.start()

    @property
    def queued_bytes(self) -> int:
        """What waits for its commit; the bound is ROOM."""
        return self._bytes

    def state(self) -> State:
        """How the writer is now."""
        committed = self.record.committed
        since = None if committed is None else time.monotonic() - committed
        return State(since, self._bytes, self.record.trouble())

    async def append(self, row: Row) -> None:
        """Returns when the row is on disk. Raises NotCommitted after 4 s, or if its batch failed."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._deadlines.start(waiter)
        item = _Item(row, waiter)
        try:
            if self._overflow or self._bytes + item.size > ROOM:
                self._overflow.append(item)
            else:
                self._enqueue(item)
            await waiter
        finally:
            self._deadlines.stop(waiter)

    def stop(self) -> None:
        """Commits what is queued and ends the thread. Call it when no request is in hand any more."""
        self._queue.put(None)
        self._thread.join()
        self._writer.close()

    def _enqueue(self, item: _Item) -> None:
        self._bytes += item.size
        self._queue.put(item)

    # In the writer's thread.

    def _run(self) -> None:
        try:
            open_end = True
            while open_end:
                batch, open_end = self._next_batch()
                self._commit(batch)
        except BaseException:
            # Without a writer there is no service: the supervisor starts this process again.
            log.critical("The spool's writer stopped; this process leaves.", exc_info=True)
            os._exit(70)

    def _next_batch(self) -> tuple[list[_Item], bool]:
        """What is queued, at least one item, and whether more may come."""
        batch: list[_Item] = []
        size = 0
        while len(batch) < LARGEST_BATCH and size < LARGEST_BATCH_BYTES and not (batch and self._queue.empty()):
            item = self._queue.get()
            if item is None:
                return batch, False
            batch.append(item)
            size += item.size
        return batch, True

    def _commit(self, batch: list[_Item]) -> None:
        """Commits the batch. While another holds the file, asks again for those who still wait."""
        error: Exception | None = None
        self.record.begins()
        while any(not item.waiter.done() for item in batch):
            try:
                # Who still waits is asked when the file is ours, for getting it may take a while.
                self._writer.append(item.row for item in batch if not item.waiter.done())
            except (sqlite3.Error, OSError) as failure:
                error = failure
                if _is_busy(failure):
                    continue
                with logs.concerning(item.row.id for item in batch):
                    log.error("A batch of %d calls could not be put on disk: %s", len(batch), failure)
            else:
                error = None
                failpoints.reach(failpoints.COMMIT_AND_ANSWER)
            break
        self.record.ended(len(batch), error)
        self._loop.call_soon_threadsafe(self._settle, batch, error)

    # In the event loop again.

    def _settle(self, batch: list[_Item], error: Exception | None) -> None:
        for item in batch:
            self._bytes -= item.size
            if item.waiter.done():
                continue
            if error is None:
                item.waiter.set_result(None)
            else:
                item.waiter.set_exception(NotCommitted())
        self._let_in()

    def _let_in(self) -> None:
        """Queues those who wait for room, in the order of their arrival, as far as there is room now."""
        while self._overflow:
            item = self._overflow[0]
            if not item.waiter.done():
                if self._bytes + item.size > ROOM:
                    return
                self._enqueue(item)
            self._overflow.popleft()


def _give_up(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(NotCommitted())


def _is_busy(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
