"""Mails to those who run a site: one for many failures, none for a single call's, and each thing once."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
import time_machine
from django.urls import reverse

from tagwarden.accounts.models import Account, Site
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.env import env
from tagwarden.core.uuid7 import uuid7
from tagwarden.journal import store
from tagwarden.journal.models import Job, Lane
from tagwarden.worker import notices
from tests import mailserver
from tests.staff import story
from tests.worker.conftest import Road

START = datetime.fromisoformat("2026-11-24T15:04:00Z")
Fail = Callable[..., None]


@pytest.fixture
def now() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as now:
        yield now


@pytest.fixture(autouse=True)
def _mail_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One is named; none of these mails is sent."""
    monkeypatch.setenv("TAGWARDEN_SMTP_URL", "smtp://127.0.0.1:9")
    env.cache_clear()
    yield
    monkeypatch.undo()
    env.cache_clear()


@pytest.fixture
def fail(connection: Connection) -> Fail:
    """Calls that are given up now, for one reason."""

    def add(reason: str, count: int = 1, *, command: str = "updateuser", of: Connection = connection) -> None:
        given_up = [
            store.NewJob(
                key=str(uuid7()),
                site=of.site_id,
                connection=of.pk,
                command=command,
                received=clock.now_ms(),
                outcome="failed",
                reason=reason,
                detail={"crm": "Keap"} if of == connection else {},
            )
            for _ in range(count)
        ]
        store.add(given_up)

    return add


def mails() -> list[dict[str, str]]:
    """What was added, oldest first."""
    return [json.loads(job.params) for job in Job.objects.filter(command="mail").order_by("pk")]


def test_it_works(now: time_machine.Traveller, alice: Account, fail: Fail) -> None:
    fail("crm-key-refused", 3)
    fail("worker-died")
    notices.look()

    (mail,) = mails()
    assert (mail["to"], mail["subject"]) == (alice.email, "Northlight Studio: 4 failures to mend")
    lines = [
        "3 times: Keap refused our key.",
        "What to do: Give this connection a new key, then redeliver.",
        "Once: The server stopped three times",
        f"http://northlight.example{reverse('deliveries')}?outcome=failed",
    ]
    places = [mail["text"].index(line) for line in lines]
    assert places == sorted(places)
    job = Job.objects.get(command="mail")
    assert (job.connection, job.source, job.state, job.stream) == (0, "clock", "waiting", "effect")


def test_a_reason_is_told_once_a_day(now: time_machine.Traveller, alice: Account, fail: Fail) -> None:
    for _ in range(26 * 3):  # an outage that goes on for longer than a day
        fail("crm-unreachable")
        notices.look()
        now.shift(timedelta(minutes=20))

    assert len(mails()) == 2


def test_another_reason_is_told_an_hour_later_at_the_earliest(
    now: time_machine.Traveller, alice: Account, fail: Fail
) -> None:
    fail("crm-key-refused")
    notices.look()
    fail("worker-died", 2)
    notices.look()
    assert len(mails()) == 1

    now.shift(timedelta(hours=1))
    notices.look()
    notices.look()

    assert [mail["reasons"] for mail in mails()] == [["crm-key-refused"], ["crm-key-refused", "worker-died"]]


def test_what_was_told_is_not_told_again_when_it_is_a_day_old(
    now: time_machine.Traveller, alice: Account, fail: Fail
) -> None:
    fail("crm-key-refused")
    for _ in range(30 * 3):
        notices.look()
        now.shift(timedelta(minutes=20))

    assert len(mails()) == 1


@pytest.mark.parametrize("reason", notices.OF_ONE_PERSON)
def test_what_is_about_one_person_sends_no_mail(alice: Account, fail: Fail, reason: str) -> None:
    fail(reason, 10)
    notices.look()

    assert mails() == []


def test_calls_that_were_not_understood_send_no_mail(alice: Account, fail: Fail) -> None:
    fail("operation-misspelled", 10, command="")
    notices.look()

    assert mails() == []


def test_a_notice_that_could_not_be_sent_sends_no_notice(
    now: time_machine.Traveller, alice: Account, fail: Fail
) -> None:
    fail("crm-key-refused")
    notices.look()
    Job.objects.filter(command="mail").update(outcome="failed", reason="mail-login-refused", finished=clock.now_ms())
    Job.objects.filter(command="updateuser").delete()
    now.shift(timedelta(hours=1))
    notices.look()

    assert len(mails()) == 1


def test_each_owner_hears_of_her_own_site_only(alice: Account, charlie: Account, other_site: Site, fail: Fail) -> None:
    second = Account.objects.create(site=alice.site, email="dora@northlight.example", role=Account.Role.OWNER)
    Account.objects.create(site=alice.site, email="staff@northlight.example", role=Account.Role.STAFF)
    fail("crm-key-refused")
    fail("worker-died", of=Connection.objects.create(site=other_site, crm="sandbox", name="Kit"))
    notices.look()

    told = {mail["to"]: mail["reasons"] for mail in mails()}
    assert told == {
        alice.email: ["crm-key-refused"],
        second.email: ["crm-key-refused"],
        charlie.email: ["worker-died"],
    }


def test_a_site_without_an_owner_is_told_to_operators_with_an_address(site: Site, fail: Fail) -> None:
    for email in ("mara@example.com", "operator@localhost"):
        Account.objects.create(email=email, role=Account.Role.OPERATOR)
    fail("crm-key-refused")
    notices.look()

    assert [mail["to"] for mail in mails()] == ["mara@example.com"]


def test_without_a_mail_server_nothing_is_added(alice: Account, fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAGWARDEN_SMTP_URL")
    env.cache_clear()
    fail("crm-key-refused")

    assert notices.look() == 0
    assert mails() == []


# A CRM that is down, as its lane's breaker says.


def breaker(connection: Connection, since: datetime, looks: int = 9) -> None:
    state = {"failures": 5, "since": clock.to_ms(since), "looks": looks, "next_look": clock.to_ms(since)}
    Lane.objects.update_or_create(
        site=connection.site_id, connection=connection.pk, defaults={"breaker": json.dumps(state)}
    )


def test_a_crm_that_is_down_for_an_hour_is_told_once(
    now: time_machine.Traveller, alice: Account, connection: Connection
) -> None:
    breaker(connection, START)
    for _ in range(20):
        notices.look()
        now.shift(timedelta(minutes=9))

    (mail,) = mails()
    assert (mail["to"], mail["subject"]) == (alice.email, "Northlight Studio: Sandbox CRM is down")
    assert "Sandbox CRM doesn’t answer since Tue 24 Nov 2026, 09:04 CST." in mail["text"]

    breaker(connection, START + timedelta(hours=2))
    notices.look()
    assert len(mails()) == 2


@pytest.mark.parametrize(("minutes", "looks"), [(59, 9), (90, 0)])
def test_one_that_is_down_for_less_or_only_suspect_is_not_told(
    now: time_machine.Traveller, alice: Account, connection: Connection, minutes: int, looks: int
) -> None:
    breaker(connection, START - timedelta(minutes=minutes), looks)
    notices.look()

    assert mails() == []


# The whole road.


def test_a_call_that_is_given_up_reaches_the_owner(road: Road, alice: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    Site.objects.update(mail_from="hello@northlight.example")
    road.enrol(1)
    Connection.objects.update(active=False)
    road.call("aal_updateuser", 1)
    with mailserver.listening() as server:
        monkeypatch.setenv("TAGWARDEN_SMTP_URL", server.url)
        env.cache_clear()
        road.work(lambda: Job.objects.filter(outcome="failed").exists())
        notices.look()
        road.work()

        (mail,) = server.mails
    assert "switched off" in mail.get_content()


def test_a_drift_check_that_stopped_is_told_once(
    now: time_machine.Traveller, alice: Account, connection: Connection
) -> None:
    sweep = story.sweep(connection, "stopped", standing="refused", reason="sweep-stopped", would_lose=212)
    story.sweep(connection, gained=3, ago=120)
    for _ in range(3):
        notices.look()
        now.shift(timedelta(hours=1))

    (mail,) = mails()
    assert (mail["to"], mail["subject"]) == (
        alice.email,
        "Northlight Studio: a drift check of Sandbox CRM stopped",
    )
    assert "212 members of Northlight Studio would have lost a tag" in mail["text"]
    assert f"http://northlight.example/staff/drift-checks/{sweep.slug}/" in mail["text"]
