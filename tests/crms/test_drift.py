"""A drift check at each CRM: what it forgot to tell is mended, a merge is followed, and what that costs in calls."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from tagwarden.accounts.models import Site
from tagwarden.members.models import Contact, ContactTag, Sweep
from tagwarden.worker import sweeps
from tests.crms.places import Server
from tests.crms.roads import CrmRoad, road_to, running
from tests.worker.conftest import quick_ladder

__all__ = ["quick_ladder", "running"]

CONTACTS = 400
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


@pytest.fixture
def road(running: Server, site: Site, tmp_path: Path, quick_ladder: Any) -> Iterator[CrmRoad]:
    with road_to(running, site, tmp_path) as found:
        yield found


def members_since_an_hour(road: CrmRoad) -> None:
    road.enrol_all()
    hour = timedelta(hours=1)
    ContactTag.objects.update(since=F("since") - hour)
    Contact.objects.update(read_started_at=F("read_started_at") - hour)


def swept(road: CrmRoad) -> Sweep:
    sweep = sweeps.start(road.connection)
    assert sweep is not None
    road.work()
    sweep.refresh_from_db()
    return sweep


def test_what_was_not_told_is_mended(running: Server, road: CrmRoad, capsys: pytest.CaptureFixture[str]) -> None:
    people = running.people(CONTACTS, tags=["Member"])
    members_since_an_hour(road)
    running.tag("Module 3", *people[:10])
    running.tag("Member", *people[200:210], remove=True)
    running.settle()
    running.forget_calls()

    sweep = swept(road)

    with capsys.disabled():
        print(f"\n{running.kind.label}: {sweep.calls} calls for {CONTACTS} members of whom 20 differ, by {sweep.feed}")
    assert (sweep.state, sweep.read, sweep.gained, sweep.lost) == ("finished", CONTACTS, 10, 10)
    assert (sweep.suspects, sweep.unread, sweep.gone) == (0, 0, 0)
    for contact in (people[0], people[205], people[399]):
        assert road.tags(contact) == running.truth(contact)[0]


def test_a_contact_that_is_gone_keeps_its_tags(running: Server, road: CrmRoad) -> None:
    people = running.people(5, tags=["Member"])
    members_since_an_hour(road)
    running.delete(people[2])
    running.settle()

    sweep = swept(road)

    assert (sweep.state, sweep.gone, sweep.lost) == ("finished", 1, 0)
    assert Contact.objects.get(external_id=people[2]).state == "deleted"
    assert road.tags(people[2]) == {"Member"}


def test_a_merged_contact_is_followed(running: Server, road: CrmRoad) -> None:
    people = running.people(5, tags=["Member"])
    members_since_an_hour(road)
    if running.name == "sandbox":  # it knows no merges, so they are done by hand there
        running.person(Contact.objects.get(external_id=people[2]).email, tags=["Member"])
    running.merge(people[2])
    running.settle()

    sweep = swept(road)

    old = Contact.objects.get(external_id=people[2])
    assert (sweep.state, sweep.moved, sweep.gone, sweep.lost) == ("finished", 1, 0, 0)
    assert old.merged_into is not None
    assert old.merged_into.member == old.member
    assert road.tags(old.merged_into.external_id) == {"Member"}
