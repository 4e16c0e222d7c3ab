"""What the journal says of a job, in the order in which it happened, and the figures of releases. Reads only.

Everything is asked for by keys of jobs or releases that the caller found within its site.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Max
from django.db.models.functions import Coalesce

from tagwarden.journal import sql
from tagwarden.journal.models import Attempt, Job, OfSite, Release

UNSPENT = {"settling", "paused", "given-back", "found", "crash", "held"}  # ends of an attempt that cost no try
BAD = ("failed", "refused", "unknown")
_WORST_FIRST = {name: place for place, name in enumerate(("failed", "unknown", "refused", "held", "waiting"))}


@dataclass(frozen=True, slots=True)
class CrmCall:
    """One call to the CRM: what it was for, what came of it, HTTP status (0: no answer), milliseconds."""

    what: str
    found: str
    status: int
    ms: int
    ok: bool


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt. `ended` is None while it is in hand; `number` is None if it cost no try."""

    number: int | None
    started: datetime
    ended: datetime | None
    result: str
    reason: str
    detail: dict[str, Any]
    calls: tuple[CrmCall, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """A job, its tries in order, and the jobs it asked for (all levels, in the order they were made)."""

    job: Job
    detail: dict[str, Any]
    params: dict[str, Any]
    tries: tuple[Try, ...]
    children: tuple["Story", ...] = ()
    in_hand: bool = field(default=False)

    @property
    def shown(self) -> str:
        """The outcome that pages show: the job's standing, or in-hand."""
        return "in-hand" if self.in_hand and self.job.standing == "waiting" else str(self.job.standing)

    @property
    def settled(self) -> bool:
        """Nothing of it will move by itself any more."""
        return self.job.standing not in {"waiting", "held"}

    @property
    def cause(self) -> "Story":
        """The job of this family that explains how it stands: itself, or the child that is worst."""
        if self.job.reason or not self.children or self.job.standing in {"done", "no-op"}:
            return self
        worst = [child for child in self.children if child.job.standing == self.job.standing]
        return worst[0] if worst else self

    @property
    def last(self) -> datetime | None:
        """When the last of it ended, if all of it did."""
        moments = [story.job.finished for story in (self, *self.children)]
        return max(m for m in moments if m) if all(moments) else None


def decoded(text: str) -> Any:
    """What a JSON column holds; {} if it cannot be read."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return {}


def _calls(text: str) -> tuple[CrmCall, ...]:
    rows = decoded(text) or []
    names = ("what", "found", "status", "ms", "ok")
    return tuple(CrmCall(*(row.get(name, 0 if name in {"status", "ms"} else "") for name in names)) for row in rows)


def _tries(attempts: Sequence[Attempt]) -> tuple[Try, ...]:
    tries, spent = [], 0
    for attempt in attempts:
        costs = attempt.result not in UNSPENT
        spent += costs
        tries.append(
            Try(
                number=spent if costs else None,
                started=attempt.started,
                ended=attempt.ended,
                result=attempt.result,
                reason=attempt.reason,
                detail=decoded(attempt.detail),
                calls=_calls(attempt.calls),
            )
        )
    return tuple(tries)


def _attempts(job_ids: Iterable[int]) -> dict[int, list[Attempt]]:
    found: dict[int, list[Attempt]] = {}
    for attempt in Attempt.objects.filter(job__in=list(job_ids)).order_by("started", "id"):
        found.setdefault(attempt.job, []).append(attempt)
    return found


def story(root: Job) -> Story:
    """The whole story of a root job."""
    children = list(Job.objects.filter(root=root.pk).order_by("id"))
    attempts = _attempts([root.pk, *(child.pk for child in children)])

    def told(job: Job, below: tuple[Story, ...] = ()) -> Story:
        tries = _tries(attempts.get(job.pk, []))
        busy = any(t.ended is None for t in tries) or any(child.in_hand for child in below)
        return Story(job, decoded(job.detail), decoded(job.params), tries, below, busy)

    return told(root, tuple(told(child) for child in children))


def ran_before(job: Job) -> Job | None:
    """The command of this contact that came later and ran all the same before this one, which waited for retries."""
    if job.stream != "command" or not job.contact or job.finished is None:
        return None
    later = Job.objects.filter(lane=job.lane, contact=job.contact, stream=job.stream, root=None)
    return later.filter(received__gt=job.received, finished__lt=job.finished).order_by("received").first()


def in_hand(roots: Iterable[int]) -> set[int]:
    """Which of these root jobs are being worked on now, themselves or by a child."""
    keys = list(roots)
    family = dict(Job.objects.filter(root__in=keys, state="waiting").values_list("id", "root"))
    family |= {key: key for key in keys}
    return {family[job] for job in Attempt.objects.filter(job__in=family, ended=None).values_list("job", flat=True)}


def causes(roots: Sequence[Job]) -> dict[int, Job]:
    """For each root whose own row gives no reason: the child that explains how it stands."""
    silent = [job.pk for job in roots if not job.reason and job.standing not in {"done", "no-op"}]
    found: dict[int, Job] = {}
    children = Job.objects.filter(root__in=silent).exclude(standing__in=["done", "no-op"]).order_by("id")
    for child in children:
        known = found.get(child.root)
        if known is None or _WORST_FIRST[child.standing] < _WORST_FIRST[known.standing]:
            found[child.root] = child
    return found


def standings(keys: Iterable[str]) -> dict[str, str]:
    """Root job's key → how it stands with all its children."""
    return dict(Job.objects.filter(key__in=list(keys)).values_list("key", "standing"))


@dataclass(frozen=True, slots=True)
class Reasons:
    """How many listed jobs failed for one reason, and the latest job that did (a root or a child)."""

    reason: str
    count: int
    latest: Job


def commonest_failure(jobs: OfSite) -> Reasons | None:
    """The reason most of these jobs failed for. `jobs` is one site's, roots and children."""
    failures = jobs.filter(outcome="failed").exclude(reason="").values("reason")
    listed = Count(Coalesce("root", "id"), distinct=True)
    most = failures.annotate(n=listed, latest=Max("id")).order_by("-n", "reason").first()
    return Reasons(most["reason"], most["n"], Job.objects.get(pk=most["latest"])) if most else None


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a release's contacts, each counted once. They add up to `contacts`."""

    contacts: int = 0
    synced: int = 0
    not_members: int = 0
    failed: int = 0
    waiting: int = 0
    first_end: datetime | None = None
    last_end: datetime | None = None

    @property
    def finished(self) -> int:
        return self.contacts - self.waiting


# A contact that came several times counts by the least finished of its calls.
_FIGURES = """
select release, standing, count(*), min(first_end), max(last_end) from (
    select release, contact, max(case
        when standing in ('waiting', 'held') then 4
        when standing in ('failed', 'refused', 'unknown') then 3
        when reason = 'not-a-member' then 1
        else 2 end) as standing, min(finished) as first_end, max(finished) as last_end
    from journal_job where {among} and root is null group by release, contact
) as contacts group by release, standing
"""


def figures(releases: Iterable[int]) -> dict[int, Figures]:
    """The figures of these releases."""
    d = sql.dialect()
    keys = list(releases)
    counted: dict[int, dict[int, int]] = {key: {} for key in keys}
    ends: dict[int, list[tuple[int | None, int | None]]] = {key: [] for key in keys}
    query = _FIGURES.format(among=d.among("release"))
    for release, standing, n, first, last in sql.rows(query, (d.values(keys),)) if keys else ():
        counted[release][standing] = n
        ends[release].append((first, last))
    return {key: _figures(counted[key], ends[key]) for key in keys}


def _figures(counted: dict[int, int], ends: list[tuple[int | None, int | None]]) -> Figures:
    moment = Release._meta.get_field("opened").to_python
    firsts, lasts = [f for f, _ in ends if f is not None], [e for _, e in ends if e is not None]
    return Figures(
        contacts=sum(counted.values()),
        synced=counted.get(2, 0),
        not_members=counted.get(1, 0),
        failed=counted.get(3, 0),
        waiting=counted.get(4, 0),
        first_end=moment(min(firsts)) if firsts else None,
        last_end=moment(max(lasts)) if lasts else None,
    )
