"""What a lane's row keeps of its CRM between two drains: the rate budget, the breaker, and a pause that it asked for.

Part of the journal's only writer (journal/store.py). What the texts mean is arithmetic in core/ratelimit.py and
core/breaker.py. Only who holds the lane's lease writes them, so that all workers share one budget.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from tagwarden.core import breaker, clock, ratelimit
from tagwarden.journal import sql, store
from tagwarden.journal.models import Job

DOWN = ("crm-unreachable", "crm-overloaded")  # what failed calls look like while the CRM is down
SOON_MS = 2_000  # who waits for the budget no longer than this isn't told so


@dataclass(frozen=True, slots=True)
class Kept:
    """The row's three columns. The lane isn't touched before `paused_until` (ms)."""

    paused_until: int = 0
    budget: str = "{}"
    breaker: str = "{}"


def of(lane: int) -> Kept:
    """What the lane's row says now."""
    ((paused_until, budget, state),) = sql.rows(
        "select paused_until, budget, breaker from journal_lane where id = %s", (lane,)
    )
    return Kept(paused_until, budget, state)


def keep(lane: int, token: str, kept: Kept) -> bool:
    """Writes them down under the lane's token. False if the lease was lost."""
    return bool(
        sql.run(
            "update journal_lane set paused_until = %s, budget = %s, breaker = %s where id = %s and token = %s",
            (kept.paused_until, kept.budget, kept.breaker, lane, token),
        )
    )


def unspend(lane: int, since: int) -> int:
    """Gives back the tries that calls spent since then (ms) because the CRM was down. Returns how many jobs' it were.

    These jobs are due at once, and those that came to their last try wait again. Safe to repeat.
    """
    d, now = sql.dialect(), clock.now_ms()
    reasons = d.values(DOWN)
    with transaction.atomic():
        spent = sql.rows(
            "select j.id, j.tries - count(*) from journal_job j join journal_attempt a on a.job = j.id "
            f"where j.lane = %s and j.state = 'waiting' and {d.among('j.reason')} "
            f"and a.result = 'retry' and {d.among('a.reason')} and a.ended >= %s group by j.id, j.tries order by j.id",
            (lane, reasons, reasons, since),
        )
        columns = {"id": "bigint", "tries": "int", "due": "bigint"}
        sql.update("journal_job", columns, [(job, max(0, tries), now) for job, tries in spent])
        sql.run(
            f"update journal_attempt set result = 'paused' where {d.among('job')} and result = 'retry' "
            f"and {d.among('reason')} and ended >= %s",
            (d.values(job for job, _ in spent), reasons, since),
        )
        store.redeliver(_given_up(lane, since), account=None)
    return len(spent)


def _given_up(lane: int, since: int) -> Sequence[int]:
    d = sql.dialect()
    rows = sql.rows(
        "select id from journal_job where site = (select site from journal_lane where id = %s) and lane = %s "
        f"and outcome = 'failed' and {d.among('reason')} and finished >= %s",
        (lane, lane, d.values(DOWN), since),
    )
    return [job for (job,) in rows]


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing of a connection is taken now: a reason code, since when, and when it is looked at again (ms)."""

    reason: str
    since: int
    until: int

    def holds(self, job: Job) -> bool:
        """Whether that job, of this connection, waits for it, and for nothing longer."""
        waits = job.state == "waiting" and job.standing == "waiting"
        return waits and (self.reason == "crm-down" or clock.to_ms(job.due) <= self.until)

    def detail(self, crm: str, tell: Callable[[datetime], str]) -> dict[str, str]:
        """What fills the reason's sentences. `tell` writes a moment."""
        return {"crm": crm, "since": tell(clock.from_ms(self.since)), "until": tell(clock.from_ms(self.until))}


def holds(site: int) -> dict[int, Hold]:
    """Connection → what holds its work, for this site's connections whose work is held up."""
    rows = sql.rows("select connection, paused_until, budget, breaker from journal_lane where site = %s", (site,))
    held = {connection: _hold(Kept(*kept)) for connection, *kept in rows}
    return {connection: hold for connection, hold in held.items() if hold}


def _hold(kept: Kept) -> Hold | None:
    now, state = clock.now_ms(), breaker.read(kept.breaker)
    if state.down:
        return Hold("crm-down", state.since, max(now, state.next_look))
    if kept.paused_until > now:
        return Hold("crm-paused", 0, kept.paused_until)
    budget_comes = ratelimit.read(kept.budget).when(now, urgent=False)
    return Hold("crm-limit", 0, budget_comes) if budget_comes > now + SOON_MS else None
