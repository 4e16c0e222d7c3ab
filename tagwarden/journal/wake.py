"""Tells the workers that a lane has work, on PostgreSQL; on SQLite the one worker looks often enough by itself."""

import contextlib
import logging
from collections.abc import Iterable

from tagwarden.core.env import env

if env().on_postgresql:  # on SQLite Procrastinate isn't even loaded
    from procrastinate.contrib.django import app
    from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

log = logging.getLogger(__name__)

DRAIN = "tagwarden.drain"  # the task's name: the journal doesn't know the worker


def wake(lanes: Iterable[int]) -> None:
    """Wakes a worker for each of these lanes, one that is woken already once only. Outside of any transaction.

    A wake is a hint: one that gets lost costs a moment, since workers look by themselves, too. So nothing is raised.
    """
    if not env().on_postgresql:
        return
    try:
        for lane in lanes:
            # By `queueing_lock` a lane has one waiting wake. No `lock`: it would stay with a worker that was killed.
            with contextlib.suppress(AlreadyEnqueued):
                app.configure_task(DRAIN, queueing_lock=str(lane)).defer(lane=lane)
    except ConnectorException as error:
        log.warning("nobody was woken, so work is found by looking: %s", error.__cause__)
