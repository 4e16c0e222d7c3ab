"""aal_batchsync. How refreshes are read, collapsed and tried again: tests/worker."""

from tagwarden.connections import setup
from tagwarden.connections.models import Connection
from tagwarden.journal.models import Release
from tests.worker.conftest import Road


def test_it_works(road: Road) -> None:
    Connection.objects.update(options_json='{"release_delay": 0}')
    road.enrol(1, 2)
    road.crm.admin.post("/admin/tag", json={"tag": "Module 5", "contacts": [1, 2]})

    calls = road.call("aal_batchsync", 1, 2, query="&release=Module+5")
    road.work()

    assert [road.job(call).outcome for call in calls] == ["done", "done"]
    assert "Module 5" in road.tags(1) & road.tags(2)


def test_the_done_tag_comes_once_a_contact_as_soon_as_it_is_synced(road: Road) -> None:
    setup.change(road.connection, {"release_delay": "0", "batchsync_done_tag": "Synced"})
    road.enrol(1, 2, 3)
    road.crm.admin.post("/admin/tag", json={"tag": "Synced", "contacts": "all", "remove": True})
    before = road.crm.writes()[-1]["id"]

    calls = road.call("aal_batchsync", 1, 2, 2, 999_999, query="&release=Module+5")
    road.call("aal_updateuser", 3)
    road.work()

    assert [(w["contact"], w["what"], w["detail"]) for w in road.crm.writes(before)] == [
        (1, "tag-add", "Synced"),
        (2, "tag-add", "Synced"),
    ]
    assert [road.job(call).standing for call in calls] == ["done", "done", "done", "no-op"]
    assert "Synced" in road.tags(1) & road.tags(2) - road.tags(3)


def test_its_first_read_waits_for_the_calls_of_five_minutes(road: Road) -> None:
    (first,) = road.call("aal_batchsync", 1)
    (second,) = road.call("aal_batchsync", 2)

    release = Release.objects.get()
    assert release.calls == 2
    assert (release.reads_at - release.opened).total_seconds() == 300
    assert road.job(first).due == road.job(second).due == release.reads_at


def test_two_names_are_two_releases_and_no_name_is_one_as_well(road: Road) -> None:
    road.call("aal_batchsync", 1, query="&release=A")
    road.call("aal_batchsync", 1, query="&release=B")
    road.call("aal_batchsync", 1)

    assert sorted(Release.objects.values_list("name", "calls")) == [("", 1), ("A", 1), ("B", 1)]


def test_a_name_that_is_too_long_is_a_finding(road: Road) -> None:
    (delivery,) = road.call("aal_batchsync", 1, query=f"&release={'x' * 201}")

    assert (road.job(delivery).outcome, road.job(delivery).reason) == ("failed", "parameter-too-long")
    assert not Release.objects.exists()
