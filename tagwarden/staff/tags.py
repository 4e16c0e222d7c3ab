"""Template tags and filters of all pages."""

import hashlib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from django import template
from django.contrib.staticfiles import finders
from django.template import Context
from django.template.loader import render_to_string
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString

from tagwarden.staff import times, words

register = template.Library()


@cache
def _version(name: str) -> str:
    path = finders.find(name)
    if path is None:
        raise LookupError(f"There is no static file {name}.")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:10]


@register.simple_tag
def asset(name: str) -> str:
    """The address of a static file, which changes with its content."""
    return f"/static/{name}?v={_version(name)}"


@register.simple_tag
def icon(name: str, classes: str = "") -> SafeString:
    """An icon of the sprite. Readers never hear it: the word stands beside it."""
    turning = " turning" if name == "in-hand" else ""
    return format_html(
        '<svg class="icon{}{}" aria-hidden="true"><use href="#i-{}"/></svg>',
        turning,
        f" {classes}" if classes else "",
        name,
    )


@register.simple_tag
def outcome(name: str, *, chip: str = "") -> SafeString:
    """An outcome's icon and word. `chip`: "always", or "bad" for only those that need a person."""
    tinted = {"always": " chip", "bad": " chip out" if name in words.NEEDS_A_PERSON else ""}.get(chip, "")
    word = words.OUTCOMES.get(name, name)
    return format_html('<span class="outcome o-{}{}">{}{}</span>', name, tinted, icon(name), word)


@register.filter
def outcome_word(name: str) -> str:
    return words.OUTCOMES.get(name, name)


@register.filter
def plain(command: str) -> str:
    return words.plain(command)


@register.filter
def number(n: int) -> str:
    return times.number(n)


@register.filter
def span(milliseconds: float) -> str:
    return times.span(milliseconds)


def _time(context: Context, moment: datetime, text: str, tick: str = "") -> SafeString:
    attribute = format_html(' data-tick="{}"', tick) if tick else ""
    title = times.in_title(moment, context["zone"])
    return format_html('<time datetime="{}" title="{}"{}>{}</time>', moment.isoformat(), title, attribute, text)


@register.simple_tag(takes_context=True)
def moment(context: Context, at: datetime, how: str = "list") -> SafeString:
    """A moment: `list` (short, by its age), `minute` (the same without seconds), `full`, `clock`, `zone` or `since`."""
    zone, now = context["zone"], context["now"]
    text = {
        "list": lambda: times.in_list(at, zone, now),
        "minute": lambda: times.in_list(at, zone, now, seconds=False),
        "full": lambda: times.full(at, zone),
        "clock": lambda: times.clock_time(at, zone),
        "zone": lambda: f"{times.clock_time(at, zone)}{times.GAP}{times.zone_name(at, zone)}",
        "since": lambda: times.since(at, zone, now),
        "day": lambda: times.day(at, zone),
    }[how]()
    return _time(context, at, text)


@register.simple_tag(takes_context=True)
def ago(context: Context, at: datetime) -> SafeString:
    """22 s ago; the page's script keeps it true."""
    return _time(context, at, times.ago(at, context["now"]), "ago")


@register.simple_tag(takes_context=True)
def wait(context: Context, at: datetime) -> SafeString:
    """12 s: how long until then; the page's script keeps it true."""
    return _time(context, at, times.until(at, context["now"]), "until")


@register.simple_tag(takes_context=True)
def zone_name(context: Context) -> str:
    return times.zone_name(context["now"], context["zone"])


@register.filter
def later_than(at: datetime, start: datetime) -> str:
    """+0.7 s."""
    return times.later((at - start).total_seconds() * 1000)


@register.filter
def breakable(text: str) -> SafeString:
    """An e-mail that may break before its @."""
    return format_html("{}<wbr>@{}", *text.split("@", 1)) if "@" in text else conditional_escape(text)


@register.filter
def initials(name: str) -> str:
    parts = [part for part in name.replace("@", " ").split() if part]
    return "".join(part[0] for part in (parts[:1] + parts[-1:] if len(parts) > 1 else parts)).upper()


@register.simple_tag
def bar(figures: Any, label: str, classes: str = "") -> SafeString:
    """A release's progress: done solid, not members hatched, failed solid and never too thin to see."""
    total = figures.contacts or 1
    failed = max(1.0, 100 * figures.failed / total) if figures.failed else 0.0
    left_out = 100 * figures.not_members / total
    synced = min(100 * figures.synced / total, 100 - failed - left_out)
    return render_to_string(
        "parts/bar.html",
        {
            "classes": classes,
            "label": label,
            "now": figures.finished,
            "most": figures.contacts,
            "synced": f"{synced:.2f}",
            "left_out": f"{left_out:.2f}",
            "failed": f"{failed:.2f}",
            "failed_at": f"{synced + left_out:.2f}",
            "finished": f"{synced + left_out + failed:.2f}",
        },
    )
