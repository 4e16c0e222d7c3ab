"""aal_updateuser. How refreshes are read, collapsed and tried again: tests/worker."""

from tagwarden.journal.models import Job
from tagwarden.members.models import Contact
from tests.worker.conftest import Road


def test_it_works(road: Road) -> None:
    road.enrol(1)
    road.crm.tag(road.crm.new_tag("Circle"), 1)
    road.crm.api.put("/api/contacts/1/fields", json={"fields": {"Points": "70"}})

    (delivery,) = road.call("aal_updateuser", 1)
    road.work()

    assert road.job(delivery).outcome == "done"
    assert "Circle" in road.tags(1)
    assert Contact.objects.get(external_id="1").fields["Points"] == "70"


def test_twice_is_once(road: Road) -> None:
    road.enrol(1)
    for _ in range(2):
        road.call("aal_updateuser", 1)
        road.work()

    assert list(Job.objects.values_list("outcome", "detail").order_by("pk")) == [("done", "{}")] * 2


def test_it_takes_no_parameters_and_minds_none(road: Road) -> None:
    road.enrol(1)

    (delivery,) = road.call("aal_updateuser", 1, query="&teamId=x")
    road.work()

    assert (road.job(delivery).outcome, road.job(delivery).params) == ("done", "{}")


def test_it_goes_before_a_bulk_refresh(road: Road) -> None:
    (bulk,) = road.call("aal_batchsync", 1)
    (one,) = road.call("aal_updateuser", 2)

    assert road.job(one).priority < road.job(bulk).priority
