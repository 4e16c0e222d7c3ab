"""Calls that can't be understood are kept as jobs that failed, and can be mended."""

import pytest

from tagwarden.journal import store
from tagwarden.journal.models import Delivery, Job, Stranger
from tests.worker.conftest import Road
from tests.worker.test_commands import counted, in_journal


@pytest.mark.parametrize(
    ("word", "contact", "status", "reason"),
    [
        ("all_updateuser", "1", 404, "operation-misspelled"),
        ("aal_updateusr", "1", 404, "operation-unknown"),
        ("aal_fieldop", "1", 404, "operation-unknown"),
        ("aal_updateuser", "", 400, "contact-id-empty"),
        ("aal_updateuser", "%CONTACTID%", 400, "contact-id-unresolved"),
    ],
)
def test_it_is_kept_with_its_finding(road: Road, word: str, contact: str, status: int, reason: str) -> None:
    (delivery,) = road.call(word, contact, status=status, reason=reason)

    job = road.job(delivery)
    assert (job.command, job.outcome, job.standing, job.reason) == ("", "failed", "failed", reason)
    assert bytes(Delivery.objects.get(pk=delivery).body) == f"contactId={contact}".encode()
    assert counted() == in_journal() == {"failed": 1}


def test_a_misspelled_one_is_redelivered_with_the_right_word(road: Road) -> None:
    road.enrol(1)
    (delivery,) = road.call("all_updateuser", 1, status=404, reason="operation-misspelled")

    store.redeliver([road.job(delivery).pk], account=None, word="updateuser")
    road.work()

    job = road.job(delivery)
    assert (job.command, job.contact, job.outcome) == ("updateuser", "1", "done")
    assert counted() == in_journal() == {"done": 1}


def test_one_that_is_still_wrong_fails_again(road: Road) -> None:
    (delivery,) = road.call("aal_updateuser", "%CONTACTID%", status=400, reason="contact-id-unresolved")

    store.redeliver([road.job(delivery).pk], account=None)
    road.work()

    assert (road.job(delivery).outcome, road.job(delivery).reason) == ("failed", "contact-id-unresolved")
    assert counted() == in_journal() == {"failed": 1}


def test_a_call_with_a_revoked_secret_runs_once_staff_redeliver_it(road: Road) -> None:
    road.enrol(1)
    (delivery,) = road.call("aal_updateuser", 1, status=403, reason="handshake-wrong")
    assert road.job(delivery).reason == "handshake-wrong"

    store.redeliver([road.job(delivery).pk], account=None)
    road.work()

    assert road.job(delivery).outcome == "done"


def test_a_call_for_several_contacts_is_a_job_for_each(road: Road) -> None:
    road.enrol(1, 2, 3)
    row = {"body": b'[{"id":1},{"id":2},{"id":3}]', "headers": '[["content-type","application/json"]]'}

    (delivery,) = road.call("aal_updateuser", 0, **row)
    road.work()

    jobs = Job.objects.filter(delivery=delivery).order_by("key")
    assert [(job.key, job.contact, job.outcome) for job in jobs] == [
        (f"{delivery}:{n}", str(n), "done") for n in (1, 2, 3)
    ]


def test_a_native_hook_is_kept_until_its_adapter_understands_it(road: Road) -> None:
    (delivery,) = road.call("", 1, kind="hook", path="/hooks/***", query="")

    assert (road.job(delivery).outcome, road.job(delivery).reason) == ("failed", "hook-not-understood")


def test_of_strangers_the_last_200_are_kept_and_all_are_counted(road: Road) -> None:
    stranger = {"kind": "stranger", "handshake": None, "site": None, "connection": None, "body": b"", "status": 403}

    road.call("aal_updateuser", *range(250), **stranger, query="")

    assert Stranger.objects.filter(site=road.site.pk).count() == 200
    assert counted() == {"stranger": 250}
    assert not Job.objects.exists()


def test_the_spool_is_carried_once_even_if_its_position_is_lost(road: Road) -> None:
    road.enrol(1)
    road.call("aal_updateuser", 1, 1)
    road.work()
    before = list(Job.objects.order_by("pk").values_list("key", "outcome"))

    store.sql.run("delete from journal_spoolposition")
    while road.intake.carry():
        pass

    assert list(Job.objects.order_by("pk").values_list("key", "outcome")) == before
    assert Delivery.objects.count() == 2
    assert counted() == in_journal() == {"done": 2}


def test_a_call_that_breaks_us_holds_up_no_other(road: Road) -> None:
    road.enrol(1)
    good = road.row("aal_updateuser", 1)
    bad = road.row("aal_updateuser", 1, headers="no JSON at all")

    calls = road.carry(good, bad, road.row("aal_updateuser", 1))
    road.work()

    assert [road.job(delivery).outcome for delivery in calls] == ["done", "failed", "done"]
    assert (road.job(bad.id).reason, road.job(bad.id).command) == ("internal-error", "")
    assert bytes(Delivery.objects.get(pk=bad.id).body) == b"contactId=1"
    assert counted() == in_journal() == {"done": 2, "failed": 1}
