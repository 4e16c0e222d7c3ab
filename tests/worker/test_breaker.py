"""While the CRM is down its work waits, loses no try, and is done when it is back. The clock is moved."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import ModuleType

import pytest
import time_machine

from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.outcome import Effect, done
from tagwarden.journal import limits
from tagwarden.journal.models import Attempt, Job, Lane
from tagwarden.worker.pace import Pace
from tests.worker.conftest import Road

AddCommand = Callable[..., ModuleType]
MINUTE = timedelta(minutes=1)


@pytest.fixture
def moved() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(clock.now(), tick=True) as traveller:
        yield traveller


@pytest.fixture
def mark(commands: AddCommand, quick_ladder: Callable[[float], None]) -> str:
    """A command whose effect is a call of its own; and the ladder is as long as in life."""
    effect = Effect("field-set", "points", {"field": "Points", "value": "10"})
    commands("mark", lambda params, member, ctx: done(effects=(effect,)))
    quick_ladder(1)
    return "aal_mark"


def down(road: Road) -> None:
    road.crm.set(fault_rate=1, faults=["503"])


def up(road: Road) -> None:
    road.crm.set(fault_rate=0)


def settle(road: Road) -> None:
    """The worker does all it can do now."""
    idle = 0
    while idle < 3:
        busy = road.engine.turn() or any(drain.in_flight for drain in road.engine._drains.values())
        idle = 0 if busy else idle + 1
        time.sleep(0.005)


def hold(road: Road) -> limits.Hold | None:
    return limits.holds(road.site.pk).get(road.connection.pk)


def test_a_crm_that_is_down_for_an_hour_costs_no_job_a_try(
    road: Road, mark: str, moved: time_machine.Traveller
) -> None:
    road.enrol(*range(1, 31))
    down(road)
    first = road.call(mark, *range(1, 21))
    settle(road)
    waiting = hold(road)
    assert waiting is not None
    assert waiting.reason == "crm-down"
    calls = road.crm.counters()["calls"]
    assert 6 <= calls <= 10, "five failures, what was under way meanwhile, and a look"

    late: list[str] = []
    for minute in range(60):
        moved.shift(MINUTE)
        if minute % 20 == 0:
            late += road.call("aal_updateuser", 21 + minute // 20)
        settle(road)
    looks = road.crm.counters()["calls"] - calls
    assert 12 <= looks <= 15, "after 10 s, 30 s, 2 min, then every 5 min"
    assert set(Job.objects.filter(state="waiting").values_list("tries", flat=True)) == {0}

    up(road)
    moved.shift(5 * MINUTE)
    road.work()

    assert {road.job(delivery).standing for delivery in first + late} == {"done"}
    assert set(Job.objects.filter(command="field-set").values_list("tries", flat=True)) == {0}
    assert not Attempt.objects.filter(result="retry").exists()
    assert hold(road) is None
    assert Lane.objects.get().breaker == "{}"


def test_a_look_that_is_answered_opens_nothing_and_gives_nothing_back() -> None:
    """One call that always breaks the CRM is no CRM that is down: it goes down the ladder like any other."""
    pace = Pace(limits.Kept())
    for _ in range(5):
        permit = pace.reserve(1, urgent=True)
        permit.begin("CRM")
        assert permit.failed()
    assert pace.free(urgent=True) == 0
    look = pace.begin_look()
    assert look is not None
    assert pace.begin_look() is None, "one at a time"
    look.begin("CRM")
    look.heard((), None)

    assert pace.looked(1).looks == 0
    assert pace.free(urgent=True) > 0
    assert pace.kept().breaker == "{}"


def test_what_fails_now_and_then_is_tried_again_and_pauses_nobody(road: Road, mark: str) -> None:
    road.enrol(1, 2)
    down(road)
    (delivery,) = road.call("aal_updateuser", 1)
    settle(road)
    assert road.job(delivery).tries == 1
    up(road)

    road.call("aal_updateuser", 2)
    settle(road)

    assert Lane.objects.get().breaker == "{}", "an answer ends the row of failures"
    assert hold(road) is None


def test_a_worker_that_dies_meanwhile_leaves_the_next_one_the_same_breaker(
    road: Road, mark: str, moved: time_machine.Traveller
) -> None:
    road.enrol(*range(1, 11))
    down(road)
    road.call(mark, *range(1, 11))
    settle(road)
    before = limits.of(Lane.objects.get().pk)

    pace = Pace(before)

    assert pace.free(urgent=True) == 0
    assert pace.when(urgent=True) == before.paused_until
    assert pace.kept() == before
    up(road)
    moved.shift(MINUTE)
    road.work()
    assert set(Job.objects.values_list("outcome", flat=True)) == {"done"}


def test_giving_tries_back_twice_gives_them_back_once(road: Road, mark: str) -> None:
    road.enrol(*range(1, 4))
    down(road)
    began = clock.now_ms()
    road.call(mark, *range(1, 4))
    settle(road)
    lane = Lane.objects.get().pk
    spent = Job.objects.filter(command="field-set", state="waiting")
    assert set(spent.values_list("tries", flat=True)) == {1}

    assert limits.unspend(lane, began) == 3
    assert limits.unspend(lane, began) == 0

    assert set(spent.values_list("tries", flat=True)) == {0}
    up(road)
    road.work()


def test_a_job_whose_last_try_was_lost_to_it_waits_again(road: Road, mark: str, moved: time_machine.Traveller) -> None:
    road.enrol(1)
    down(road)
    (delivery,) = road.call("aal_updateuser", 1)
    settle(road)
    Job.objects.update(tries=8)
    began = clock.now_ms()
    moved.shift(MINUTE)
    settle(road)
    assert road.job(delivery).outcome == "failed"

    limits.unspend(Lane.objects.get().pk, began)

    assert road.job(delivery).state == "waiting"
    up(road)
    road.work()
    assert road.job(delivery).outcome == "done"


def test_a_crm_that_refuses_connections_is_down_and_comes_back(
    road: Road, mark: str, moved: time_machine.Traveller
) -> None:
    road.enrol(*range(1, 11))
    Connection.objects.update(base_url="http://127.0.0.1:9")
    road.call(mark, *range(1, 11))
    settle(road)
    waiting = hold(road)
    assert waiting is not None
    assert waiting.reason == "crm-down"

    Connection.objects.update(base_url=road.crm.url)
    moved.shift(MINUTE)
    road.work()

    assert set(Job.objects.values_list("standing", "tries")) <= {("done", 0), ("done", 1)}
