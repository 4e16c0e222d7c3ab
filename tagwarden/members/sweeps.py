"""The rules of drift checks: what is read next, what may be given at once, and what may be taken away.

Missing is not empty: what a list leaves out takes nothing away. A member's contact that was not read yet is read by
id; a tag is taken away only when two answers that carry a tag list, the second by id, come without it, and never if
too many members would lose one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from django.db.models import Max, Q, QuerySet

from tagwarden.accounts.models import Account, Site
from tagwarden.core.outcome import Snapshot
from tagwarden.members import sync
from tagwarden.members.models import Contact, ContactTag, Source, Sweep, SweepFinding

FEW, SHARE = 20, 0.05  # so many members, or that share of all, may lose a tag without a question
LIST, IDS, LOSSES = Sweep.Phase.LIST, Sweep.Phase.IDS, Sweep.Phase.LOSSES
RUNNING, STOPPED, FINISHED = Sweep.State.RUNNING, Sweep.State.STOPPED, Sweep.State.FINISHED
DISMISSED, REPLACED = Sweep.State.DISMISSED, Sweep.State.REPLACED
_What = SweepFinding.What
_LIVE = (Contact.State.LIVE,)
_LIVE_OR_GONE = (Contact.State.LIVE, Contact.State.DELETED)


class Wanted(NamedTuple):
    """A contact that is to be read: our row's key, its id at the CRM, and whether it was gone before."""

    row: int
    contact: str
    was_gone: bool = False


class Missing(NamedTuple):
    """A tag that a contact holds here and, as an answer with a tag list said, not there."""

    held: int  # the ContactTag's key
    contact: int
    tag: int


# --- beginning and end -------------------------------------------------------------------------------------------


def latest(connection: int) -> Sweep | None:
    """The connection's last sweep, running or not."""
    return Sweep.objects.filter(connection=connection).order_by("-asked", "-pk").first()


def last_asked() -> dict[int, datetime]:
    """Connection → when its last sweep was asked for."""
    return dict(Sweep.objects.values_list("connection").annotate(last=Max("asked")))


def due(hours: int, last: datetime) -> datetime | None:
    """When the next one is due, so many hours after the `last` one was asked for; None: never."""
    return last + timedelta(hours=hours) if hours else None


def shown(sweep: Sweep, standing: str) -> str:
    """Its state for people: one whose job (`standing`) goes on no more, though it isn't through, has failed."""
    goes_on = standing in {"waiting", "held", "in-hand"}
    return "failed" if sweep.state == RUNNING and not goes_on else str(sweep.state)


def open_one(*, connection: int, key: str, now: datetime) -> Sweep:
    """A new sweep, in the caller's transaction; those before it that didn't come to an end are replaced."""
    before = Sweep.objects.filter(connection=connection, state__in=(RUNNING, STOPPED)).exclude(key=key)
    before.update(state=REPLACED)
    sweep, _ = Sweep.objects.get_or_create(key=key, defaults={"connection_id": connection, "asked": now})
    return sweep


def by_slug(site: Site, text: str) -> Sweep | None:
    """The site's sweep of that name in addresses."""
    due, _, mark = text.partition("-")
    if not due.isascii() or not due.isdecimal() or len(due) > 15:
        return None
    found = Sweep.objects.for_site(site).filter(key__endswith=f":{due}").select_related("connection")
    return next((one for one in found if sha256(one.key.encode()).hexdigest()[:6] == mark), None)


def members(connection: int) -> int:
    """How many live contacts of members there are to read."""
    return _to_read(connection).count()


def _to_read(connection: int, states: Sequence[str] = _LIVE) -> QuerySet[Contact]:
    return Contact.objects.filter(connection=connection, member__isnull=False, state__in=states)


def _unread(sweep: Sweep, states: Sequence[str] = _LIVE) -> QuerySet[Contact]:
    """Whom no read since the sweep's beginning showed, a call's own read included."""
    return _to_read(sweep.connection_id, states).filter(
        Q(read_started_at__isnull=True) | Q(read_started_at__lt=sweep.started or sweep.asked)
    )


def wanted(sweep: Sweep, limit: int) -> list[Wanted]:
    """The next contacts to read by id, in the order of our rows; empty if the phase is through."""
    after = int(sweep.cursor or 0)
    if sweep.phase == LOSSES:
        findings = sweep.findings.filter(what=_What.MISSING, contact__gt=after).order_by("contact")
        pairs = findings.values_list("contact", "contact__external_id").distinct()
        return [Wanted(*pair) for pair in pairs[:limit]]
    # Whoever is gone may be back; a list that came to its end has said so already.
    states = _LIVE if sweep.feed == LIST else _LIVE_OR_GONE
    contacts = _unread(sweep, states).filter(pk__gt=after).order_by("pk").values_list("pk", "external_id", "state")
    return [Wanted(row, contact, state == Contact.State.DELETED) for row, contact, state in contacts[:limit]]


def go_by_id(sweep: Sweep, *, whole: bool) -> None:
    """From now on who wasn't read yet is read by id. `whole`: the list came to its end, so it left these out."""
    sweep.phase, sweep.cursor = IDS, ""
    if whole:
        sweep.suspects = _unread(sweep).count()
    else:
        sweep.feed = IDS


def move_on(sweep: Sweep, now: datetime) -> None:
    """Goes on to the phase that has something to do; stops where staff must decide, finishes where nothing is left."""
    while sweep.state == RUNNING and sweep.phase != LIST and not wanted(sweep, 1):
        if sweep.phase == LOSSES:
            sweep.state, sweep.finished = FINISHED, now
            return
        sweep.unread = _unread(sweep).count()
        sweep.would_lose = _would_lose(sweep)
        if sweep.would_lose > allowed(sweep):
            sweep.state, sweep.finished = STOPPED, now
            return
        sweep.phase, sweep.cursor = LOSSES, ""


def _would_lose(sweep: Sweep) -> int:
    return sweep.findings.filter(what=_What.MISSING).values("contact__member").distinct().count()


def allowed(sweep: Sweep) -> int:
    """How many members may lose a tag without a question."""
    everybody = _to_read(sweep.connection_id).values("member").distinct().count()
    return max(FEW, int(everybody * SHARE))


# --- what staff decide ---------------------------------------------------------------------------------------------


def approve(sweep: Sweep, account: Account) -> bool:
    """A stopped sweep may take away what it found missing. False if it isn't stopped any more."""
    return _decide(sweep, account, state=RUNNING, phase=LOSSES, cursor="", finished=None)


def dismiss(sweep: Sweep, account: Account) -> bool:
    """A stopped sweep takes nothing away. False if it isn't stopped any more."""
    return _decide(sweep, account, state=DISMISSED)


def _decide(sweep: Sweep, account: Account, **change: object) -> bool:
    stopped = Sweep.objects.filter(pk=sweep.pk, state=STOPPED)
    return bool(stopped.update(decided_by=account, **change))


# --- what an answer changes ----------------------------------------------------------------------------------------


def absorb(sweep: Sweep, *, site: int, snapshots: Sequence[Snapshot], now: datetime) -> list[Missing]:
    """Gives what these answers show and we don't know, in the caller's transaction. Takes nothing away.

    Returns what is held here and missing there. Contacts of nobody, answers without a tag list, and those older than
    what we know are passed over.
    """
    missing: list[Missing] = []
    for start in range(0, len(snapshots), sync.MOST):
        missing += _absorb_part(sweep, site, snapshots[start : start + sync.MOST], now)
    return missing


def _absorb_part(sweep: Sweep, site: int, snapshots: Sequence[Snapshot], now: datetime) -> list[Missing]:
    known = sync.known_contacts(connection=sweep.connection_id, contacts=[one.contact for one in snapshots])
    chosen = [one for one in snapshots if one.contact in known and one.tags is not None]
    chosen = _less_what_went_meanwhile(sweep.connection_id, chosen)
    sync.apply(
        connection=sweep.connection_id,
        site=site,
        reads=[sync.Read(one, Source.SWEEP, sweep.key, settled=False) for one in chosen],
        now=now,
    )
    rows = _rows(sweep.connection_id, chosen)
    # A newer read may have been there before: then this one changed nothing, and says nothing.
    applied = {rows[one.contact].pk: one for one in chosen if rows[one.contact].read_started_at == one.started}
    if sweep.phase != LOSSES:  # these were read before
        sweep.read += len(applied)
    _note_gained(sweep, list(applied))
    return _missing(applied)


def _rows(connection: int, snapshots: Sequence[Snapshot]) -> dict[str, Contact]:
    found = Contact.objects.filter(connection=connection, external_id__in=[one.contact for one in snapshots])
    return {row.external_id: row for row in found.only("external_id", "read_started_at")}


def _less_what_went_meanwhile(connection: int, snapshots: list[Snapshot]) -> list[Snapshot]:
    """A tag that was taken away here after the moment up to which the answer shows everything must not come back."""
    if not snapshots:
        return []
    since = min(one.seen_until for one in snapshots)
    rows = [row.pk for row in _rows(connection, snapshots).values()]
    went = ContactTag.objects.filter(contact__in=rows, until__gte=since).order_by("until")
    gone: dict[str, dict[str, datetime]] = {}  # contact → tag → when it went the last time
    for contact, tag, until in went.values_list("contact__external_id", "tag__external_id", "until"):
        if until:
            gone.setdefault(contact, {})[tag] = until
    return [_without(one, gone[one.contact]) if one.contact in gone else one for one in snapshots]


def _without(snapshot: Snapshot, gone: Mapping[str, datetime]) -> Snapshot:
    never = snapshot.seen_until - timedelta(microseconds=1)
    kept = (tag for tag in snapshot.tags or () if gone.get(tag.external_id, never) < snapshot.seen_until)
    return snapshot.with_tags(kept)


def _note_gained(sweep: Sweep, contacts: list[int]) -> None:
    """What is held since an answer of this sweep, on its report."""
    came = ContactTag.objects.filter(contact__in=contacts, until__isnull=True, ref=sweep.key)
    known = set(sweep.findings.filter(contact__in=contacts, what=_What.GAINED).values_list("contact_id", "tag_id"))
    new = [pair for pair in came.values_list("contact_id", "tag_id") if pair not in known]
    _note(sweep, new, _What.GAINED)
    sweep.gained += len(new)


def _note(sweep: Sweep, pairs: Sequence[tuple[int, int]], what: str) -> None:
    findings = [SweepFinding(sweep=sweep, contact_id=contact, tag_id=tag, what=what) for contact, tag in pairs]
    SweepFinding.objects.bulk_create(findings, ignore_conflicts=True)


def _missing(applied: Mapping[int, Snapshot]) -> list[Missing]:
    """What these contacts hold here and not there; one that came after the answer's moment is none."""
    held = ContactTag.objects.filter(contact__in=list(applied), until__isnull=True)
    there = {contact: {tag.external_id for tag in one.tags or ()} for contact, one in applied.items()}
    return [
        Missing(pk, contact, tag)
        for pk, contact, tag, external_id, since in held.values_list(
            "pk", "contact_id", "tag_id", "tag__external_id", "since"
        )
        if external_id not in there[contact] and since < applied[contact].seen_until
    ]


def note_missing(sweep: Sweep, missing: Sequence[Missing]) -> None:
    """Keeps for the end what would be taken away."""
    _note(sweep, [(one.contact, one.tag) for one in missing], _What.MISSING)


def take_away(sweep: Sweep, missing: Sequence[Missing], read: Sequence[int], now: datetime) -> None:
    """Takes away what was found missing before and is missing again; what is back is no finding any more.

    `read`: keys of the contacts that were looked at again; the others keep what they have.
    """
    found = sweep.findings.filter(what=_What.MISSING, contact__in=read)
    pairs = {(one.contact_id, one.tag_id): one.pk for one in found}
    sure = [one for one in missing if (one.contact, one.tag) in pairs]
    taken = ContactTag.objects.filter(pk__in=[one.held for one in sure], until__isnull=True)
    sweep.lost += taken.update(until=now, until_source=Source.SWEEP, until_ref=sweep.key)
    lost = {pairs[one.contact, one.tag] for one in sure}
    sweep.findings.filter(pk__in=lost).update(what=_What.LOST)
    sweep.findings.filter(pk__in=set(pairs.values()) - lost).delete()
