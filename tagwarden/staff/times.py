"""How pages write moments, spans and numbers: one place, so that all say them alike.

Moments are aware datetimes; `zone` is the site's. Number and unit are joined by a space that never breaks.
"""

import math
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

GAP = "\u00a0"


def number(n: int) -> str:
    """1,284."""
    return f"{n:,}"


def zone_name(moment: datetime, zone: ZoneInfo) -> str:
    """CST; where the zone has no letters, UTC+04."""
    name = moment.astimezone(zone).tzname() or "UTC"
    return f"UTC{name}" if name[0] in "+-" else name


def clock_time(moment: datetime, zone: ZoneInfo) -> str:
    """09:04:12."""
    return f"{moment.astimezone(zone):%H:%M:%S}"


def minute(moment: datetime, zone: ZoneInfo) -> str:
    """09:04."""
    return f"{moment.astimezone(zone):%H:%M}"


def day(moment: datetime, zone: ZoneInfo) -> str:
    """24 Nov 2026."""
    local = moment.astimezone(zone)
    return f"{local.day}{GAP}{local:%b}{GAP}{local.year}"


def full(moment: datetime, zone: ZoneInfo) -> str:
    """Tue 24 Nov 2026, 09:04:12 CST."""
    local = moment.astimezone(zone)
    return f"{local:%a} {local.day} {local:%b %Y}, {local:%H:%M:%S}{GAP}{zone_name(moment, zone)}"


def in_title(moment: datetime, zone: ZoneInfo) -> str:
    """The full moment in the site's zone and in UTC."""
    return f"{full(moment, zone)} ({full(moment, ZoneInfo('UTC'))})"


def in_list(moment: datetime, zone: ZoneInfo, now: datetime, *, seconds: bool = True) -> str:
    """09:04:12 today, Mon 18:20 within a week, 14 Nov before that, 14 Nov 2025 in another year."""
    local, today = moment.astimezone(zone), now.astimezone(zone)
    if local.date() == today.date():
        return f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"
    if today.date() - local.date() < timedelta(days=7):
        return f"{local:%a}{GAP}{local:%H:%M}"
    return f"{local.day}{GAP}{local:%b}" if local.year == today.year else day(moment, zone)


def since(moment: datetime, zone: ZoneInfo, now: datetime) -> str:
    """Today, 09:03; else 14 Nov 2026."""
    same_day = moment.astimezone(zone).date() == now.astimezone(zone).date()
    return f"Today, {minute(moment, zone)}" if same_day else day(moment, zone)


def ago(moment: datetime, now: datetime) -> str:
    """22 s ago, 5 min ago, 3 h ago, 2 days ago."""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= size or size == 1:
            n = seconds // size
            return f"{n}{GAP}{unit}{'s' if unit == 'day' and n > 1 else ''} ago"
    raise AssertionError("the last size always fits")


def until(moment: datetime, now: datetime) -> str:
    """12 s, 2 min, 3 h: how long to wait for it; 0 s once it is past."""
    seconds = max(0, math.ceil((moment - now).total_seconds()))
    if seconds < 120:
        return f"{seconds}{GAP}s"
    return f"{math.ceil(seconds / 60)}{GAP}min" if seconds < 7200 else f"{math.ceil(seconds / 3600)}{GAP}h"


def span(milliseconds: float) -> str:
    """9 ms, 1.2 s, 42 s, 2 min, 3 h."""
    if milliseconds < 1000:
        return f"{round(milliseconds)}{GAP}ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f}{GAP}s" if seconds < 20 else f"{round(seconds)}{GAP}s"
    return f"{round(seconds / 60)}{GAP}min" if seconds < 7200 else f"{round(seconds / 3600)}{GAP}h"


def later(milliseconds: float) -> str:
    """+0.7 s: how long after the beginning."""
    return f"+{span(milliseconds)}" if milliseconds >= 1000 else f"+{milliseconds / 1000:.1f}{GAP}s"


def time_left(seconds: float) -> str:
    """About 40 s left: rounded up to 10 s, over 2 minutes to minutes."""
    if seconds <= 120:
        return f"About {max(10, math.ceil(seconds / 10) * 10)}{GAP}s left"
    return f"About {math.ceil(seconds / 60)}{GAP}min left"
