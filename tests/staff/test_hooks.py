"""What staff see of a hook: what the CRM told, what came of it, and no more than that."""

import json
from typing import Any

import pytest
from django.test import Client

from tagwarden.connections import handshakes
from tagwarden.connections.models import Connection, Trigger
from tagwarden.journal.models import Counter, Delivery, Job
from tagwarden.members.models import Tag
from tests.hooking import Crm as HookedCrm
from tests.hooking import body, hooked
from tests.staff.story import Journal

__all__ = ["hooked"]


@pytest.fixture
def told(journal: Journal, connection: Connection, hooked: type[HookedCrm]) -> Any:
    """A hook with these events, and the job it became for one contact."""

    def come(*events: dict[str, str], command: str = "updateuser", contact: str = "526", **more: Any) -> Job:
        job = journal.call(connection, command, contact, body=body(*events).decode(), query="", **more)
        Delivery.objects.filter(pk=job.delivery).update(kind="hook", query="", path="/hooks/***")
        Job.objects.filter(pk=job.pk).update(source="hook")
        return job

    return come


def page(client: Client, job: Job) -> str:
    return client.get(f"/staff/deliveries/{job.key}/").content.decode()


def test_it_says_what_the_crm_told_of_this_contact(staff: Client, told: Any, connection: Connection) -> None:
    Tag.objects.create(connection=connection, external_id="3", name="Gold")
    job = told(
        {"id": "526", "tag": "3"}, {"id": "9", "tag_name": "Silver"}, {"id": "526", "happened": "contact-changed"}
    )
    text = page(staff, job)

    assert "Sandbox CRM told that the tag <b>Gold</b> was added, a contact was changed." in text
    assert "Silver</b> was added" not in text
    assert "trigger" not in text


def test_it_names_the_trigger(staff: Client, told: Any, connection: Connection) -> None:
    handshake, _ = handshakes.make(connection, "trigger: Gold")
    made = Trigger.objects.create(
        connection=connection, handshake=handshake, happened="tag-added", tag="3", tag_name="Gold", command="genpass"
    )
    job = told({"id": "526", "tag": "3", "tag_name": "Gold"}, command="genpass")
    Job.objects.filter(pk=job.pk).update(params=json.dumps({"trigger": made.pk}))

    assert "That tag is a trigger for this command." in page(staff, job)


def test_a_name_from_outside_is_shown_as_text(staff: Client, told: Any) -> None:
    text = page(staff, told({"id": "526", "tag_name": "<script>{x}</script>"}))
    assert "&lt;script&gt;{x}&lt;/script&gt;" in text


def test_one_that_was_not_understood_is_redelivered_without_a_command(staff: Client, told: Any) -> None:
    job = told(command="", contact="", outcome="failed", reason="signature-wrong", detail={"crm": "Hooked"})
    text = page(staff, job)

    assert "A hook that wasn’t understood" in text
    assert 'name="word"' not in text
    assert "Redeliver this call" in text


def test_one_that_only_tried_the_address_is_no_failure(staff: Client, told: Any) -> None:
    text = page(staff, told(command="", contact="", outcome="no-op", reason="hook-only-tried"))

    assert "A hook that asked for nothing" in text
    assert "only tried the address of this hook" in text
    assert "Not understood" not in text


def test_one_with_several_jobs_says_what_it_told_of_all(staff: Client, told: Any, journal: Journal) -> None:
    events = [{"id": str(n), "tag_name": f"Tag {n}"} for n in range(1, 8)] + [{"id": "9", "tag_name": "Tag 1"}]
    job = told(*events, contact="1")
    other = told({"id": "2"}, contact="2")
    Job.objects.filter(pk=other.pk).update(delivery=job.delivery)
    text = staff.get(f"/staff/deliveries/{job.delivery}/").content.decode()

    assert "the tag <b>Tag 1</b> was added (2 times)" in text
    assert "and 2 more" in text
    assert "Each contact has its own story" in text


def test_somebody_who_is_looked_up_is_called_by_the_address(staff: Client, told: Any) -> None:
    job = told({"email": "ada@example.com"}, contact="", outcome="waiting", stream="find")
    Job.objects.filter(pk=job.pk).update(params='{"email": "ada@example.com"}')

    assert "Refresh member: ada@example.com" in page(staff, job)
    assert "ada@example.com" in staff.get("/staff/deliveries/").content.decode()


def test_care_is_listed_only_if_something_was_wrong_or_it_is_asked_for(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    journal.call(connection, "hook-care", "", delivered=False)
    journal.call(connection, "hook-care", "", delivered=False, outcome="failed", reason="crm-key-refused")
    journal.call(connection, "updateuser", "526")
    assert Counter.objects.filter(command="hook-care").exists()

    text = staff.get("/staff/deliveries/").content.decode()
    assert text.count("Look after the hooks") == 1
    assert "refused our key" in text
    asked = staff.get("/staff/deliveries/?command=hook-care").content.decode()
    assert asked.count("Look after the hooks") >= 2
