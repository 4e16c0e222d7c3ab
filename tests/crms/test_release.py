"""A release of a thousand contacts at each CRM: how many calls it takes, how long, and that it never goes too fast."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tagwarden.accounts.models import Site
from tagwarden.journal.models import Job
from tagwarden.members.models import ContactTag
from tests.crms.places import PLACES, Server
from tests.crms.roads import CrmRoad, road_to, running
from tests.worker.conftest import quick_ladder

__all__ = ["quick_ladder", "running"]

CONTACTS = int(os.environ.get("RELEASE_CONTACTS", "1000"))  # more by hand, to see how long it takes in the long run
RESERVE = 0.2  # of a limit is left to the owner's other tools
TAG = "Module_3_Has_Access"
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


@pytest.fixture
def road(running: Server, site: Site, tmp_path: Path, quick_ladder: Any) -> Iterator[CrmRoad]:
    with road_to(running, site, tmp_path) as found:
        yield found


def _holders() -> int:
    return ContactTag.objects.filter(tag__name=TAG, until=None).count()


def test_a_thousand_take_few_calls_and_none_too_soon(
    running: Server, road: CrmRoad, capsys: pytest.CaptureFixture[str]
) -> None:
    people = running.people(CONTACTS, tags=["Member"])
    road.enrol_all()
    running.tag(TAG, *people)
    running.settle()
    road.long_ago("aal_updateuser", people[0])  # a server that is at work knows what tags and fields are called
    road.work()
    running.forget_calls()
    road.long_ago("aal_batchsync", *people)
    running.keep_to_limits()

    began = time.monotonic()
    road.work(seconds=20 * math.ceil(CONTACTS / 1_000))
    took = time.monotonic() - began

    assert _holders() == CONTACTS
    counted = running.fake.counters()
    with capsys.disabled():
        allowed = _seconds_allowed(running, counted["calls"])
        print(f"\n{running.kind.label}: {counted['calls']} calls for {CONTACTS:,} contacts in {took:.1f} s;", end=" ")
        print(f"our share of the limit allows {allowed:.1f} s, so {100 * allowed / took:.0f} % of it was used")
    assert counted["calls"] <= PLACES[running.name].most_calls * math.ceil(CONTACTS / 1_000)
    assert counted["limited"] == 0


def _seconds_allowed(running: Server, calls: int) -> float:
    """What our share of the limit allows for so many calls at an even pace; windows of a minute at most count."""
    with closing(running.adapter()) as adapter:
        rates = [limit.calls * (1 - RESERVE) / limit.seconds for limit in adapter.limits if limit.seconds <= 60]
    return calls / min(rates)


def test_what_others_use_up_delays_it_and_nothing_else(running: Server, road: CrmRoad) -> None:
    people = running.people(400, tags=["Member"])
    road.enrol_all()
    running.tag(TAG, *people)
    running.settle()
    road.long_ago("aal_batchsync", *people)
    running.change(fault_rate=0.5, faults=["429"], seed=3)

    road.work()

    assert _holders() == len(people)
    assert not Job.objects.filter(tries__gt=1).exists(), "a pause that the CRM asks for costs no try"
