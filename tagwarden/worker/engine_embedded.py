"""The engine for one worker: a loop over the lanes due, which take turns, a batch each."""

import logging
import os
import socket
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from django.db import DatabaseError, connection

from tagwarden.core import catalogue, clock
from tagwarden.journal import leases, schema, sql
from tagwarden.worker.lanes import Adapters, Batch, Drain
from tagwarden.worker.schedule import Schedule

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
RENEW_SECONDS = 15
AFTER_TROUBLE_SECONDS = 0.5
THREADS = 8
STOP_SECONDS = 12


class Engine:
    """Drains all lanes of the database from one thread; the pool's threads only speak to CRMs."""

    def __init__(self) -> None:
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._words = catalogue.listed("tagwarden.operations")
        self._adapters = Adapters()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="crm")
        self._finished: SimpleQueue[Batch] = SimpleQueue()
        self._drains: dict[int, Drain] = {}
        self._turns: deque[Drain] = deque()
        self._schedule = Schedule()
        self._renewed = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set. A database that is away, locked or migrating is waited for."""
        while not stop.is_set():
            try:
                if not schema.fits():
                    stop.wait(AFTER_TROUBLE_SECONDS)
                    continue
                if not self.turn():
                    self._wait(self._until_next_look())
            except DatabaseError as error:
                log.warning("the database can't be used now, work waits: %s", error)
                connection.close()
                stop.wait(AFTER_TROUBLE_SECONDS)
        self.leave()

    def turn(self) -> bool:
        """Gives every lane that has work one batch. False if there was nothing to do."""
        self._schedule.tick()
        self._renew()
        self._lease_due()
        settled = self._settle_finished()
        return self._start_batches() or bool(settled)

    def _start_batches(self) -> bool:
        """One batch a lane, in turn, as long as there is a thread for it soon."""
        started = False
        for _ in range(len(self._turns)):
            if sum(drain.in_flight for drain in self._drains.values()) >= 2 * THREADS:
                break
            started |= self._one_batch()
        return started

    def _lease_due(self) -> None:
        for lane_id in leases.due_lanes():
            lane = leases.lease(lane_id, self.worker)
            if lane is None:
                continue
            drain = Drain(
                lane,
                worker=self.worker,
                adapters=self._adapters,
                words=self._words,
                pool=self._pool,
                finished=self._finished,
            )
            self._drains[lane.id] = drain
            self._turns.append(drain)

    def _one_batch(self) -> bool:
        """The lane whose turn it is starts one batch; one without work is given back."""
        drain = self._turns.popleft()
        if self._drains.get(drain.lane.id) is not drain:
            return False
        try:
            started = drain.start()
            if started or drain.waits:
                self._turns.append(drain)
            else:
                drain.give_back()
                del self._drains[drain.lane.id]
        except sql.AWAY:
            self._turns.append(drain)
            raise
        except Exception as error:
            self._drop(drain, error)
            return False
        return started

    def _settle_finished(self) -> int:
        settled = 0
        while True:
            try:
                batch = self._finished.get_nowait()
            except Empty:
                return settled
            settled += 1
            try:
                batch.drain.settle(batch)
            except sql.AWAY:
                self._finished.put(batch)
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
        """Until a network step has ended, but not longer than that."""
        try:
            self._finished.put(self._finished.get(timeout=seconds))
        except Empty:
            return

    def leave(self) -> None:
        """A clean stop: what is in flight may end, then attempts are closed unspent and leases given back."""
        until = time.monotonic() + STOP_SECONDS
        try:
            while time.monotonic() < until and any(drain.in_flight for drain in self._drains.values()):
                self._wait(LOOK_SECONDS)
                self._settle_finished()
            for drain in self._drains.values():
                leases.close_unspent(drain.lane)
                leases.give_back(drain.lane, kept=drain.pace.kept())
        except DatabaseError as error:
            log.warning("leases are left to run out, the database can't be used: %s", error)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._adapters.close()
