"""One release: how far it is, when the mail may go, and who needs something."""

from datetime import datetime, timedelta
from typing import Any

from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from tagwarden.core import clock
from tagwarden.journal import store
from tagwarden.journal.diagnosis import BAD, Figures, figures
from tagwarden.journal.models import Job, OfSite, Release
from tagwarden.staff import frame, rows, times
from tagwarden.staff.gate import StaffRequest, staff_only

SHOWN = 50  # failed calls on the page
PAGE = 100  # of those who aren't members
MOST = 5_000  # redelivered by one click
MARGIN = timedelta(minutes=1)  # between the last contact and the mail


def _found(request: StaffRequest, slug: str) -> Release:
    release = rows.by_slug(request.site, slug)
    if release is None:
        raise Http404
    return release


def _jobs(request: StaffRequest, release: Release) -> OfSite:
    return Job.objects.for_site(request.site).filter(release=release.pk, root=None)


@require_safe
@staff_only
def release(request: StaffRequest, slug: str) -> HttpResponse:
    """Progress, six figures that add up, three phases, and the list of those that failed."""
    one = _found(request, slug)
    counted = figures([one.pk])[one.pk]
    failed = list(_jobs(request, one).filter(standing__in=BAD).order_by("received", "pk")[:SHOWN])
    context = {
        "release": one,
        "slug": slug,
        "heading": rows.release_title(one),
        "crm": rows.People(request.site, []).crm(one.connection),
        "outcome": rows.release_outcome(one, counted),
        "figures": counted,
        "progress": _progress(request, one, counted),
        "phases": _phases(request, one, counted),
        "failed": rows.of_jobs(request.site, failed),
    }
    pace = frame.STILL if one.closed and not counted.waiting else frame.MOVING if counted.waiting else frame.QUIET
    return frame.page(request, "staff/release.html", context, pace=pace)


def _progress(request: StaffRequest, one: Release, counted: Figures) -> dict[str, str]:
    """What stands at the right of the great number, and the sentence below the bar in two parts."""
    zone, now = request.site.zone, clock.now()
    if not counted.waiting:
        end = counted.last_end or one.last_call
        at = f"{times.clock_time(end, zone)}{times.GAP}{times.zone_name(end, zone)}"
        return {"left": "All finished", "rate": f"The last contact was finished at {at}.", "mail": "", "over": "1"}
    if now < one.reads_at:
        return {"left": "", "starts": "1", "rate": "", "mail": ""}
    left = rows.seconds_left(one, counted)
    if left is None:
        return {"left": "Working it out", "rate": "", "mail": ""}
    spent = (now - one.reads_at).total_seconds()
    return {
        "left": times.time_left(left),
        "rate": _rate(counted.finished / spent),
        "mail": times.minute(_mail(now, left), zone),
        "zone": times.zone_name(now, zone),
    }


def _mail(now: datetime, left: float) -> datetime:
    """The first whole minute at which everybody is surely through."""
    at = now + timedelta(seconds=left) + MARGIN
    return at.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _rate(a_second: float) -> str:
    if a_second >= 1:
        return f"{times.number(round(a_second))} contacts a second."
    return f"{max(1, round(a_second * 60))} contacts a minute."


def _phases(request: StaffRequest, one: Release, counted: Figures) -> list[dict[str, Any]]:
    """Collecting, reading, closing: each done, now or to come."""
    zone, collecting = request.site.zone, clock.now() < one.reads_at
    first, second = times.clock_time(one.opened, zone), times.clock_time(one.reads_at, zone)
    twice = one.calls - counted.contacts
    again = f" {times.number(twice)} came again and count once." if twice > 0 and counted.contacts else ""
    reading = "to-come" if collecting else "now" if counted.waiting else "done"
    read = {"to-come": f"From {second} on.", "now": f"Since {second}.", "done": f"From {second} on."}[reading]
    closes = f"{times.span(one.delay_ms)} after the last call, when nothing waits."
    return [
        {
            "state": "now" if collecting else "done",
            "title": "Collecting calls" if collecting else "Collected calls",
            "text": f"{first} to {second}.{again}",
        },
        {"state": reading, "title": "Read and synced" if reading == "done" else "Reading and syncing", "text": read},
        {
            "state": "done" if one.closed else "to-come",
            "title": "Closed" if one.closed else "Closes by itself",
            "text": f"At {times.clock_time(one.closed, zone)}." if one.closed else closes,
        },
    ]


@require_safe
@staff_only
def not_members(request: StaffRequest, slug: str) -> HttpResponse:
    """The contacts that were left alone, since they aren't members here."""
    one = _found(request, slug)
    found = _jobs(request, one).filter(reason="not-a-member").order_by("received", "pk")
    start = _jobs(request, one).filter(key=request.GET.get("after", "")).first()
    if start:
        found = found.filter(received__gte=start.received).exclude(received=start.received, pk__lte=start.pk)
    chosen = list(found[: PAGE + 1])
    context = {
        "release": one,
        "slug": slug,
        "heading": rows.release_title(one),
        "rows": rows.of_jobs(request.site, chosen[:PAGE]),
        "next": chosen[PAGE - 1].key if len(chosen) > PAGE else "",
    }
    return frame.page(request, "staff/not_members.html", context)


@require_POST
@staff_only
def redeliver(request: StaffRequest, slug: str) -> HttpResponse:
    """Everything of this release that failed, once more."""
    one = _found(request, slug)
    failed = list(_jobs(request, one).filter(standing__in=BAD).values_list("pk", flat=True)[:MOST])
    n = store.redeliver(failed, account=request.user.pk)
    back = reverse("release", args=[slug])
    return frame.answer(request, f"Redelivered {times.number(n)} {'call' if n == 1 else 'calls'}.", back=back)
