"""How pages write moments and numbers."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tagwarden.staff import times

CHICAGO = ZoneInfo("America/Chicago")
NOW = datetime(2026, 11, 24, 15, 4, 34, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (NOW - timedelta(seconds=22), "09:04:12"),
        (NOW - timedelta(days=1), "Mon\xa009:04"),
        (NOW - timedelta(days=10), "14\xa0Nov"),
        (NOW - timedelta(days=400), "20\xa0Oct\xa02025"),
    ],
)
def test_moments_in_lists_grow_coarser_with_age(at: datetime, written: str) -> None:
    assert times.in_list(at, CHICAGO, NOW) == written


def test_a_full_moment_names_its_zone() -> None:
    assert times.full(NOW, CHICAGO) == "Tue 24 Nov 2026, 09:04:34\xa0CST"
    assert times.full(NOW, ZoneInfo("Asia/Dubai")).endswith("UTC+04")


@pytest.mark.parametrize(
    ("milliseconds", "written"), [(9, "9\xa0ms"), (1234, "1.2\xa0s"), (42_000, "42\xa0s"), (120_000, "2\xa0min")]
)
def test_spans(milliseconds: int, written: str) -> None:
    assert times.span(milliseconds) == written


@pytest.mark.parametrize(
    ("seconds", "written"), [(3, "About 10\xa0s left"), (31, "About 40\xa0s left"), (121, "About 3\xa0min left")]
)
def test_time_left_is_rounded_up(seconds: float, written: str) -> None:
    assert times.time_left(seconds) == written
