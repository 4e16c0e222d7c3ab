"""One delivery: its story, its mend, and the buttons."""

import re

from django.test import Client

from tagwarden.accounts.models import Account
from tagwarden.connections.models import Connection, Handshake
from tagwarden.core import clock
from tagwarden.core.breaker import Breaker
from tagwarden.journal.models import Job, Lane
from tagwarden.members.models import Member
from tests.staff.story import Journal, Try, crm_call


def _text(client: Client, job: Job) -> str:
    return client.get(f"/staff/deliveries/{job.key}/").content.decode()


def test_the_story_is_told_from_the_call_to_the_outcome(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    tries = [
        Try(0.3, result="retry", reason="crm-overloaded", detail={"status": 503}),
        Try(5.3, calls=[crm_call("Read the contact", "Found, with 6 tags")]),
    ]
    job = journal.call(
        connection, "updateuser", "27418", tries=tries, detail={"gained": ["Module 3"], "lost": ["Trial"]}
    )
    text = _text(staff, job)
    told = [
        "called from 52.1.14.9",
        "Try 1: it didn’t work yet",
        "answered 503",
        "Found, with 6 tags",
        "+ Module 3",
        "Trial",
    ]
    places = [text.index(part) for part in told]
    assert places == sorted(places)


def test_a_call_that_waits_for_a_crm_that_is_down_says_so(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    job = journal.call(connection, "updateuser", "1", outcome="waiting", tries=[])
    down = Breaker(failures=6, since=clock.now_ms() - 60_000, looks=1, next_look=clock.now_ms() + 120_000)
    Lane.objects.filter(pk=job.lane).update(breaker=down.stored(), paused_until=down.next_look)

    assert re.search(r"Sandbox CRM is down since \d\d:\d\d:\d\d; next look at \d\d:\d\d:\d\d.", _text(staff, job))
    assert "Sandbox CRM is down since" in staff.get("/staff/deliveries/").content.decode()

    Lane.objects.update(breaker="{}", paused_until=0)
    assert "is down" not in _text(staff, job)
    assert "is down" not in staff.get("/staff/deliveries/").content.decode()


def test_the_secret_is_left_out_of_the_call_and_of_the_command_line(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    Handshake.objects.create(connection=connection, name="Welcome", digest="d", sealed="s")
    job = journal.call(connection, "updateuser", "1", body="contactId=1&name=O'Neil")
    text = _text(staff, job)
    assert "aal_updateuser=<mark>YOUR-SECRET</mark>" in text
    assert "--data &#x27;contactId=1&amp;name=O&#x27;\\&#x27;&#x27;Neil&#x27;" in text
    assert "Secret used: “Welcome”" in text
    assert "***" not in text


def test_a_delivery_of_several_contacts_lists_its_jobs(staff: Client, journal: Journal, connection: Connection) -> None:
    first = journal.call(connection, "updateuser", "1")
    Job.objects.filter(pk=journal.call(connection, "updateuser", "2").pk).update(delivery=first.delivery)
    text = staff.get(f"/staff/deliveries/{first.delivery}/").content.decode()
    assert "A call for 2 contacts" in text


def test_a_step_leads_to_the_page_of_its_call(staff: Client, journal: Journal, connection: Connection) -> None:
    job = journal.call(connection, "updateuser", "1")
    child = journal.effect(job, "tag-add", "t")
    assert staff.get(f"/staff/deliveries/{child.key}/")["Location"] == f"/staff/deliveries/{job.key}/"


def test_a_job_that_waits_says_when_it_goes_on(staff: Client, journal: Journal, connection: Connection) -> None:
    job = journal.call(
        connection, "updateuser", "1", outcome="waiting", reason="crm-paused", detail={"crm": "Keap"}, due_in=40
    )
    assert "Keap asked for a pause. Next try in" in _text(staff, job)


def test_redeliver_puts_the_call_back_under_the_name_of_who_asked(
    staff: Client, alice: Account, journal: Journal, connection: Connection
) -> None:
    job = journal.call(connection, "updateuser", "1", outcome="failed", reason="crm-overloaded")
    answer = staff.post(f"/staff/deliveries/{job.key}/redeliver/", headers={"hx-request": "true"})
    job.refresh_from_db()
    assert (answer.status_code, job.state, job.account) == (204, "waiting", alice.pk)
    assert "Redelivered." in answer["HX-Trigger"]


def test_a_word_that_is_no_command_is_not_taken(staff: Client, journal: Journal, connection: Connection) -> None:
    job = journal.call(connection, "", "1", outcome="failed", reason="operation-unknown")
    assert staff.post(f"/staff/deliveries/{job.key}/redeliver/", {"word": "drop"}).status_code == 404


def test_all_with_one_reason_go_together_and_others_stay(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    alike = [
        journal.call(connection, "updateuser", str(n), outcome="failed", reason="crm-overloaded") for n in range(3)
    ]
    other = journal.call(connection, "updateuser", "9", outcome="failed", reason="crm-key-refused")
    assert "Redeliver all 3 with this reason" in _text(staff, alike[0])
    staff.post(f"/staff/deliveries/{alike[0].key}/redeliver-alike/")
    assert Job.objects.filter(state="waiting").count() == 3
    other.refresh_from_db()
    assert other.state == "finished"


def test_run_again_makes_a_new_call_and_leaves_the_old_one(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    job = journal.call(connection, "updateuser", "1")
    answer = staff.post(f"/staff/deliveries/{job.key}/run-again/")
    fresh = Job.objects.get(source="staff")
    assert answer["Location"] == f"/staff/deliveries/{fresh.key}/"
    assert "Alice Moreau pressed the button" in _text(staff, fresh)
    job.refresh_from_db()
    assert job.state == "finished"


def test_going_back_never_leads_elsewhere(staff: Client, journal: Journal, connection: Connection) -> None:
    job = journal.call(connection, "updateuser", "1", outcome="failed", reason="crm-overloaded")
    for elsewhere in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
        answer = staff.post(f"/staff/deliveries/{job.key}/redeliver/", {"back": elsewhere})
        assert answer["Location"].startswith("/staff/deliveries/")


def test_refresh_on_a_members_page_adds_a_job_before_all_else(staff: Client, alice: Account, bob: Member) -> None:
    staff.post(f"/staff/members/{bob.account.login}/refresh/")
    job = Job.objects.get()
    assert (job.command, job.contact, job.priority, job.account) == ("updateuser", "526", 0, alice.pk)


def test_a_command_that_a_later_one_overtook_says_so(staff: Client, journal: Journal, connection: Connection) -> None:
    waited = journal.call(connection, "updateteam", "526", ago=200, tries=[Try(190)], stream="command")
    later = journal.call(connection, "updateteam", "526", ago=100, tries=[Try(1)], stream="command")

    page = staff.get(f"/staff/deliveries/{waited.key}/").content.decode()

    assert f'Run after <a href="/staff/deliveries/{later.key}/">' in page
    assert "Run after" not in staff.get(f"/staff/deliveries/{later.key}/").content.decode()
