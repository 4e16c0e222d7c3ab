"""What the main database says of the work: for /health, /metrics and `tagwarden doctor`. Reads only, and cheaply.

Every query seeks on an index or is bounded; none counts the journal.
"""

import json
import logging

from django.db import DatabaseError, connection

from tagwarden.core import clock
from tagwarden.core.health import Heartbeat, Vitals
from tagwarden.journal import schema, sql, store

log = logging.getLogger(__name__)

LANES_LOOKED_AT = 64
FAILURES_COUNTED = 1_000
STANDINGS_OF_HOURS = 7 * 24


def look(spool: str) -> Vitals | None:
    """How things are now, for the machine with that spool; None if the database can't be asked."""
    for _ in range(2):  # a connection that was cut meanwhile shows itself at the first question
        try:
            return _seen(spool)
        except DatabaseError as error:
            log.debug("the database can't be asked how things are: %s", error)
            connection.close()
    return None


def _seen(spool: str) -> Vitals:
    sql.rows("select 1")
    if not schema.fits():
        return Vitals(fits=False)
    carried, moved = _carried(spool)
    return Vitals(
        fits=True,
        heartbeats=_heartbeats(),
        carried=carried,
        moved=moved,
        oldest_due=_oldest_due(),
        failed=_failed(),
    )


def standings() -> dict[tuple[int, str], int]:
    """(connection, standing) → listed jobs that came in the last seven days and stand so. Raises DatabaseError."""
    d = sql.dialect()
    sites = [site for (site,) in sql.rows("select distinct site from journal_lane")]
    first_hour = clock.now_ms() // store.HOUR_MS - STANDINGS_OF_HOURS
    rows = sql.rows(
        "select connection, standing, sum(n) from journal_counter "
        f"where {d.among('site')} and hour >= %s group by connection, standing order by connection, standing",
        (d.values(sites), first_hour),
    )
    return {(number, standing): int(n) for number, standing, n in rows}


def _heartbeats() -> list[Heartbeat]:
    rows = sql.rows(
        f"select name, kind, host, pid, started, {sql.dialect().now_ms} - seen, counts "
        "from journal_heartbeat order by kind, name"
    )
    return [
        Heartbeat(name, kind, host, pid, started, max(0.0, ms / 1000), [tuple(c) for c in json.loads(counts)])
        for name, kind, host, pid, started, ms, counts in rows
    ]


def _carried(spool: str) -> tuple[tuple[str, int] | None, float | None]:
    found = sql.rows("select segment, line, moved from journal_spoolposition where spool = %s", (spool,))
    if not found:
        return None, None
    segment, line, moved = found[0]
    return (segment, line), max(0.0, (clock.now_ms() - moved) / 1000)


def _oldest_due() -> float | None:
    """Of the lanes that have been due longest: a lane's own moment is old while it is drained, its jobs' aren't.

    A job that waits for a sibling isn't asked for: the sibling is.
    """
    now = clock.now_ms()
    firsts = ", ".join(
        "(select min(due) from journal_job j where j.lane = l.id and j.state = 'waiting' "
        f"and j.priority = {priority} and j.after is null)"
        for priority in store.PRIORITIES
    )
    lanes = sql.rows(
        f"select {firsts} from journal_lane l where l.next_due <= %s order by l.next_due limit %s",
        (now, LANES_LOOKED_AT),
    )
    dues = [due for lane in lanes for due in lane if due is not None and due <= now]
    return (now - min(dues)) / 1000 if dues else None


def _failed() -> dict[str, int]:
    rows = sql.rows(
        "select reason, count(*) from (select reason from journal_job where outcome = 'failed' and finished >= %s "
        "limit %s) latest group by reason order by reason",
        (clock.now_ms() - store.HOUR_MS, FAILURES_COUNTED),
    )
    return {reason: int(n) for reason, n in rows}
