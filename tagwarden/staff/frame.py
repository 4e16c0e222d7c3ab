"""What all pages share: the frame around them, their live parts, and how an act is answered."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.db.models import Sum
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme

from tagwarden.core import clock
from tagwarden.journal.models import Counter, Delivery, Restore
from tagwarden.members.models import Sweep
from tagwarden.staff.gate import StaffRequest

HOUR_MS = 3_600_000
MOVING, QUIET, STILL = 2, 10, 0  # seconds between two looks at a live page; 0: it is finished

# What differs in every answer though nothing changed: texts that tick by themselves, and masked tokens.
_TICKING = re.compile(rb"(<time[^>]*data-tick[^>]*>)[^<]*|(name=\"csrfmiddlewaretoken\" value=\")[^\"]*")


def first_hour(hours: int) -> int:
    """The hour (since 1970) with which a span of that many hours begins; the hour now counts on top."""
    return clock.now_ms() // HOUR_MS - hours


def page(request: StaffRequest, template: str, context: Mapping[str, Any], *, pace: int | None = None) -> HttpResponse:
    """A page in its frame.

    `pace`: for a live page, in how many seconds to look again. The page's script asks for the same address and
    says by X-Live what it shows; if nothing changed the answer is 204.
    """
    live = pace is not None and bool(request.htmx)
    frame = {**_frame(request), "pace": pace, "base": "live.html" if live else "base.html"}
    response = render(request, template, {**frame, **context})
    response["Cache-Control"] = "no-store"
    if not live:
        return response
    shown = hashlib.sha256(_TICKING.sub(rb"\1\2", response.content)).hexdigest()[:16]
    if request.headers.get("X-Live") == shown:
        response = HttpResponse(status=204)
    response["X-Live"] = shown
    response["X-Live-Pace"] = str(pace)
    return response


def _frame(request: StaffRequest) -> dict[str, Any]:
    counters = Counter.objects.for_site(request.site).filter(hour__gte=first_hour(24), standing="failed")
    last = Delivery.objects.for_site(request.site).order_by("-received").values_list("received", flat=True).first()
    return {
        "site": request.site,
        "zone": request.site.zone,
        "now": clock.now(),
        "needs_a_person": max(0, counters.aggregate(n=Sum("n"))["n"] or 0),
        "last_call": last,
        "stopped_sweeps": Sweep.objects.for_site(request.site).filter(state="stopped").count(),
        "restored": Restore.objects.for_site(request.site).filter(resumed=None).first(),
    }


def answer(request: StaffRequest, sentence: str, *, back: str, link: str = "", word: str = "") -> HttpResponse:
    """The result of one's own click: a toast on the page that stays, or without script on the page it leads to.

    `link` and `word`: where to look next. `back`: where to go without script, unless the form names a page of ours.
    """
    toast = {"sentence": sentence, "link": link, "word": word}
    if request.htmx:
        return HttpResponse(status=204, headers={"HX-Trigger": json.dumps({"toast": toast})})
    messages.success(request, sentence, extra_tags=json.dumps(toast))
    named = request.POST.get("back", "")
    return HttpResponseRedirect(named if url_has_allowed_host_and_scheme(named, allowed_hosts=None) else back)
