"""What the clock starts."""

import logging
import time

from django.db import transaction

from tagwarden.core import clock
from tagwarden.journal import leases, store
from tagwarden.members import passwords

log = logging.getLogger(__name__)


class Schedule:
    """Small periodic work, done by the worker between two batches."""

    def __init__(self) -> None:
        self._second = self._minute = 0.0

    def tick(self) -> None:
        """Does what is due by now."""
        now = time.monotonic()
        if now - self._second >= 1:
            self._second = now
            with transaction.atomic():
                store.close_releases()
        if now - self._minute >= 60:
            self._minute = now
            passwords.give_up(clock.now())
            if mended := leases.sweep_next_due():
                log.warning("%d lanes had work that was due earlier than their row said", mended)
