"""The CRM's rate limit and its pauses: our own pace never meets a 429, and a foreign one costs nobody a try."""

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from tagwarden.connections.models import Connection
from tagwarden.core import clock, ratelimit
from tagwarden.core.outcome import Effect, Needs, done
from tagwarden.journal import leases, limits
from tagwarden.journal.models import Attempt, Job, Lane
from tagwarden.operations.base import BULK, URGENT
from tagwarden.worker.engine_embedded import Engine
from tests.worker.conftest import Road

AddCommand = Callable[..., ModuleType]


@pytest.fixture
def mark(commands: AddCommand) -> str:
    """A command whose effect is written one call a contact."""
    effect = Effect("field-set", "points", {"field": "Points", "value": "10"})
    commands("mark", lambda params, member, ctx: done(effects=(effect,)), PRIORITY=BULK)
    return "aal_mark"


@pytest.fixture
def other_engine(road: Road) -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.leave()


def slow(road: Road, calls_a_second: int) -> None:
    """The CRM allows so many calls, and we know it."""
    road.crm.set(rate_limit=calls_a_second)
    road.call("aal_updateuser", 1)
    road.work()
    road.crm.admin.post("/admin/counters/reset")


def unspent() -> bool:
    """No job lost a try to a failure."""
    return not Attempt.objects.filter(result="retry").exists()


def test_work_that_needs_many_calls_waits_untouched_for_its_budget(road: Road, mark: str) -> None:
    road.enrol(*range(1, 25))
    slow(road, 10)
    began = clock.now_ms()

    road.call(mark, *range(1, 25))
    road.work()

    took = (clock.now_ms() - began) / 1000
    counted = road.crm.counters()
    assert (counted["writes"], counted["limited"]) == (24, 0)
    assert took >= (24 - 2) / 8, "eight a second are ours, two are left to others"
    written = Job.objects.filter(command="field-set")
    assert Attempt.objects.filter(job__in=written.values("pk")).count() == 24, "each was taken once, with its call"
    assert unspent()


def test_reads_of_one_contact_after_the_other_keep_to_the_limit(road: Road) -> None:
    """The list leaves contacts out, so each batch needs calls that nobody could foresee."""
    road.enrol(*range(1, 31))
    slow(road, 10)
    road.crm.set(fault_rate=1, faults=["missing-rows"])

    road.call("aal_updateuser", *range(1, 31))
    road.work(lambda: road.crm.counters()["reads_by_kind"]["by_id"] >= 10)
    road.crm.set(fault_rate=0)
    road.work()

    assert road.crm.counters()["limited"] == 0
    assert set(Job.objects.values_list("outcome", flat=True)) == {"done"}


def test_the_owner_chooses_how_much_is_left_to_other_tools(road: Road, mark: str) -> None:
    road.enrol(*range(1, 13))
    Connection.objects.update(options_json='{"reserve": 60}')
    slow(road, 10)
    began = clock.now_ms()

    road.call(mark, *range(1, 13))
    road.work()

    assert (clock.now_ms() - began) / 1000 >= (12 - 2) / 4


def test_what_was_used_up_is_remembered_by_the_next_worker(road: Road, other_engine: Engine, mark: str) -> None:
    road.enrol(*range(1, 21))
    slow(road, 10)
    road.call(mark, *range(1, 21))
    road.work(lambda: road.crm.counters()["writes"] >= 5)
    lane = Lane.objects.get()
    left = ratelimit.read(lane.budget)
    assert left.free(left.at, urgent=True) == 0
    assert {bucket.calls for bucket in left.buckets} == {10}, "the limit that the headers named"

    Lane.objects.update(until=1)  # the lease runs out in the middle of it
    road.work(lambda: not other_engine.turn() and not Job.objects.filter(state="waiting").exists())

    assert road.crm.counters()["limited"] == 0
    assert set(Job.objects.values_list("outcome", flat=True)) == {"done"}


def test_a_429_pauses_the_whole_lane_and_spends_no_try(road: Road, commands: AddCommand) -> None:
    commands("hello", lambda params, member, ctx: done())
    road.enrol(1, 2)
    road.crm.set(fault_rate=1, faults=["429"])
    road.call("aal_updateuser", 1)
    road.work(lambda: Attempt.objects.filter(reason="crm-paused").exists())
    until = clock.to_ms(Lane.objects.get().paused_until)
    assert until > clock.now_ms(), "as long as Retry-After says"
    road.crm.set(fault_rate=0)

    road.call("aal_updateuser", 2)
    road.call("aal_hello", 2)
    assert leases.due_lanes() == []
    road.work()

    assert set(Job.objects.values_list("outcome", flat=True)) == {"done"}
    later = Attempt.objects.exclude(reason="crm-paused").values_list("started", flat=True)
    assert min(clock.to_ms(moment) for moment in later) >= until
    assert unspent()


def test_others_who_use_up_the_limit_cost_us_no_try(road: Road, mark: str) -> None:
    road.enrol(*range(1, 21))
    slow(road, 5)
    road.call(mark, *range(1, 21))

    def others_call_too() -> bool:
        if not Attempt.objects.filter(reason="crm-paused").exists():
            road.crm.api.get("/api/ping")
        return not Job.objects.filter(state="waiting").exists()

    road.work(others_call_too)

    assert Attempt.objects.filter(reason="crm-paused", result="paused").exists(), "they took some of ours"
    assert set(Job.objects.values_list("outcome", flat=True)) == {"done"}
    assert unspent()


def test_urgent_work_goes_before_when_the_budget_is_used_up(road: Road, mark: str, commands: AddCommand) -> None:
    ran: list[int] = []

    def run(params: object, member: object, ctx: object) -> object:
        ran.append(road.crm.counters()["writes"])
        return done()

    commands("password", run, NEEDS=Needs.CONTACT, PRIORITY=URGENT)
    road.enrol(*range(1, 25))
    slow(road, 10)
    road.call(mark, *range(1, 25))
    road.work(lambda: road.crm.counters()["writes"] >= 5)

    (delivery,) = road.call("aal_password", 1)
    before = road.crm.counters()["writes"]
    road.work(lambda: road.job(delivery).outcome == "done")

    assert ran[0] <= before + 3
    assert road.crm.counters()["limited"] == 0
    road.work()


def test_a_waiting_lane_says_what_it_waits_for(road: Road) -> None:
    road.enrol(1)
    lane = road.call("aal_updateuser", 1) and Lane.objects.get()
    assert limits.holds(road.site.pk) == {}

    used_up = ratelimit.Budget().under([ratelimit.Limit(60, 3600)], 20)
    used_up = used_up.take(clock.now_ms(), used_up.free(clock.now_ms(), urgent=True))
    Lane.objects.filter(pk=lane.pk).update(budget=used_up.stored())
    assert limits.holds(road.site.pk)[road.connection.pk].reason == "crm-limit"

    Lane.objects.filter(pk=lane.pk).update(paused_until=clock.now_ms() + 60_000)
    assert limits.holds(road.site.pk)[road.connection.pk].reason == "crm-paused"
