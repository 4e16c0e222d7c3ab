"""Drift checks: their list, the report of one, and the decision on one that stopped."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tagwarden.accounts.models import Account, AuditEntry
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.journal.models import Job
from tagwarden.members import sweeps
from tagwarden.members.models import Contact, Member, Sweep
from tests.staff import story

Swept = Callable[..., Sweep]


@pytest.fixture
def swept(connection: Connection) -> Swept:
    """A drift check that came to this end, with its job."""

    def make(state: str = "finished", *, standing: str = "done", reason: str = "", **figures: Any) -> Sweep:
        return story.sweep(connection, state, standing=standing, reason=reason, **figures)

    return make


def page(client: Client, sweep: Sweep | None = None) -> str:
    answer = client.get(f"/staff/drift-checks/{sweep.slug}/" if sweep else "/staff/drift-checks/")
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize(
    ("state", "figures", "outcome", "sentence"),
    [
        ("finished", {"gained": 25, "lost": 1}, "done", "Gave 25 tags and took 1 away."),
        ("finished", {"lost": 2}, "done", "Took 2 tags away."),
        ("finished", {}, "no-op", "Nothing had drifted."),
        ("stopped", {"would_lose": 60}, "refused", "60 members would have lost a tag. Nothing was taken away."),
        ("replaced", {}, "no-op", "A later one took its place. Nothing was changed."),
        ("dismissed", {"gained": 1}, "no-op", "Dismissed: nothing was taken away. Gave 1 tag."),
    ],
)
def test_the_list_says_what_came_of_each(
    staff: Client, swept: Swept, state: str, figures: dict[str, int], outcome: str, sentence: str
) -> None:
    swept(state, **figures)
    text = page(staff)
    assert sentence in text
    assert f'class="outcome o-{outcome}' in text


def test_one_under_way_says_how_far_it_is(staff: Client, swept: Swept) -> None:
    one = swept("running", standing="waiting", members=1000, read=300, gained=2)
    assert "300 of 1,000 read. Gave 2 tags." in page(staff)
    assert "In hand" in page(staff, one)


def test_one_that_could_not_go_on_says_why_and_goes_on_by_a_button(staff: Client, swept: Swept) -> None:
    one = swept("running", standing="failed", reason="crm-key-refused", read=300)
    text = page(staff, one)
    assert "refused our key" in text
    assert "Go on" in text
    staff.post(f"/staff/deliveries/{one.key}/redeliver/")
    assert Job.objects.get(key=one.key).state == "waiting"


def test_the_report_says_who_gained_and_lost_what(
    staff: Client, swept: Swept, connection: Connection, bob: Member
) -> None:
    one = swept(gained=1, lost=1, suspects=500, gone=1, unread=2)
    contact = bob.contacts.get()
    for name, what in (("Module 3", "gained"), ("Trial", "lost")):
        tag = story.tag(contact, name, since=clock.now()).tag
        one.findings.create(contact=contact, tag=tag, what=what)
    text = page(staff, one)
    assert "+ Module 3" in text
    assert "<s>Trial</s>" in text
    assert f'<a href="/staff/members/{bob.account.login}/">Bob Okafor</a>' in text
    assert "500 members were left out of the CRM’s answers and read by id." in text
    assert "1 contact is gone at the CRM." in text
    assert "2 contacts could not be read for certain." in text


def test_a_long_report_has_pages(staff: Client, swept: Swept, connection: Connection) -> None:
    one = swept(gained=150)
    contacts = [story.contact(connection, str(9000 + n), f"Person {n}") for n in range(150)]
    tag = story.tag(contacts[0], "Module 3", since=clock.now()).tag
    for n, contact in enumerate(contacts):
        one.findings.create(contact=contact, tag=tag, what="missing" if n < 60 else "gained")
    first = page(staff, one)
    assert (first.count("+ Module 3"), first.count("Not taken away.")) == (40, 60)
    start = first.split("?after=")[1].split('"')[0]
    second = staff.get(f"/staff/drift-checks/{one.slug}/?after={start}").content.decode()
    assert (second.count("+ Module 3"), second.count("Not taken away.")) == (50, 0)


def test_a_stopped_one_is_decided_by_a_button(
    staff: Client, alice: Account, swept: Swept, connection: Connection
) -> None:
    one = swept("stopped", standing="refused", reason="sweep-stopped", would_lose=60)
    assert "to be decided" in page(staff)
    assert "Take the tags away" in page(staff, one)

    answer = staff.post(f"/staff/drift-checks/{one.slug}/take-away/", follow=True)

    assert "Looking once more at 60 members" in answer.content.decode()
    one.refresh_from_db()
    assert (one.state, one.phase, one.decided_by) == ("running", "losses", alice)
    assert Job.objects.get(key=one.key).state == "waiting"
    assert AuditEntry.objects.get(action="sweep-approved").detail == {"would_lose": 60}
    again = staff.post(f"/staff/drift-checks/{one.slug}/dismiss/", follow=True)
    assert "decided already" in again.content.decode()
    assert AuditEntry.objects.count() == 1


def test_or_dismissed(staff: Client, alice: Account, swept: Swept) -> None:
    one = swept("stopped", standing="refused", reason="sweep-stopped", would_lose=60)
    staff.post(f"/staff/drift-checks/{one.slug}/dismiss/")
    one.refresh_from_db()
    assert (one.state, one.decided_by) == ("dismissed", alice)
    assert "to be decided" not in page(staff)


def test_a_decision_on_one_that_was_replaced_starts_nothing(staff: Client, swept: Swept) -> None:
    one = swept("replaced", standing="refused", reason="sweep-stopped", would_lose=60)
    staff.post(f"/staff/drift-checks/{one.slug}/take-away/")
    assert Job.objects.get(key=one.key).state == "finished"


def test_its_delivery_page_is_its_report(staff: Client, swept: Swept) -> None:
    one = swept()
    assert staff.get(f"/staff/deliveries/{one.key}/")["Location"] == f"/staff/drift-checks/{one.slug}/"
    assert "All members were read." in staff.get("/staff/deliveries/?command=sweep").content.decode()
    assert "All members were read." not in staff.get("/staff/deliveries/?outcome=done").content.decode()


def test_before_the_first_one_the_page_says_when_it_comes(staff: Client, connection: Connection) -> None:
    text = page(staff)
    assert "No drift check yet" in text
    assert "Sandbox CRM: the next one is due" in text
    Connection.objects.update(options_json='{"sweep_hours": 0}')
    assert "Sandbox CRM: switched off" in page(staff)


def test_a_name_in_an_address_that_is_none_is_a_404(staff: Client, swept: Swept) -> None:
    one = swept()
    for slug in ("1", f"{one.pk}", f"{one.slug}x", "999999999999999999999-abc", "x-y"):
        assert staff.get(f"/staff/drift-checks/{slug}/").status_code == 404


def test_a_merged_contact_says_so(staff: Client, connection: Connection, bob: Member) -> None:
    row = bob.contacts.get()
    merged = {"connection": connection, "external_id": "77", "member": bob, "primary": False, "state": "merged"}
    Contact.objects.create(merged_into=row, **merged)
    assert "77, Sandbox CRM (merged there)" in staff.get(f"/staff/members/{bob.account.login}/").content.decode()
    assert sweeps.members(connection.pk) == 1
