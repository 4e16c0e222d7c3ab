"""From what the network step brought to outcomes: one transaction, all or nothing.

A batch of refreshes goes through members.sync at once; if something in it breaks, each contact is tried alone, so
that one bad row does not hold up the others.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from types import ModuleType

from django.db import DataError, IntegrityError

from tagwarden.connections import triggers
from tagwarden.core import clock, failpoints, logs
from tagwarden.core.env import env
from tagwarden.core.errors import NeedsSetting, Permanent, Retryable, TagwardenError
from tagwarden.core.options import ConnectionOptions, SiteOptions
from tagwarden.core.outcome import CrmTag, Effect, FollowUp, Kind, Outcome, Snapshot
from tagwarden.crms import base
from tagwarden.journal import endings, leases, store
from tagwarden.journal.leases import Ended, Job, Lane
from tagwarden.members import enrol, merges, passwords, sync
from tagwarden.members.models import Member, Source
from tagwarden.members.passwords import Waiting
from tagwarden.operations.base import Context
from tagwarden.worker import effects, mail, reads, results, retry

log = logging.getLogger(__name__)

Words = Mapping[str, ModuleType]
# What a mistake in our own code looks like; a database that is away is none.
MISTAKES = (
    DataError,
    IntegrityError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
FIND = "find"  # the stream of jobs whose contact is known by its e-mail only (worker/find.py)
MAY_STILL_COME, LOOK_AGAIN = timedelta(minutes=10), timedelta(seconds=20)
_SETTLE_MARGIN_MS = 50  # a read must begin after the moment it waits for, not at it


@dataclass(frozen=True)
class Surroundings:
    """What the jobs of a lane share. `crm` is None for work without a connection, or where `trouble` says why."""

    lane: Lane
    words: Words
    crm: base.Crm | None
    trouble: NeedsSetting
    site_options: SiteOptions
    options: ConnectionOptions
    sender: mail.Sender = mail.NOBODY


def settle_strangers(around: Surroundings, jobs: Sequence[Job]) -> None:
    """Refreshes of contacts who are not members: nothing to read."""
    if jobs:
        with leases.outcome_transaction(around.lane, jobs) as in_hand:
            _finish([Ended(job, Kind.NO_OP, Kind.NO_OP, "not-a-member") for job in in_hand])


def settle_failed(around: Surroundings, jobs: Sequence[Job], error: TagwardenError) -> None:
    """Jobs that can't even begin: they end with that reason, to be redelivered when it is mended."""
    with leases.outcome_transaction(around.lane, jobs) as in_hand:
        endings.finish([retry.after_error(job, error, []) for job in in_hand])


def settle_held(around: Surroundings, jobs: Sequence[Job], reason: str) -> None:
    """Jobs that wait, at no cost, for something that must be set up first."""
    with leases.outcome_transaction(around.lane, jobs) as in_hand:
        endings.finish([Ended(job, "held", "", reason, {}, (), job.received) for job in in_hand])


# --- refreshes -------------------------------------------------------------------------------------------------


def settle_refreshes(around: Surroundings, jobs: Sequence[Job], fetched: reads.Fetched) -> None:
    """Applies what was read and ends the jobs. Raises LeaseLost, or a DatabaseError if the database is away."""
    contacts = list(_by_contact(jobs).items())
    for start in range(0, len(contacts), sync.MOST):
        part = contacts[start : start + sync.MOST]
        _settle_part(around, [job for _, of_contact in part for job in of_contact], fetched)


def _settle_part(around: Surroundings, jobs: Sequence[Job], fetched: reads.Fetched) -> None:
    try:
        _settle_together(around, jobs, fetched)
    except MISTAKES as error:
        by_contact = _by_contact(jobs)
        if len(by_contact) > 1:
            log.warning("a batch of %d contacts broke (%r): each is tried alone", len(by_contact), error)
            for contact_jobs in by_contact.values():
                with logs.concerning(job.called for job in contact_jobs):
                    _settle_part(around, contact_jobs, fetched)
            return
        log.exception("refreshing the contact broke")
        _end_broken(around, jobs, error, fetched.calls(jobs[0].contact))


def _by_contact(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    grouped: dict[str, list[Job]] = {}
    for job in jobs:
        grouped.setdefault(job.contact, []).append(job)
    return grouped


def _settle_together(around: Surroundings, jobs: Sequence[Job], fetched: reads.Fetched) -> None:
    failpoints.reach(failpoints.NETWORK_AND_TRANSACTION)
    with leases.outcome_transaction(around.lane, jobs) as in_hand:
        by_contact = _by_contact(in_hand)
        read = {contact: fetched.snapshots[contact] for contact in by_contact if contact in fetched.snapshots}
        snapshots = with_our_writes(around.lane, read)
        changes = _apply(around, snapshots, by_contact)
        reads_of = {
            contact: _read(one, by_contact[contact]) for contact, one in fetched.merged.items() if contact in by_contact
        }
        moved = settle_gone(around, fetched, by_contact, reads_of)
        ended = [
            _end_gone(around, job, moved[contact], fetched)
            if contact in moved
            else _end_refresh(around, job, snapshots.get(contact), changes.get(contact), fetched)
            for contact, of_contact in by_contact.items()
            for job in of_contact
        ]
        _finish(_with_done_tags(around, ended))
    failpoints.reach(failpoints.AFTER_TRANSACTION)


def is_gone(error: TagwardenError | None) -> bool:
    """Whether the CRM said that it has no such contact."""
    return isinstance(error, Permanent) and error.reason == "contact-not-found"


def settle_gone(
    around: Surroundings, fetched: reads.Fetched, contacts: Iterable[str], found: Mapping[str, sync.Read]
) -> dict[str, merges.Moved]:
    """Follows merges of those contacts that the CRM has no more, to what was `found`; flags the rest.

    In the caller's transaction. Contact → where it was merged into, now or before.
    """
    connection = around.lane.connection
    gone = [contact for contact in contacts if is_gone(fetched.errors.get(contact))]
    if not gone:
        return {}
    before = merges.merged_into(connection=connection, contacts=gone)
    moved = merges.follow(connection=connection, site=around.lane.site, found=found, now=clock.now())
    moved |= {contact: merges.Moved(into, None) for contact, into in before.items()}
    sync.flag_deleted(connection=connection, contacts=[contact for contact in gone if contact not in moved])
    return moved


def with_our_writes(lane: Lane, snapshots: Mapping[str, Snapshot]) -> dict[str, Snapshot]:
    """Lays over lagging reads, by contact, what we wrote ourselves and they may not show yet."""
    chosen = dict(snapshots)
    lagging = [contact for contact, snapshot in chosen.items() if snapshot.seen_until < snapshot.started]
    if not lagging:
        return chosen
    since = clock.to_ms(min(chosen[contact].seen_until for contact in lagging))
    for contact, command, tag, name in leases.own_tag_writes(lane, lagging, since):
        written = CrmTag(tag, name)
        tags = {known for known in chosen[contact].tags or () if known.external_id != tag}
        held = tags | {written} if command == "tag-add" else tags
        chosen[contact] = chosen[contact].with_tags(held)
    return chosen


def _apply(
    around: Surroundings, snapshots: Mapping[str, Snapshot], by_contact: Mapping[str, list[Job]]
) -> dict[str, sync.Change]:
    """Contact → what changed. Contacts that are no members become some if the site wants that."""
    lane, now = around.lane, clock.now()
    refused: dict[str, sync.Change] = {}
    known = sync.known_contacts(connection=lane.connection, contacts=snapshots)
    for contact in set(snapshots) - known:
        refused[contact] = _enrol(around, snapshots[contact], by_contact[contact])
    applied = sync.apply(
        connection=lane.connection,
        site=lane.site,
        reads=[_read(snapshots[contact], by_contact[contact]) for contact in snapshots if contact in known],
        now=now,
    )
    return applied | refused


def _enrol(around: Surroundings, snapshot: Snapshot, jobs: list[Job]) -> sync.Change:
    if not around.site_options.create_members_on_refresh:
        return sync.Change(reason="not-a-member")
    read, lane = _read(snapshot, jobs), around.lane
    return enrol.one(
        connection=lane.connection,
        site=lane.site,
        snapshot=snapshot,
        source=read.source,
        ref=read.ref,
        now=clock.now(),
    )


def _read(snapshot: Snapshot, jobs: list[Job]) -> sync.Read:
    first = min(jobs, key=lambda job: (job.priority, job.id))
    settled = all(_settled(job, snapshot) for job in jobs)
    return sync.Read(snapshot, Source.RELEASE if first.release else Source.CALL, first.key, settled)


def _settled(job: Job, snapshot: Snapshot) -> bool:
    """Whether the read shows everything up to the moment at which this call came in."""
    return job.received <= clock.to_ms(snapshot.seen_until)


def _end_refresh(
    around: Surroundings,
    job: Job,
    snapshot: Snapshot | None,
    change: sync.Change | None,
    fetched: reads.Fetched,
) -> Ended:
    calls = fetched.calls(job.contact)
    label = around.crm.label if around.crm else ""
    if snapshot is None:
        error = fetched.errors[job.contact]
        return retry.after_error(job, Permanent("contact-deleted", crm=label) if is_gone(error) else error, calls)
    change = change or sync.Change()
    detail: dict[str, object] = {"gained": change.gained, "lost": change.lost}
    if change.reason == "not-a-member":
        return Ended(job, Kind.NO_OP, Kind.NO_OP, change.reason, {}, calls)
    if change.reason:
        return Ended(job, Kind.FAILED, Kind.FAILED, change.reason, detail | {"crm": label, **change.detail}, calls)
    if not _settled(job, snapshot):
        lag = snapshot.started - snapshot.seen_until
        due = job.received + lag // timedelta(milliseconds=1) + _SETTLE_MARGIN_MS
        until = clock.from_ms(due).isoformat(timespec="seconds")
        return Ended(job, "settling", "", "crm-settling", detail | {"crm": label, "until": until}, calls, due)
    return Ended(job, Kind.DONE, Kind.DONE, "", detail if change.gained or change.lost else {}, calls)


def _end_gone(around: Surroundings, job: Job, moved: merges.Moved, fetched: reads.Fetched) -> Ended:
    """The contact is gone, and its member went on under another id: just now, or before (nothing to do then)."""
    calls = fetched.calls(job.contact)
    detail: dict[str, object] = {"into": moved.into, "crm": around.crm.label if around.crm else ""}
    if moved.change is None:
        return Ended(job, Kind.NO_OP, Kind.NO_OP, "contact-merged", detail, calls)
    detail |= {"gained": moved.change.gained, "lost": moved.change.lost, "merged": moved.into}
    return Ended(job, Kind.DONE, Kind.DONE, "", detail, calls)


def _with_done_tags(around: Surroundings, ended: list[Ended]) -> list[Ended]:
    """The tag that says that a batchsync has synced its contact, once a contact; the effects leave in bulk."""
    tag = around.options.batchsync_done_tag
    if tag is None:
        return ended
    effect = Effect("tag-add", "done-tag", {"tag": tag.external_id, "name": tag.name})
    synced = {one.job.contact: one for one in ended if one.job.release and one.outcome == Kind.DONE}
    return [
        replace(one, children=[_effect(one.job, effect)]) if synced.get(one.job.contact) is one else one
        for one in ended
    ]


def _finish(ended: list[Ended]) -> None:
    """Ends jobs. What ended well takes off the tag that triggered it, so that the tag can be put on again."""
    by_trigger = {one.job.id: one.job.params[triggers.PARAM] for one in ended if triggers.PARAM in one.job.params}
    tags = triggers.to_take_off(by_trigger.values()) if by_trigger else {}
    for n, one in enumerate(ended):
        tag = tags.get(by_trigger.get(one.job.id, 0))
        if tag and one.outcome in {Kind.DONE, Kind.NO_OP}:
            effect = Effect("tag-remove", "take-off", {"tag": tag.external_id, "name": tag.name})
            ended[n] = replace(one, children=[*one.children, _effect(one.job, effect)])
    endings.finish(ended)


# --- commands --------------------------------------------------------------------------------------------------


def settle_commands(around: Surroundings, jobs: Sequence[Job], fetched: reads.Fetched) -> None:
    """Runs the function of a command for each job and writes down its outcome, with what it asks for as children."""
    failpoints.reach(failpoints.NETWORK_AND_TRANSACTION)
    for job in jobs:
        with logs.concerning([job.called]):
            _settle_command(around, job, fetched)
    failpoints.reach(failpoints.AFTER_TRANSACTION)


def _settle_command(around: Surroundings, job: Job, fetched: reads.Fetched) -> None:
    calls = fetched.calls(job.contact)
    try:
        with leases.outcome_transaction(around.lane, [job]) as in_hand:
            _finish([_run(around, job, fetched, calls) for job in in_hand])
    except TagwardenError as refusal:
        with leases.outcome_transaction(around.lane, [job]) as in_hand:
            endings.finish([retry.after_error(job, refusal, calls) for job in in_hand])
    except MISTAKES as mistake:
        log.exception("the command %s broke", job.command)
        _end_broken(around, [job], mistake, calls)


def _run(around: Surroundings, job: Job, fetched: reads.Fetched, calls: list[dict[str, object]]) -> Ended:
    command = around.words[job.command]
    if error := fetched.errors.get(job.contact):
        return retry.after_error(job, perhaps_later(command, job, error), calls)
    member = Member.of_contacts(job.connection, [job.contact]).get(job.contact)
    if member is None and not makes_members(command):
        return Ended(job, Kind.FAILED, Kind.FAILED, "not-a-member", {}, calls)
    snapshot = fetched.snapshots.get(job.contact)
    context = Context(
        now=clock.now(),
        site=job.site,
        connection=job.connection,
        contact=job.contact,
        ref=job.key,
        site_options=around.site_options,
        options=around.options,
        snapshot=snapshot,
        settled=snapshot is None or _settled(job, snapshot),
        prepared=fetched.prepared.get(job.contact),
    )
    outcome: Outcome = command.run(job.params, member, context)
    children = [_effect(job, effect) for effect in outcome.effects]
    children += [_follow_up(around, job, wish) for wish in outcome.follow_ups]
    return Ended(
        job,
        outcome.kind,
        outcome.kind,
        outcome.reason,
        outcome.detail,
        calls,
        spends_try=True,
        children=children,
    )


def makes_members(command: ModuleType) -> bool:
    """Whether it also runs for contacts who are no members."""
    return getattr(command, "MAKES_MEMBERS", False)


def perhaps_later(command: ModuleType, job: Job, error: TagwardenError) -> TagwardenError:
    """A contact made a moment ago may not be found yet: asked for again for ten minutes, at no cost of a try."""
    age = clock.now() - clock.from_ms(job.received)
    if error.reason != "contact-not-found" or not makes_members(command) or age >= MAY_STILL_COME:
        return error
    pause = LOOK_AGAIN * env().retry_scale
    return Retryable("contact-not-yet-there", after=pause, spends_try=False, **error.detail)


def _child(parent: Job, step: str) -> store.NewJob:
    return store.NewJob(
        key=f"{parent.key}:{step}",
        site=parent.site,
        connection=parent.connection,
        command="",
        contact=parent.contact,
        received=clock.now_ms(),
        due=parent.received,  # before calls that came later: what is begun is finished before more is begun
        source=parent.source,
        delivery=parent.delivery,
        parent=parent.id,
        root=parent.root or parent.id,
        step=step,
        account=parent.account,
    )


def _effect(parent: Job, effect: Effect) -> store.NewJob:
    return replace(
        _child(parent, effect.step),
        connection=0 if effect.command == "mail" else parent.connection,  # a CRM's limits and outages aren't a mail's
        command=effect.command,
        params=effect.params,
        stream="effect",
        priority=min(store.EFFECT, parent.priority),  # what somebody waits for goes through to its end
        after=f"{parent.key}:{effect.after}" if effect.after else None,
    )


def _follow_up(around: Surroundings, parent: Job, wish: FollowUp) -> store.NewJob:
    child = _child(parent, wish.step)
    return replace(
        child,
        command=wish.command,
        params=wish.params,
        contact=wish.contact or child.contact,
        stream=stream_of(around.words[wish.command]),
        priority=around.words[wish.command].PRIORITY,
    )


def stream_of(command: ModuleType) -> str:
    """Refreshes take no part in their contact's order, other commands do."""
    return "refresh" if getattr(command, "REFRESH", False) else "command"


# --- effects ---------------------------------------------------------------------------------------------------


def settle_without_password(around: Surroundings, jobs: list[Job], waiting: Mapping[str, Waiting]) -> list[Job]:
    """Ends writes of a password that there is none of any more. Returns the jobs that can go on."""
    idle = [job for job in jobs if job.command == effects.PASSWORD and job.contact not in waiting]
    if idle:
        erased = passwords.given_up(connection=around.lane.connection, contacts=[job.contact for job in idle])
        with leases.outcome_transaction(around.lane, idle) as in_hand:
            endings.finish(
                [
                    Ended(job, Kind.FAILED, Kind.FAILED, "password-erased")
                    if job.contact in erased
                    else Ended(job, Kind.NO_OP, Kind.NO_OP, "password-handed-over")
                    for job in in_hand
                ]
            )
    return [job for job in jobs if job not in idle]


def settle_effects(
    around: Surroundings, jobs: Sequence[Job], performed: effects.Performed, waiting: Mapping[str, Waiting]
) -> None:
    """Writes down what became of effects, and what that means here."""
    failpoints.reach(failpoints.RESULT_AND_TRANSACTION)
    with leases.outcome_transaction(around.lane, jobs) as in_hand:
        outdated = results.apply([job for job in in_hand if job.id not in performed.errors], waiting, now=clock.now())
        endings.finish([_end_effect(job, performed, again=job.contact in outdated) for job in in_hand])
    failpoints.reach(failpoints.AFTER_TRANSACTION)


def _end_effect(job: Job, performed: effects.Performed, *, again: bool) -> Ended:
    calls = base.as_rows(performed.calls.get(job.id, []))
    if error := performed.errors.get(job.id):
        return retry.after_error(job, error, calls)
    if again:
        return Ended(job, "given-back", "", calls=calls, due=clock.now_ms())
    return Ended(job, Kind.DONE, Kind.DONE, "", {}, calls)


def settle_broken(around: Surroundings, jobs: Sequence[Job]) -> None:
    """The adapter broke in a way that it should not: our mistake, not the CRM's."""
    _end_broken(around, jobs, RuntimeError(), [])


def _end_broken(around: Surroundings, jobs: Sequence[Job], error: Exception, calls: list[dict[str, object]]) -> None:
    """A mistake of ours: tried again on the ladder, in case it is of the moment, then a dead letter."""
    mistake = Retryable("internal-error", error=type(error).__name__)
    with leases.outcome_transaction(around.lane, jobs) as in_hand:
        endings.finish([retry.after_error(job, mistake, calls) for job in in_hand])
