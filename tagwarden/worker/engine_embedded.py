"""The engine for one worker: a loop over the lanes due."""

from tagwarden.journal import leases
from tagwarden.worker import engine
from tagwarden.worker.schedule import Schedule


class Engine(engine.Engine):
    """Looks for work five times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._schedule = Schedule()

    def look(self) -> None:
        self._schedule.tick()
        self.lease(leases.due_lanes())
