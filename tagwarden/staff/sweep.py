"""One drift check: what was read, what was mended, and what staff must decide."""

from typing import Any

from django.db import transaction
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from tagwarden.accounts import audit
from tagwarden.core import words as plain_words
from tagwarden.journal import diagnosis, store
from tagwarden.journal.models import Job
from tagwarden.members import sweeps as rules
from tagwarden.members.models import Contact, Sweep, SweepFinding
from tagwarden.staff import frame, sweeps, words
from tagwarden.staff.gate import StaffRequest, staff_only

PAGE = 100


class _TooLate(Exception):
    """It was decided, or replaced, a moment ago."""


def _found(request: StaffRequest, slug: str) -> Sweep:
    sweep = rules.by_slug(request.site, slug)
    if sweep is None:
        raise Http404
    return sweep


def _job(request: StaffRequest, sweep: Sweep) -> Job | None:
    found: Job | None = Job.objects.for_site(request.site).filter(key=sweep.key).first()
    return found


@require_safe
@staff_only
def sweep(request: StaffRequest, slug: str) -> HttpResponse:
    """The report: figures, what is to be decided, and who gained or lost which tag."""
    one = _found(request, slug)
    job = _job(request, one)
    state = rules.shown(one, job.standing if job else "")
    findings, more = _findings(one, request.GET.get("after", ""))
    context = {
        "sweep": one,
        "slug": slug,
        "state": state,
        "outcome": sweeps.outcome(one, state),
        "sentence": sweeps.sentence(one, state),
        "mended": sweeps.mended(one),
        "asked_by": _asked_by(request, job),
        "trouble": _trouble(job, one) if state == "failed" and job else None,
        "missing": one.findings.filter(what="missing").count(),
        "findings": findings,
        "next": more,
        "feed": _FEEDS.get(one.feed, ""),
        "job": job,
    }
    return frame.page(request, "staff/sweep.html", context, pace=_pace(state))


_FEEDS = {"list": "the list of all contacts", "ids": "members by id"}


def _pace(state: str) -> int:
    return {"running": frame.MOVING, "stopped": frame.QUIET, "failed": frame.QUIET}.get(state, frame.STILL)


def _asked_by(request: StaffRequest, job: Job | None) -> str:
    if job is None or job.source == "clock":
        return "by the clock"
    who = request.site.accounts.filter(pk=job.account).first() if job.account else None
    return f"by {who.name}" if who else "at the command line"


def _trouble(job: Job, one: Sweep) -> dict[str, Any]:
    """Why it could not go on."""
    cause = diagnosis.story(job).cause
    return {
        "title": words.title(cause.job.reason, cause.detail, one.connection.name),
        "advice": words.advice(cause.job.reason, cause.detail, one.connection.name),
    }


def _findings(one: Sweep, after: str) -> tuple[list[dict[str, Any]], str]:
    """A page of them, what was not decided first, and the address of the next page."""
    found = one.findings.select_related("contact__member__account", "tag")
    order = {what: n for n, what in enumerate(("missing", "gained", "lost"))}
    start = _named(one, after)
    shown: list[SweepFinding] = []
    for what in list(order)[order[start.what] if start else 0 :]:
        of_it = found.filter(what=what).order_by("pk")
        if start and start.what == what:
            of_it = of_it.filter(pk__gt=start.pk)
        shown += of_it[: PAGE + 1 - len(shown)]
    last = shown[PAGE - 1] if len(shown) > PAGE else None
    more = f"{last.contact.external_id}.{last.tag.external_id}" if last else ""
    return [_line(finding) for finding in shown[:PAGE]], more


def _named(one: Sweep, text: str) -> SweepFinding | None:
    contact, _, tag = text.partition(".")
    return one.findings.filter(contact__external_id=contact, tag__external_id=tag).first() if tag else None


def _line(finding: SweepFinding) -> dict[str, Any]:
    contact: Contact = finding.contact
    member = contact.member
    return {
        "finding": finding,
        "who": contact.name or contact.email or f"Contact {contact.external_id}",
        "contact": contact.external_id,
        "login": member.account.login if member else "",
        "told": _TOLD[finding.what],
    }


_TOLD = {
    "gained": "The CRM had it, and we didn’t: given.",
    "lost": "We had it, and the CRM didn’t, twice: taken away.",
    "missing": "We have it, and the CRM didn’t. Not taken away.",
}


# The buttons of one that stopped.


@require_POST
@staff_only
def approve(request: StaffRequest, slug: str) -> HttpResponse:
    """Take the tags away: who has one again at a second look keeps it."""
    one = _found(request, slug)
    who = plain_words.count(one.would_lose, "member")
    return _decide(request, one, "sweep-approved", f"Looking once more at {who} before anything is taken away.")


@require_POST
@staff_only
def dismiss(request: StaffRequest, slug: str) -> HttpResponse:
    """Nothing is taken away."""
    return _decide(request, _found(request, slug), "sweep-dismissed", "Dismissed. Nothing was taken away.")


def _decide(request: StaffRequest, one: Sweep, action: str, sentence: str) -> HttpResponse:
    decide = rules.approve if action == "sweep-approved" else rules.dismiss
    back = reverse("sweep", args=[one.slug])
    job = _job(request, one)
    try:
        with transaction.atomic():  # the lane is touched first, as by the worker
            store.redeliver([job.pk] if job else [], account=request.user.pk)
            if not decide(one, request.user):
                raise _TooLate
            audit.note(action, one.connection.name, site=request.site, account=request.user, would_lose=one.would_lose)
    except _TooLate:
        return frame.answer(request, "It was decided already, or a later one took its place.", back=back)
    return frame.answer(request, sentence, back=back)
