"""One delivery: did it arrive, what became of it, why not, and the buttons that mend it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from tagwarden.accounts.models import Account, Site
from tagwarden.core import catalogue, clock
from tagwarden.journal import diagnosis, store
from tagwarden.journal.diagnosis import BAD, Story
from tagwarden.journal.models import Delivery, Job, OfSite, Release
from tagwarden.members.models import Sweep
from tagwarden.staff import call, frame, rows, times, told, words
from tagwarden.staff.gate import StaffRequest, staff_only

OTHERS = 6  # calls of the same contact beside it
MOST_ALIKE = 5_000  # redelivered by one click
STUCK = (*BAD, "held")  # goes on only when somebody mends something


@require_safe
@staff_only
def delivery(request: StaffRequest, number: str) -> HttpResponse:
    """`number`: a job's key, or a delivery's id (of several contacts: a list of its jobs)."""
    jobs = Job.objects.for_site(request.site)
    job = jobs.filter(key=number).first()
    if job and job.root:
        return redirect("delivery", jobs.get(pk=job.root).key)
    if job is None:
        found = list(jobs.filter(delivery=number, root=None).order_by("pk")[:1001])
        if len(found) != 1:
            return _of_several(request, number, found)
        job = found[0]
    if job.command == "sweep":
        return _to_sweep(request, job)
    return _story(request, job)


def _to_sweep(request: StaffRequest, job: Job) -> HttpResponse:
    """A drift check has a page of its own."""
    sweep = Sweep.objects.for_site(request.site).filter(key=job.key).first()
    return redirect("sweep", sweep.slug) if sweep else _story(request, job)


def _of_several(request: StaffRequest, number: str, found: list[Job]) -> HttpResponse:
    came = Delivery.objects.for_site(request.site).filter(pk=number).first()
    if came is None or not found:
        raise Http404
    shown = rows.of_jobs(request.site, found)
    context = {
        "rows": shown,
        "call": call.shown(came, request.site),
        "told": told.of(came, request.site),
        "crm": rows.People(request.site, []).crm(came.connection),
    }
    pace = frame.MOVING if any(row.moves for row in shown) else frame.STILL
    return frame.page(request, "staff/delivery_of_several.html", context, pace=pace)


def _story(request: StaffRequest, job: Job) -> HttpResponse:
    site = request.site
    story = diagnosis.story(job)
    people = rows.People(site, [job])
    came = Delivery.objects.for_site(site).filter(pk=job.delivery).first() if job.delivery else None
    crm = people.crm(job.connection)
    context = {
        "story": story,
        "job": job,
        "crm": crm,
        "contact": people.contact(job),
        "heading": _heading(job, people),
        "what": rows.what(job),
        "where": people.where(job),
        "call": call.shown(came, site) if came else None,
        "told": told.of(came, site, job) if came else None,
        "asker": _asker(request, job),
        "finding": _finding(request, story, crm),
        "tries": [_told(t, crm) for t in story.tries],
        "effects": [line for child in story.children for line in _effect(child, crm)],
        "ending": _ending(story, site, crm),
        "took": times.span((story.last - job.received).total_seconds() * 1000) if story.last else "",
        "others": _others(request, job),
        "ran_before": diagnosis.ran_before(job),
        "commands": words.commands(),
        "wire": job.command or story.detail.get("spelled", ""),
        "source": words.SOURCES.get(job.source, ""),
        **_release(request, job),
    }
    return frame.page(request, "staff/delivery.html", context, pace=frame.STILL if story.settled else _pace(story))


def _release(request: StaffRequest, job: Job) -> dict[str, Any]:
    found = Release.objects.for_site(request.site).filter(pk=job.release).first() if job.release else None
    if found is None:
        return {}
    return {
        "release": found,
        "release_title": rows.release_title(found),
        "release_url": reverse("release", args=[rows.slug(found)]),
    }


def _pace(story: Story) -> int:
    family = (story, *story.children)
    soon = any(s.job.standing == "waiting" and s.job.due < clock.now() + rows.SOON for s in family)
    return frame.MOVING if story.in_hand or soon else frame.QUIET


def _heading(job: Job, people: rows.People) -> str:
    who = people.who(job)
    if not job.command and job.source == "hook":
        return "A hook that wasn’t understood" if job.outcome != "no-op" else "A hook that asked for nothing"
    if not job.command:
        return f"A call for {who} that wasn’t understood" if who else "A call that wasn’t understood"
    plain = words.plain(job.command)
    if to := rows.addressee(job):
        return f"{plain} to {to}"
    if email := rows.looked_for(job):
        return f"{plain}: {email}"
    return f"{plain}: {who or 'contact ' + job.contact}" if job.contact else plain


def _asker(request: StaffRequest, job: Job) -> Account | None:
    """Who pressed the button; an operator has no site."""
    return request.site.accounts.filter(pk=job.account).first() if job.account else None


def _finding(request: StaffRequest, story: Story, crm: str) -> dict[str, Any] | None:
    """The box on top: what happened, what it means, and the steps to mend it."""
    cause, family = story.cause, (story, *story.children)
    if story.job.standing not in STUCK or not cause.job.reason:
        return None
    not_understood = story.job.command == "" and story.job.source != "hook"  # a hook names no command to correct
    alike = 0 if not_understood else _alike(request, cause.job).count()
    return {
        "outcome": story.job.standing,
        "title": words.title(cause.job.reason, cause.detail, crm),
        "safe": words.safe(story.job.command, in_child=cause is not story),
        "advice": words.advice(cause.job.reason, cause.detail, crm),
        "alike": alike,
        "alike_words": f"Redeliver {times.number(alike)} calls",
        "not_understood": not_understood,
        "nearest": str(cause.detail.get("nearest", "")).removeprefix("aal_"),
        "open_steps": sum(s.job.outcome in BAD or s.job.state == "held" for s in family),
        "mails_again": any(s.job.command == "mail" and s.job.outcome == "unknown" for s in family),
    }


def _alike(request: StaffRequest, cause: Job) -> OfSite:
    """Everything of this site that ended, or is held, the same way for the same reason."""
    alike = Job.objects.for_site(request.site).filter(reason=cause.reason, connection=cause.connection)
    if cause.state == "held":
        return alike.filter(state="held")
    return alike.filter(outcome__in=BAD, outcome=cause.outcome)


_ENDS = {
    "retry": "waiting",
    "settling": "waiting",
    "paused": "waiting",
    "given-back": "waiting",
    "found": "done",
    "crash": "failed",
}


def _told(one: diagnosis.Try, crm: str) -> dict[str, Any]:
    """A try in words."""
    name = f"Try {one.number}" if one.number else "Looked, at no cost of a try"
    if one.ended is None:
        title = f"{name}: in hand"
    elif one.result in words.TRIED:
        title = f"{name}: {words.TRIED[one.result]}"
    else:
        title = name
    reason = words.title(one.reason, one.detail, crm) if one.reason else ""
    return {"title": title, "reason": reason, "outcome": _ENDS.get(one.result, one.result), "one": one}


def _effect(child: Story, crm: str) -> list[dict[str, Any]]:
    """A child job in words: a line for each of its tries, and one if it waits for something."""
    job = child.job
    what = next((child.params[name] for name in ("name", "field", "tag", "to") if child.params.get(name)), "")
    line = {"title": words.plain(job.command), "what": what}
    lines = [
        {
            **line,
            "number": n,
            "outcome": _ENDS.get(one.result, one.result or "in-hand"),
            "call": one.calls[-1:],
            "told": words.title(one.reason, one.detail, crm) if one.reason else "",
        }
        for n, one in enumerate(child.tries, start=1)
    ]
    if job.state != "finished" and not child.in_hand:
        told = words.title(job.reason, child.detail, crm) if job.reason else ""
        lines.append(
            {
                **line,
                "number": len(lines) + 1,
                "outcome": child.shown,
                "call": (),
                "told": told,
                "due": job.due,
                "after": bool(job.after) and not child.tries,
            }
        )
    if lines and job.command == "mail":
        lines[-1]["mail"] = child.params
    return lines


def _ending(story: Story, site: Site, crm: str) -> dict[str, Any]:
    """The last node: the outcome, or what is waited for."""
    job, cause = story.job, story.cause
    sentence = rows.became(job, cause.job, crm, in_hand=story.shown == "in-hand")
    if story.shown == "waiting" and (held := rows.held_up(site, cause.job, crm)):
        return {"outcome": story.shown, "sentence": held, "due": None, "at": None}
    if job.standing in STUCK and cause.job.reason:  # the reason stands above already
        sentence = words.safe(job.command, in_child=cause is not story)
    due = cause.job.due if story.shown == "waiting" and cause.job.due > clock.now() else None
    return {"outcome": story.shown, "sentence": sentence, "due": due, "at": story.last}


def _others(request: StaffRequest, job: Job) -> list[dict[str, Any]]:
    if not job.contact:
        return []
    others = Job.objects.for_site(request.site).filter(connection=job.connection, contact=job.contact, root=None)
    return list(others.exclude(pk=job.pk).order_by("-received")[:OTHERS])


# The buttons. Each adds to the journal and answers at once; the page shows what comes of it.


def of_job(act: Callable[[StaffRequest, Job], HttpResponse]) -> Callable[..., HttpResponse]:
    """A button on a job of this site."""

    @wraps(act)
    def button(request: StaffRequest, number: str) -> HttpResponse:
        job = Job.objects.for_site(request.site).filter(key=number).first()
        if job is None:
            raise Http404
        return act(request, job)

    return require_POST(staff_only(button))


def _root(request: StaffRequest, job: Job) -> Job:
    return Job.objects.for_site(request.site).get(pk=job.root) if job.root else job


@of_job
def redeliver(request: StaffRequest, job: Job) -> HttpResponse:
    """This call once more; `word`: the command it should have been."""
    word = request.POST.get("word", "")
    if word and word not in catalogue.listed("tagwarden.operations"):
        raise Http404
    n = store.redeliver([_root(request, job).pk], account=request.user.pk, word=word)
    sentence = "Redelivered. It runs before all else." if n else "Nothing of it is open, so nothing was redelivered."
    return frame.answer(request, sentence, back=_page_of(request, job))


@of_job
def redeliver_alike(request: StaffRequest, job: Job) -> HttpResponse:
    """All that ended the same way for the same reason."""
    cause = diagnosis.story(_root(request, job)).cause.job
    found = _alike(request, cause).values_list("pk", flat=True)[:MOST_ALIKE]
    n = store.redeliver(sorted(found), account=request.user.pk)
    return frame.answer(
        request, f"Redelivered {times.number(n)} {'step' if n == 1 else 'steps'}.", back=_page_of(request, job)
    )


@of_job
def run_again(request: StaffRequest, job: Job) -> HttpResponse:
    """The same command for the same contact, as a new job."""
    key = store.run_again(_root(request, job).pk, account=request.user.pk)
    link = reverse("delivery", args=[key])
    return frame.answer(request, "A new call was made.", link=link, word="See it", back=link)


def _page_of(request: StaffRequest, job: Job) -> str:
    return reverse("delivery", args=[_root(request, job).key])
