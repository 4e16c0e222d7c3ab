"""The list of deliveries: did it arrive, and what became of it."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from tagwarden.accounts.models import Site
from tagwarden.journal import diagnosis
from tagwarden.journal.models import Job, OfSite, Release
from tagwarden.staff import backlog, filters, first_call, frame, rows, words
from tagwarden.staff.filters import Filter
from tagwarden.staff.gate import StaffRequest, staff_only

PAGE = 50
ALIKE = 3  # failures of one reason that are worth a note


@require_safe
@staff_only
def deliveries(request: StaffRequest) -> HttpResponse:
    """Newest first, by key; the calls of a release are one row."""
    site, chosen = request.site, filters.read(request.GET)
    waiting = backlog.of_site(site)
    if not chosen.active and not Job.objects.for_site(site).exclude(command="sweep").exists():
        return frame.page(
            request,
            "staff/deliveries_empty.html",
            {"backlog": waiting, **first_call.context(request)},
            pace=frame.MOVING,
        )
    start = _start(site, request.GET.get("before", ""))
    shown, more = _newest(site, chosen, start)
    context = {
        "backlog": waiting,
        "rows": shown,
        "strip": _strip(site, chosen),
        "note": _note(site, chosen),
        "down": rows.crms_down(site),
        "filter": chosen,
        "choices": _choices(site, chosen),
        "paged": start is not None,
        "address": chosen.address(),
        "older": urlencode({"before": _end(shown[-1])}) if more else "",
    }
    moves = waiting is not None or any(row.moves for row in shown)
    pace = None if start else frame.MOVING if moves else frame.QUIET
    return frame.page(request, "staff/deliveries.html", context, pace=pace)


def _strip(site: Site, chosen: Filter) -> list[dict[str, Any]]:
    counts = filters.counts(site, chosen)
    words_of = {"": "All", **words.STANDINGS}
    return [
        {"outcome": o, "word": word, "n": counts.get(o, 0), "address": chosen.address(outcome=o)}
        for o, word in words_of.items()
    ]


def _note(site: Site, chosen: Filter) -> dict[str, Any] | None:
    """The commonest reason of failures, if three or more share it."""
    if chosen.outcome not in {"", "failed"} or chosen.q:
        return None
    failures = Job.objects.for_site(site)
    if chosen.since:
        failures = failures.filter(received__gte=chosen.since)
    if (only := filters.connections(site, chosen)) is not None:
        failures = failures.filter(connection__in=only)
    if chosen.command:
        failures = failures.filter(command=chosen.command.strip(filters.NOT_UNDERSTOOD))
    most = diagnosis.commonest_failure(failures)
    if most is None or most.count < ALIKE:
        return None
    crm = rows.People(site, []).crm(most.latest.connection)
    sentence = words.title(most.reason, diagnosis.decoded(most.latest.detail), crm)
    return {"count": most.count, "sentence": sentence, "url": reverse("delivery", args=[most.latest.key])}


def _choices(site: Site, chosen: Filter) -> dict[str, list[tuple[str, str]]]:
    """What the selects offer: (value, words)."""
    usual = chosen.usual_span
    spans = [("", filters.SPANS[usual][1])]
    spans += [(key, label) for key, (_, label) in filters.SPANS.items() if key != usual]
    commands = [
        ("", "Any command"),
        *words.commands().items(),
        ("sweep", words.plain("sweep")),
        (filters.NOT_UNDERSTOOD, "Not understood"),
    ]
    names = sorted(set(site.connections.values_list("name", flat=True)))
    return {"command": commands, "connection": [("", "Any connection"), *((n, n) for n in names)], "span": spans}


# A page begins behind a job or behind a release. Rows of one moment: releases first, then jobs, newest key first.


@dataclass(frozen=True, slots=True)
class Start:
    """The last row of the page before."""

    last: Job | Release

    @property
    def moment(self) -> Any:
        return self.last.received if isinstance(self.last, Job) else self.last.opened


def _start(site: Site, text: str) -> Start | None:
    kind, _, name = text.partition(":")
    if kind == "release":
        last: Job | Release | None = rows.by_slug(site, name)
    else:
        last = Job.objects.for_site(site).filter(key=name).first() if kind == "call" else None
    return Start(last) if last else None


def _end(row: rows.Row) -> str:
    return f"call:{row.key}" if row.key else f"release:{row.id.removeprefix('row-')}"


def _newest(site: Site, chosen: Filter, start: Start | None) -> tuple[list[rows.Row], bool]:
    """A page of rows, and whether there are more."""
    jobs = filters.jobs(site, chosen)
    if chosen.outcome:
        jobs = jobs.filter(standing=chosen.outcome)
    grouped = not chosen.q and chosen.outcome not in words.NEEDS_A_PERSON  # what needs somebody is never folded away
    releases = _releases(site, chosen) if grouped else Release.objects.for_site(site).none()
    if grouped:
        jobs = jobs.filter(release=None)
    found: list[Job | Release] = [*_jobs_after(jobs, start), *_releases_after(releases, start)]
    found.sort(key=_place, reverse=True)
    told = {job.key: row for job, row in _told(found[:PAGE], Job, rows.of_jobs, site)}
    told |= {rows.slug(r): row for r, row in _told(found[:PAGE], Release, rows.of_releases, site)}
    names = [row.key if isinstance(row, Job) else rows.slug(row) for row in found[:PAGE]]
    return [told[name] for name in names], len(found) > PAGE


def _told(found: list[Job | Release], kind: Any, tell: Any, site: Site) -> list[tuple[Any, rows.Row]]:
    of_kind = [row for row in found if isinstance(row, kind)]
    return list(zip(of_kind, tell(site, of_kind), strict=True))


def _place(row: Job | Release) -> tuple[Any, bool, int]:
    return (row.received, False, row.pk) if isinstance(row, Job) else (row.opened, True, row.pk)


def _releases(site: Site, chosen: Filter) -> OfSite:
    releases = Release.objects.for_site(site)
    if chosen.command not in {"", "batchsync"}:
        return releases.none()
    if chosen.since:
        releases = releases.filter(opened__gte=chosen.since)
    if (only := filters.connections(site, chosen)) is not None:
        releases = releases.filter(connection__in=only)
    if chosen.outcome:
        fitting = Job.objects.for_site(site).filter(standing=chosen.outcome, release__isnull=False)
        releases = releases.filter(pk__in=fitting.values("release"))
    return releases


def _jobs_after(jobs: OfSite, start: Start | None) -> OfSite:
    if start:
        jobs = jobs.filter(received__lte=start.moment)
        if isinstance(start.last, Job):
            jobs = jobs.exclude(received=start.moment, pk__gte=start.last.pk)
    return jobs.order_by("-received", "-pk")[: PAGE + 1]


def _releases_after(releases: OfSite, start: Start | None) -> OfSite:
    if start and isinstance(start.last, Release):
        releases = releases.filter(opened__lte=start.moment).exclude(opened=start.moment, pk__gte=start.last.pk)
    elif start:
        releases = releases.filter(opened__lt=start.moment)
    return releases.order_by("-opened", "-pk")[: PAGE + 1]
