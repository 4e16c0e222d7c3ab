"""When a CRM counts as down, and how often it is looked at."""

from tagwarden.core import breaker
from tagwarden.core.breaker import Breaker

START = 1_700_000_000_000


def failed(times: int) -> Breaker:
    state = Breaker()
    for n in range(times):
        state = state.failed(START + n)
    return state


def test_it_works() -> None:
    assert not failed(4).suspect
    assert failed(5).suspect
    assert not failed(5).down
    assert failed(5).looked(START, 1).down
    assert failed(5).since == START


def test_it_is_looked_at_less_and_less_often_but_always_again() -> None:
    state, now, pauses = failed(5), START, []
    for _ in range(6):
        state = state.looked(now, 1)
        pauses.append((state.next_look - now) // 1000)
        now = state.next_look

    assert pauses == [10, 30, 120, 300, 300, 300]
    assert failed(5).looked(START, 0.01).next_look == START + 100


def test_it_is_the_same_after_a_restart() -> None:
    state = failed(7).looked(START, 1)

    assert breaker.read(state.stored()) == state
    assert breaker.read(Breaker().stored()) == breaker.read("") == Breaker()
