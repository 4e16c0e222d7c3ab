"""One timer for many waits: each ends at its time, and none that stopped waiting."""

import asyncio

from tagwarden.core.deadlines import Deadlines

SHORT = 0.05  # seconds


async def _expired(*names: str, stopped: tuple[str, ...] = ()) -> tuple[list[str], float]:
    """Who ran out of time, in order, and how many seconds after the first had started the last one did."""
    loop = asyncio.get_running_loop()
    gone: asyncio.Queue[str] = asyncio.Queue()
    deadlines: Deadlines[str] = Deadlines(loop, SHORT, gone.put_nowait)
    began = loop.time()
    for name in names:
        deadlines.start(name)
    for name in stopped:
        deadlines.stop(name)
    found = [await asyncio.wait_for(gone.get(), 10) for _ in range(len(names) - len(stopped))]
    took = loop.time() - began
    deadlines.start("later")  # the timer is set again after everybody had gone
    assert await asyncio.wait_for(gone.get(), 10) == "later"
    assert gone.empty()
    deadlines.stop("later")
    return found, took


def test_all_whose_time_runs_out_are_told_in_order_and_not_before() -> None:
    found, took = asyncio.run(_expired("first", "second", "third"))
    assert found == ["first", "second", "third"]
    assert took >= SHORT * 0.9


def test_who_has_stopped_is_passed_over() -> None:
    found, _ = asyncio.run(_expired("first", "second", "third", stopped=("first", "third")))
    assert found == ["second"]


def test_each_has_its_own_time() -> None:
    async def staggered() -> list[str]:
        loop = asyncio.get_running_loop()
        gone: list[str] = []
        ended = asyncio.Event()

        def note(name: str) -> None:
            gone.append(name)
            if name == "first":
                deadlines.stop("second")  # half of its time is left
                ended.set()

        deadlines: Deadlines[str] = Deadlines(loop, SHORT, note)
        deadlines.start("first")
        loop.call_later(SHORT / 2, deadlines.start, "second")
        await asyncio.wait_for(ended.wait(), 10)
        return gone

    assert asyncio.run(staggered()) == ["first"]
