"""What comes into the journal: deliveries, jobs, releases, positions, and the buttons that start jobs again.

Together with leases (taking jobs), endings, limits and restores the only writer of the journal's tables. Plain SQL,
the same for SQLite and PostgreSQL ≥ 15, on the cursor of Django's own connection. Every function is safe to repeat:
rows are recognised by their key. Within a transaction lanes are touched first, in ascending order, and counters
last, so that two transactions never wait for each other crosswise.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from django.db import transaction

from tagwarden.core import clock
from tagwarden.core.uuid7 import uuid7
from tagwarden.journal import sql, wake

INTERACTIVE, URGENT, EFFECT, BULK = 0, 10, 20, 30  # priority classes: few, since each is a seek
PRIORITIES = (INTERACTIVE, URGENT, EFFECT, BULK)
RELEASE_OPEN_AT_MOST_MS = 60 * 60 * 1000
STRANGERS_KEPT = 200
HOUR_MS = 3_600_000
HEARTBEAT_KEPT_MS = 24 * HOUR_MS
# Effects that can't be taken back, with the reason they end with if what asked for them came before a restore.
MAY_HAVE_LEFT = {"mail": "restored-mail-unknown", "charge": "restored-charge-unknown"}


class NewDelivery(NamedTuple):
    """One HTTP call as it came; `received` in ms. The fields are those of models.Delivery."""

    id: str
    site: int
    connection: int
    handshake: int
    received: int
    kind: str
    method: str
    path: str
    query: str
    headers: str
    body: bytes
    body_size: int
    address: str
    host: str
    status: int


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to add; moments in ms. One with an `outcome` is finished from the start (a call not understood).

    `release` and `release_delay_ms` belong to batchsync: the release it joins, and how long that collects calls.
    """

    key: str
    site: int
    connection: int
    command: str
    received: int
    contact: str = ""
    stream: str = "command"
    params: Mapping[str, object] = field(default_factory=dict)
    source: str = "webhook"
    due: int = 0
    priority: int = URGENT
    delivery: str | None = None
    parent: int | None = None
    root: int | None = None
    step: str = ""
    after: str | None = None
    account: int | None = None
    outcome: str = ""
    reason: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    release: str | None = None
    release_delay_ms: int = 0
    release_id: int | None = None


class NewStranger(NamedTuple):
    """A call whose secret nobody knows; `received` in ms."""

    site: int
    received: int
    word: str
    path: str
    address: str
    host: str


JOB_COLUMNS = (
    *(
        "key",
        "delivery",
        "parent",
        "root",
        "step",
        "after",
        "site",
        "connection",
        "lane",
        "contact",
        "stream",
    ),
    *("command", "params", "source", "account", "received", "turn", "due", "priority", "state", "outcome"),
    *("reason", "detail", "standing", "tries", "crashes", "release", "finished"),
)


def as_json(value: object) -> str:
    """The form in which params, details and calls are kept: short, keys in order."""
    if value == {}:
        return "{}"  # by far the most
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=str)


# --- what intake and rules add ---------------------------------------------------------------------------------


def record(
    *,
    deliveries: Sequence[NewDelivery],
    jobs: Sequence[NewJob],
    strangers: Sequence[NewStranger] = (),
    spool: str,
    segment: str,
    line: int,
) -> None:
    """Copies one batch of the spool, with its position, in the caller's transaction."""
    add(jobs)
    sql.insert("journal_delivery", NewDelivery._fields, deliveries)
    _keep_strangers(strangers)
    sql.run(
        "insert into journal_spoolposition (spool, segment, line, moved) values (%s, %s, %s, %s) "
        "on conflict (spool) do update set segment = excluded.segment, line = excluded.line, moved = excluded.moved",
        (spool, segment, line, clock.now_ms()),
    )


def position(spool: str) -> tuple[str, int] | None:
    """(segment, line) up to which that spool was carried; None if nothing was."""
    found = sql.rows("select segment, line from journal_spoolposition where spool = %s", (spool,))
    return (found[0][0], found[0][1]) if found else None


def add(jobs: Sequence[NewJob]) -> None:
    """Adds jobs, in the caller's transaction. One whose key is there already is passed over."""
    jobs = _unknown(jobs)
    if not jobs:
        return
    jobs = _doubted(jobs)
    lanes = _lanes({(job.site, job.connection) for job in jobs})
    jobs = _join_releases(jobs)
    sql.insert("journal_job", JOB_COLUMNS, [_job_row(job, lanes[job.site, job.connection]) for job in jobs])
    lower_next_due((lanes[job.site, job.connection], job.due or job.received) for job in jobs if not job.outcome)
    count(Counter(_counted(job) for job in jobs if job.root is None))


def _unknown(jobs: Sequence[NewJob]) -> list[NewJob]:
    among, keys = sql.dialect().among("key"), sql.dialect().values(job.key for job in jobs)
    known = {key for (key,) in sql.rows(f"select key from journal_job where {among}", (keys,))} if jobs else set()
    return [job for job in jobs if job.key not in known]


def _doubted(jobs: list[NewJob]) -> list[NewJob]:
    """After a restore: a mail or charge asked for by what came before it may have left, so it ends as unknown."""
    roots = [job.root for job in jobs if job.command in MAY_HAVE_LEFT and job.stream == "effect" and job.root]
    if not roots:
        return jobs
    before = (
        "select j.id from journal_job j join journal_restore r on r.site = j.site and j.received < r.moment "
        f"where {sql.dialect().among('j.id')}"
    )
    doubted = {root for (root,) in sql.rows(before, (sql.dialect().values(roots),))}
    return [
        replace(job, outcome="unknown", reason=MAY_HAVE_LEFT[job.command])
        if job.root in doubted and job.command in MAY_HAVE_LEFT
        else job
        for job in jobs
    ]


def _job_row(job: NewJob, lane: int) -> tuple[Any, ...]:
    finished = bool(job.outcome)
    return (
        *(job.key, job.delivery, job.parent, job.root, job.step, job.after, job.site, job.connection, lane),
        *(job.contact, job.stream, job.command, as_json(job.params), job.source, job.account, job.received),
        *(job.received, job.due or job.received, job.priority, "finished" if finished else "waiting"),
        *(job.outcome, job.reason, as_json(job.detail), job.outcome or "waiting", 0, 0, job.release_id),
        job.received if finished else None,
    )


def _counted(job: NewJob) -> tuple[int, int, int, str, str]:
    return (job.site, job.received // HOUR_MS, job.connection, job.command, job.outcome or "waiting")


def _lanes(pairs: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """(site, connection) → lane, made where missing."""
    d = sql.dialect()
    query = f"select site, connection, id from journal_lane where {d.among('site')}"
    sites = d.values(sorted({site for site, _ in pairs}))
    found = {(site, connection): lane for site, connection, lane in sql.rows(query, (sites,))}
    missing = sorted(pairs - set(found))
    if not missing:
        return found
    columns = ("site", "connection", "token", "until", "worker", "paused_until", "budget", "breaker")
    sql.insert("journal_lane", columns, [(*pair, "", 0, "", 0, "{}", "{}") for pair in missing])
    return {(site, connection): lane for site, connection, lane in sql.rows(query, (sites,))}


def lower_next_due(dues: Iterable[tuple[int, int]]) -> None:
    """(lane, moment in ms): the lane has work from then on. Before the jobs themselves are touched."""
    earliest: dict[int, int] = {}
    for lane, due in dues:
        earliest[lane] = min(due, earliest.get(lane, due))
    lowered = _lower(earliest)
    if sql.dialect().postgresql:
        # Once more when it can be seen: who gave the lane back meanwhile saw no job, and a row that said an earlier
        # moment wasn't held by the first update. If this one fails, the minute's sweep finds the job.
        transaction.on_commit(lambda: _wake(earliest, lowered | _lower(earliest)), robust=True)


def _lower(earliest: Mapping[int, int]) -> set[int]:
    """Returns the lanes whose row said a later moment."""
    update = "update journal_lane set next_due = %s where id = %s and (next_due is null or next_due > %s)"
    return {lane for lane, due in sorted(earliest.items()) if sql.run(update, (due, lane, due))}


def _wake(earliest: Mapping[int, int], lowered: set[int]) -> None:
    """Wakes a worker for lanes that nobody knew to be due; one that was due before is woken already, or drained."""
    now = clock.now_ms()
    wake.wake(lane for lane in sorted(lowered) if earliest[lane] <= now)


def count(changes: Mapping[tuple[int, int, int, str, str], int]) -> None:
    """Adds to the counters (site, hour, connection, command, standing): the last thing a transaction does."""
    for key, n in sorted(changes.items()):
        if n:
            sql.run(
                "insert into journal_counter (site, hour, connection, command, standing, n) "
                "values (%s, %s, %s, %s, %s, %s) on conflict (site, hour, connection, command, standing) "
                "do update set n = journal_counter.n + excluded.n",
                (*key, n),
            )


def _keep_strangers(strangers: Sequence[NewStranger]) -> None:
    if not strangers:
        return
    sql.insert("journal_stranger", NewStranger._fields, strangers)
    for site in sorted({stranger.site for stranger in strangers}):
        sql.run(
            "delete from journal_stranger where site = %s and id not in "
            "(select id from journal_stranger where site = %s order by id desc limit %s)",
            (site, site, STRANGERS_KEPT),
        )
    count(Counter((s.site, s.received // HOUR_MS, 0, "", "stranger") for s in strangers))


# --- releases ----------------------------------------------------------------------------------------------------


def _join_releases(jobs: list[NewJob]) -> list[NewJob]:
    """Batchsync calls belong to the open release of their connection and name; the first call opens it."""
    groups: dict[tuple[int, str], list[NewJob]] = {}
    for job in jobs:
        if job.release is not None and not job.outcome:
            groups.setdefault((job.connection, job.release), []).append(job)
    joined = {group: _open_release(*group, members) for group, members in sorted(groups.items())}
    placed = []
    for job in jobs:
        release = joined.get((job.connection, job.release or "")) if job.release is not None else None
        placed.append(replace(job, release_id=release[0], due=max(job.due, release[1])) if release else job)
    return placed


def _open_release(connection: int, name: str, jobs: list[NewJob]) -> tuple[int, int]:
    """(key, moment of the first read) of the release these calls belong to."""
    first, last = min(job.received for job in jobs), max(job.received for job in jobs)
    sql.run(
        "update journal_release set closed = %s where connection = %s and name = %s and closed is null and opened < %s",
        (first, connection, name, first - RELEASE_OPEN_AT_MOST_MS),
    )
    delay = jobs[0].release_delay_ms
    sql.insert(
        "journal_release",
        ("site", "connection", "name", "opened", "reads_at", "last_call", "delay_ms", "calls"),
        [(jobs[0].site, connection, name, first, first + delay, last, delay, 0)],
    )
    ((release, reads_at),) = sql.rows(
        "select id, reads_at from journal_release where connection = %s and name = %s and closed is null",
        (connection, name),
    )
    sql.run(
        "update journal_release set calls = calls + %s, "
        "last_call = case when last_call < %s then %s else last_call end where id = %s",
        (len(jobs), last, last, release),
    )
    return release, reads_at


def close_releases() -> int:
    """Closes the releases in which nothing waits and to which no call came for as long as their delay."""
    now = clock.now_ms()
    return sql.run(
        "update journal_release set closed = %s where closed is null and reads_at <= %s "
        "and last_call + delay_ms <= %s and not exists "
        "(select 1 from journal_job j where j.release = journal_release.id and j.standing in ('waiting', 'held'))",
        (now, now, now),
    )


# --- signs of life ------------------------------------------------------------------------------------------------


def beat(*, name: str, kind: str, host: str, pid: int, started: int, counts: object) -> None:
    """Writes down that this process is alive now, and what it counted. Who was silent for a day is forgotten."""
    now = sql.dialect().now_ms
    sql.run(
        "insert into journal_heartbeat (name, kind, host, pid, started, seen, counts) "
        f"values (%s, %s, %s, %s, %s, {now}, %s) on conflict (name) do update set host = excluded.host, "
        "pid = excluded.pid, started = excluded.started, seen = excluded.seen, counts = excluded.counts",
        (name, kind, host, pid, started, as_json(counts)),
    )
    sql.run(f"delete from journal_heartbeat where seen < {now} - %s", (HEARTBEAT_KEPT_MS,))


def beat_no_more(name: str) -> None:
    """This process ends cleanly: nobody need miss it."""
    sql.run("delete from journal_heartbeat where name = %s", (name,))


# --- buttons ------------------------------------------------------------------------------------------------------


def redeliver(job_ids: Sequence[int], *, account: int | None, word: str = "") -> int:
    """Puts finished jobs back to waiting, at the end of their contact's order. Returns how many.

    Of a job that is done only the effects that are not go on: nothing of ours runs again. `word`: the corrected
    command of a call that was not understood. `account`: who asked, for the record.
    """
    d, now = sql.dialect(), clock.now_ms()
    with transaction.atomic():
        chosen = sql.rows(
            f"select id from journal_job where state <> 'waiting' and outcome <> 'done' "
            f"and ({d.among('id')} or ({d.among('root')} and outcome <> 'no-op'))",
            (d.values(job_ids), d.values(job_ids)),
        )
        ids = sorted(job for (job,) in chosen)
        if not ids:
            return 0
        lanes = sql.rows(f"select distinct lane from journal_job where {d.among('id')}", (d.values(ids),))
        lower_next_due((lane, now) for (lane,) in lanes)
        sql.run(
            "update journal_job set state = 'waiting', outcome = '', reason = '', detail = '{}', finished = null, "
            "params = case when command = '' then %s else params end, account = coalesce(%s, account), "
            f"tries = 0, crashes = 0, due = %s, turn = %s, priority = %s where {d.among('id')}",
            (as_json({"word": word}), account, now, now, INTERACTIVE, d.values(ids)),
        )
        restand(ids)
    return len(ids)


def release_held(reason: str, *, at_most: int = 1_000) -> int:
    """What was held for this reason goes on: the oldest so many, in the order they came. Returns how many."""
    with transaction.atomic():
        held = sql.rows(
            "select id from journal_job where state = 'held' and reason = %s order by id limit %s",
            (reason, at_most),
        )
        let_out([job for (job,) in held])
    return len(held)


def let_out(job_ids: Sequence[int]) -> None:
    """These held jobs go on, in the caller's transaction, and their lanes are looked at."""
    if not job_ids:
        return
    d, now = sql.dialect(), clock.now_ms()
    ids = d.values(job_ids)
    lanes = sql.rows(f"select distinct lane from journal_job where {d.among('id')}", (ids,))
    lower_next_due((lane, now) for (lane,) in lanes)
    sql.run(f"update journal_job set state = 'waiting', reason = '' where {d.among('id')} and state = 'held'", (ids,))
    restand(job_ids)


def run_again(job_id: int, *, account: int | None) -> str:
    """The same command for the same contact as a new job of today, asked for by staff. Returns its key."""
    ((site, connection, contact, stream, command, params),) = sql.rows(
        "select site, connection, contact, stream, command, params from journal_job where id = %s", (job_id,)
    )
    job = _by_staff(site, connection, contact, command, account)
    with transaction.atomic():
        add([replace(job, stream=stream, params=json.loads(params))])
    return job.key


def refresh_contact(*, site: int, connection: int, contact: str, account: int | None) -> str:
    """A click on *Refresh*: reads that contact again, before all else. Returns the new job's key."""
    job = replace(_by_staff(site, connection, contact, "updateuser", account), stream="refresh")
    with transaction.atomic():
        add([job])
    return job.key


def _by_staff(site: int, connection: int, contact: str, command: str, account: int | None) -> NewJob:
    return NewJob(
        key=str(uuid7()),
        site=site,
        connection=connection,
        contact=contact,
        command=command,
        received=clock.now_ms(),
        source="staff",
        priority=INTERACTIVE,
        account=account,
    )


def understood(job_id: int, job: NewJob) -> None:
    """A call that was not understood before is this job now. In the transaction that closed its attempt."""
    ((site, received, connection),) = sql.rows(
        "select site, received, connection from journal_job where id = %s", (job_id,)
    )
    sql.run(
        "update journal_job set command = %s, contact = %s, stream = %s, params = %s, priority = %s where id = %s",
        (job.command, job.contact, job.stream, as_json(job.params), INTERACTIVE, job_id),
    )
    place = (site, received // HOUR_MS, connection)
    count({(*place, "", "waiting"): -1, (*place, job.command, "waiting"): 1})


# --- how a whole family of jobs stands ------------------------------------------------------------------------------

_WORST_FIRST = ("failed", "unknown", "refused", "held", "waiting")


def restand(job_ids: Iterable[int]) -> None:
    """Works out anew how the families of these jobs stand, for the list and its counters."""
    d = sql.dialect()
    ids = d.values(sorted(job_ids))
    roots = sql.rows(f"select distinct coalesce(root, id) from journal_job where {d.among('id')}", (ids,))
    roots_param = d.values(sorted(root for (root,) in roots))
    family = sql.rows(
        "select coalesce(root, id), root, id, state, outcome, standing, site, received, connection, command "
        f"from journal_job where {d.among('id')} or {d.among('root')}",
        (roots_param, roots_param),
    )
    own = {row[2]: (row[4] if row[3] == "finished" else row[3]) for row in family}
    by_root: dict[int, set[str]] = {}
    for row in family:
        by_root.setdefault(row[0], set()).add(own[row[2]])
    changes: Counter[tuple[int, int, int, str, str]] = Counter()
    updates = []
    for root_id, parent_root, job, _, _, before, site, received, connection, command in family:
        after = own[job] if parent_root is not None else _worst(by_root[root_id], own[job])
        if after == before:
            continue
        updates.append((job, after))
        if parent_root is None:
            hour = received // HOUR_MS
            changes[site, hour, connection, command, before] -= 1
            changes[site, hour, connection, command, after] += 1
    sql.update("journal_job", {"id": "bigint", "standing": "text"}, updates)
    count(changes)


def _worst(standings: set[str], own: str) -> str:
    return next((standing for standing in _WORST_FIRST if standing in standings), own)


def hold_siblings(given_up: Sequence[str]) -> None:
    """Steps that wait for these jobs (by key), which were given up, are held until somebody mends that."""
    d = sql.dialect()
    sql.run(
        "update journal_job set state = 'held', reason = 'sibling-not-done' "
        f"where {d.among('after')} and state = 'waiting'",
        (d.values(given_up),),
    )
