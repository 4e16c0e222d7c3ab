"""Kit's automations can't call an address: a tag stands in for that, and comes off again so that it can be put on anew.

With the fake's own hooks, which fire by themselves at a listener here and are carried from there as intake does it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tagwarden.accounts.models import Site
from tagwarden.connections import triggers
from tagwarden.connections.models import Trigger
from tagwarden.journal.models import Job
from tests.crms.places import server
from tests.crms.roads import CrmRoad, road_to
from tests.sandbox.conftest import Receiver, receiver
from tests.worker.conftest import quick_ladder

__all__ = ["quick_ladder", "receiver"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture
def road(site: Site, tmp_path: Path, quick_ladder: Any) -> Iterator[CrmRoad]:
    with server("kit", tmp_path) as kit, road_to(kit, site, tmp_path) as found:
        yield found


@pytest.mark.parametrize("planned", [[], ["subscriber.tag_added"]], ids=["signed", "legacy"])
def test_the_second_updateuser_by_the_same_tag_arrives(road: CrmRoad, receiver: Receiver, planned: list[str]) -> None:
    kit, site = road.server, road.site
    site.public_url = receiver.url.rpartition("/")[0]
    site.save()
    kit.change(planned_events=planned)
    anna = kit.person("anna@example.com", tags=["Member"])
    road.enrol_all()
    made = triggers.add(road.connection, tag="Update me", command="updateuser", params={})
    triggers.set_up(made)
    assert bool(triggers.secrets_of(made)) == (not planned), "only the newer hooks are signed"

    for tag in ("Module 1", "Module 2"):
        kit.tag(tag, anna)
        kit.tag("Update me", anna)
        _carry_what_came(road, receiver, made)
        road.work()

        assert tag in road.tags(anna)
        assert "Update me" not in kit.truth(anna)[0], "it must come off, or Kit tells of it no second time"
    done = Job.objects.filter(command="updateuser", source="hook", outcome="done")
    assert done.count() == 2


def _carry_what_came(road: CrmRoad, receiver: Receiver, trigger: Trigger) -> None:
    """What Kit posted to the trigger's address, as the receiver would have put it on disk."""
    road.server.fake.admin.post("/admin/hooks/flush")
    (headers, body) = receiver.calls.pop()
    kept = json.dumps([[name.lower(), value] for name, value in headers.items()])
    row = {"kind": "hook", "path": "/hooks/***", "query": "", "headers": kept, "body": body}
    road.carry(road.row("", 0, handshake=trigger.handshake_id, **row))
