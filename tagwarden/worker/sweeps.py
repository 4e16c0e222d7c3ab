"""Drift checks at work: a job a step, each with one read of many contacts and one transaction.

Between two steps other work has its turn, and a crash repeats one step. What is read next stands in the sweep's row
(members/sweeps.py has the rules); a step that isn't the row's next one any more does nothing.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.db import transaction

from tagwarden.connections.models import Connection
from tagwarden.core import clock, failpoints
from tagwarden.core.errors import Permanent, TagwardenError
from tagwarden.core.mapping import mapped
from tagwarden.core.options import ConnectionOptions
from tagwarden.core.outcome import Kind, Snapshot
from tagwarden.crms import base
from tagwarden.journal import diagnosis, endings, leases, store
from tagwarden.journal.leases import Ended, Job
from tagwarden.members import merges, sweeps, sync
from tagwarden.members.models import Source, Sweep
from tagwarden.members.sweeps import IDS, LIST, LOSSES, Missing, Wanted
from tagwarden.worker import dispatch, reads, retry
from tagwarden.worker.dispatch import Surroundings

log = logging.getLogger(__name__)

COMMAND = "sweep"
_GIVEN_UP_SINGLY = {"contact-not-found", "tags-missing"}  # answers about one contact that no repeat changes soon


# --- starting one ------------------------------------------------------------------------------------------------


def start_due() -> int:
    """Starts the drift checks that are due: `sweep_hours` after the last one, or after the connection was made."""
    now, last, started = clock.now(), sweeps.last_asked(), 0
    for link in Connection.objects.filter(active=True):
        due = sweeps.due(link.options.sweep_hours, last.get(link.pk, link.created))
        if due and due <= now:
            started += start(link, due=due) is not None
    return started


def start(link: Connection, *, due: datetime | None = None, account: int | None = None) -> Sweep | None:
    """Adds a drift check of this connection; None if one is under way. `due`: the clock's moment; none: asked for now.

    Safe to repeat: the same moment is the same drift check.
    """
    key = f"clock:sweep:{link.pk}:{clock.to_ms(due or clock.now())}"
    if under_way(link.pk):
        return None
    source = "clock" if due else "staff"
    with transaction.atomic():
        store.add([_job(link.site_id, link.pk, key, 0, key=key, source=source, account=account)])
        return sweeps.open_one(connection=link.pk, key=key, now=clock.now())


def under_way(connection: int) -> Sweep | None:
    """The connection's drift check that goes on by itself, if there is one."""
    sweep = sweeps.latest(connection)
    if sweep is None or sweep.state != Sweep.State.RUNNING:
        return None
    standing = diagnosis.standings([sweep.key]).get(sweep.key, "")
    return sweep if sweeps.shown(sweep, standing) == sweeps.RUNNING else None


def _job(
    site: int, connection: int, sweep: str, step: int, *, key: str, source: str, account: int | None
) -> store.NewJob:
    now = clock.now_ms()
    return store.NewJob(
        key=key,
        site=site,
        connection=connection,
        command=COMMAND,
        params={"sweep": sweep, "step": step},
        received=now,
        due=now,  # behind all that is due already
        source=source,
        priority=store.BULK,
        account=account,
    )


# --- what a step reads -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What a job is going to read. `sweep` is None if it is over, or has gone on without this job."""

    sweep: Sweep | None
    wanted: Sequence[Wanted] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)

    @property
    def reads(self) -> bool:
        """Whether it has a network step."""
        return self.sweep is not None and (self.sweep.phase == LIST or bool(self.wanted))

    def calls(self, crm: base.Crm) -> int:
        """How many calls that takes, as far as can be told before."""
        return 1 if not self.wanted else reads.calls(crm, [one.contact for one in self.wanted], 1)


@dataclass
class Got:
    """What the network step brought: contacts, the list's next cursor, the calls; or the error that ended it."""

    snapshots: list[Snapshot] = field(default_factory=list)
    cursor: str = ""
    calls: list[dict[str, object]] = field(default_factory=list)
    error: TagwardenError | None = None
    fetched: reads.Fetched = field(default_factory=reads.Fetched)


def plan(around: Surroundings, job: Job) -> Step:
    """What this job reads. A sweep that begins chooses its feed here; it is written down with what the step brings."""
    sweep = Sweep.objects.filter(key=job.params["sweep"]).first()
    if sweep is None or sweep.step != job.params["step"] or sweep.state not in (sweeps.RUNNING, sweeps.STOPPED):
        return Step(None)
    if sweep.started is None and around.crm:
        _begin(sweep, around.crm)
    if sweep.phase == LIST:
        return Step(sweep)
    wanted = sweeps.wanted(sweep, around.crm.bulk_size) if around.crm else []
    ids = [one.contact for one in wanted]
    return Step(sweep, wanted, merges.addresses(connection=sweep.connection_id, contacts=ids))


def _begin(sweep: Sweep, crm: base.Crm) -> None:
    sweep.started, sweep.members = clock.now(), sweeps.members(sweep.connection_id)
    sweep.feed = sweep.phase = LIST if _list_costs(sweep, crm) < _ids_cost(sweep, crm) else IDS


def _ids_cost(sweep: Sweep, crm: base.Crm) -> int:
    """Calls to read all members by id: as the adapter reckons, and no fewer than it took the last time."""
    whole, rest = divmod(sweep.members, crm.bulk_size)
    reckoned = whole * crm.calls_for(crm.bulk_size) + (crm.calls_for(rest) if rest else 0)
    before = Sweep.objects.filter(connection=sweep.connection_id, feed=IDS, listed=0, state=Sweep.State.FINISHED)
    last = before.exclude(members=0).order_by("-asked").first()
    return max(reckoned, math.ceil(sweep.members * last.bulk_calls / last.members) if last else 0)


def _list_costs(sweep: Sweep, crm: base.Crm) -> int:
    """Calls to read the list, which holds everybody: as long as it was the last time, and no fewer than members."""
    before = Sweep.objects.filter(connection=sweep.connection_id, listed__gt=0).exclude(pk=sweep.pk)
    last = before.order_by("-asked").first()
    return math.ceil(max(sweep.members, last.listed if last else 0) / crm.page_size)


def read(crm: base.Crm, step: Step, options: ConnectionOptions) -> Got:
    """The network step: a page of the list, or the next contacts by id. No database; never raises a TagwardenError."""
    assert step.sweep is not None
    got = Got()
    if step.sweep.phase == LIST:
        with base.recording() as calls:
            try:
                page, got.cursor = crm.page(step.sweep.cursor)
                got.snapshots = [mapped(one, options) for one in page]
            except TagwardenError as error:
                got.error = error
        got.calls = base.as_rows(calls)
        return got
    ids, gone = [one.contact for one in step.wanted], {one.contact for one in step.wanted if one.was_gone}
    got.fetched = reads.fetch(crm, ids, options, few=1, addresses=step.addresses, gone=gone)
    got.snapshots = list(got.fetched.snapshots.values())
    own = [call for calls in got.fetched.own.values() for call in calls]
    got.calls = base.as_rows([*got.fetched.shared, *own])
    open_ones = [one for one in step.wanted if not _handled(one, got)]
    if step.wanted and len(open_ones) == len(step.wanted):
        got.error = got.fetched.errors[open_ones[0].contact]
    return got


def _handled(one: Wanted, got: Got) -> bool:
    """Whether this contact's answer is an answer; what a pause or an outage left open is asked for in the next step."""
    error = got.fetched.errors.get(one.contact)
    alone = one.contact in got.fetched.own
    return error is None or error.reason in _GIVEN_UP_SINGLY or (alone and isinstance(error, Permanent))


# --- what a step changes -------------------------------------------------------------------------------------------


def settle(around: Surroundings, job: Job, step: Step, got: Got) -> None:
    """Writes down what a step brought, and adds the next one. Raises LeaseLost, or a DatabaseError."""
    failpoints.reach(failpoints.NETWORK_AND_TRANSACTION)
    try:
        with leases.outcome_transaction(around.lane, [job]) as in_hand:
            endings.finish([_end(around, one, step, got) for one in in_hand])
    except dispatch.MISTAKES:
        log.exception("a step of a drift check broke")
        dispatch.settle_broken(around, [job])
    failpoints.reach(failpoints.AFTER_TRANSACTION)


def _end(around: Surroundings, job: Job, step: Step, got: Got) -> Ended:
    sweep = Sweep.objects.select_for_update().filter(pk=step.sweep.pk).first() if step.sweep else None
    if step.sweep is None or sweep is None or sweep.step != step.sweep.step:
        return _over(job)
    if sweep.state != step.sweep.state:  # decided or replaced meanwhile: planned anew
        return Ended(job, "given-back", due=clock.now_ms())
    if sweep.started is None:
        sweep.started, sweep.members = step.sweep.started, step.sweep.members
        sweep.feed, sweep.phase = step.sweep.feed, step.sweep.phase
    sweep.state = sweeps.RUNNING
    if got.error and _begins_anew(sweep, got.error):
        sweeps.go_by_id(sweep, whole=False)
    elif got.error:
        return retry.after_error(job, got.error, got.calls)
    else:
        _apply(around, sweep, step, got)
    sweep.calls += len(got.calls)
    sweeps.move_on(sweep, clock.now())
    return _ended(job, sweep, got)


def _over(job: Job) -> Ended:
    dismissed = Sweep.objects.filter(key=job.params["sweep"], state=Sweep.State.DISMISSED).exists()
    return Ended(job, Kind.NO_OP, Kind.NO_OP, "sweep-dismissed" if dismissed else "sweep-over")


def _begins_anew(sweep: Sweep, error: TagwardenError) -> bool:
    """A list that can't be gone on with (its cursor is too old) is given up, not the sweep."""
    return sweep.phase == LIST and bool(sweep.cursor) and isinstance(error, base.Refused)


def _apply(around: Surroundings, sweep: Sweep, step: Step, got: Got) -> None:
    busy = leases.contacts_in_hand(around.lane)  # their own read says more
    known = sync.known_contacts(connection=sweep.connection_id, contacts=[one.contact for one in got.snapshots])
    chosen = {one.contact: one for one in got.snapshots if one.contact in known - busy and one.tags is not None}
    missing = _absorb(around, sweep, list(dispatch.with_our_writes(around.lane, chosen).values()))
    if sweep.phase == LOSSES:
        looked_at = [one.row for one in step.wanted if one.contact in chosen]
        sweeps.take_away(sweep, missing, looked_at, clock.now())
    else:
        sweeps.note_missing(sweep, missing)
    if sweep.phase == LIST:
        _after_page(around, sweep, got)
    elif step.wanted:
        _after_ids(around, sweep, step, got)


def _absorb(around: Surroundings, sweep: Sweep, snapshots: Sequence[Snapshot]) -> list[Missing]:
    """What these answers give is given. If something in them breaks us, each is tried alone, and that one left out."""
    counts = sweep.read, sweep.gained
    try:
        with transaction.atomic():
            return sweeps.absorb(sweep, site=around.lane.site, snapshots=snapshots, now=clock.now())
    except dispatch.MISTAKES:
        sweep.read, sweep.gained = counts
        if len(snapshots) == 1:
            log.exception("what a drift check read of a contact broke")
            return []
        log.warning("%d answers of a drift check broke: each is tried alone", len(snapshots))
        return [one for snapshot in snapshots for one in _absorb(around, sweep, [snapshot])]


def _after_page(around: Surroundings, sweep: Sweep, got: Got) -> None:
    """The next page; at the list's end, or when it has cost what reading by id costs, whoever wasn't read."""
    sweep.listed += len(got.snapshots)
    too_dear = around.crm is not None and sweep.calls + len(got.calls) >= _ids_cost(sweep, around.crm)
    if got.cursor and got.cursor != sweep.cursor and not too_dear:
        sweep.cursor = got.cursor
    else:
        sweeps.go_by_id(sweep, whole=not got.cursor)


def _after_ids(around: Surroundings, sweep: Sweep, step: Step, got: Got) -> None:
    fetched = got.fetched
    found = {old: sync.Read(one, Source.SWEEP, sweep.key, settled=False) for old, one in fetched.merged.items()}
    new = [one.contact for one in step.wanted if not one.was_gone]
    moved = dispatch.settle_gone(around, fetched, new, found)
    sweep.moved += len(moved)
    sweep.gone += sum(dispatch.is_gone(fetched.errors.get(contact)) for contact in new) - len(moved)
    if sweep.feed == IDS and sweep.phase == IDS and fetched.shared:
        sweep.bulk_calls += len(fetched.shared)
        sweep.suspects += len(fetched.own)  # those that the bulk read left out
    for one in step.wanted:
        if not _handled(one, got):
            return
        sweep.cursor = str(one.row)


def _ended(job: Job, sweep: Sweep, got: Got) -> Ended:
    if sweep.state == sweeps.STOPPED:  # not a step further: the same job goes on if staff say so
        sweep.save()
        detail: dict[str, object] = {"lose": sweep.would_lose, "allowed": sweeps.allowed(sweep)}
        return Ended(job, Kind.REFUSED, Kind.REFUSED, "sweep-stopped", detail, got.calls)
    sweep.step += 1
    sweep.save()
    goes_on = sweep.state == sweeps.RUNNING
    return Ended(job, Kind.DONE, Kind.DONE, "", {}, got.calls, children=[_next(job, sweep)] if goes_on else ())


def _next(parent: Job, sweep: Sweep) -> store.NewJob:
    step = f"page{sweep.step}"
    key = f"{sweep.key}:{step}"
    child = _job(
        parent.site, parent.connection, sweep.key, sweep.step, key=key, source=parent.source, account=parent.account
    )
    return replace(child, parent=parent.id, root=parent.root or parent.id, step=step)
