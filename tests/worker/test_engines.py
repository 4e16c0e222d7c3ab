"""What any engine must do: the same for the embedded one, on both databases, and for Procrastinate on PostgreSQL."""

import importlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.db import connection as database
from django.db import transaction
from django.db.models import Max, Min

from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.env import env
from tagwarden.core.errors import Retryable
from tagwarden.core.outcome import done
from tagwarden.core.wire import Param
from tagwarden.journal import leases, sql, store
from tagwarden.journal.models import Attempt, Job, Lane
from tagwarden.worker.engine import Engine
from tests.journal.test_leases import new_job
from tests.serving import wait_until
from tests.worker.conftest import Road, nothing_left_open

ENGINES = ["embedded", "procrastinate"] if env().on_postgresql else ["embedded"]
pytestmark = pytest.mark.django_db(transaction=True)
Start = Callable[..., threading.Event]


def engine_named(name: str) -> type[Engine]:
    return importlib.import_module(f"tagwarden.worker.engine_{name}").Engine  # type: ignore[no-any-return]


@contextmanager
def working(engine: Engine) -> Iterator[threading.Event]:
    """The engine runs in a thread of its own; gives what stops it."""
    stop = threading.Event()

    def run() -> None:
        try:
            engine.run(stop)
        finally:
            database.close()  # this thread's own

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts engines, with attributes of them changed; all are stopped at the end."""
    forget_wakes()
    with ExitStack() as stack:

        def one(kind: type[Engine], **changed: object) -> threading.Event:
            engine = kind()
            for name, value in changed.items():
                setattr(engine, name, value)
            return stack.enter_context(working(engine))

        yield one


@pytest.fixture(params=ENGINES)
def kind(request: pytest.FixtureRequest) -> type[Engine]:
    return engine_named(request.param)


def all_done() -> bool:
    return not Job.objects.exclude(state="finished").exists()


def until_listening(workers: int = 1) -> None:
    listening = "select 1 from pg_stat_activity where query like 'LISTEN%%' and datname = current_database()"
    wait_until(lambda: len(sql.rows(listening)) == workers)


def forget_wakes() -> None:
    """Those of other tests, and that the clock has struck in this minute."""
    if env().on_postgresql:
        sql.run("delete from procrastinate_periodic_defers")
        sql.run("delete from procrastinate_jobs")


def add(connection: Connection, **changed: object) -> None:
    with transaction.atomic():
        store.add([new_job(connection, **changed)])  # type: ignore[arg-type]  # mixed on purpose


def lateness() -> int:
    """By how many ms the one job that there is began after it was due."""
    return clock.to_ms(Attempt.objects.get().started) - clock.to_ms(Job.objects.get().due)


def test_a_call_is_worked_off_within_a_second(road: Road, start: Start, kind: type[Engine]) -> None:
    road.enrol(1, 2)
    start(kind)
    road.call("aal_updateuser", 1)
    wait_until(all_done)

    (second,) = road.call("aal_updateuser", 2)
    began = time.monotonic()  # the call is in the journal
    wait_until(all_done)

    assert time.monotonic() - began < 1
    assert road.job(second).outcome == "done"


def test_work_that_waits_when_the_engine_starts_is_picked_up(road: Road, start: Start, kind: type[Engine]) -> None:
    road.enrol(1, 2, 3)
    road.call("aal_updateuser", 1, 2, 3)
    forget_wakes()
    start(kind)
    wait_until(all_done, 10)
    assert set(Job.objects.values_list("outcome", flat=True)) == {"done"}


def test_a_job_due_later_runs_on_time(connection: Connection, start: Start, kind: type[Engine]) -> None:
    start(kind)
    add(connection, due=clock.now_ms() + 2_000)
    wait_until(all_done, 10)
    assert 0 <= lateness() < 1_200


def test_a_retry_is_punctual(
    road: Road, start: Start, kind: type[Engine], commands: Any, quick_ladder: Callable[[float], None]
) -> None:
    quick_ladder(0.4)  # two seconds before the first retry
    road.enrol(1)
    tried: list[int] = []

    def run(params: Any, member: Any, ctx: Any) -> Any:
        tried.append(clock.now_ms())
        if len(tried) == 1:
            raise Retryable("crm-overloaded", crm="Sandbox CRM", status=503)
        due.append(clock.to_ms(Job.objects.get().due))
        return done()

    due: list[int] = []
    commands("twice", run)
    start(kind)
    road.call("aal_twice", 1)
    wait_until(all_done, 15)

    assert due[0] - tried[0] > 1_000
    assert 0 <= tried[1] - due[0] < 1_200


def test_a_contacts_commands_run_in_their_order(road: Road, start: Start, kind: type[Engine], commands: Any) -> None:
    road.enrol(1)
    ran: list[int] = []

    def run(params: Any, member: Any, ctx: Any) -> Any:
        ran.append(params["n"])
        return done()

    commands("count", run, PARAMS={"n": Param()})
    start(kind)
    for n in range(30):
        road.call("aal_count", 1, query=f"&n={n}")
    wait_until(all_done)

    assert ran == list(range(30))


def test_two_lanes_take_turns(road: Road, start: Start, kind: type[Engine]) -> None:
    """The second doesn't wait until the first has nothing left to do."""
    road.enrol(*range(1, 101))
    other = Connection.objects.get()
    other.pk, other.name = None, "Another"
    other.save()
    now = clock.now_ms()
    for connection in (road.connection, other):
        with transaction.atomic():
            jobs = [new_job(connection, str(n), received=now) for n in range(1, 601)]
            store.add(jobs)
    start(kind)
    wait_until(all_done)

    began = {
        connection: Attempt.objects.filter(job__in=Job.objects.filter(connection=connection).values("pk")).aggregate(
            first=Min("started"), last=Max("started")
        )
        for connection in (road.connection.pk, other.pk)
    }
    first, second = began[road.connection.pk], began[other.pk]
    assert second["first"] < first["last"]
    assert first["first"] < second["last"]


def test_a_stop_in_the_middle_leaves_nothing_open(road: Road, start: Start, kind: type[Engine]) -> None:
    contacts = range(1, 101)
    road.enrol(*contacts)
    road.crm.set(latency_ms=300)
    stop = start(kind)
    road.call("aal_updateuser", *contacts)
    wait_until(road.in_hand)
    stop.set()
    wait_until(nothing_left_open)
    assert not Attempt.objects.filter(result="crash").exists()

    road.crm.set(latency_ms=0)
    start(kind)
    wait_until(all_done)
    assert set(Job.objects.values_list("outcome", "tries")) == {("done", 0)}


def test_a_lost_lease_is_survived(road: Road, start: Start, kind: type[Engine]) -> None:
    """Another worker has taken the lane over in the middle of the work, and dies as well."""
    road.enrol(1, 2)
    road.crm.set(latency_ms=500)
    start(kind)
    road.call("aal_updateuser", 1)
    wait_until(road.in_hand)
    Lane.objects.update(until=1)
    (lane_id,) = Lane.objects.values_list("pk", flat=True)
    assert leases.lease(lane_id, "another") is not None
    wait_until(lambda: Attempt.objects.filter(result="crash").exists())
    road.call("aal_updateuser", 2)
    Lane.objects.update(until=1)

    wait_until(all_done)
    assert set(Job.objects.values_list("outcome", flat=True)) == {"done"}
    assert Attempt.objects.filter(result="done").count() == 2
    wait_until(nothing_left_open)


# What only several workers need.


@pytest.mark.postgresql
def test_a_wake_is_heard_at_once_without_looking(road: Road, start: Start) -> None:
    """Procrastinate 3.10 forgets one that comes just while it looks for more, and looks again after 5 s."""
    contacts, took = range(1, 6), []
    road.enrol(*contacts)
    start(engine_named("procrastinate"), LOOK_SECONDS=3600)
    until_listening()
    for contact in contacts:
        road.call("aal_updateuser", contact)
        began = time.monotonic()
        wait_until(all_done, 10)
        took.append(time.monotonic() - began)
    assert statistics.median(took) < 1


@pytest.mark.postgresql
def test_a_lane_has_one_waiting_wake_and_jobs_of_a_lane_that_is_due_add_none(connection: Connection) -> None:
    forget_wakes()
    for contact in ("1", "2", "3"):
        add(connection, contact=contact)
    ((lane_id,),) = sql.rows("select id from journal_lane")
    (wake,) = sql.rows("select queueing_lock, lock, args ->> 'lane', status from procrastinate_jobs")
    assert wake == (str(lane_id), None, str(lane_id), "todo")

    Lane.objects.update(next_due=None)
    add(connection, contact="4")  # the lane is woken again, but the first wake waits still
    assert sql.rows("select count(*) from procrastinate_jobs") == [(1,)]


@pytest.mark.postgresql
def test_no_wake_for_a_transaction_that_is_rolled_back(connection: Connection) -> None:
    forget_wakes()
    with transaction.atomic():
        store.add([new_job(connection)])
        transaction.set_rollback(True)
    assert sql.rows("select count(*) from procrastinate_jobs") == [(0,)]


@pytest.mark.postgresql
def test_a_lane_that_always_has_work_goes_round_among_the_workers(road: Road, start: Start) -> None:
    road.enrol(*range(1, 101))
    for worker in ("one", "two"):
        # They look, too: what waits for a lagging list to settle falls due by itself.
        start(engine_named("procrastinate"), HOLD_SECONDS=0.2, LOOK_SECONDS=1, worker=worker)
    until_listening(workers=2)

    def both_had_it() -> bool:
        road.call("aal_updateuser", *range(1, 101))
        return set(Attempt.objects.values_list("worker", flat=True)) == {"one", "two"}

    wait_until(both_had_it)
    wait_until(all_done)
    assert set(Job.objects.values_list("outcome", flat=True)) == {"done"}
    assert not Attempt.objects.filter(result="crash").exists()


@pytest.mark.postgresql
def test_a_stalled_wake_is_marked_failed_and_never_tried_again(connection: Connection, start: Start) -> None:
    """A worker died that had heard it; a wake that came in afterwards waits behind it."""
    forget_wakes()
    add(connection)
    sql.run("update procrastinate_jobs set status = 'doing'")
    Lane.objects.update(next_due=None)
    add(connection, contact="2")
    start(engine_named("procrastinate"), LOOK_SECONDS=3600)

    wait_until(all_done)
    failed = "select count(*) from procrastinate_jobs where status = 'failed'"
    wait_until(lambda: sql.rows(failed) == [(1,)])
    wait_until(lambda: sql.rows("select count(*) from procrastinate_jobs") == [(1,)])


def test_procrastinate_is_there_on_postgresql_only(settings: Any) -> None:
    tables = {name for name in database.introspection.table_names() if name.startswith("procrastinate")}
    assert ("procrastinate.contrib.django" in settings.INSTALLED_APPS) == env().on_postgresql
    assert bool(tables) == env().on_postgresql
