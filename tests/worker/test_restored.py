"""After a restore nothing goes out until somebody resumes, and no mail goes out twice.

The database goes back in time by a savepoint: it is then what a backup of that moment holds.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from django.db import transaction

from tagwarden.accounts.models import Site
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.env import env
from tagwarden.core.outcome import Effect, Outcome, done
from tagwarden.journal import leases, restores, sql, store
from tagwarden.journal.models import Counter as Counted
from tagwarden.journal.models import Job
from tagwarden.operations.base import Context
from tagwarden.worker.engine_embedded import Engine
from tests import mailserver
from tests.mailserver import MailServer
from tests.sandbox.conftest import Crm, names
from tests.worker.conftest import Road

EARLY, OPEN, LATE, NEW = range(1, 6), 6, range(7, 20), 20


@pytest.fixture
def post(road: Road, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """The site's mail server."""
    Site.objects.filter(pk=road.site.pk).update(mail_from="hello@northlight.example")
    with mailserver.listening() as server:
        monkeypatch.setenv("TAGWARDEN_SMTP_URL", server.url)
        env.cache_clear()
        yield server


def left(post: MailServer) -> list[str]:
    """The mails that left, by their Message-ID, which is made from the job's key."""
    return [str(mail["Message-ID"]) for mail in post.mails]


@pytest.fixture
def greeted(road: Road, crm: Crm, commands: Callable[..., ModuleType]) -> str:
    """A command that tags the contact with this tag, writes a field and sends a mail."""
    tag = str(crm.new_tag(f"Greeted {clock.now_ms()}"))

    def run(params: object, member: object, ctx: Context) -> Outcome:
        mail = {"to": f"{ctx.contact}@example.com", "subject": "Hello", "text": "Hello"}
        return done(
            effects=(
                Effect("tag-add", "tag", {"tag": tag, "name": "Greeted"}),
                Effect("field-set", "field", {"field": "Password", "value": "hello"}),
                Effect("mail", "mail", mail),
            )
        )

    commands("greet", run)
    road.enrol(*range(1, 21))
    return tag


def back_to(road: Road, moment: str) -> None:
    """The database is what it was then, and is told that it was restored."""
    road.engine.leave()
    transaction.savepoint_rollback(moment)
    for statement in restores.marks(now=clock.now_ms()):
        sql.run(statement)
    road.engine = Engine()


def standing() -> dict[str, tuple[str, str]]:
    """Key → (outcome, or else state; reason)."""
    rows = Job.objects.values_list("key", "outcome", "state", "reason")
    return {key: (outcome or state, reason) for key, outcome, state, reason in rows}


def only_mails_wait(n: int) -> bool:
    """All is done but so many mails, which the mail server didn't take yet."""
    waiting = list(Job.objects.filter(state="waiting").values_list("command", "tries"))
    return len(waiting) == n and all(command == "mail" and tries for command, tries in waiting)


def lived_through(road: Road, post: MailServer) -> dict[str, tuple[str, str]]:
    """Five calls and one whose mail can't leave yet; the backup; many more; a restore; the same are filled in.

    Returns how everything stood before the restore.
    """
    road.call("aal_greet", *EARLY)
    road.work()
    post.answers["RCPT"] = "451 later"
    road.call("aal_greet", OPEN)
    road.work(lambda: only_mails_wait(1))
    backup = transaction.savepoint()
    post.answers.clear()
    road.call("aal_greet", *LATE)
    road.work()
    before = standing()
    assert set(before.values()) == {("done", "")}
    assert len(left(post)) == len(EARLY) + 1 + len(LATE)
    back_to(road, backup)
    while road.intake.carry():
        pass
    road.work()
    return before


def test_calls_are_filled_in_under_their_keys_and_nothing_leaves(
    road: Road, crm: Crm, post: MailServer, greeted: str
) -> None:
    before = lived_through(road, post)
    writes, mails = len(crm.writes()), len(post.mails)
    road.call("aal_greet", NEW)
    road.work()

    after = standing()
    assert before.keys() <= after.keys()
    changed = Counter(after[key] for key in before if before[key] != after[key])
    assert changed == {
        ("held", "restored"): 2 * len(LATE) + 1,  # tags and fields, and the mail that was open in the backup
        ("unknown", "restored-mail-unknown"): len(LATE),
    }
    assert {after[key][0] for key in after.keys() - before.keys()} == {"done", "held"}
    assert (len(crm.writes()), len(post.mails)) == (writes, mails)


def test_after_resuming_all_is_right_and_no_mail_left_twice(
    road: Road, crm: Crm, post: MailServer, greeted: str
) -> None:
    lived_through(road, post)
    road.call("aal_greet", NEW)
    road.work()
    crm.untag(int(greeted), *LATE)

    assert restores.resume(road.site.pk) == restores.Resumed(2 * len(LATE) + 3, 1, was_held=True)
    assert restores.resume(road.site.pk) == restores.Resumed(0, 0, was_held=False)
    road.work()

    assert all("Greeted" in str(names(row)) for row in crm.in_bulk(*EARLY, OPEN, *LATE, NEW))
    assert not Job.objects.exclude(state="finished").exists()
    assert max(Counter(left(post)).values()) == 1
    assert post.mails[-1]["To"] == f"{NEW}@example.com"
    unknown = Job.objects.filter(outcome="unknown")
    assert set(unknown.values_list("command", "reason")) == {("mail", "restored-mail-unknown")}
    assert unknown.count() == len(LATE) + 1
    counted = {standing: n for standing, n in Counted.objects.filter(command="greet").values_list("standing", "n") if n}
    assert counted == dict(Counter(Job.objects.filter(root=None).values_list("standing", flat=True)))


def test_an_unknown_mail_leaves_by_a_click_only(road: Road, post: MailServer, greeted: str) -> None:
    lived_through(road, post)
    mail = Job.objects.filter(reason="restored-mail-unknown").earliest("pk")
    store.redeliver([mail.root], account=None)  # while all is held: it waits for that
    road.work()
    restores.resume(road.site.pk)
    road.work()
    assert post.mails[-1]["To"] == f"{mail.contact}@example.com"
    assert Counter(Counter(left(post)).values()) == {1: len(EARLY) + 1 + len(LATE) - 1, 2: 1}


def test_a_resume_before_the_worker_came_by_lets_no_mail_out(road: Road, post: MailServer, greeted: str) -> None:
    post.answers["RCPT"] = "451 later"
    road.call("aal_greet", *EARLY)
    road.work(lambda: only_mails_wait(len(EARLY)))
    back_to(road, transaction.savepoint())
    post.answers.clear()

    restores.resume(road.site.pk)
    road.work()
    assert post.mails == []
    assert set(Job.objects.filter(command="mail").values_list("outcome", flat=True)) == {"unknown"}


def test_what_was_in_hand_goes_on_without_a_crash_counted(road: Road, greeted: str, post: MailServer) -> None:
    road.call("aal_updateuser", 1)
    lane = leases.lease(leases.due_lanes()[0], "another")
    assert lane
    assert leases.take(lane, "another", size=10)
    back_to(road, transaction.savepoint())
    road.work()
    assert Job.objects.get().crashes == 0
    assert Job.objects.get().outcome == "done"


def test_another_site_goes_on_holding(road: Road, other_site: object, post: MailServer, greeted: str) -> None:
    theirs = Connection.objects.create(site=other_site, crm="sandbox", name="Theirs")
    lived_through(road, post)
    restores.resume(theirs.site_id)
    road.work()
    assert restores.on_hold(road.site.pk)
    assert Job.objects.filter(state="held", reason="restored").exists()
