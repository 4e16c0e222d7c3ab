"""What lists say of a job or a release: who it is about, in whose CRM, and what became of it."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tagwarden.accounts.models import Site
from tagwarden.core import clock
from tagwarden.journal import diagnosis, limits
from tagwarden.journal.diagnosis import Figures
from tagwarden.journal.limits import Hold
from tagwarden.journal.models import Job, Release
from tagwarden.members.models import Contact
from tagwarden.staff import times, words

SOON = timedelta(seconds=30)  # what is due this soon counts as moving


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list. `due`: when it goes on by itself. `figures`: of a release."""

    id: str
    url: str
    outcome: str
    plain: str
    wire: str
    who: str
    where: str
    sentence: SafeString | str
    received: datetime
    due: datetime | None = None
    figures: Figures | None = None
    key: str = ""

    @property
    def moves(self) -> bool:
        """Whether it will look different in a moment."""
        if self.outcome == "waiting":
            return self.due is None or self.due < clock.now() + SOON
        return self.outcome == "in-hand"


class People:
    """Names of contacts and connections of one site."""

    def __init__(self, site: Site, jobs: Iterable[Job]) -> None:
        self.connections = {connection.pk: connection.name for connection in site.connections.all()}
        self.contacts = contacts_of(site, {(job.connection, job.contact) for job in jobs if job.contact})

    def crm(self, connection: int) -> str:
        return self.connections.get(connection, "The CRM")

    def contact(self, job: Job) -> Contact | None:
        return self.contacts.get((job.connection, job.contact))

    def who(self, job: Job) -> str:
        """Name, else e-mail; a contact we never read has neither."""
        contact = self.contact(job)
        return (contact.name or contact.email) if contact else ""

    def where(self, job: Job) -> str:
        """ActiveCampaign 27418."""
        name = self.connections.get(job.connection, "")
        return f"{name} {job.contact}".strip() if job.contact else name


def contacts_of(site: Site, pairs: set[tuple[int, str]]) -> dict[tuple[int, str], Contact]:
    """The contacts with these (connection, id)."""
    chosen = Q(pk__in=[])
    for connection in {connection for connection, _ in pairs}:
        ids = [contact for of, contact in pairs if of == connection]
        chosen |= Q(connection=connection, external_id__in=ids)
    contacts = Contact.objects.for_site(site).filter(chosen).select_related("member__account")
    return {(contact.connection_id, contact.external_id): contact for contact in contacts}


def addressee(job: Job) -> str:
    """To whom a mail goes; "" if the job is none."""
    return str(diagnosis.decoded(job.params).get("to", "")) if job.command == "mail" else ""


def what(job: Job) -> str:
    """The command in plain words; a hook that asked for none is called by that."""
    return "Hook" if job.source == "hook" and not job.command else words.plain(job.command)


def looked_for(job: Job) -> str:
    """The address by which its contact is looked up; "" if the contact is known."""
    return str(diagnosis.decoded(job.params).get("email", "")) if job.stream == "find" else ""


def became(job: Job, cause: Job, crm: str, *, in_hand: bool = False) -> SafeString | str:
    """What became of a job, in one sentence. `cause`: the job of its family that explains it."""
    detail = diagnosis.decoded(cause.detail)
    if in_hand:
        return "Being worked on now."
    if cause.reason:
        return words.title(cause.reason, detail, crm)
    if job.standing == "waiting":
        return "Waits for its turn." if cause.tries == 0 else "Waits for the next try."
    if job.standing == "done" and job.command == "mail":
        return "The mail server took it."
    if job.standing == "done" and job.command == "sweep":
        return "All members were read."
    return changed(detail) if job.standing in {"done", "no-op"} else ""


def held_up(site: Site, job: Job, crm: str) -> SafeString | str:
    """What the work of the job's connection waits for, if that holds this job up."""
    hold = limits.holds(site.pk).get(job.connection)
    if hold is None or not hold.holds(job):
        return ""
    detail = _of_hold(hold, site, crm)
    return SafeString(f"{words.title(hold.reason, detail, crm)} {words.advice(hold.reason, detail, crm)}")


def crms_down(site: Site) -> list[SafeString]:
    """A sentence for each connection whose CRM is down."""
    people, holds = People(site, []), limits.holds(site.pk)
    down = [(people.crm(connection), hold) for connection, hold in holds.items() if hold.reason == "crm-down"]
    return [words.title(hold.reason, _of_hold(hold, site, crm), crm) for crm, hold in sorted(down, key=lambda d: d[0])]


def _of_hold(hold: Hold, site: Site, crm: str) -> dict[str, str]:
    now = clock.now()
    return hold.detail(crm, lambda moment: times.in_list(moment, site.zone, now))


def changed(detail: dict[str, Any]) -> SafeString | str:
    """What a refresh changed: Gained Module 3 access. Lost Trial."""
    if "gained" not in detail and "lost" not in detail:
        return "It happened."
    gained, lost = detail.get("gained") or [], detail.get("lost") or []
    parts = (
        [format_html("Merged into contact {}, where the member goes on.", detail["merged"])]
        if detail.get("merged")
        else []
    )
    if gained:
        parts.append(format_html("Gained <b>{}</b>.", words.listed(gained)))
    if lost:
        parts.append(format_html("Lost <b>{}</b>.", words.listed(lost)))
    return SafeString(" ".join(parts)) if parts else "Nothing had changed."


def of_jobs(site: Site, jobs: Sequence[Job]) -> list[Row]:
    """The lines of these root jobs, in their order."""
    people, busy, causes = People(site, jobs), diagnosis.in_hand(job.pk for job in jobs), diagnosis.causes(jobs)
    return [_of_job(job, people, causes.get(job.pk, job), in_hand=job.pk in busy) for job in jobs]


def _of_job(job: Job, people: People, cause: Job, *, in_hand: bool) -> Row:
    waits = job.standing == "waiting"
    return Row(
        id=f"row-{job.key}",
        url=reverse("delivery", args=[job.key]),
        outcome="in-hand" if waits and in_hand else job.standing,
        plain=what(job),
        wire=job.command or str(diagnosis.decoded(job.detail).get("spelled", "")),
        who=people.who(job) or addressee(job) or looked_for(job) or _nobody(job),
        where=people.where(job),
        sentence=became(job, cause, people.crm(job.connection), in_hand=waits and in_hand),
        received=job.received,
        due=cause.due if waits and not in_hand and cause.due > clock.now() else None,
        key=job.key,
    )


def _nobody(job: Job) -> str:
    if job.command == "sweep":
        return "All members"
    return "No name yet" if job.contact else "No contact"


def of_releases(site: Site, releases: Sequence[Release]) -> list[Row]:
    """The lines of these releases, in their order."""
    names = {connection.pk: connection.name for connection in site.connections.all()}
    figures = diagnosis.figures(release.pk for release in releases)
    return [_of_release(release, names.get(release.connection, ""), figures[release.pk]) for release in releases]


def _of_release(release: Release, crm: str, figures: Figures) -> Row:
    return Row(
        id=f"row-{slug(release)}",
        url=reverse("release", args=[slug(release)]),
        outcome=release_outcome(release, figures),
        plain=release_title(release),
        wire=f"{times.number(release.calls)} {'call' if release.calls == 1 else 'calls'}",
        who=f"{times.number(figures.finished)} of {times.number(figures.contacts)} finished",
        where=crm,
        sentence=_how_far(release, figures),
        received=release.opened,
        figures=figures,
    )


def release_title(release: Release) -> str:
    return f"Release “{release.name}”" if release.name else "Release without a name"


def release_outcome(release: Release, figures: Figures) -> str:
    """Waiting while calls are collected, in hand while it is read, then done; failed ones are told beside it."""
    if figures.waiting:
        return "waiting" if clock.now() < release.reads_at else "in-hand"
    return "failed" if figures.failed and figures.failed == figures.contacts else "done"


def seconds_left(release: Release, figures: Figures) -> float | None:
    """How long the rest takes at the rate so far; None until there is a rate."""
    spent: float = (clock.now() - release.reads_at).total_seconds()
    if not figures.finished or not figures.waiting or spent < 2:
        return None
    return spent / figures.finished * figures.waiting


def _how_far(release: Release, figures: Figures) -> str:
    if not figures.waiting:
        text = "All finished."
    elif clock.now() < release.reads_at:
        text = "Calls are being collected."
    else:
        left = seconds_left(release, figures)
        text = f"{times.time_left(left)}." if left is not None else "Working out how long it takes."
    return f"{text} {times.number(figures.failed)} failed." if figures.failed else text


def slug(release: Release) -> str:
    """A release's name in addresses: when it opened, and a mark that tells releases of one moment apart."""
    mark = hashlib.sha256(f"{release.site}:{release.connection}:{release.name}".encode()).hexdigest()[:6]
    return f"{clock.to_ms(release.opened)}-{mark}"


def by_slug(site: Site, text: str) -> Release | None:
    """The site's release with that slug."""
    opened, _, _ = text.partition("-")
    if not opened.isdigit() or len(opened) > 15:
        return None
    releases = Release.objects.for_site(site).filter(opened=clock.from_ms(int(opened)))
    return next((release for release in releases if slug(release) == text), None)
