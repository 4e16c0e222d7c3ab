"""What time it is, for everything that is due.

Leases use the database's own clock instead, since several machines must agree on them.
"""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The moment now, aware, in UTC."""
    return datetime.now(UTC)


def now_ms() -> int:
    """Milliseconds since 1970 in UTC: the form in which the journal keeps moments."""
    return time.time_ns() // 1_000_000


def to_ms(moment: datetime) -> int:
    """An aware datetime as milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as an aware datetime in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
