"""What the clock starts."""

import logging
import time

from django.db import transaction

from tagwarden.core import clock
from tagwarden.core.env import env
from tagwarden.journal import leases, store
from tagwarden.members import passwords
from tagwarden.worker import notices

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
            if env().smtp_url and (released := store.release_held("no-smtp")):
                log.info("%d mails that waited for a mail server go on", released)
            notices.look()
