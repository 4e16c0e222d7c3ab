"""Lanes under a lease: who drains which, taking jobs, and finishing them.

Part of the journal's only writer (journal/store.py). A lane is drained by one worker at a time, which
holds its `token` until `until` by the database's clock. Every transaction that takes or finishes jobs touches the
lane's row under its token first: no row means that the lease was lost, and the work is dropped.
"""

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import transaction

from tagwarden.core import clock
from tagwarden.journal import limits, restores, sql, store, told
from tagwarden.journal.limits import Kept

LEASE_MS = 60_000
CRASHES_ALLOWED = 3
HOLDS_UNTIL_TRY = 3  # a job that waits for a retry holds its contact's later ones up to its third retry
INTERACTIVE_AT_ONCE = 10  # commands that somebody waits for are taken a few at a time, so that none waits for many
BLOCKED_LOOK_MS = 1_000  # how soon a lane whose due jobs are all held back is looked at again


class LeaseLost(Exception):
    """Another worker drains this lane now. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane under our lease."""

    id: int
    site: int
    connection: int
    token: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job in hand: its attempt is open. Moments in ms."""

    id: int
    key: str
    delivery: str | None
    root: int | None
    site: int
    connection: int
    contact: str
    stream: str
    command: str
    params: Mapping[str, Any]
    source: str
    account: int | None
    received: int
    priority: int
    tries: int
    crashes: int
    release: int | None

    @property
    def called(self) -> str:
        """What log lines call it: its delivery's id, or its own key if no delivery brought it."""
        return self.delivery or self.key


@dataclass(frozen=True, slots=True)
class Ended:
    """How one attempt ended.

    `outcome` ends the job; an empty one puts it back to waiting until `due` (ms), and `result` says why:
    retry, settling, paused, given-back, found or held (until store.release_held). `children` are added in the same
    transaction.
    """

    job: Job
    result: str
    outcome: str = ""
    reason: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    calls: Sequence[Mapping[str, object]] = ()
    due: int = 0
    spends_try: bool = False
    children: Sequence[store.NewJob] = ()


# --- who drains which lane -------------------------------------------------------------------------------------


def due_lanes(limit: int = 64, *, among: Sequence[int] | None = None) -> list[int]:
    """Lanes with due work that nobody drains and that aren't paused, the longest first; or those `among` some."""
    d, now = sql.dialect(), clock.now_ms()
    which, lanes = ("true", ()) if among is None else (d.among("id"), (d.values(among),))
    due = sql.rows(
        f"select id from journal_lane where {which} and next_due <= %s and paused_until <= %s "
        f"and (token = '' or until < {d.now_ms}) order by next_due limit %s",
        (*lanes, now, now, limit),
    )
    return [lane for (lane,) in due]


def lease(lane: int, worker: str) -> Lane | None:
    """Takes the lane for 60 s, or None if somebody else drains it. What a lost lease left open is closed as a crash."""
    now_ms, token = sql.dialect().now_ms, secrets.token_hex(16)
    with transaction.atomic():
        ((before, site, connection),) = sql.rows(
            "select token, site, connection from journal_lane where id = %s", (lane,)
        )
        taken = sql.run(
            f"update journal_lane set token = %s, worker = %s, until = {now_ms} + %s "
            f"where id = %s and token = %s and (token = '' or until < {now_ms})",
            (token, worker, LEASE_MS, lane, before),
        )
        if not taken:
            return None
        if before:
            _close_crashed(before)
    return Lane(lane, site, connection, token)


def renew(lanes: Sequence[Lane]) -> set[int]:
    """Extends the leases that are still ours. Returns those lanes."""
    d = sql.dialect()
    tokens = d.values(lane.token for lane in lanes)
    sql.run(f"update journal_lane set until = {d.now_ms} + %s where {d.among('token')}", (LEASE_MS, tokens))
    return {lane for (lane,) in sql.rows(f"select id from journal_lane where {d.among('token')}", (tokens,))}


def give_back(lane: Lane, *, all_held_back: bool = False, kept: Kept | None = None, look_at: int | None = None) -> bool:
    """Ends the lease and writes down when the lane is due next. Returns whether it is due at once.

    `all_held_back`: there was nothing to take. What is due and still can't be taken (order, a sibling) is looked at
    again in a second; what came in meanwhile is due at once, unless the lane is paused. `kept`: how its CRM does.
    `look_at` (ms): when its CRM allows the next call, if it allows none now.
    """
    with transaction.atomic():
        if kept:
            limits.keep(lane.id, lane.token, kept)
        if not _end_lease(lane.id, lane.token):
            return False
        due, now = _first_due(lane.id), clock.now_ms()
        if look_at is not None:
            due = look_at
        elif due is not None and due <= now and all_held_back and not _most_urgent(lane, 1, {}, [], store.BULK):
            due = now + BLOCKED_LOOK_MS
        sql.run("update journal_lane set next_due = %s where id = %s", (due, lane.id))
    paused = kept is not None and kept.paused_until > now
    return due is not None and due <= now and not paused


def _end_lease(lane: int, token: str) -> bool:
    """Holds the lane's row until the transaction ends: what comes in meanwhile lowers `next_due` afterwards."""
    ended = "update journal_lane set token = '', until = 0 where id = %s and token = %s"
    return bool(sql.run(ended, (lane, token)))


def close_unspent(lane: Lane, *, but: Sequence[Job] = ()) -> None:
    """Gives back what is in hand under our token, `but` for these jobs, as if it had not begun."""
    d, kept = sql.dialect(), [job.id for job in but]
    with transaction.atomic():
        _end_uncertain(lane.token, but=kept)
        sql.run(
            "update journal_attempt set ended = %s, result = 'given-back' "
            f"where token = %s and ended is null and not ({d.among('job')})",
            (clock.now_ms(), lane.token, d.values(kept)),
        )


def take_over_all(worker: str = "") -> int:
    """Ends all leases of a worker that is dead, of any worker if none is named. Returns how many there were."""
    with transaction.atomic():
        left = sql.rows(
            "select id, token from journal_lane where token <> '' and %s in ('', worker) order by id", (worker,)
        )
        for lane, token in left:
            if _end_lease(lane, token):
                _close_crashed(token)
                sql.run("update journal_lane set next_due = %s where id = %s", (_first_due(lane), lane))
    return len(left)


def sweep_next_due() -> int:
    """The minute's sweep: a lane whose waiting work is earlier than its row says is set right. Returns how many."""
    mended = 0
    for lane, next_due in sql.rows("select id, next_due from journal_lane where token = ''"):
        due = _first_due(lane)
        if due is not None and (next_due is None or next_due > due):
            mended += sql.run(
                "update journal_lane set next_due = %s where id = %s and token = '' "
                "and (next_due is null or next_due > %s)",
                (due, lane, due),
            )
    return mended


def _first_due(lane: int) -> int | None:
    dues = [
        sql.rows(
            "select min(due) from journal_job where lane = %s and state = 'waiting' and priority = %s",
            (lane, priority),
        )[0][0]
        for priority in store.PRIORITIES
    ]
    return min((due for due in dues if due is not None), default=None)


def _close_crashed(token: str) -> None:
    """Attempts left open under a dead lease are crashes: they spend no try, but the third one ends the job."""
    _end_uncertain(token)
    d, now = sql.dialect(), clock.now_ms()
    left = [job for (job,) in sql.rows("select job from journal_attempt where token = %s and ended is null", (token,))]
    if not left:
        return
    sql.run(
        "update journal_attempt set ended = %s, result = 'crash', reason = 'worker-died' "
        "where token = %s and ended is null",
        (now, token),
    )
    transaction.on_commit(partial(told.crashes, len(left)))
    jobs = d.values(left)
    sql.run(f"update journal_job set crashes = crashes + 1 where {d.among('id')}", (jobs,))
    sql.run(
        "update journal_job set state = 'finished', outcome = 'failed', reason = 'worker-died', finished = %s "
        f"where {d.among('id')} and crashes >= %s",
        (now, jobs, CRASHES_ALLOWED),
    )
    keys = sql.rows(f"select key from journal_job where {d.among('id')} and state = 'finished'", (jobs,))
    if keys:
        store.hold_siblings([key for (key,) in keys])
        store.restand(left)


def _end_uncertain(token: str, *, but: Sequence[int] = ()) -> None:
    """Mails sent under this token, without a result (`but` for these jobs), may have left: they end *unknown*."""
    d, now = sql.dialect(), clock.now_ms()
    left = sql.rows(
        "select j.id, j.key from journal_attempt a join journal_job j on j.id = a.job "
        f"where a.token = %s and a.ended is null and a.sent and j.command = 'mail' and not ({d.among('j.id')})",
        (token, d.values(but)),
    )
    if not left:
        return
    jobs = d.values(job for job, _ in left)
    sql.run(
        "update journal_attempt set ended = %s, result = 'unknown', reason = 'mail-unknown' "
        f"where {d.among('job')} and ended is null",
        (now, jobs),
    )
    sql.run(
        "update journal_job set state = 'finished', outcome = 'unknown', reason = 'mail-unknown', finished = %s, "
        f"tries = tries + 1 where {d.among('id')}",
        (now, jobs),
    )
    store.hold_siblings([key for _, key in left])
    store.restand([job for job, _ in left])


def own_tag_writes(lane: Lane, contacts: Sequence[str], since: int) -> list[tuple[str, str, str, str]]:
    """(contact, command, tag's id, its name) of tag effects that wait or were done since that moment (ms), in order."""
    d = sql.dialect()
    rows = sql.rows(
        "select contact, command, params from journal_job where lane = %s and stream = 'effect' "
        f"and {d.among('contact')} and command in ('tag-add', 'tag-remove') and site = %s "
        "and (state = 'waiting' or (outcome = 'done' and finished >= %s)) order by turn, id",
        (lane.id, d.values(contacts), lane.site, since),
    )
    params = [(contact, command, json.loads(text)) for contact, command, text in rows]
    return [(contact, command, p["tag"], p.get("name", p["tag"])) for contact, command, p in params]


def contacts_in_hand(lane: Lane) -> set[str]:
    """Contacts of whom something is being read or written now."""
    rows = sql.rows(
        "select j.contact from journal_attempt a join journal_job j on j.id = a.job "
        "where a.token = %s and a.ended is null and j.contact <> ''",
        (lane.token,),
    )
    return {contact for (contact,) in rows}


# --- taking ------------------------------------------------------------------------------------------------------

_COLUMNS = (
    "j.id, j.key, j.delivery, j.root, j.site, j.connection, j.contact, j.stream, j.command, j.params, j.source, "
    "j.account, j.received, j.priority, j.tries, j.crashes, j.release"
)
# Commands and effects keep the order of their contact, refreshes take no part; a step waits for its sibling.
_TAKEABLE = (
    "j.lane = %s and j.state = 'waiting' and j.priority = %s and j.due <= %s "
    # “offset 0” keeps PostgreSQL from joining all open attempts when its statistics are old: a look-up a row is right.
    "and not exists (select 1 from journal_attempt a where a.job = j.id and a.ended is null limit 1 offset 0) "
    "and (j.stream = 'refresh' or j.contact = '' or not exists (select 1 from journal_job e where e.lane = j.lane "
    "and e.state = 'waiting' and e.contact = j.contact and e.stream = j.stream and e.tries <= %s "
    "and (e.turn < j.turn or (e.turn = j.turn and e.id < j.id)))) "
    "and (j.after is null or exists (select 1 from journal_job s where s.key = j.after and s.outcome = 'done')) "
)


def take(
    lane: Lane,
    worker: str,
    *,
    size: int,
    fewer: Mapping[str, int] | None = None,
    busy: Iterable[str] = (),
    lowest: int = store.BULK,
    kept: Kept | None = None,
) -> list[Job]:
    """Takes the most urgent due jobs of one kind, at most `size` contacts, and opens their attempts.

    `fewer`: commands of which it takes no more than so many. `busy`: contacts in hand: a read would not show what is
    being written meanwhile. `lowest`: the least urgent class that is taken. `kept`: how the lane's CRM does, to write
    down. Taking one refresh of a contact takes all of them, whatever their due time. A job that saw a crash is taken
    alone. Raises LeaseLost.
    """
    with transaction.atomic():
        keep(lane, kept) if kept else _hold(lane)
        restores.hold(lane.id, lane.site)
        jobs = _most_urgent(lane, size, fewer or {}, sorted(busy), lowest)
        _open_attempts(jobs, lane, worker)
    return jobs


def _hold(lane: Lane) -> None:
    """Proves, and keeps until the transaction's end, that the lease is ours."""
    if not sql.run("update journal_lane set token = token where id = %s and token = %s", (lane.id, lane.token)):
        raise LeaseLost


def keep(lane: Lane, kept: Kept) -> None:
    """Writes down how the lane's CRM does, which proves the lease as well. Raises LeaseLost."""
    if not limits.keep(lane.id, lane.token, kept):
        raise LeaseLost


def _most_urgent(lane: Lane, size: int, fewer: Mapping[str, int], busy: list[str], lowest: int) -> list[Job]:
    chosen: list[Job] = []
    for priority in _classes_due(lane, lowest):
        # Once there is a refresh, the batch goes on into the next class with refreshes only.
        chosen += _due(lane, priority, 2 * size, busy, refreshes_only=bool(chosen))
        first = chosen[0] if chosen else None
        if first and first.crashes:
            return _with_their_refreshes(lane, [first])
        size = min(size, fewer.get(first.command, size)) if first else size
        if first and first.stream == "command" and first.priority == store.INTERACTIVE:
            size = min(size, INTERACTIVE_AT_ONCE)
        chosen = _contacts_at_most(size, [job for job in chosen if first and _goes_with(first, job)])
        if len(chosen) >= size or (first and first.stream != "refresh"):
            break
    return _with_their_refreshes(lane, chosen)


def _classes_due(lane: Lane, lowest: int) -> list[int]:
    """The priority classes in which anything is due: mostly one, and the look for what may be taken of it is dear."""
    classes = " union all ".join(
        f"select {priority} as priority" for priority in store.PRIORITIES if priority <= lowest
    )
    rows = sql.rows(
        f"select c.priority from ({classes}) c where exists (select 1 from journal_job j where j.lane = %s "
        "and j.state = 'waiting' and j.priority = c.priority and j.due <= %s) order by c.priority",
        (lane.id, clock.now_ms()),
    )
    return [priority for (priority,) in rows]


def _contacts_at_most(size: int, jobs: list[Job]) -> list[Job]:
    """One job a contact, the most urgent; jobs without a contact count each."""
    firsts: dict[str, Job] = {}
    for job in jobs:
        firsts.setdefault(job.contact or job.key, job)
    return list(firsts.values())[:size]


def _goes_with(first: Job, job: Job) -> bool:
    if first.stream == "refresh":
        return job.stream == "refresh" and not job.crashes
    return job.command == first.command and job.params == first.params and not job.crashes


def _due(lane: Lane, priority: int, limit: int, busy: list[str], *, refreshes_only: bool) -> list[Job]:
    d = sql.dialect()
    kinds = "and j.stream = 'refresh' " if refreshes_only else ""
    return [
        _job(row)
        for row in sql.rows(
            f"select {_COLUMNS} from journal_job j where {_TAKEABLE} {kinds}"
            f"and not ({d.among('j.contact')}) order by j.due limit %s",
            (lane.id, priority, clock.now_ms(), HOLDS_UNTIL_TRY, d.values(busy), limit),
        )
    ]


def _job(row: tuple[Any, ...]) -> Job:
    values = [*row[:9], {} if row[9] == "{}" else json.loads(row[9]), *row[10:]]
    return Job(*values)


def _with_their_refreshes(lane: Lane, jobs: list[Job]) -> list[Job]:
    """One read satisfies all waiting refreshes of its contacts."""
    if not jobs or jobs[0].stream != "refresh":
        return jobs
    d = sql.dialect()
    return [
        _job(row)
        for row in sql.rows(
            f"select {_COLUMNS} from journal_job j where j.lane = %s and j.state = 'waiting' "
            f"and j.stream = 'refresh' and {d.among('j.contact')} order by j.id",
            (lane.id, d.values({job.contact for job in jobs})),
        )
    ]


def _open_attempts(jobs: list[Job], lane: Lane, worker: str) -> None:
    now = clock.now_ms()
    columns = ("job", "token", "worker", "started", "sent", "result", "reason", "detail", "calls")
    sql.insert(
        "journal_attempt",
        columns,
        [(job.id, lane.token, worker, now, False, "", "", "{}", "[]") for job in jobs],
    )


def mark_sent(lane: Lane, jobs: Sequence[Job]) -> None:
    """Commits, before an effect's call, that it may have left. Raises LeaseLost."""
    d = sql.dialect()
    with transaction.atomic():
        _hold(lane)
        sql.run(
            f"update journal_attempt set sent = %s where {d.among('job')} and ended is null",
            (True, d.values(job.id for job in jobs)),
        )


# --- finishing ---------------------------------------------------------------------------------------------------


@contextmanager
def outcome_transaction(lane: Lane, jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """One transaction for what rules change and what the journal says of it. Raises LeaseLost.

    Gives those of the jobs that are still in hand: after a commit whose answer was lost there are none.
    """
    d = sql.dialect()
    with transaction.atomic():
        _hold(lane)
        still_open = sql.rows(
            f"select job from journal_attempt where {d.among('job')} and token = %s and ended is null",
            (d.values(job.id for job in jobs), lane.token),
        )
        in_hand = {job for (job,) in still_open}
        yield [job for job in jobs if job.id in in_hand]
