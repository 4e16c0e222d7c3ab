"""What the clock starts."""

import logging
import time

from django.db import transaction

from tagwarden.core import clock
from tagwarden.core.env import env
from tagwarden.journal import leases, store
from tagwarden.members import passwords
from tagwarden.worker import care, notices, sweeps

log = logging.getLogger(__name__)


def each_second() -> None:
    """Small work that may be done by every worker."""
    with transaction.atomic():
        store.close_releases()


def each_minute() -> None:
    """Small work for one worker."""
    passwords.give_up(clock.now())
    if mended := leases.sweep_next_due():
        log.warning("%d lanes had work that was due earlier than their row said", mended)
    if env().smtp_url and (released := store.release_held("no-smtp")):
        log.info("%d mails that waited for a mail server go on", released)
    if started := sweeps.start_due():
        log.info("%d drift checks were due", started)
    notices.look()
    care.add_due()


class Schedule:
    """The clock of a worker that is the only one."""

    def __init__(self) -> None:
        self._second = self._minute = 0.0

    def tick(self) -> None:
        """Does what is due by now."""
        now = time.monotonic()
        if now - self._second >= 1:
            self._second = now
            each_second()
        if now - self._minute >= 60:
            self._minute = now
            each_minute()
