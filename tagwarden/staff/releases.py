"""The list of releases, each with how far it is."""

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from tagwarden.journal.models import Release
from tagwarden.staff import frame, rows
from tagwarden.staff.gate import StaffRequest, staff_only

PAGE = 25


@require_safe
@staff_only
def releases(request: StaffRequest) -> HttpResponse:
    """Newest first, by the slug of the last one of the page before."""
    found = Release.objects.for_site(request.site).order_by("-opened", "-pk")
    start = rows.by_slug(request.site, request.GET.get("before", ""))
    if start:
        found = found.filter(opened__lte=start.opened).exclude(opened=start.opened, pk__gte=start.pk)
    chosen = list(found[: PAGE + 1])
    shown = rows.of_releases(request.site, chosen[:PAGE])
    context = {
        "rows": shown,
        "paged": start is not None,
        "older": rows.slug(chosen[PAGE - 1]) if len(chosen) > PAGE else "",
    }
    moves = any(row.outcome in {"in-hand", "waiting"} for row in shown)
    pace = None if start else frame.MOVING if moves else frame.QUIET
    return frame.page(request, "staff/releases.html", context, pace=pace)
