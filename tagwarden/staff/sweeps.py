"""The list of drift checks: when the CRM was read through, and what was mended."""

from collections.abc import Sequence
from datetime import datetime

from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from tagwarden.accounts.models import Site
from tagwarden.core import words as plain_words
from tagwarden.journal import diagnosis
from tagwarden.members import sweeps as rules
from tagwarden.members.models import Sweep
from tagwarden.staff import frame, times
from tagwarden.staff.gate import StaffRequest, staff_only
from tagwarden.staff.rows import Row

PAGE = 25


@require_safe
@staff_only
def sweeps(request: StaffRequest) -> HttpResponse:
    """Newest first, by the slug of the last one of the page before."""
    found = Sweep.objects.for_site(request.site).select_related("connection").order_by("-asked", "-pk")
    start = rules.by_slug(request.site, request.GET.get("before", ""))
    if start:
        found = found.filter(asked__lte=start.asked).exclude(asked=start.asked, pk__gte=start.pk)
    chosen = list(found[: PAGE + 1])
    shown = rows(chosen[:PAGE])
    context = {
        "rows": shown,
        "next": _next(request.site),
        "paged": start is not None,
        "older": chosen[PAGE - 1].slug if len(chosen) > PAGE else "",
    }
    pace = None if start else frame.MOVING if any(row.moves for row in shown) else frame.QUIET
    return frame.page(request, "staff/sweeps.html", context, pace=pace)


def rows(chosen: Sequence[Sweep]) -> list[Row]:
    """The lines of these sweeps, in their order."""
    standings = diagnosis.standings(one.key for one in chosen)
    return [_row(one, rules.shown(one, standings.get(one.key, ""))) for one in chosen]


def _row(sweep: Sweep, state: str) -> Row:
    return Row(
        id=f"row-{sweep.slug}",
        url=reverse("sweep", args=[sweep.slug]),
        outcome=outcome(sweep, state),
        plain="Drift check",
        wire=plain_words.count(sweep.calls, "call") + " to the CRM",
        who=sweep.connection.name,
        where=plain_words.count(sweep.members, "contact") if sweep.started else "",
        sentence=sentence(sweep, state),
        received=sweep.asked,
    )


def outcome(sweep: Sweep, state: str) -> str:
    """How it stands, as all pages say it."""
    if state == "running":
        return "in-hand" if sweep.started else "waiting"
    if state == "finished":
        return "done" if sweep.gained or sweep.lost else "no-op"
    return {"failed": "failed", "stopped": "refused"}.get(state, "no-op")


def sentence(sweep: Sweep, state: str) -> str:
    """What came of it, in one sentence or two."""
    match state:
        case "running" if not sweep.started:
            return "Waits for its turn."
        case "running":
            return f"{times.number(sweep.read)} of {times.number(sweep.members)} read. {mended(sweep)}"
        case "stopped":
            return f"{plain_words.count(sweep.would_lose, 'member')} would have lost a tag. Nothing was taken away."
        case "failed":
            return f"It could not go on. {mended(sweep)}"
        case "dismissed":
            return f"Dismissed: nothing was taken away. {mended(sweep)}"
        case "replaced":
            return f"A later one took its place. {mended(sweep)}"
    return mended(sweep) if sweep.gained or sweep.lost else "Nothing had drifted."


def mended(sweep: Sweep) -> str:
    """Gave 25 tags and took 1 away."""
    gained = f"Gave {plain_words.count(sweep.gained, 'tag')}" if sweep.gained else ""
    lost = f"took {times.number(sweep.lost)} away" if gained else f"Took {plain_words.count(sweep.lost, 'tag')} away"
    parts = [part for part in (gained, lost if sweep.lost else "") if part]
    return f"{' and '.join(parts)}." if parts else "Nothing was changed."


def _next(site: Site) -> list[tuple[str, datetime | None]]:
    """Each connection's name, and when its next drift check is due; None: never."""
    last = rules.last_asked()
    links = site.connections.filter(active=True).order_by("name")
    return [(link.name, rules.due(link.options.sweep_hours, last.get(link.pk, link.created))) for link in links]
