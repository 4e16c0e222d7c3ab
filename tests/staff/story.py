"""Writes journal rows as intake and worker would, at moments of one's choosing, for the pages to show."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tagwarden.accounts.models import Account, Site
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.uuid7 import uuid7
from tagwarden.journal import store
from tagwarden.journal.models import Attempt, Delivery, Job, Lane, Release
from tagwarden.members.models import Contact, ContactTag, Member, Source, Sweep, Tag


@dataclass(frozen=True)
class Try:
    """One attempt: seconds after the call came, how long it took (None: still in hand), how it ended."""

    after: float
    took: float | None = 0.2
    result: str = "done"
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    calls: Sequence[Mapping[str, Any]] = ()


def crm_call(what: str, found: str = "", *, status: int = 200, ms: int = 214) -> dict[str, Any]:
    return {"what": what, "found": found, "status": status, "ms": ms, "ok": status < 400}


class Journal:
    """The rows of one site. Moments are seconds before `now`."""

    def __init__(self, site: Site, now: datetime | None = None) -> None:
        self.site, self.now = site, now or clock.now()

    def at(self, ago: float) -> datetime:
        return self.now - timedelta(seconds=ago)

    def call(
        self,
        connection: Connection,
        command: str,
        contact: str,
        *,
        ago: float = 10,
        outcome: str = "done",
        reason: str = "",
        detail: Mapping[str, Any] | None = None,
        tries: Sequence[Try] | None = None,
        due_in: float = 0,
        body: str | None = None,
        query: str = "",
        delivered: bool = True,
        **more: Any,
    ) -> Job:
        """A webhook's call with its job. `outcome` "waiting" or "held" leaves the job open."""
        received = self.at(ago)
        number = str(uuid7())
        if delivered:
            self._deliver(number, connection, received, query or f"aal_{command}=***", body or f"contactId={contact}")
        job = self._job(connection, command, contact, received, outcome, due_in, key=f"{number}:0", **more)
        job.delivery = number if delivered else None
        job.reason, job.detail = reason, json.dumps(detail or {})
        shown = tries if tries is not None else [Try(0.4)] if outcome not in {"waiting", "held"} and command else []
        self.tries(job, shown)
        self._count(job)
        return job

    def _deliver(self, number: str, connection: Connection, received: datetime, query: str, body: str) -> None:
        handshake = connection.handshakes.first()
        headers = [["Content-Type", "application/x-www-form-urlencoded"], ["User-Agent", "ActiveCampaign"]]
        Delivery.objects.create(
            id=number,
            site=self.site.pk,
            connection=connection.pk,
            handshake=handshake.pk if handshake else 0,
            received=received,
            kind="call",
            method="POST",
            path="/",
            query=query,
            headers=json.dumps(headers),
            body=body.encode(),
            body_size=len(body),
            address="52.1.14.9",
            host=self.site.host,
            status=200,
        )

    def _job(
        self,
        connection: Connection,
        command: str,
        contact: str,
        received: datetime,
        outcome: str,
        due_in: float,
        **more: Any,
    ) -> Job:
        lane, _ = Lane.objects.get_or_create(site=self.site.pk, connection=connection.pk)
        still_open = outcome in {"waiting", "held"}
        values = {
            "site": self.site.pk,
            "connection": connection.pk,
            "lane": lane.pk,
            "contact": contact,
            "stream": "refresh",
            "command": command,
            "source": "webhook",
            "received": received,
            "turn": received,
            "due": self.now + timedelta(seconds=due_in),
            "priority": 10,
            "state": outcome if still_open else "finished",
            "outcome": "" if still_open else outcome,
            "standing": outcome,
            "step": "",
        }
        return Job(**(values | more))

    def tries(self, job: Job, tries: Sequence[Try]) -> None:
        """Saves a job with these attempts."""
        ends = [job.received + timedelta(seconds=t.after + (t.took or 0)) for t in tries]
        if job.state == "finished":
            job.finished = ends[-1] if ends else job.received + timedelta(seconds=0.1)
        job.tries = sum(
            t.result not in {"settling", "given-back", "crash", "held"} and t.took is not None for t in tries
        )
        job.save()
        for one, end in zip(tries, ends, strict=True):
            Attempt.objects.create(
                job=job.pk,
                token="t",
                worker="worker-1",
                started=job.received + timedelta(seconds=one.after),
                ended=end if one.took is not None else None,
                result=one.result if one.took is not None else "",
                reason=one.reason,
                detail=json.dumps(one.detail),
                calls=json.dumps(list(one.calls)),
            )

    def effect(
        self, parent: Job, command: str, step: str, *, outcome: str = "done", tries: Sequence[Try] = (), **more: Any
    ) -> Job:
        """A child of a root job; the root is stood anew as the worker would."""
        child = Job(
            key=f"{parent.key}:{step}",
            parent=parent.pk,
            root=parent.pk,
            step=step,
            site=parent.site,
            connection=parent.connection,
            lane=parent.lane,
            contact=parent.contact,
            stream="effect",
            command=command,
            source=parent.source,
            received=parent.received,
            turn=parent.received,
            due=self.now,
            priority=20,
            state=outcome if outcome in {"waiting", "held"} else "finished",
            outcome="" if outcome in {"waiting", "held"} else outcome,
            standing=outcome,
        )
        for name, value in more.items():
            setattr(child, name, json.dumps(value) if name in {"params", "detail"} else value)
        self.tries(child, tries)
        store.restand([child.pk])
        parent.refresh_from_db()
        return child

    def mail(self, params: Mapping[str, str], standing: str, *tries: Try, reason: str = "") -> Job:
        """A mail of the site's own lane, as the worker left it."""
        new = {"site": self.site.pk, "connection": 0, "received": clock.now_ms(), "source": "clock"}
        store.add([store.NewJob(key=str(uuid7()), command="mail", stream="effect", params=params, **new)])
        job = Job.objects.latest("pk")
        still_open = standing in {"waiting", "held"}
        job.state, job.outcome = (standing, "") if still_open else ("finished", standing)
        job.reason = reason
        self.tries(job, tries)
        store.restand([job.pk])
        return job

    def _count(self, job: Job) -> None:
        hour = clock.to_ms(job.received) // store.HOUR_MS
        store.count({(job.site, hour, job.connection, job.command, job.standing): 1})

    def release(
        self,
        connection: Connection,
        name: str,
        standings: Mapping[str, int],
        *,
        ago: float = 480,
        delay: float = 300,
        first_contact: int = 30_000,
        closed: bool = False,
    ) -> Release:
        """A release whose contacts stand so: done, waiting, failed, or "not-a-member"."""
        opened = self.at(ago)
        release = Release.objects.create(
            site=self.site.pk,
            connection=connection.pk,
            name=name,
            opened=opened,
            reads_at=opened + timedelta(seconds=delay),
            last_call=opened + timedelta(seconds=2),
            delay_ms=int(delay * 1000),
            calls=sum(standings.values()),
            closed=self.at(1) if closed else None,
        )
        kinds = [kind for kind, n in standings.items() for _ in range(n)]
        jobs = [self._of_release(release, connection, str(first_contact + n), kind) for n, kind in enumerate(kinds)]
        Job.objects.bulk_create(jobs)
        for job in jobs:
            self._count(job)
        return release

    def _of_release(self, release: Release, connection: Connection, contact: str, kind: str) -> Job:
        reason = {"not-a-member": "not-a-member", "failed": "tags-missing"}.get(kind, "")
        outcome = "no-op" if kind == "not-a-member" else kind
        key = f"{uuid7()}:0"
        job = self._job(connection, "batchsync", contact, release.opened, outcome, 0, key=key, delivery=key[:36])
        job.release, job.reason, job.priority = release.pk, reason, 30
        job.detail = json.dumps({"crm": connection.name})
        if job.state == "finished":
            job.finished = release.reads_at + timedelta(seconds=5)
        return job

    def finish(self, release: Release, n: int) -> None:
        """The next n waiting contacts of a release are synced, as by a batch of the worker."""
        waiting = list(Job.objects.filter(release=release.pk, standing="waiting").order_by("pk")[:n])
        Job.objects.filter(pk__in=[job.pk for job in waiting]).update(
            state="finished", outcome="done", standing="done", finished=clock.now_ms()
        )
        hour = clock.to_ms(release.opened) // store.HOUR_MS
        place = (release.site, hour, release.connection, "batchsync")
        store.count({(*place, "waiting"): -len(waiting), (*place, "done"): len(waiting)})


def contact(
    connection: Connection, number: str, name: str = "", email: str = "", member: Member | None = None
) -> Contact:
    """A contact that was read once."""
    first, _, last = name.partition(" ")
    return Contact.objects.create(
        connection=connection,
        external_id=number,
        first_name=first,
        last_name=last,
        email=email or f"{name.replace(' ', '.').lower()}@example.com",
        member=member,
        read_started_at=clock.now() - timedelta(minutes=2),
    )


def member(connection: Connection, number: str, name: str) -> Member:
    """A member with one contact."""
    first, _, last = name.partition(" ")
    email = f"{name.replace(' ', '.').lower()}@example.com"
    account = Account.objects.create(site=connection.site, email=email, first_name=first, last_name=last)
    made = Member.objects.create(account=account, site=connection.site)
    contact(connection, number, name, email, made)
    return made


def tag(
    of: Contact,
    name: str,
    *,
    since: datetime,
    source: Source = Source.CALL,
    ref: str = "",
    until: datetime | None = None,
    until_ref: str = "",
) -> ContactTag:
    """A tag that a contact holds, or held until then."""
    row, _ = Tag.objects.get_or_create(connection=of.connection, external_id=name.lower(), defaults={"name": name})
    taken = {"until": until, "until_source": source, "until_ref": until_ref} if until else {}
    return ContactTag.objects.create(contact=of, tag=row, since=since, source=source, ref=ref, **taken)


def sweep(
    connection: Connection,
    state: str = "finished",
    *,
    standing: str = "done",
    reason: str = "",
    ago: float = 60,
    **figures: Any,
) -> Sweep:
    """A drift check that came to this end or is under way, with its job. `ago`: seconds since it was asked for."""
    asked = clock.now() - timedelta(seconds=ago)
    key = f"clock:sweep:{connection.pk}:{clock.to_ms(asked)}"
    still_open = standing == "waiting"
    job = store.NewJob(
        key=key,
        site=connection.site_id,
        connection=connection.pk,
        command="sweep",
        params={"sweep": key, "step": 0},
        received=clock.to_ms(asked),
        source="clock",
        outcome="" if still_open else standing,
        reason=reason,
    )
    store.add([job])
    ended = None if state == "running" else asked + timedelta(seconds=20)
    values = {"feed": "list", "members": 1000, "read": 1000, "listed": 1240, "calls": 14} | figures
    return Sweep.objects.create(
        connection=connection, key=key, asked=asked, started=asked, finished=ended, state=state, **values
    )
