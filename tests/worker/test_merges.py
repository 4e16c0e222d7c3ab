"""A contact that was merged into another one at the CRM: its member goes on there, if it is sure which one that is."""

import json
from typing import Any

from tagwarden.members.models import Contact, ContactTag
from tagwarden.worker import sweeps
from tests.worker.conftest import Road

ADDRESS = "marta.merged@example.com"


def made(road: Road, *tags: str, email: str = ADDRESS) -> int:
    """A contact at the CRM."""
    person = {"email": email, "first_name": "Marta", "tags": list(tags)}
    answer = road.crm.admin.post("/admin/contacts", json={"contacts": [person]})
    assert answer.is_success, answer.text
    contact: int = answer.json()["ids"][0]
    return contact


def deleted(road: Road, *contacts: int) -> None:
    for contact in contacts:
        road.crm.admin.delete(f"/admin/contacts/{contact}")


def refreshed(road: Road, contact: int) -> Any:
    """The job of a call for that contact, ended."""
    (delivery,) = road.call("aal_updateuser", contact)
    road.work()
    return road.job(delivery)


def test_it_works(road: Road) -> None:
    old = made(road, "Base", "Trial")
    road.enrol(old)
    member = Contact.objects.get().member
    since = ContactTag.objects.get(tag__name="Base").since
    new = made(road, "Base", "Module 3")
    deleted(road, old)

    job = refreshed(road, old)

    assert (job.outcome, job.reason) == ("done", "")
    detail = json.loads(job.detail)
    assert (detail["merged"], detail["gained"], detail["lost"]) == (str(new), ["Module 3"], ["Trial"])
    assert road.tags(new) == {"Base", "Module 3"}
    assert ContactTag.objects.get(tag__name="Base", until=None).since == since
    rows = {row.external_id: row for row in Contact.objects.all()}
    assert (rows[str(new)].member, rows[str(new)].state, rows[str(new)].primary) == (member, "live", True)
    assert (rows[str(old)].member, rows[str(old)].state, rows[str(old)].primary) == (member, "merged", False)
    assert rows[str(old)].merged_into == rows[str(new)]
    deleted(road, new)


def test_a_later_call_for_the_old_contact_says_where_it_went(road: Road) -> None:
    old = made(road, "Base")
    road.enrol(old)
    new = made(road, "Base")
    deleted(road, old)
    refreshed(road, old)

    again = refreshed(road, old)

    assert (again.outcome, again.reason, json.loads(again.detail)["into"]) == ("no-op", "contact-merged", str(new))
    assert Contact.objects.get(external_id=str(old)).state == "merged"
    assert refreshed(road, new).outcome == "done"
    deleted(road, new)


def test_of_two_with_the_address_none_is_taken(road: Road) -> None:
    old = made(road, "Base")
    road.enrol(old)
    others = made(road), made(road)
    deleted(road, old)

    job = refreshed(road, old)

    assert (job.outcome, job.reason) == ("failed", "contact-deleted")
    assert Contact.objects.get().state == "deleted"
    assert road.tags(old) == {"Base"}
    deleted(road, *others)


def test_one_that_is_somebody_elses_here_is_not_taken(road: Road) -> None:
    old = made(road, "Base")
    road.enrol(old)
    other = made(road, email="another@example.com")
    road.enrol(other)
    road.crm.set(lag_seconds=0)
    theirs = Contact.objects.get(external_id=str(other))
    account = Contact.objects.get(external_id=str(old)).member.account
    account.email = "another@example.com"  # as after a change here that the CRM doesn't know
    type(account).objects.filter(pk=theirs.member.account.pk).update(email="third@example.com")
    account.save()
    deleted(road, old)

    assert refreshed(road, old).reason == "contact-deleted"
    assert Contact.objects.get(external_id=str(other)).member == theirs.member
    deleted(road, other)


def test_a_contact_that_we_knew_and_that_was_nobodys_is_taken_up(road: Road) -> None:
    old = made(road, "Base")
    road.enrol(old)
    new = made(road, "Module 3")
    Contact.objects.create(connection=road.connection, external_id=str(new))
    deleted(road, old)

    assert refreshed(road, old).outcome == "done"
    assert road.tags(new) == {"Module 3"}
    assert set(Contact.objects.values_list("external_id", "state")) == {(str(new), "live"), (str(old), "merged")}
    deleted(road, new)


def test_a_drift_check_follows_too(road: Road) -> None:
    old = made(road, "Base")
    road.enrol(old)
    new = made(road, "Base", "Module 3")
    deleted(road, old)

    sweep = sweeps.start(road.connection)
    road.work()

    sweep.refresh_from_db()
    assert (sweep.state, sweep.moved, sweep.gone) == ("finished", 1, 0)
    assert road.tags(new) == {"Base", "Module 3"}
    deleted(road, new)
