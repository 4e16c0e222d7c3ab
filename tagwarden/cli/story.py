"""A delivery's story for the command line: one line, the whole as plain values, or told in lines."""

import json
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

from tagwarden.accounts.models import Site
from tagwarden.cli import show
from tagwarden.core import catalogue, reasons
from tagwarden.journal import limits
from tagwarden.journal.models import Attempt, Delivery, Job


def line(job: Job) -> dict[str, Any]:
    """A listed job. `id`: the delivery's, as the sender was told; of jobs that came otherwise, their key."""
    detail = json.loads(job.detail)
    known = job.reason in reasons.REASONS
    return {
        "id": job.delivery or job.key,
        "job": job.key,
        "site": job.site,
        "connection": job.connection,
        "received": job.received,
        "command": job.command or detail.get("spelled", ""),
        "contact": job.contact,
        "source": job.source,
        "outcome": job.standing,
        "reason": job.reason,
        "title": reasons.title(job.reason, detail) if known else _changed(detail),
        "advice": reasons.advice(job.reason, detail) if known else "",
        "release": job.release,
        "finished": job.finished,
    }


def _changed(detail: Mapping[str, Any]) -> str:
    gained = [f"+{name}" for name in detail.get("gained", [])]
    return ", ".join([*gained, *(f"−{name}" for name in detail.get("lost", []))])


def whole(jobs: Sequence[Job]) -> dict[str, Any]:
    """All of a delivery: what came, and each of its jobs with tries and effects."""
    first = jobs[0]
    children = list(Job.objects.filter(root__in=[job.pk for job in jobs]).order_by("pk"))
    held = _held_up([*jobs, *children])

    def told(job: Job) -> dict[str, Any]:
        return line(job) | held.get(job.pk, {}) | {"attempts": _attempts(job.pk)}

    return {
        "id": first.delivery or first.key,
        "call": _call(first.delivery),
        "jobs": [told(job) | {"effects": [told(c) for c in children if c.root == job.pk]} for job in jobs],
    }


def _held_up(jobs: Sequence[Job]) -> dict[int, dict[str, str]]:
    """Job → what it waits for, of those whose connection's work is held up."""
    site = Site.objects.get(pk=jobs[0].site)
    holds, names = limits.holds(site.pk), dict(site.connections.values_list("pk", "name"))
    told: dict[int, dict[str, str]] = {}
    for job in jobs:
        hold = holds.get(job.connection)
        if hold and hold.holds(job):
            crm = names.get(job.connection, "The CRM")
            detail = hold.detail(crm, lambda moment: show.clock_time(moment, site.zone))
            title, advice = reasons.title(hold.reason, detail), reasons.advice(hold.reason, detail)
            told[job.pk] = {"reason": hold.reason, "title": title, "advice": advice}
    return told


def _call(delivery: str | None) -> dict[str, Any] | None:
    row = Delivery.objects.filter(pk=delivery).first() if delivery else None
    if row is None:
        return None
    return {
        "received": row.received,
        "method": row.method,
        "path": row.path,
        "query": row.query,
        "headers": json.loads(row.headers),
        "body": bytes(row.body).decode("utf-8", "replace"),
        "address": row.address,
        "host": row.host,
        "status": row.status,
    }


def _attempts(job: int) -> list[dict[str, Any]]:
    return [
        {
            "started": one.started,
            "ended": one.ended,
            "result": one.result or "in hand",
            "reason": one.reason,
            "title": reasons.title(one.reason, json.loads(one.detail)) if one.reason in reasons.REASONS else "",
            "calls": json.loads(one.calls),
        }
        for one in Attempt.objects.filter(job=job).order_by("pk")
    ]


def tell(content: Mapping[str, Any], zone: tzinfo) -> None:
    """The whole, in lines for people."""
    call = content["call"]
    show.facts({"Delivery": content["id"]} | (_arrival(call, zone) if call else {}))
    for job in content["jobs"]:
        show.say("")
        _tell_job(job, zone)
    if call and call["body"]:
        show.say("", "Body", f"  {call['body'][:2000]}")


def _arrival(call: Mapping[str, Any], zone: tzinfo) -> dict[str, object]:
    address = call["path"] + (f"?{call['query']}" if call["query"] else "")
    return {
        "Received": show.clock_time(call["received"], zone),
        "From": call["address"],
        "Call": f"{call['method']} {address}",
        "Answered": call["status"],
    }


def _tell_job(job: Mapping[str, Any], zone: tzinfo) -> None:
    show.facts(
        {
            "Command": _plain(job["command"]),
            "Contact": job["contact"],
            "Outcome": job["outcome"],
            "What": job["title"],
            "Next": job["advice"],
            "Finished": show.clock_time(job["finished"], zone),
        }
    )
    for number, attempt in enumerate(job["attempts"], 1):
        moment = show.clock_time(attempt["started"], zone)
        show.say(f"  Try {number}, {moment}: {attempt['result']}. {attempt['title']}".rstrip())
        for call in attempt["calls"]:
            show.say(f"    {call['what']}: {call['found'] or call['status']} ({call['ms']:,} ms)")
    for effect in job.get("effects", []):
        show.say(f"  Effect {_plain(effect['command'])}: {effect['outcome']}. {effect['title']}".rstrip())


def _plain(word: str) -> str:
    module = catalogue.listed("tagwarden.operations").get(word)
    return f"{module.PLAIN} ({word})" if module else word
