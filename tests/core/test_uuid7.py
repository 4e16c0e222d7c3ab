"""Delivery ids sort by time and are never equal."""

import uuid

import pytest

from tagwarden.core import clock
from tagwarden.core.uuid7 import uuid7


def test_an_id_is_a_uuid_of_version_7_that_holds_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagwarden.core.uuid7._last", 0)  # tests that move the clock leave an id of the future
    before = clock.now_ms()
    made = uuid.UUID(uuid7())
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert before <= made.int >> 80 <= clock.now_ms() + 1


def test_each_id_is_greater_than_the_one_before() -> None:
    made = [uuid7() for _ in range(10_000)]
    assert made == sorted(set(made))
