"""The engine for several workers and machines, on PostgreSQL: Procrastinate wakes whoever is free.

A wake is a hint, and the lease decides. So a wake that is lost, late, double or stalled does no harm, and none is ever
tried again. All database work is done by the engine's own thread; the thread that listens tells it what it heard.
"""

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from procrastinate import Blueprint, PsycopgConnector
from procrastinate.contrib.django import DjangoApp, connector_params
from procrastinate.jobs import Status

from tagwarden.core.env import env
from tagwarden.journal import leases, wake
from tagwarden.worker import engine, schedule
from tagwarden.worker.presence import Presence

log = logging.getLogger(__name__)

LISTEN_AGAIN_SECONDS = 0.5
STOP_LOOK_SECONDS = 0.2
STALLED_KEPT_HOURS = 24


class Engine(engine.Engine):
    """Leases the lanes for which this worker is woken, and once a second those that are due all the same."""

    LOOK_SECONDS = 1.0  # for what falls due by itself, a dead worker's lease, and lost wakes
    HOLD_SECONDS = 10.0  # then a lane goes to whoever is free

    def __init__(self) -> None:
        super().__init__()
        self.worker += f":{secrets.token_hex(2)}"  # process ids come again
        self._looked = 0.0

    def run(self, stop: threading.Event) -> None:
        self._presence = Presence(env().data / "workers", self.worker)
        listener = threading.Thread(target=self._listen, args=(stop,), name="wakes")
        listener.start()
        try:
            super().run(stop)
        finally:  # also after a mistake of ours: the process ends, and is started again
            stop.set()
            listener.join()
        self._presence.leave()

    def look(self) -> None:
        if time.monotonic() - self._looked < self.LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        schedule.each_second()
        self._presence.bury(leases.take_over_all)
        self.lease(leases.due_lanes())

    def go_on(self, lane_id: int) -> None:
        wake.wake([lane_id])

    def woken(self, lane_id: int) -> None:
        """A lane has work, if nobody else has begun it."""
        self.lease(leases.due_lanes(among=[lane_id]))

    def _listen(self, stop: threading.Event) -> None:
        """Hears wakes until `stop` is set; while the database is away it tries again, and work is found by looking."""
        while not stop.is_set():
            try:
                asyncio.run(_until(stop, _hear(self)))
            except Exception as error:
                log.warning("no wakes can be heard now, work is looked for: %s", error.__cause__ or error)
            stop.wait(LISTEN_AGAIN_SECONDS)


async def _until(stop: threading.Event, listening: Coroutine[Any, Any, None]) -> None:
    """Listens until `stop` is set, or until that gives up."""
    task = asyncio.create_task(listening)
    while not task.done() and not stop.is_set():
        await asyncio.wait([task], timeout=STOP_LOOK_SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=stop.is_set())


async def _hear(heard_by: Engine) -> None:
    """Runs Procrastinate's worker, which listens, tells that it lives, and starts the clock."""
    app = _app(heard_by)
    async with app.open_async():
        await app.run_worker_async(name=heard_by.worker, delete_jobs="always", install_signal_handlers=False)
    raise ConnectionError("the connection was cut")  # the worker ends by itself only when its listener or clock has


def _app(heard_by: Engine) -> DjangoApp:
    """Procrastinate with our two tasks, which hand on what they hear."""
    tasks = Blueprint()

    async def drain(lane: int) -> None:
        heard_by.soon(partial(heard_by.woken, lane))

    async def clock(timestamp: int) -> None:
        heard_by.soon(schedule.each_minute)
        await _bury_stalled(app)

    tasks.task(name=wake.DRAIN)(drain)
    tasks.periodic(cron="* * * * *")(tasks.task(name="tagwarden.clock", queueing_lock="clock")(clock))
    app = DjangoApp(connector=PsycopgConnector(kwargs=connector_params(), min_size=1, max_size=2))
    app.add_tasks_from(tasks, namespace="")
    return app


async def _bury_stalled(app: DjangoApp) -> None:
    """Wakes in the hands of a worker that died are marked failed: the lane is found by its lease, not by them."""
    for job in await app.job_manager.get_stalled_jobs():
        log.warning("the wake %s was heard by a worker that died", job.call_string)
        await app.job_manager.finish_job(job, Status.FAILED, delete_job=False)
    await app.job_manager.delete_old_jobs(STALLED_KEPT_HOURS, include_failed=True)
