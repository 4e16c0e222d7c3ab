"""The budget's promises, whatever comes when: never more than the vendor allows, and nearly all of our share."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagwarden.core import ratelimit
from tagwarden.core.ratelimit import Budget, Limit, Said

START = 1_700_000_000_000
limits = st.builds(Limit, st.integers(1, 300), st.sampled_from([1.0, 10.0, 60.0, 3600.0]))
reserves = st.sampled_from([0, 20, 50, 90])


def under(*limit: Limit, reserve: int = 20) -> Budget:
    return Budget().under(limit, reserve)


def worst(moments: list[int], seconds: float) -> int:
    """The most calls in any stretch of so many seconds, its ends included."""
    most, first = 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] > seconds * 1000:
            first += 1
        most = max(most, last - first + 1)
    return most


def greedy(budget: Budget, calls: int, urgent: bool = True) -> list[int]:
    """The moments of so many calls that each begin as early as they may."""
    now, moments = START, []
    for _ in range(calls):
        now = budget.when(now, urgent=urgent)
        budget = budget.take(now, 1).begin(now)
        moments.append(now)
    return moments


def test_it_works() -> None:
    budget = under(Limit(50, 1))  # forty a second are ours, five at once
    assert budget.free(START, urgent=True) == 5

    for _ in range(5):
        budget = budget.take(START, 1).begin(START)

    assert budget.free(START, urgent=True) == 0
    assert budget.when(START, urgent=True) == START + 25
    assert budget.free(START + 25, urgent=True) == 1


def test_without_a_known_limit_all_may_go() -> None:
    assert under().free(START, urgent=False) == ratelimit.MANY
    assert under().when(START, urgent=False) == START


@settings(deadline=None, max_examples=60)
@given(limit=limits, reserve=reserves, steps=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 900))))
def test_no_stretch_of_time_sees_more_calls_than_the_vendor_allows(
    limit: Limit, reserve: int, steps: list[tuple[int, int]]
) -> None:
    """Calls are taken when they may and leave up to 900 ms later, in their order."""
    budget, now, began = under(limit, reserve=reserve), START, []
    for wait, late in steps:
        now += wait
        free = budget.free(now, urgent=True)
        budget = budget.take(now, free)
        now += late
        for _ in range(free):
            budget = budget.begin(now)
            began.append(now)
    assert worst(began, limit.seconds) <= limit.calls


def test_a_call_that_waits_for_its_thread_does_not_come_on_top_of_a_full_bucket() -> None:
    budget = under(Limit(5, 1)).take(START, 1)
    late = START + 900
    assert budget.free(late, urgent=True) == 0

    budget = budget.begin(late)

    assert budget.free(late, urgent=True) == 0
    assert late < budget.when(late, urgent=True) <= late + 250


@settings(deadline=None, max_examples=60)
@given(limit=limits, reserve=reserves)
def test_a_long_run_gets_nearly_all_of_our_share(limit: Limit, reserve: int) -> None:
    share = limit.calls * (100 - reserve) / 100
    calls = round(share * 5) + 1
    moments = greedy(under(limit, reserve=reserve), calls)

    assert worst(moments, limit.seconds) <= limit.calls
    if share >= 1 and reserve:
        took = (moments[-1] - moments[0]) / 1000
        assert took <= 5 * limit.seconds / 0.95


@settings(deadline=None, max_examples=60)
@given(limit=limits, calls=st.integers(0, 40), urgent=st.booleans())
def test_the_moment_it_names_is_the_first_at_which_a_call_is_free(limit: Limit, calls: int, urgent: bool) -> None:
    budget = under(limit)
    for moment in greedy(budget, calls):
        budget = budget.take(moment, 1).begin(moment)
    now = max(START, budget.at)

    when = budget.when(now, urgent=urgent)

    assert budget.free(when, urgent=urgent) >= 1
    assert when == now or budget.free(when - 1, urgent=urgent) == 0


def test_all_windows_must_have_a_call_left() -> None:
    budget = under(Limit(10, 1), Limit(20, 60))
    moments = greedy(budget, 40)

    assert worst(moments, 1) <= 10
    assert worst(moments, 60) <= 20


def test_a_part_is_kept_for_urgent_work() -> None:
    budget = under(Limit(180, 60))  # 144 are ours, 18 at once, 4 of them for urgent work
    budget = budget.take(START, budget.free(START, urgent=False))

    assert budget.free(START, urgent=False) == 0
    assert budget.free(START, urgent=True) == 4


def test_calls_given_back_may_be_made_after_all() -> None:
    budget = under(Limit(50, 1)).take(START, 5).give_back(START, 3)

    assert budget.free(START, urgent=True) == 3


def test_the_limit_that_the_vendor_names_goes_before_the_adapters() -> None:
    budget = under(Limit(50, 1)).heard(START, [Said(1, limit=5)], under_way=0)

    assert worst(greedy(budget, 50), 1) <= 5
    again = ratelimit.read(budget.stored()).under([Limit(50, 1)], 20)
    assert worst(greedy(again, 50), 1) <= 5


def test_when_others_used_it_up_it_rests_until_the_vendor_counts_anew() -> None:
    budget = under(Limit(180, 60)).heard(START, [Said(60, remaining=0, reset=7.5)], under_way=0)

    assert budget.when(START, urgent=True) == START + 7_500
    assert budget.free(START + 7_499, urgent=True) == 0


def test_a_vendor_that_never_says_when_it_counts_anew_gets_nearly_all_of_our_share() -> None:
    """ActiveCampaign: only how many are left. Our own calls alone bring that to none now and then."""
    budget, now, moments = under(Limit(5, 1)), START, list[int]()
    for _ in range(100):
        now = budget.when(now, urgent=True)
        budget = budget.take(now, 1).begin(now)
        moments.append(now)
        left = 5 - sum(moment > now - 1_000 for moment in moments)
        budget = budget.heard(now, [Said(1, limit=5, remaining=left)], under_way=0)

    assert worst(moments, 1) <= 5
    assert (moments[-1] - START) / 1_000 <= 100 / 4 / 0.95


def test_no_vendor_makes_it_rest_longer_than_its_window() -> None:
    budget = under(Limit(5, 1)).heard(START, [Said(1, remaining=0, reset=86_400)], under_way=0)

    assert budget.when(START, urgent=True) <= START + 1_000


@settings(deadline=None, max_examples=60)
@given(limit=limits, remaining=st.integers(0, 300), under_way=st.integers(0, 20))
def test_it_never_counts_on_more_than_the_vendor_has_left(limit: Limit, remaining: int, under_way: int) -> None:
    said = [Said(limit.seconds, limit.calls, remaining, limit.seconds)]
    budget = under(limit).heard(START, said, under_way=under_way)

    assert budget.free(START, urgent=True) <= max(0, remaining - under_way)


@settings(deadline=None, max_examples=60)
@given(limit=limits, taken=st.integers(0, 30))
def test_it_is_the_same_after_a_restart(limit: Limit, taken: int) -> None:
    budget = under(limit)
    taken = min(taken, budget.free(START, urgent=True))
    budget = budget.take(START, taken)

    again = ratelimit.read(budget.stored()).under([limit], 20)

    assert again.free(START, urgent=True) == budget.free(START, urgent=True)
    assert ratelimit.read(Budget().stored()) == Budget()


@settings(deadline=None, max_examples=60)
@example(back=3_600_000)
@given(back=st.integers(0, 10**9))
def test_a_clock_set_back_gives_nothing_and_stops_nothing(back: int) -> None:
    budget = under(Limit(50, 1)).take(START, 5)
    for _ in range(5):
        budget = budget.begin(START)
    earlier = START - back

    assert budget.free(earlier, urgent=True) == 0
    assert budget.when(earlier, urgent=True) <= earlier + 25


def test_a_larger_reserve_slows_it_down_at_once() -> None:
    budget = under(Limit(60, 60), reserve=0).under([Limit(60, 60)], 90)

    assert worst(greedy(budget, 30), 60) <= 7
