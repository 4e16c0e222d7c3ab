"""Which error is tried again, and when."""

import random
from datetime import timedelta

from tagwarden.core import clock, reasons
from tagwarden.core.env import env
from tagwarden.core.errors import Retryable, TagwardenError, Uncertain
from tagwarden.journal.leases import Ended, Job

LADDER = tuple(
    timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000)
)  # after the last: a dead letter
JITTER = 0.2


def after_error(job: Job, error: TagwardenError, calls: list[dict[str, object]]) -> Ended:
    """How an attempt that met this error ends: another try at its moment, or the job's end with the error's reason."""
    assert error.reason in reasons.REASONS, error.reason
    pause = _pause(job, error) if isinstance(error, Retryable) else None
    if pause is None:
        outcome = "unknown" if isinstance(error, Uncertain) else "failed"
        return Ended(job, outcome, outcome, error.reason, error.detail, calls, spends_try=True)
    due = clock.to_ms(clock.now() + pause)
    spends = isinstance(error, Retryable) and error.spends_try
    return Ended(job, "retry", "", error.reason, error.detail, calls, due, spends)


def _pause(job: Job, error: Retryable) -> timedelta | None:
    """Until the next try; None after the last. What the other side asked for is kept to, however long."""
    if not error.spends_try:
        return error.after or LADDER[0]
    if job.tries >= len(LADDER):
        return None
    step = LADDER[job.tries] * env().retry_scale * random.uniform(1 - JITTER, 1 + JITTER)
    return max(step, error.after or timedelta(0))
