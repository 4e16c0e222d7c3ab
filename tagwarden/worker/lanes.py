"""Draining one lane under its lease: a batch is taken, its network step runs in a thread, its outcome is written.

All database work is done by the thread that owns the drain; threads of the pool speak to the CRM only.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from queue import SimpleQueue
from types import ModuleType
from typing import Any

from django.db import transaction

from tagwarden.accounts.models import Site
from tagwarden.connections import connect
from tagwarden.connections.models import Connection
from tagwarden.core import clock, logs
from tagwarden.core.breaker import Breaker
from tagwarden.core.env import env
from tagwarden.core.errors import NeedsSetting, Permanent, SettingsError
from tagwarden.core.options import ConnectionOptions
from tagwarden.core.outcome import Needs
from tagwarden.crms import base
from tagwarden.journal import endings, leases, limits, store
from tagwarden.journal.leases import Ended, Job, Lane
from tagwarden.journal.models import Delivery
from tagwarden.members import merges
from tagwarden.members.models import Member
from tagwarden.worker import care, dispatch, effects, find, mail, plan, reads, sweeps
from tagwarden.worker.dispatch import Surroundings
from tagwarden.worker.pace import Pace, Permit

log = logging.getLogger(__name__)

EFFECTS_AT_ONCE = 100
WAIT_MS = 2_000  # a lane whose budget comes sooner keeps its lease meanwhile


class Adapters:
    """The open adapters by connection: each keeps its HTTP connections. Opened anew when its settings changed."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[tuple[str, str, str], base.Crm]] = {}

    def of(self, connection: Connection) -> base.Crm:
        settings = (connection.crm, connection.base_url, connection.credentials)
        known = self._open.get(connection.pk)
        if known is None or known[0] != settings:
            known = self._open[connection.pk] = (settings, connect.open_crm(connection))
        return known[1]

    def close(self) -> None:
        """Ends all HTTP connections."""
        for _, crm in self._open.values():
            crm.close()


@dataclass
class Batch:
    """Jobs in hand whose network step runs. `settle` writes down what it brought."""

    drain: "Drain"
    jobs: Sequence[Job]
    settle: Callable[[Any], None]
    result: Any = None


class Drain:
    """One lane, while we hold its lease."""

    def __init__(
        self,
        lane: Lane,
        *,
        worker: str,
        adapters: Adapters,
        words: Mapping[str, ModuleType],
        pool: ThreadPoolExecutor,
        finished: "SimpleQueue[Batch]",
    ) -> None:
        self.lane, self._worker, self._words = lane, worker, words
        self._pool, self._finished = pool, finished
        self._adapters = adapters
        self._in_flight: list[Batch] = []
        self._taken: list[Job] = []  # whose attempts are open and whose step hasn't begun
        self._sure = True  # that no other attempts are open under our token
        self._written = limits.of(lane.id)
        self.pace = Pace(self._written)
        self.look_at: int | None = None  # when what could not be taken for want of a call may be looked at (ms)

    @property
    def in_flight(self) -> int:
        """How many network steps run or wait for a thread."""
        return len(self._in_flight)

    @property
    def waits(self) -> bool:
        """Whether it is about to go on, so that the lease is kept."""
        return bool(self._in_flight) or (self.look_at is not None and self.look_at <= clock.now_ms() + WAIT_MS)

    def start(self) -> bool:
        """Takes the most urgent work and starts its network step. False if there is none for now.

        Raises LeaseLost, or a DatabaseError if the database is away; then what was taken is begun the next time.
        """
        self.look_at = self.pace.when(urgent=True)
        if not self._taken and self.look_at > clock.now_ms():
            return False
        self.around = _surroundings(self.lane, self._adapters, self._words)  # anew: settings change under load too
        if crm := self.around.crm:
            self.pace.under(crm.limits, self.around.options.reserve)
        if self._look():
            return True
        if not self._taken:
            self._taken = self._take()
        if not self._taken:
            return False
        with logs.concerning(job.called for job in self._taken):
            self._begin(self._taken)
        self._taken = []
        return True

    def _take(self) -> list[Job]:
        in_hand = [job for batch in self._in_flight for job in batch.jobs]
        if not self._sure:  # a commit whose answer was lost may have opened attempts that nobody here knows of
            leases.close_unspent(self.lane, but=in_hand)
            self._sure = True
        room = self.around.options.parallel - len(self._in_flight)
        lowest = self._lowest(room)
        if lowest is None:
            return []
        free = max(1, self._free(lowest))
        busy = {job.contact for job in in_hand if job.contact}
        crm = self.around.crm
        self._sure = False
        taken = leases.take(
            self.lane,
            self._worker,
            size=crm.bulk_size if crm else EFFECTS_AT_ONCE,
            fewer=effects.at_most(crm, free) | {sweeps.COMMAND: 1} if crm else {},
            busy=busy,
            lowest=lowest,
            kept=self.pace.kept(spent=free),
        )
        self._sure = True
        return taken

    def _lowest(self, room: int) -> int | None:
        """The least urgent class that may begin a call now; None: not even the most urgent."""
        self.look_at = None
        if room < 1:
            return None
        if self.around.crm and not self._free(store.BULK):
            self.look_at = self.pace.when(urgent=False)
            if not self._free(store.URGENT):
                return None
        # The last free call is kept for somebody who is waiting in front of a page.
        if room == 1 and self.around.options.parallel > 1:
            return store.INTERACTIVE
        return store.BULK if self.look_at is None else store.URGENT

    def _free(self, priority: int) -> int:
        return self.pace.free(urgent=priority <= store.URGENT)

    def settle(self, batch: Batch) -> None:
        """Writes down what a batch's network step brought. Raises LeaseLost or a DatabaseError."""
        with logs.concerning(job.called for job in batch.jobs):
            batch.settle(batch.result)
        kept = self.pace.kept()
        if (kept.paused_until, kept.breaker) != (self._written.paused_until, self._written.breaker):
            leases.keep(self.lane, kept)
            self._written = kept
        self._in_flight.remove(batch)

    def _begin(self, jobs: list[Job]) -> None:
        first = jobs[0]
        if not first.command:
            for job in jobs:
                self._understand_again(job)
        elif first.command == "mail":  # which needs no CRM
            self._begin_mails(jobs)
        elif first.connection and self.around.crm is None:
            dispatch.settle_failed(self.around, jobs, self.around.trouble)
        elif first.command == sweeps.COMMAND:
            self._begin_sweep(first)
        elif first.stream != "effect" and first.command not in {*self._words, care.COMMAND}:
            dispatch.settle_failed(self.around, jobs, Permanent("operation-gone", command=first.command))
        elif first.command == care.COMMAND:
            self._begin_care(jobs)
        elif first.stream == dispatch.FIND:
            self._begin_finding(jobs)
        elif first.stream == "refresh":
            self._begin_refreshes(jobs)
        elif first.stream == "effect":
            self._begin_effects(jobs)
        else:
            self._begin_commands(jobs)

    def _begin_refreshes(self, jobs: list[Job]) -> None:
        around = self.around
        contacts = list(dict.fromkeys(job.contact for job in jobs))
        known = merges.addresses(connection=self.lane.connection, contacts=contacts)
        if not around.site_options.create_members_on_refresh:
            dispatch.settle_strangers(around, [job for job in jobs if job.contact not in known])
            contacts = [contact for contact in contacts if contact in known]
            jobs = [job for job in jobs if job.contact in known]
        if jobs and (crm := around.crm):
            free = self._free(min(job.priority for job in jobs))
            self._send(
                jobs,
                lambda: reads.fetch(crm, contacts, around.options, few=min(reads.FEW, free), addresses=known),
                lambda fetched: dispatch.settle_refreshes(around, jobs, fetched),
                calls=reads.calls(crm, contacts, min(reads.FEW, free)),
            )

    def _begin_sweep(self, job: Job) -> None:
        around, step = self.around, sweeps.plan(self.around, job)
        if step.reads and (crm := around.crm):
            self._send(
                [job],
                lambda: sweeps.read(crm, step, around.options),
                lambda got: sweeps.settle(around, job, step, got),
                calls=step.calls(crm),
            )
        else:
            sweeps.settle(around, job, step, sweeps.Got())

    def _begin_effects(self, jobs: list[Job]) -> None:
        around = self.around
        passwords = effects.passwords_of(jobs)
        jobs = dispatch.settle_without_password(around, jobs, passwords)
        if jobs and (crm := around.crm):
            leases.mark_sent(self.lane, jobs)
            self._send(
                jobs,
                lambda: effects.perform(crm, jobs, around.options, passwords),
                lambda performed: dispatch.settle_effects(around, jobs, performed, passwords),
                calls=effects.calls(crm, jobs),
            )

    def _begin_mails(self, jobs: list[Job]) -> None:
        around, server = self.around, env().smtp_url
        if server is None:
            dispatch.settle_held(around, jobs, "no-smtp")
            return
        leases.mark_sent(self.lane, jobs)
        self._send(
            jobs,
            lambda: mail.perform(server, around.sender, jobs),
            lambda performed: dispatch.settle_effects(around, jobs, performed, {}),
            calls=0,
        )

    def _begin_commands(self, jobs: list[Job]) -> None:
        around, crm = self.around, self.around.crm
        command = self._words[jobs[0].command]
        if command.NEEDS == Needs.CONTACT and crm:
            contacts = [job.contact for job in jobs]
            members, free = Member.of_contacts(self.lane.connection, contacts), self._free(jobs[0].priority)
            self._send(
                jobs,
                lambda: reads.for_command(crm, command, contacts, members, around.options, few=free),
                lambda fetched: dispatch.settle_commands(around, jobs, fetched),
                calls=reads.calls(crm, contacts, free),
            )
        else:
            dispatch.settle_commands(around, jobs, reads.Fetched())

    def _begin_finding(self, jobs: list[Job]) -> None:
        if crm := self.around.crm:
            emails = find.emails_of(jobs)
            self._send(
                jobs,
                lambda: find.look_up(crm, emails),
                lambda found: find.settle(self.lane, self._words, jobs, found),
                calls=len(emails),
            )

    def _begin_care(self, jobs: list[Job]) -> None:
        if crm := self.around.crm:
            hooks = care.wanted(self.lane.connection)
            self._send(
                jobs,
                lambda: care.look(crm, hooks),
                lambda seen: care.settle(self.lane, self._words, jobs, hooks, seen),
                calls=1,
            )

    def _look(self) -> bool:
        """Asks a CRM that seems to be down whether it is back, if it is time to."""
        crm, permit = self.around.crm, self.pace.begin_look() if self.around.crm else None
        if crm is None or permit is None:
            return False

        def network() -> Breaker:
            reads.look(crm)
            return self.pace.looked(env().retry_scale)

        self._submit(permit, [], network, self._looked)
        return True

    def _looked(self, state: Breaker) -> None:
        with transaction.atomic():
            leases.keep(self.lane, self.pace.kept())
            if state.looks == 1:
                went_down(self.lane, self.around, state)

    def _send(
        self, jobs: Sequence[Job], network: Callable[[], Any], settle: Callable[[Any], None], *, calls: int
    ) -> None:
        permit = self.pace.reserve(calls, urgent=min(job.priority for job in jobs) <= store.URGENT)
        self._submit(permit, jobs, network, settle)

    def _submit(
        self, permit: Permit, jobs: Sequence[Job], network: Callable[[], Any], settle: Callable[[Any], None]
    ) -> None:
        batch, around = Batch(self, jobs, settle), self.around
        self._in_flight.append(batch)

        def step() -> None:
            try:
                with base.paced(permit):
                    batch.result = network()
            except BaseException:
                # Our mistake, not the CRM's, which speaks by TagwardenError.
                log.exception("the network step of %d jobs broke", len(jobs))
                batch.settle = lambda _: dispatch.settle_broken(around, jobs)
            permit.close()
            self._finished.put(batch)

        self._pool.submit(copy_context().run, step)

    def _understand_again(self, job: Job) -> None:
        """A redelivered call that was not understood before: read once more, with today's commands."""
        delivery = Delivery.objects.get(pk=job.delivery)
        arrived = _arrived(delivery)
        place = plan.places([delivery.connection])[delivery.connection]
        word = job.params.get("word", "")
        with transaction.atomic():
            jobs = plan.jobs_of(arrived, place, self._words, word=word, by_staff=True)
            self._understood(job, jobs)

    def _understood(self, job: Job, jobs: list[store.NewJob]) -> None:
        first = jobs[0]
        with leases.outcome_transaction(self.lane, [job]) as in_hand:
            if not in_hand:
                return
            if first.outcome:
                ended = Ended(job, first.outcome, first.outcome, first.reason, first.detail, spends_try=True)
                endings.finish([ended])
            else:
                endings.finish([Ended(job, "given-back", due=clock.now_ms())])
                store.understood(job.id, first)
            store.add(jobs[1:])


def went_down(lane: Lane, around: Surroundings, state: Breaker) -> None:
    """The one place where it becomes known that a CRM is down. In the transaction that keeps it; safe to repeat."""
    returned = limits.unspend(lane.id, state.since)
    label = around.crm.label if around.crm else ""
    log.warning("connection %d: %s is down; %d jobs got their tries back", lane.connection, label, returned)


def _surroundings(lane: Lane, adapters: Adapters, words: Mapping[str, ModuleType]) -> Surroundings:
    site = Site.objects.get(pk=lane.site)
    connection = Connection.objects.filter(pk=lane.connection).first()
    crm, trouble = _opened(connection, adapters)
    return Surroundings(
        lane=lane,
        words=words,
        crm=crm,
        trouble=trouble,
        site_options=site.options,
        options=connection.options if connection else ConnectionOptions(),
        sender=mail.Sender(site.name, site.mail_from, site.host),
    )


def _opened(connection: Connection | None, adapters: Adapters) -> tuple[base.Crm | None, NeedsSetting]:
    """The connection's adapter; if there is none, why."""
    off = NeedsSetting("connection-off")
    if connection is None or not connection.active:
        return None, off
    try:
        return adapters.of(connection), off
    except SettingsError as error:
        return None, NeedsSetting("connection-broken", why=str(error))


def _arrived(delivery: Delivery) -> plan.Arrived:
    return plan.Arrived(
        id=delivery.id,
        site=delivery.site,
        connection=delivery.connection,
        received=clock.to_ms(delivery.received),
        kind=delivery.kind,
        method=delivery.method,
        query=delivery.query,
        headers=delivery.headers,
        body=bytes(delivery.body),
        status=delivery.status,
        reason="",
        handshake=delivery.handshake,
    )
