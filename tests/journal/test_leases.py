"""Lanes under a lease: one worker a lane, nothing done twice, crashes counted."""

from dataclasses import replace

import pytest

from tagwarden.accounts.models import Site
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.uuid7 import uuid7
from tagwarden.journal import endings, leases, sql, store
from tagwarden.journal.leases import Ended, Lane
from tagwarden.journal.models import Attempt, Counter, Job
from tagwarden.journal.models import Lane as LaneRow


def new_job(connection: Connection, contact: str = "1", **changed: object) -> store.NewJob:
    job = store.NewJob(
        key=str(uuid7()),
        site=connection.site_id,
        connection=connection.pk,
        command="updateuser",
        contact=contact,
        stream="refresh",
        received=clock.now_ms(),
    )
    return replace(job, **changed)  # type: ignore[arg-type]  # mixed on purpose


@pytest.fixture
def lane(connection: Connection) -> Lane:
    """A lane with three waiting refreshes, under our lease."""
    store.add([new_job(connection, str(n)) for n in (1, 2, 3)])
    (lane_id,) = leases.due_lanes()
    lane = leases.lease(lane_id, "first")
    assert lane is not None
    return lane


def run_out(lane: Lane) -> None:
    LaneRow.objects.filter(pk=lane.id).update(until=1)


def ended(jobs: list[leases.Job], outcome: str = "done") -> list[Ended]:
    return [Ended(job, outcome, outcome) for job in jobs]


def test_it_works(lane: Lane) -> None:
    jobs = leases.take(lane, "first", size=100)
    with leases.outcome_transaction(lane, jobs) as in_hand:
        endings.finish(ended(in_hand))
    leases.give_back(lane)

    assert set(Job.objects.values_list("outcome", flat=True)) == {"done"}
    assert set(Attempt.objects.values_list("result", flat=True)) == {"done"}
    row = LaneRow.objects.get()
    assert (row.token, row.next_due) == ("", None)
    assert dict(Counter.objects.values_list("standing", "n")) == {"waiting": 0, "done": 3}


def test_a_lane_is_drained_by_one_worker_at_a_time(lane: Lane) -> None:
    assert leases.due_lanes() == []
    assert leases.lease(lane.id, "second") is None

    run_out(lane)

    assert leases.due_lanes() == [lane.id]
    assert leases.lease(lane.id, "second") is not None


def test_work_under_a_lost_lease_is_dropped(lane: Lane) -> None:
    jobs = leases.take(lane, "first", size=100)
    run_out(lane)
    second = leases.lease(lane.id, "second")
    assert second is not None

    with pytest.raises(leases.LeaseLost), leases.outcome_transaction(lane, jobs) as in_hand:
        endings.finish(ended(in_hand))

    assert not Job.objects.exclude(state="waiting").exists()
    assert len(leases.take(second, "second", size=100)) == 1  # one at a time: they saw a crash
    assert leases.renew([lane]) == set()


def test_what_was_committed_is_not_written_twice_when_its_answer_was_lost(lane: Lane) -> None:
    jobs = leases.take(lane, "first", size=100)
    for outcome in ("done", "failed"):
        with leases.outcome_transaction(lane, jobs) as in_hand:
            endings.finish(ended(in_hand, outcome))

    assert set(Job.objects.values_list("outcome", flat=True)) == {"done"}
    assert dict(Counter.objects.values_list("standing", "n")) == {"waiting": 0, "done": 3}


def test_a_crash_spends_no_try_and_the_third_ends_the_job(lane: Lane) -> None:
    for crash in (1, 2, 3):
        leases.take(lane, "first", size=1)
        run_out(lane)
        lane = leases.lease(lane.id, f"worker {crash}") or lane
    died = Job.objects.get(reason="worker-died")

    assert (died.outcome, died.tries, died.crashes) == ("failed", 0, 3)
    assert list(Attempt.objects.filter(job=died.pk).values_list("result", flat=True)) == ["crash"] * 3
    assert Job.objects.filter(state="waiting", crashes=0).count() == 2
    assert dict(Counter.objects.values_list("standing", "n")) == {"waiting": 2, "failed": 1}


def test_at_the_start_of_the_only_worker_all_leases_are_dead_ones(lane: Lane) -> None:
    leases.take(lane, "first", size=100)

    assert leases.take_over_all() == 1

    assert not Attempt.objects.filter(ended=None).exists()
    assert leases.due_lanes() == [lane.id]


def test_of_one_worker_that_died_only_its_own_leases_end(lane: Lane) -> None:
    leases.take(lane, "first", size=100)

    assert leases.take_over_all("another") == 0
    assert leases.due_lanes() == []
    assert leases.take_over_all("first") == 1
    assert leases.due_lanes() == [lane.id]


def test_what_is_held_back_is_looked_at_again_in_a_second_and_the_rest_at_once(
    connection: Connection, lane: Lane
) -> None:
    """Also a job that came in between the last look and the end of the lease, and was received long before."""
    Job.objects.update(after="a step that isn't done")
    assert not leases.give_back(lane, all_held_back=True)
    assert leases.due_lanes() == []

    lane = leases.lease(lane.id, "first") or lane
    store.add([new_job(connection, received=clock.now_ms() - 5_000)])
    assert leases.give_back(lane, all_held_back=True)
    assert leases.due_lanes() == [lane.id]


def test_due_lanes_may_be_asked_for_among_some(lane: Lane) -> None:
    leases.give_back(lane)
    assert leases.due_lanes(among=[lane.id]) == [lane.id]
    assert leases.due_lanes(among=[lane.id + 1]) == []


def test_a_clean_stop_spends_nothing(lane: Lane) -> None:
    leases.take(lane, "first", size=100)

    leases.close_unspent(lane)
    leases.give_back(lane)

    assert set(Job.objects.values_list("tries", "crashes", "state")) == {(0, 0, "waiting")}
    assert leases.due_lanes() != []


def test_the_most_urgent_goes_first_and_takes_refreshes_of_other_classes_along(
    connection: Connection, lane: Lane
) -> None:
    store.add([new_job(connection, "9", priority=store.INTERACTIVE), new_job(connection, "8", priority=store.BULK)])

    taken = leases.take(lane, "first", size=2)
    rest = leases.take(lane, "first", size=10)

    assert {job.contact for job in taken} == {"9", "1"}
    assert {job.contact for job in rest} == {"2", "3", "8"}


def test_a_batch_counts_contacts_not_calls(connection: Connection, lane: Lane) -> None:
    store.add([new_job(connection, "1") for _ in range(50)])

    taken = leases.take(lane, "first", size=2)

    assert len(taken) == 52
    assert {job.contact for job in taken} == {"1", "2"}


def test_only_interactive_work_gets_the_last_free_call(connection: Connection, lane: Lane) -> None:
    assert leases.take(lane, "first", size=10, lowest=store.INTERACTIVE) == []

    store.add([new_job(connection, "9", priority=store.INTERACTIVE)])

    assert [job.contact for job in leases.take(lane, "first", size=10, lowest=store.INTERACTIVE)] == ["9"]


def test_a_contact_whose_read_is_in_flight_is_not_taken(lane: Lane) -> None:
    assert {job.contact for job in leases.take(lane, "first", size=10, busy=["1", "3"])} == {"2"}


def test_contacts_in_hand_are_those_whose_attempt_is_open(lane: Lane) -> None:
    assert leases.contacts_in_hand(lane) == set()
    jobs = leases.take(lane, "first", size=2)
    assert leases.contacts_in_hand(lane) == {job.contact for job in jobs} == {"1", "2"}
    with leases.outcome_transaction(lane, jobs) as in_hand:
        endings.finish(ended(in_hand))
    assert leases.contacts_in_hand(lane) == set()


def test_a_lost_wake_is_found_by_the_sweep(lane: Lane) -> None:
    leases.give_back(lane)
    LaneRow.objects.update(next_due=None)
    assert leases.due_lanes() == []

    assert leases.sweep_next_due() == 1

    assert leases.due_lanes() == [lane.id]


def test_the_same_job_added_twice_is_one(connection: Connection) -> None:
    job = new_job(connection)
    for _ in range(2):
        store.add([job])

    assert Job.objects.count() == 1
    assert dict(Counter.objects.values_list("standing", "n")) == {"waiting": 1}


def test_calls_of_a_release_join_the_open_one_and_later_ones_open_the_next(connection: Connection) -> None:
    hour = 3_600_000

    def call(received: int) -> store.NewJob:
        return new_job(connection, received=received, command="batchsync", release="Spring", release_delay_ms=300_000)

    store.add([call(hour), call(hour + 1_000)])
    store.add([call(hour + 100_000)])
    store.add([call(3 * hour)])

    releases = sql.rows("select opened, reads_at, last_call, calls, closed from journal_release order by id")
    assert releases == [
        (hour, hour + 300_000, hour + 100_000, 3, 3 * hour),
        (3 * hour, 3 * hour + 300_000, 3 * hour, 1, None),
    ]
    assert set(sql.rows("select due from journal_job where received < %s", (2 * hour,))) == {(hour + 300_000,)}


def test_a_release_closes_when_nothing_waits_and_no_call_came_for_its_delay(connection: Connection) -> None:
    now = clock.now_ms()
    job = new_job(connection, received=now - 2_000, command="batchsync", release="x", release_delay_ms=1_000)
    store.add([job])
    assert store.close_releases() == 0

    sql.run("update journal_job set standing = 'done', state = 'finished'")

    assert store.close_releases() == 1
    assert store.close_releases() == 0


def test_sites_have_lanes_of_their_own(site: Site, other_site: Site) -> None:
    for number, of in enumerate((site, other_site)):
        connection = Connection.objects.create(site=of, crm="sandbox", name=str(number))
        store.add([new_job(connection)])

    assert len(leases.due_lanes()) == 2
