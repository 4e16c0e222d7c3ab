"""How attempts end: outcomes, the next try, the steps that waited for them, and the counters.

Part of the journal's only writer (journal/store.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from django.db import transaction

from tagwarden.core import clock
from tagwarden.journal import sql, store, told
from tagwarden.journal.leases import Ended


def finish(results: Sequence[Ended]) -> None:
    """Writes down how attempts ended, within `outcome_transaction`, as its last step."""
    now = clock.now_ms()
    lists = {id(r.calls): r.calls for r in results}  # many share one
    calls = {key: store.as_json(rows) for key, rows in lists.items()}
    sql.update(
        "journal_attempt",
        {
            "job": "bigint",
            "ended": "bigint",
            "result": "text",
            "reason": "text",
            "detail": "text",
            "calls": "text",
        },
        [(r.job.id, now, r.result, r.reason, store.as_json(r.detail), calls[id(r.calls)]) for r in results],
        key=("job",),
        where="t.ended is null",
    )
    ended, open_again = [r for r in results if r.outcome], [r for r in results if not r.outcome]
    held = [r.job.id for r in open_again if r.result == "held"]
    _end_jobs(ended, now)
    _wait_again(open_again)
    children = [child for result in results for child in result.children]
    store.add(children)
    _wake_siblings(ended)
    in_families = [r.job.id for r in ended if r.job.root is not None or r.children]
    alone = [r for r in ended if r.job.root is None and not r.children]
    _count_ended(alone)
    if in_families or held:
        store.restand([*in_families, *held])
    ends = [(r.result, r.job.command, r.reason, r.job.called) for r in results]
    transaction.on_commit(partial(told.ends, ends))


def found(job_id: int, contact: str, stream: str, params: Mapping[str, object]) -> None:
    """A job that had only an e-mail is this contact's now. In the transaction that closed its attempt."""
    sql.run(
        "update journal_job set contact = %s, stream = %s, params = %s where id = %s",
        (contact, stream, store.as_json(params), job_id),
    )


def _end_jobs(ended: list[Ended], now: int) -> None:
    columns = {"id": "bigint", "state": "text", "outcome": "text", "reason": "text", "detail": "text"}
    columns |= {"standing": "text", "tries": "int", "finished": "bigint"}
    sql.update(
        "journal_job",
        columns,
        [
            (r.job.id, "finished", r.outcome, r.reason, store.as_json(r.detail), _standing(r), _tries(r), now)
            for r in ended
        ],
    )


def _standing(result: Ended) -> str:
    """Of a job on its own; those of families are worked out afterwards, from what the list shows now."""
    alone = result.job.root is None and not result.children
    return result.outcome if alone else "waiting"


def _tries(result: Ended) -> int:
    return result.job.tries + (1 if result.spends_try else 0)


def _wait_again(results: list[Ended]) -> None:
    sql.update(
        "journal_job",
        {"id": "bigint", "state": "text", "reason": "text", "detail": "text", "tries": "int", "due": "bigint"},
        [(r.job.id, _open_state(r), r.reason, store.as_json(r.detail), _tries(r), r.due) for r in results],
    )


def _open_state(result: Ended) -> str:
    return "held" if result.result == "held" else "waiting"


def _wake_siblings(ended: list[Ended]) -> None:
    """A step that waits for one that ended: goes on if that is done, has nothing to do either if that had nothing to
    do, and else is held until somebody mends it.
    """
    in_families = [r for r in ended if r.job.root is not None]
    if not in_families:
        return
    d = sql.dialect()
    done = d.values(r.job.key for r in in_families if r.outcome == "done")
    sql.run(
        f"update journal_job set state = 'waiting', reason = '' where {d.among('after')} and state = 'held' "
        "and reason = 'sibling-not-done'",
        (done,),
    )
    for reason in {r.reason for r in in_families if r.outcome == "no-op"}:
        idle = d.values(r.job.key for r in in_families if r.outcome == "no-op" and r.reason == reason)
        sql.run(
            "update journal_job set state = 'finished', outcome = 'no-op', standing = 'no-op', reason = %s, "
            f"finished = %s where {d.among('after')} and state <> 'finished'",
            (reason, clock.now_ms(), idle),
        )
    store.hold_siblings([r.job.key for r in in_families if r.outcome not in {"done", "no-op"}])


def _count_ended(ended: list[Ended]) -> None:
    changes: Counter[tuple[int, int, int, str, str]] = Counter()
    for result in ended:
        job = result.job
        place = (job.site, job.received // store.HOUR_MS, job.connection, job.command)
        changes[*place, "waiting"] -= 1
        changes[*place, result.outcome] += 1
    store.count(changes)
