"""A mail's story on the pages: to whom, what it says, why it waits, and what a click will do."""

from collections.abc import Callable

import pytest
from django.test import Client

from tagwarden.accounts.models import Site
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.uuid7 import uuid7
from tagwarden.journal import store
from tagwarden.journal.models import Job
from tests.staff.story import Journal, Try, crm_call

LETTER = {"to": "asa@example.com", "subject": "Module 3 <is> open", "text": "Hello Åsa,\nlog in & learn."}
Mail = Callable[..., Job]


@pytest.fixture
def mail(site: Site, journal: Journal) -> Mail:
    """A mail of the site's own lane, as the worker left it."""

    def add(standing: str, *tries: Try, reason: str = "") -> Job:
        new = {"site": site.pk, "connection": 0, "received": clock.now_ms(), "source": "clock", "stream": "effect"}
        store.add([store.NewJob(key=str(uuid7()), command="mail", params=LETTER, **new)])
        job = Job.objects.latest("pk")
        still_open = standing in {"waiting", "held"}
        job.state, job.outcome = (standing, "") if still_open else ("finished", standing)
        job.reason = reason
        journal.tries(job, tries)
        store.restand([job.pk])
        return job

    return add


def _text(client: Client, job: Job) -> str:
    return client.get(f"/staff/deliveries/{job.key}/").content.decode()


def test_it_works(staff: Client, mail: Mail) -> None:
    job = mail("done", Try(0.1, calls=[crm_call("Hand the mail to mail.example", "250 queued as 1", status=250)]))
    text = _text(staff, job)

    for told in (
        "<h1>Send a mail to asa@example.com</h1>",
        "Module 3 &lt;is&gt; open",
        "log in &amp; learn.",
        "250 queued as 1",
        "The mail server took it.",
    ):
        assert told in text
    listed = staff.get("/staff/deliveries/").content.decode()
    assert "asa@example.com" in listed


def test_a_held_mail_says_for_what_and_goes_on_by_a_click(staff: Client, mail: Mail) -> None:
    job = mail("held", Try(0.1, result="held", reason="no-smtp"), reason="no-smtp")
    text = _text(staff, job)
    assert "There is no mail server yet" in text
    assert "Set TAGWARDEN_SMTP_URL" in text
    assert "Only the open step runs" in text
    assert 'href="?outcome=held"' in (listed := staff.get("/staff/deliveries/").content.decode()), listed

    staff.post(f"/staff/deliveries/{job.key}/redeliver/")
    job.refresh_from_db()

    assert (job.state, job.standing) == ("waiting", "waiting")


def test_all_that_are_held_for_one_reason_go_on_together(staff: Client, mail: Mail) -> None:
    held = [mail("held", reason="no-smtp") for _ in range(2)]
    other = mail("held", reason="something-else")
    assert "Redeliver all 2 with this reason" in _text(staff, held[0])

    staff.post(f"/staff/deliveries/{held[0].key}/redeliver-alike/")

    assert set(Job.objects.filter(state="held").values_list("key", flat=True)) == {other.key}


def test_that_a_mail_goes_out_again_is_said_before_the_click(staff: Client, mail: Mail) -> None:
    text = _text(staff, mail("unknown", Try(0.1, result="unknown", reason="mail-unknown"), reason="mail-unknown"))
    assert "The mail may have left" in text
    assert "is sent once more" in text


def test_redelivering_others_leaves_a_mail_alone_that_may_have_left(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    calls = [journal.call(connection, "updateuser", str(n)) for n in range(2)]
    for call in calls:
        cut_off = [Try(0.1, result="unknown", reason="mail-unknown")]
        journal.effect(call, "mail", "hi", outcome="unknown", tries=cut_off, reason="mail-unknown", params=LETTER)
        journal.effect(call, "tag-add", "tag", outcome="failed", reason="crm-overloaded", params={"tag": "7"})

    text = _text(staff, calls[0])
    assert "asa@example.com" in text
    assert "log in &amp; learn." in text
    staff.post(f"/staff/deliveries/{calls[0].key}/redeliver-alike/")

    assert set(Job.objects.filter(state="waiting").values_list("command", flat=True)) == {"tag-add"}
    assert Job.objects.filter(outcome="unknown").count() == 2
