"""Mails: sent once, to a real mail server; tried again where that is safe, and never where it isn't."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tagwarden.accounts.models import Site
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.env import env
from tagwarden.core.outcome import Effect, done
from tagwarden.journal import leases, store
from tagwarden.journal.models import Attempt, Counter, Job
from tagwarden.journal.models import Lane as LaneRow
from tagwarden.worker.engine_embedded import Engine
from tests import mailserver
from tests.mailserver import Certificate, MailServer
from tests.sandbox.conftest import free_port
from tests.worker.conftest import Road, nothing_left_open

SetUp = Callable[[str], None]
TEXT = "Hello Åsa,\n\n.hidden dot\nModule 3 is open."


@pytest.fixture
def smtp_url(road: Road, monkeypatch: pytest.MonkeyPatch) -> SetUp:
    """Names the mail server as the operator does."""
    Site.objects.filter(pk=road.site.pk).update(mail_from="hello@northlight.example")

    def name(url: str) -> None:
        monkeypatch.setenv("TAGWARDEN_SMTP_URL", url)
        env.cache_clear()

    return name


@pytest.fixture
def server(smtp_url: SetUp) -> Iterator[MailServer]:
    with mailserver.listening() as server:
        smtp_url(server.url)
        yield server


def new_mail(road: Road, **changed: object) -> Job:
    """A mail of the site's own lane, in the journal."""
    mail = store.NewJob(
        key="a-key",
        site=road.site.pk,
        connection=0,
        command="mail",
        stream="effect",
        priority=store.EFFECT,
        params={"to": "asa@example.com", "subject": "Module 3\nis open", "text": TEXT},
        received=clock.now_ms(),
        source="clock",
    )
    store.add([replace(mail, **changed)])  # type: ignore[arg-type]  # mixed on purpose
    return Job.objects.get(key=changed.get("key", "a-key"))


def ended(job: Job) -> tuple[str, str, str]:
    job.refresh_from_db()
    return job.state, job.outcome, job.reason


def until_tried_in_vain(road: Road) -> None:
    """Works until a try is over that is to be followed by another, which hasn't begun."""
    road.work(lambda: Attempt.objects.filter(result="retry").exists() and not road.in_hand())


def test_it_works(road: Road, server: MailServer) -> None:
    job = new_mail(road)
    road.work()

    assert ended(job) == ("finished", "done", "")
    (mail,) = server.mails
    assert server.envelopes == [("hello@northlight.example", ["asa@example.com"])]
    assert mail["From"] == "Northlight Studio <hello@northlight.example>"
    assert (mail["To"], mail["Subject"]) == ("asa@example.com", "Module 3 is open")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert abs((mail["Date"].datetime - clock.now()).total_seconds()) < 60
    assert mail["Message-ID"].endswith("@northlight.example>")
    assert mail.get_content().replace("\r\n", "\n") == TEXT + "\n"
    call = Attempt.objects.get(job=job.pk)
    assert "queued as 1" in call.calls
    assert call.sent
    road.work(nothing_left_open)


def test_a_mail_that_a_command_asks_for_leaves_once(
    road: Road, server: MailServer, commands: Callable[..., object]
) -> None:
    letter = Effect("mail", "welcome", {"to": "asa@example.com", "subject": "Welcome", "text": TEXT})
    commands("welcome", lambda *_: done(effects=(letter,)))
    road.enrol(1)
    (delivery,) = road.call("aal_welcome", 1)
    road.work()
    store.redeliver([road.job(delivery).pk], account=None)
    road.work()

    assert road.job(delivery).standing == "done"
    assert len(server.mails) == 1
    assert Job.objects.get(command="mail").connection == 0  # the site's own lane


def test_a_mail_needs_no_crm(road: Road, server: MailServer) -> None:
    Connection.objects.update(active=False)
    job = new_mail(road, connection=road.connection.pk, contact="1")
    road.work()

    assert ended(job)[1] == "done"


def test_the_same_mail_added_twice_is_one(road: Road, server: MailServer) -> None:
    new_mail(road)
    new_mail(road)
    road.work()
    new_mail(road)
    road.work()

    assert len(server.mails) == 1


@pytest.mark.parametrize("word", ["MAIL", "RCPT", "DATA"])
def test_a_server_that_asks_to_come_later_is_asked_again(road: Road, server: MailServer, word: str) -> None:
    server.answers[word] = "451 4.7.1 Greylisted, come back"
    job = new_mail(road)
    until_tried_in_vain(road)
    job.refresh_from_db()
    assert (job.state, job.reason) == ("waiting", "mail-server-busy")
    assert job.tries
    assert "451 4.7.1 Greylisted, come back" in job.detail

    server.answers.clear()
    road.work()

    assert ended(job)[1] == "done"
    assert len(server.mails) == 1


@pytest.mark.parametrize("word", ["MAIL", "RCPT", "DATA"])
def test_a_refusal_is_the_end_and_says_what_the_server_said(road: Road, server: MailServer, word: str) -> None:
    server.answers[word] = "550 5.1.1 Nobody of that name"
    job = new_mail(road)
    road.work()

    assert ended(job) == ("finished", "failed", "mail-refused")
    assert "550 5.1.1 Nobody of that name" in job.detail
    assert server.mails == []


def test_a_server_that_is_away_is_tried_again(road: Road, smtp_url: SetUp) -> None:
    port = free_port()
    smtp_url(f"smtp://127.0.0.1:{port}")
    job = new_mail(road)
    until_tried_in_vain(road)
    assert ended(job) == ("waiting", "", "mail-server-unreachable")

    with mailserver.listening(port) as server:
        road.work()

        assert ended(job)[1] == "done"
        assert len(server.mails) == 1


def test_no_answer_to_the_text_is_unknown_and_only_a_click_sends_it_again(road: Road, server: MailServer) -> None:
    server.hangs_up_at = "DATA"
    job = new_mail(road)
    road.work()
    assert ended(job) == ("finished", "unknown", "mail-unknown")
    assert job.standing == "unknown"
    assert len(server.mails) == 1

    server.hangs_up_at = ""
    store.redeliver([job.pk], account=None)
    road.work()

    assert ended(job)[1] == "done"
    first, second = server.mails
    assert first["Message-ID"] == second["Message-ID"]


def test_a_server_that_says_no_goodbye_has_the_mail(road: Road, server: MailServer) -> None:
    server.hangs_up_at = "QUIT"
    job = new_mail(road)
    road.work()

    assert ended(job)[1] == "done"
    assert len(server.mails) == 1


def test_a_mail_whose_sender_died_is_unknown_and_not_sent_again(road: Road, server: MailServer) -> None:
    job = new_mail(road)
    lane = leases.lease(leases.due_lanes()[0], "one that dies")
    assert lane is not None
    leases.mark_sent(lane, leases.take(lane, "one that dies", size=1))
    LaneRow.objects.update(until=1)
    road.work()

    assert ended(job) == ("finished", "unknown", "mail-unknown")
    assert (job.standing, job.tries) == ("unknown", 1)
    assert dict(Counter.objects.values_list("standing", "n")) == {"waiting": 0, "unknown": 1}
    assert server.mails == []
    road.work(nothing_left_open)


def test_a_mail_that_was_not_sent_yet_goes_on_after_a_crash(road: Road, server: MailServer) -> None:
    job = new_mail(road)
    lane = leases.lease(leases.due_lanes()[0], "one that dies")
    assert lane is not None
    leases.take(lane, "one that dies", size=1)
    LaneRow.objects.update(until=1)
    road.work()

    assert ended(job)[1] == "done"
    assert len(server.mails) == 1


def test_a_mail_in_the_middle_of_a_clean_stop_is_unknown(road: Road, server: MailServer) -> None:
    job = new_mail(road)
    lane = leases.lease(leases.due_lanes()[0], "one that stops")
    assert lane is not None
    leases.mark_sent(lane, leases.take(lane, "one that stops", size=1))
    for _ in range(2):
        leases.close_unspent(lane)
    leases.give_back(lane)
    road.work()

    assert ended(job) == ("finished", "unknown", "mail-unknown")
    assert list(Attempt.objects.values_list("result", flat=True)) == ["unknown"]


# Without a mail server.


def test_without_a_mail_server_mails_are_held_and_go_on_when_there_is_one(road: Road, smtp_url: SetUp) -> None:
    job = new_mail(road)
    road.work()
    assert ended(job) == ("held", "", "no-smtp")
    assert (job.standing, job.tries) == ("held", 0)
    assert dict(Counter.objects.values_list("standing", "n")) == {"waiting": 0, "held": 1}
    store.redeliver([job.pk], account=None)
    road.work()
    assert ended(job) == ("held", "", "no-smtp")

    with mailserver.listening() as server:
        smtp_url(server.url)
        road.engine.leave()
        road.engine = Engine()
        road.work(lambda: Job.objects.filter(outcome="done").exists())

        assert len(server.mails) == 1
    assert dict(Counter.objects.values_list("standing", "n")) == {"waiting": 0, "held": 0, "done": 1}


def test_what_is_held_for_another_reason_stays(road: Road) -> None:
    job = new_mail(road)
    road.work()
    Job.objects.update(reason="something-else")

    assert store.release_held("no-smtp") == 0
    assert ended(job)[0] == "held"


# What is wrong with the mail or the setting.


def test_a_site_without_a_sender_says_so(road: Road, server: MailServer) -> None:
    Site.objects.update(mail_from="")
    job = new_mail(road)
    road.work()

    assert ended(job) == ("finished", "failed", "mail-from-missing")


@pytest.mark.parametrize("to", ["", "asa", "asa@example.com\nBcc: all@example.com", "a@b.example, c@d.example"])
def test_an_address_that_is_none_never_reaches_the_server(road: Road, server: MailServer, to: str) -> None:
    job = new_mail(road, params={"to": to, "subject": "x", "text": "x"})
    road.work()

    assert ended(job) == ("finished", "failed", "mail-address-unusable")
    assert server.mails == []


# Encrypted, and logged in.


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """A certificate that this machine trusts."""
    made = Certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


@pytest.mark.parametrize(("password", "outcome"), [("correct%20horse%2Fbattery", "done"), ("wrong", "failed")])
def test_a_server_that_wants_a_log_in(
    road: Road, smtp_url: SetUp, trusted: Certificate, password: str, outcome: str
) -> None:
    with mailserver.listening(starttls=trusted) as server:
        smtp_url(f"smtp+starttls://{mailserver.USER}:{password}@127.0.0.1:{server.port}")
        job = new_mail(road)
        road.work()

    assert ended(job)[1:] == (outcome, "" if outcome == "done" else "mail-login-refused")
    assert "wrong" not in job.detail


def test_a_server_that_is_encrypted_from_the_start(road: Road, smtp_url: SetUp, trusted: Certificate) -> None:
    with mailserver.listening(tls=trusted) as server:
        smtp_url(f"smtps://127.0.0.1:{server.port}")
        job = new_mail(road)
        road.work()

    assert ended(job)[1] == "done"


def test_a_server_that_nobody_vouches_for_gets_no_password(road: Road, smtp_url: SetUp, tmp_path: Path) -> None:
    with mailserver.listening(starttls=Certificate(tmp_path)) as server:
        smtp_url(f"smtp+starttls://{mailserver.USER}:wrong@127.0.0.1:{server.port}")
        job = new_mail(road)
        until_tried_in_vain(road)

    assert ended(job) == ("waiting", "", "mail-server-unreachable")
    assert "certificate verify failed" in job.detail.lower()


def test_a_server_without_encryption_gets_no_password(road: Road, smtp_url: SetUp) -> None:
    with mailserver.listening() as server:
        smtp_url(f"smtp+starttls://{mailserver.USER}:wrong@127.0.0.1:{server.port}")
        job = new_mail(road)
        until_tried_in_vain(road)

    assert ended(job) == ("waiting", "", "mail-server-unreachable")
    assert "STARTTLS" in job.detail
