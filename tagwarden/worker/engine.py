"""What both engines share: the lanes in a worker's hands, which take turns, a batch each.

An engine decides which lanes come into its hands, and when (`look`). Whose they are says the lease in the database.
"""

import logging
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

from django.db import DatabaseError, connection

from tagwarden.core import catalogue, clock
from tagwarden.journal import leases, schema, sql
from tagwarden.worker.heartbeat import Heartbeat
from tagwarden.worker.lanes import Adapters, Batch, Drain

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
RENEW_SECONDS = 15
AFTER_TROUBLE_SECONDS = 0.5
THREADS = 8
STOP_SECONDS = 12


class Engine:
    """Drains its lanes from one thread, which does all database work; the pool's threads only speak to CRMs."""

    HOLD_SECONDS = math.inf  # how long a lane that always has work is kept

    def __init__(self) -> None:
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._words = catalogue.listed("tagwarden.operations")
        self._adapters = Adapters()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="crm")
        self._happened: SimpleQueue[Any] = SimpleQueue()  # a Batch has come back, or something is to be done
        self._drains: dict[int, Drain] = {}
        self._since: dict[int, float] = {}  # lane → when its lease began
        self._turns: deque[Drain] = deque()
        self._renewed = time.monotonic()
        self._alive = Heartbeat("worker")

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set. A database that is away, locked or migrating is waited for."""
        while not stop.is_set():
            try:
                if not schema.fits():
                    stop.wait(AFTER_TROUBLE_SECONDS)
                    continue
                self._alive.beat()
                if not self.turn():
                    self._wait(self._until_next_look())
            except DatabaseError as error:
                log.warning("the database can't be used now, work waits: %s", error)
                connection.close()
                stop.wait(AFTER_TROUBLE_SECONDS)
        self.leave()

    def look(self) -> None:
        """Sees which lanes are due, and leases them."""
        raise NotImplementedError

    def go_on(self, lane_id: int) -> None:
        """A lane that was given back is due at once. Where looking is frequent, nothing is to be done about it."""

    def soon(self, act: Callable[[], None]) -> None:
        """For other threads: lets this engine's own thread do that next."""
        self._happened.put(act)

    def turn(self) -> bool:
        """Gives every lane that has work one batch. False if there was nothing to do."""
        self.look()
        self._renew()
        happened = self._see_to_what_happened()
        return self._start_batches() or bool(happened)

    def _start_batches(self) -> bool:
        """One batch a lane, in turn, as long as there is a thread for it soon."""
        started = False
        for _ in range(len(self._turns)):
            if sum(drain.in_flight for drain in self._drains.values()) >= 2 * THREADS:
                break
            started |= self._one_batch()
        return started

    def lease(self, lanes: Iterable[int]) -> None:
        """Takes those of the lanes that nobody drains into its hands."""
        for lane_id in lanes:
            lane = leases.lease(lane_id, self.worker)
            if lane is None:
                continue
            drain = Drain(
                lane,
                worker=self.worker,
                adapters=self._adapters,
                words=self._words,
                pool=self._pool,
                finished=self._happened,
            )
            self._drains[lane.id] = drain
            self._turns.append(drain)
            self._since[lane.id] = time.monotonic()

    def _one_batch(self) -> bool:
        """The lane whose turn it is starts one batch; one without work is given back."""
        drain = self._turns.popleft()
        if self._drains.get(drain.lane.id) is not drain:
            return False
        try:
            its_time_is_up = time.monotonic() - self._since[drain.lane.id] >= self.HOLD_SECONDS
            started = not its_time_is_up and drain.start()
            if started or (drain.waits and not its_time_is_up) or drain.in_flight:
                self._turns.append(drain)
            else:
                if its_time_is_up:
                    leases.close_unspent(drain.lane)  # work taken just before the database went away
                self._give_back(drain, all_held_back=not its_time_is_up)
        except sql.AWAY:
            self._turns.append(drain)
            raise
        except Exception as error:
            self._drop(drain, error)
            return False
        return started

    def _give_back(self, drain: Drain, *, all_held_back: bool) -> None:
        look_at = drain.look_at if all_held_back else None
        due = leases.give_back(drain.lane, all_held_back=all_held_back, kept=drain.pace.kept(), look_at=look_at)
        del self._drains[drain.lane.id]
        if due:
            self.go_on(drain.lane.id)

    def _see_to_what_happened(self) -> int:
        """Settles what has come back, and does what other threads asked for. Returns how much there was."""
        seen = 0
        while True:
            try:
                happened = self._happened.get_nowait()
            except Empty:
                return seen
            seen += 1
            if isinstance(happened, Batch):
                self._settle(happened)
            else:
                happened()

    def _settle(self, batch: Batch) -> None:
        try:
            batch.drain.settle(batch)
        except sql.AWAY:
            self._happened.put(batch)
            raise
        except Exception as error:
            self._drop(batch.drain, error)

    def _renew(self) -> None:
        if not self._drains or time.monotonic() - self._renewed < RENEW_SECONDS:
            return
        self._renewed = time.monotonic()
        ours = leases.renew([drain.lane for drain in self._drains.values()])
        for lane_id, drain in list(self._drains.items()):
            if lane_id not in ours:
                self._drop(drain)

    def _drop(self, drain: Drain, error: Exception | None = None) -> None:
        """Lets a lane's lease run out: it was lost, or we made a mistake; then what is in hand becomes a crash."""
        if error is None or isinstance(error, leases.LeaseLost):
            log.warning("lane %d: its lease was lost, the work in hand is dropped", drain.lane.id)
        else:
            wording = "lane %d: a mistake of ours, the work in hand is taken up again in a minute"
            log.error(wording, drain.lane.id, exc_info=error)
        if self._drains.get(drain.lane.id) is drain:
            del self._drains[drain.lane.id]

    def _until_next_look(self) -> float:
        """Seconds until a lane's budget allows the next call, or until it is time to look for new work."""
        now = clock.now_ms()
        looks = [drain.look_at - now for drain in self._drains.values() if drain.look_at is not None]
        return min([LOOK_SECONDS, *(max(1, look) / 1000 for look in looks)])

    def _wait(self, seconds: float) -> None:
        """Until something happens, but not longer than that."""
        try:
            self._happened.put(self._happened.get(timeout=seconds))
        except Empty:
            return

    def leave(self) -> None:
        """A clean stop: what is in flight may end, then attempts are closed unspent and leases given back."""
        until = time.monotonic() + STOP_SECONDS
        try:
            while time.monotonic() < until and any(drain.in_flight for drain in self._drains.values()):
                self._wait(LOOK_SECONDS)
                self._see_to_what_happened()
            for drain in self._drains.values():
                leases.close_unspent(drain.lane)
                leases.give_back(drain.lane, kept=drain.pace.kept())
            self._alive.end()
        except DatabaseError as error:
            log.warning("leases are left to run out, the database can't be used: %s", error)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._adapters.close()
