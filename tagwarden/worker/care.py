"""Care of the hooks that we set up at CRMs, once an hour: a dead one is revived, one that is gone is made again.

Vendors switch hooks off when an answer was late or wrong, and say so nowhere. Where a vendor keeps a log of its hooks,
what it couldn't tell us is found there and done.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from types import ModuleType

from django.db import transaction

from tagwarden.connections import connect, triggers
from tagwarden.connections.models import Connection, Handshake, HandshakeUse, Trigger
from tagwarden.core import clock, reasons, words
from tagwarden.core.errors import NeedsSetting, Retryable, SettingsError, TagwardenError
from tagwarden.core.hooks import Event, Happened, Hook
from tagwarden.core.outcome import Kind
from tagwarden.crms import base
from tagwarden.journal import endings, leases, store
from tagwarden.journal.leases import Ended, Job, Lane
from tagwarden.journal.models import Job as JobRow
from tagwarden.journal.models import Lane as LaneRow
from tagwarden.worker import events, plan, retry

COMMAND = "hook-care"
MINUTE_MS = 60_000
OVERLAP = timedelta(minutes=15)  # a vendor's log is asked for a little more than is new
LOOKED_BACK = timedelta(days=1)  # at most: older than that is what sweeps find
TOLD_AROUND = timedelta(minutes=5), timedelta(hours=1)  # before and after an event: a call of then may be about it


@dataclass(frozen=True, slots=True)
class Wanted:
    """The hook that a trigger needs. `hook`: the id of the one it has; `url` holds a secret."""

    trigger: int
    happened: Happened
    tag: str
    tag_name: str
    url: str
    hook: str
    revoked: bool


@dataclass(frozen=True, slots=True)
class All:
    """What a connection's hooks should be. `at`: how our addresses begin; `live`: those that a handshake serves."""

    triggers: Sequence[Wanted]
    at: str
    live: frozenset[str]
    since: datetime


@dataclass
class Seen:
    """What a look at the hooks found and did. `hooks`: trigger → its hook, with the state it is in now."""

    hooks: dict[int, tuple[Trigger.State, Hook]] = field(default_factory=dict)
    broken: dict[int, TagwardenError] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    revived: int = 0  # of those that are no trigger's
    dead: int = 0  # of these, too: they couldn't be revived
    strays: int = 0  # that call an address of ours which no handshake serves any more
    missed: list[Event] = field(default_factory=list)
    stopped: TagwardenError | None = None
    calls: list[base.Call] = field(default_factory=list)


# --- when ------------------------------------------------------------------------------------------------------


def add_due() -> int:
    """Adds the care that is due within this hour, spread over it. Safe to repeat. Returns how many jobs."""
    hour = clock.now_ms() // store.HOUR_MS
    cared_for = {f"clock:{COMMAND}:{link.pk}:{hour}": link for link in _cared_for()}
    known = set(JobRow.objects.filter(key__in=cared_for).values_list("key", flat=True))
    new = [_job(key, link, hour) for key, link in cared_for.items() if key not in known and not _waits(link)]
    with transaction.atomic():
        store.add(new)
    return len(new)


def _cared_for() -> list[Connection]:
    """Active connections with triggers, or to which a hook came, at CRMs that have hooks of their own."""
    ids = set(Trigger.objects.values_list("connection", flat=True))
    ids |= set(HandshakeUse.objects.filter(word="").values_list("handshake__connection", flat=True))
    return [link for link in Connection.objects.filter(pk__in=ids, active=True).order_by("pk") if _has_hooks(link)]


def _has_hooks(link: Connection) -> bool:
    try:
        return "hooks" not in connect.adapter_class(link.crm).cannot
    except SettingsError:
        return False


def _job(key: str, link: Connection, hour: int) -> store.NewJob:
    return store.NewJob(
        key=key,
        site=link.site_id,
        connection=link.pk,
        command=COMMAND,
        received=clock.now_ms(),
        due=hour * store.HOUR_MS + link.pk % 60 * MINUTE_MS,
        source="clock",
        priority=store.BULK,
    )


def _waits(link: Connection) -> bool:
    """Whether an earlier look still waits, as while the CRM is down."""
    lanes = list(LaneRow.objects.filter(site=link.site_id, connection=link.pk).values_list("pk", flat=True))
    return JobRow.objects.filter(lane__in=lanes, contact="", state="waiting", command=COMMAND).exists()


# --- what should be there, and what is -------------------------------------------------------------------------


def wanted(connection: int) -> All:
    """What the hooks of that connection should be. From the database, before the network step."""
    link = Connection.objects.select_related("site").get(pk=connection)
    rows = Trigger.objects.filter(connection=link).select_related("handshake__connection__site").order_by("pk")
    handshakes = Handshake.objects.filter(connection=link, revoked=None).select_related("connection__site")
    since = link.hooks_checked - OVERLAP if link.hooks_checked else clock.now() - OVERLAP
    return All(
        triggers=[_wanted(row) for row in rows],
        at=triggers.hooks_at(link.site.public_url),
        live=frozenset(triggers.hook_url(handshake) for handshake in handshakes),
        since=max(since, clock.now() - LOOKED_BACK),
    )


def _wanted(row: Trigger) -> Wanted:
    return Wanted(
        trigger=row.pk,
        happened=Happened(row.happened),
        tag=row.tag,
        tag_name=row.tag_name,
        url=triggers.hook_url(row.handshake),
        hook=row.hook,
        revoked=row.handshake.revoked is not None,
    )


def look(crm: base.Crm, hooks: All) -> Seen:
    """The network step: looks at all hooks, and mends what can be mended. Never raises a TagwardenError."""
    seen = Seen()
    with base.recording() as seen.calls:
        try:
            there = crm.hooks()
            for trigger in hooks.triggers:
                _mend(crm, trigger, there, seen)
            _look_at_others(crm, hooks, there, seen)
            seen.names = crm.tag_names.of(trigger.tag for trigger in hooks.triggers)
            seen.missed = crm.missed(hooks.since)
        except TagwardenError as error:
            seen.stopped = error
    return seen


def _mend(crm: base.Crm, wish: Wanted, there: Sequence[Hook], seen: Seen) -> None:
    """Raises Retryable; what only a setting can mend is this trigger's own trouble."""
    if wish.revoked:
        seen.broken[wish.trigger] = NeedsSetting("hook-secret-revoked", tag=wish.tag_name)
        return
    try:
        seen.hooks[wish.trigger] = _mended(crm, wish, there)
    except Retryable:
        raise
    except TagwardenError as error:
        seen.broken[wish.trigger] = error


def _mended(crm: base.Crm, wish: Wanted, there: Sequence[Hook]) -> tuple[Trigger.State, Hook]:
    ours = [hook for hook in there if hook.url.rstrip("/") == wish.url]
    ours.sort(key=lambda hook: (not hook.alive, hook.id != wish.hook))
    if ours and ours[0].alive:
        return Trigger.State.ALIVE, ours[0]
    if ours:
        return Trigger.State.REVIVED, crm.revive_hook(ours[0])
    made = crm.make_hook(wish.url, wish.happened, wish.tag)
    for old in there:
        if old.id == wish.hook and old.id != made.id:  # it calls at the handshake before the last rotation
            with suppress(TagwardenError):  # the new one is what counts, and its secret is told only once
                crm.remove_hook(old)
    return Trigger.State.MADE_AGAIN, made


def _look_at_others(crm: base.Crm, hooks: All, there: Sequence[Hook], seen: Seen) -> None:
    """Hooks at our addresses that somebody else set up."""
    known = {trigger.url for trigger in hooks.triggers} | {trigger.hook for trigger in hooks.triggers}
    for hook in {hook.id: hook for hook in there}.values():  # one of several events is there for each
        url = hook.url.rstrip("/")
        if not url.startswith(hooks.at) or url in known or hook.id in known:
            continue
        if url not in hooks.live:
            seen.strays += 1
        elif not hook.alive:
            _revive(crm, hook, seen)


def _revive(crm: base.Crm, hook: Hook, seen: Seen) -> None:
    """Raises Retryable."""
    try:
        crm.revive_hook(hook)
        seen.revived += 1
    except Retryable:
        raise
    except TagwardenError:
        seen.dead += 1


# --- what came of it -------------------------------------------------------------------------------------------


def settle(lane: Lane, commands: Mapping[str, ModuleType], jobs: Sequence[Job], hooks: All, seen: Seen) -> None:
    """Writes down what was found, adds what was missed, and ends the jobs."""
    place = plan.places([lane.connection])[lane.connection] if seen.missed else None
    with transaction.atomic():
        found = _missed(lane, place, commands, seen.missed) if place else []
        with leases.outcome_transaction(lane, jobs) as in_hand:
            if in_hand:
                _keep(lane, seen)
                store.add(found)
                endings.finish([_ended(job, seen, len(found)) for job in in_hand])


def _keep(lane: Lane, seen: Seen) -> None:
    for row in Trigger.objects.filter(connection=lane.connection):
        row.tag_name = seen.names.get(row.tag, row.tag_name)[:255]
        if row.pk in seen.hooks:
            state, hook = seen.hooks[row.pk]
            triggers.keep_hook(row, hook, state=state, finding=_FINDINGS.get(state, ""))
        elif error := seen.broken.get(row.pk):
            row.state, row.finding = Trigger.State.BROKEN, _told(error)
            row.save(update_fields=["state", "finding", "tag_name"])
    if seen.stopped is None:
        row_of = Connection.objects.filter(pk=lane.connection)
        row_of.update(hooks_checked=clock.now(), hooks_finding=_of_others(seen))


_FINDINGS = {
    Trigger.State.REVIVED: "The CRM had switched its hook off; it was revived.",
    Trigger.State.MADE_AGAIN: "Its hook was gone from the CRM; it was made again.",
}


def _told(error: TagwardenError) -> str:
    return f"{reasons.title(error.reason, error.detail)} {reasons.advice(error.reason, error.detail)}"


def _of_others(seen: Seen) -> str:
    counted = {
        "set up by somebody else, switched off, revived now": seen.revived,
        "set up by somebody else, switched off, not to be revived: make anew in the CRM": seen.dead,
        "calling an address whose secret was revoked: delete in the CRM": seen.strays,
    }
    return " ".join(f"{words.count(number, 'hook')} {what}." for what, number in counted.items() if number)


def _ended(job: Job, seen: Seen, missed: int) -> Ended:
    calls = base.as_rows(seen.calls)
    if seen.stopped:
        return retry.after_error(job, seen.stopped, calls)
    if seen.broken:
        return retry.after_error(job, next(iter(seen.broken.values())), calls)
    states = [state for state, _ in seen.hooks.values()]
    detail: dict[str, object] = {str(state): states.count(state) for state in dict.fromkeys(states)}
    return Ended(job, Kind.DONE, Kind.DONE, "", detail | ({"missed": missed} if missed else {}), calls)


def _missed(
    lane: Lane, place: plan.Place, commands: Mapping[str, ModuleType], told: Sequence[Event]
) -> list[store.NewJob]:
    """Jobs for events that no delivery brought. Their keys name the event, so that to look again adds nothing."""
    common = {"site": lane.site, "connection": lane.connection, "source": "sweep"}
    wishes = [wish for event in told for wish in events.wishes([event], 0, place.listening)]
    return [
        plan.wished(wish, place, commands, received=clock.now_ms(), key=_key(lane, wish), **common)
        for wish in wishes
        if not _came(lane, wish)
    ]


def _key(lane: Lane, wish: events.Wish) -> str:
    (event,) = wish.events
    which = event.ref or f"{event.happened} {event.tag or event.tag_name} {event.at}"
    text = f"{wish.trigger.pk if wish.trigger else 0} {wish.contact or wish.email} {which}"
    return f"clock:missed:{lane.connection}:{sha256(text.encode()).hexdigest()[:40]}"


def _came(lane: Lane, wish: events.Wish) -> bool:
    """Whether a delivery brought it. Where the event has no id to tell by: whether a hook called about then."""
    (event,) = wish.events
    if wish.trigger and event.ref:
        return not triggers.claim(wish.trigger, [event.ref])
    if event.at is None or not wish.contact:
        return False
    before, after = TOLD_AROUND
    around = JobRow.objects.filter(site=lane.site, contact=wish.contact, connection=lane.connection, source="hook")
    when = (event.at - before, event.at + after)
    return around.filter(command=wish.command, received__range=when).exists()
