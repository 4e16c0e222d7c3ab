"""Releases: figures that add up, time left, the moment for the mail."""

import re

from django.test import Client

from tagwarden.connections.models import Connection
from tagwarden.journal.diagnosis import figures
from tagwarden.journal.models import Job
from tagwarden.staff import rows
from tests.staff.story import Journal

STANDINGS = {"done": 718, "not-a-member": 21, "failed": 3, "waiting": 258}


def test_the_six_figures_add_up(journal: Journal, connection: Connection) -> None:
    release = journal.release(connection, "Module 3", STANDINGS)
    one = figures([release.pk])[release.pk]
    assert (one.contacts, one.synced, one.not_members, one.failed, one.waiting) == (1000, 718, 21, 3, 258)
    assert one.synced + one.not_members + one.failed + one.waiting == one.contacts


def test_a_contact_that_came_twice_counts_once_and_by_what_is_still_open(
    journal: Journal, connection: Connection
) -> None:
    release = journal.release(connection, "Module 3", {"done": 2, "waiting": 1})
    done = Job.objects.filter(standing="done").first()
    Job.objects.filter(standing="waiting").update(contact=done.contact)
    one = figures([release.pk])[release.pk]
    assert (one.contacts, one.synced, one.waiting) == (2, 1, 1)


def _page(client: Client, release: object) -> str:
    return client.get(f"/staff/releases/{rows.slug(release)}/").content.decode()


def test_while_it_is_read_the_page_says_how_long_and_when_the_mail_may_go(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    release = journal.release(connection, "Module 3", STANDINGS, ago=400, delay=300)  # 742 in 100 s: 258 take 35 s
    text = _page(staff, release)
    assert "About 40\xa0s left" in text
    assert re.search(r"Plan the mail for <b[^>]*>\d\d:\d\d CST</b> or later", text)


def test_before_the_first_read_no_time_is_promised(staff: Client, journal: Journal, connection: Connection) -> None:
    text = _page(staff, journal.release(connection, "Module 3", {"waiting": 5}, ago=10))
    assert "Reading starts at" in text
    assert "Plan the mail" not in text


def test_a_finished_one_says_that_the_mail_may_go(staff: Client, journal: Journal, connection: Connection) -> None:
    assert "The mail may go." in _page(staff, journal.release(connection, "Module 3", {"done": 5}))


def test_who_was_left_alone_is_listed(staff: Client, journal: Journal, connection: Connection) -> None:
    release = journal.release(connection, "Module 3", {"done": 1, "not-a-member": 2})
    text = staff.get(f"/staff/releases/{rows.slug(release)}/not-members/").content.decode()
    assert len(re.findall(r'<tr id="row-', text)) == 2


def test_all_that_failed_are_redelivered_together(staff: Client, journal: Journal, connection: Connection) -> None:
    release = journal.release(connection, "Module 3", {"done": 1, "failed": 3})
    staff.post(f"/staff/releases/{rows.slug(release)}/redeliver/")
    assert Job.objects.filter(state="waiting").count() == 3


def test_a_release_is_never_named_by_its_key(staff: Client, journal: Journal, connection: Connection) -> None:
    release = journal.release(connection, "Module 3", {"done": 1})
    assert staff.get(f"/staff/releases/{release.pk}/").status_code == 404
    assert staff.get("/staff/releases/99999999999999999999-abc/").status_code == 404
