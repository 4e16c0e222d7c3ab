"""What the journal says of its own state: signs of life, late work, failures, counts."""

import pytest

from tagwarden.connections.models import Connection
from tagwarden.core import clock, health
from tagwarden.core.health import Vitals
from tagwarden.journal import endings, leases, sql, store, vitals
from tagwarden.journal.leases import Ended
from tagwarden.journal.models import Heartbeat
from tests.journal.test_leases import new_job

MINUTE = 60_000


def look() -> Vitals:
    seen = vitals.look("spool-of-ours")
    assert seen is not None
    assert seen.fits
    return seen


def beat(name: str = "worker:box:7", **changed: object) -> None:
    values: dict[str, object] = {"kind": "worker", "host": "box", "pid": 7, "started": 1, "counts": []}
    store.beat(name=name, **(values | changed))  # type: ignore[arg-type]  # mixed on purpose


def silent_for(name: str, seconds: int) -> None:
    sql.run("update journal_heartbeat set seen = seen - %s where name = %s", (seconds * 1000, name))


def test_a_sign_of_life_is_one_row_a_process_however_often_it_comes(db: None) -> None:
    beat(pid=7)
    silent_for("worker:box:7", 100)
    beat(pid=8, counts=[("attempts", {"result": "done"}, 3)])
    (seen,) = look().heartbeats
    assert (seen.pid, seen.age < 5, seen.counts) == (8, True, [("attempts", {"result": "done"}, 3)])


def test_who_was_silent_for_a_day_is_forgotten_and_who_ended_cleanly_at_once(db: None) -> None:
    for name in ("old", "young", "gone"):
        beat(name)
    silent_for("old", 25 * 3600)
    silent_for("young", 23 * 3600)
    store.beat_no_more("gone")
    beat("now")
    assert sorted(Heartbeat.objects.values_list("name", flat=True)) == ["now", "young"]


@pytest.mark.parametrize(("seconds", "ok"), [(20, True), (40, False)])
def test_a_worker_that_is_silent_for_half_a_minute_is_missed(db: None, seconds: int, ok: bool) -> None:
    beat()
    silent_for("worker:box:7", seconds)
    check = health.worker(look())
    assert check.ok == ok
    assert ("No worker works" in check.sentence) == (not ok)


def test_no_worker_at_all_is_a_finding(db: None) -> None:
    beat("intake:x", kind="intake")
    assert health.worker(look()).sentence.endswith("None was seen in the last day.")


def test_the_oldest_due_work_is_found_while_its_lane_is_drained_and_in_whatever_class(connection: Connection) -> None:
    assert look().oldest_due is None
    now = clock.now_ms()
    store.add([new_job(connection, "1", due=now - 3 * MINUTE, priority=store.BULK)])
    store.add([new_job(connection, "2", due=now - 2 * MINUTE), new_job(connection, "3", due=now + MINUTE)])
    assert 180 <= (look().oldest_due or 0) < 200
    lane = leases.lease(leases.due_lanes()[0], "worker")
    assert lane is not None
    with leases.outcome_transaction(lane, leases.take(lane, "worker", size=2)) as in_hand:
        endings.finish([Ended(job, "done", "done") for job in in_hand if job.contact == "1"])
    assert 120 <= (look().oldest_due or 0) < 140


def test_a_step_that_waits_for_its_sibling_is_not_late(connection: Connection) -> None:
    now = clock.now_ms()
    store.add([new_job(connection, "1", due=now - 60 * MINUTE, after="its:sibling"), new_job(connection, "2")])
    assert (look().oldest_due or 0) < 5


@pytest.mark.parametrize(("reason", "ok"), [("crm-key-refused", True), ("internal-error", False)])
def test_failures_count_for_an_hour_and_only_ours_are_a_finding(connection: Connection, reason: str, ok: bool) -> None:
    received = clock.now_ms()
    store.add(
        [
            new_job(connection, "1", outcome="failed", reason=reason, received=received),
            new_job(connection, "2", outcome="failed", reason=reason, received=received - 61 * MINUTE),
            new_job(connection, "3", outcome="done", received=received),
        ]
    )
    seen = look()
    assert seen.failed == {reason: 1}
    assert health.failures(seen).ok == ok


def test_listed_jobs_are_counted_by_connection_and_standing(connection: Connection) -> None:
    long_ago = clock.now_ms() - 8 * 24 * 60 * MINUTE
    store.add([new_job(connection, "1"), new_job(connection, "2"), new_job(connection, "3", outcome="failed")])
    store.add([new_job(connection, "4", received=long_ago)])
    assert vitals.standings() == {(connection.pk, "failed"): 1, (connection.pk, "waiting"): 2}


def test_a_schema_of_another_version_is_said(db: None) -> None:
    sql.run("delete from django_migrations where app = 'journal' and name = '0002_heartbeat'")
    seen = vitals.look("spool-of-ours")
    assert seen == Vitals(fits=False)
    assert "hasn't this version's schema" in health.database(seen).sentence
