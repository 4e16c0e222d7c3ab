"""Many waits of one length under one timer of the event loop: a timer each is dear when thousands wait."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Waiting = TypeVar("Waiting")


class Deadlines(Generic[Waiting]):
    """Calls `expired` with whatever waited `seconds` long. All of it belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, expired: Callable[[Waiting], object]) -> None:
        self._loop, self._seconds, self._expired = loop, seconds, expired
        self._due: dict[Waiting, float] = {}  # in the order of their deadlines, since all wait equally long
        self._timer: asyncio.TimerHandle | None = None

    def start(self, waiting: Waiting) -> None:
        """From now on its time runs."""
        self._due[waiting] = due = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._look)

    def stop(self, waiting: Waiting) -> None:
        """It doesn't wait any more; one whose time has run out is passed over."""
        self._due.pop(waiting, None)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._due:
            waiting, due = next(iter(self._due.items()))
            if due > now:
                self._timer = self._loop.call_at(due, self._look)
                return
            del self._due[waiting]
            self._expired(waiting)
