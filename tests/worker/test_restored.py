"""After a restore nothing goes out until somebody resumes, and no mail goes out twice.

The database goes back in time by a savepoint: it is then what a backup of that moment holds.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest
from django.db import transaction

from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.errors import Retryable
from tagwarden.core.outcome import Effect, Outcome, done
from tagwarden.crms import base
from tagwarden.journal import leases, restores, sql, store
from tagwarden.journal.models import Counter as Counted
from tagwarden.journal.models import Job
from tagwarden.worker import effects
from tagwarden.worker.engine_embedded import Engine
from tests.sandbox.conftest import Crm, names
from tests.worker.conftest import Road

EARLY, OPEN, LATE, NEW = range(1, 6), 6, range(7, 20), 20


class Post:
    """Takes mails, once it is there. `left`: the keys under which they left, in order."""

    def __init__(self) -> None:
        self.away = False
        self.left: list[str] = []

    def perform(self, jobs: Sequence[leases.Job]) -> effects.Performed:
        if self.away:
            return effects.Performed(errors={job.id: Retryable("crm-unreachable", crm="Post", why="") for job in jobs})
        self.left += [job.key for job in jobs]
        return effects.Performed()


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    """Where the effects named mail go."""
    post, others = Post(), effects.perform

    def perform(crm: base.Crm, jobs: Sequence[leases.Job]) -> effects.Performed:
        return post.perform(jobs) if jobs[0].command == "mail" else others(crm, jobs)

    monkeypatch.setattr(effects, "perform", perform)
    return post


@pytest.fixture
def greeted(road: Road, crm: Crm, commands: Callable[..., ModuleType]) -> str:
    """A command that tags the contact with this tag, writes a field and sends a mail."""
    tag = str(crm.new_tag(f"Greeted {clock.now_ms()}"))

    def run(params: object, member: object, ctx: object) -> Outcome:
        return done(
            effects=(
                Effect("tag-add", "tag", {"tag": tag, "name": "Greeted"}),
                Effect("field-set", "field", {"field": "Password", "value": "hello"}),
                Effect("mail", "mail", {"template": "hello"}),
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


def lived_through(road: Road, post: Post) -> dict[str, tuple[str, str]]:
    """Five calls and one whose mail can't leave yet; the backup; many more; a restore; the same are filled in.

    Returns how everything stood before the restore.
    """
    road.call("aal_greet", *EARLY)
    road.work()
    post.away = True
    road.call("aal_greet", OPEN)
    road.work(lambda: Job.objects.filter(command="mail", tries=1).exists())
    backup = transaction.savepoint()
    post.away = False
    road.call("aal_greet", *LATE)
    road.work()
    before = standing()
    assert set(before.values()) == {("done", "")}
    assert len(post.left) == len(EARLY) + 1 + len(LATE)
    back_to(road, backup)
    while road.intake.carry():
        pass
    road.work()
    return before


def test_calls_are_filled_in_under_their_keys_and_nothing_leaves(
    road: Road, crm: Crm, post: Post, greeted: str
) -> None:
    before = lived_through(road, post)
    writes, left = len(crm.writes()), len(post.left)
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
    assert (len(crm.writes()), len(post.left)) == (writes, left)


def test_after_resuming_all_is_right_and_no_mail_left_twice(road: Road, crm: Crm, post: Post, greeted: str) -> None:
    lived_through(road, post)
    (new,) = road.call("aal_greet", NEW)
    road.work()
    crm.untag(int(greeted), *LATE)

    assert restores.resume(road.site.pk) == restores.Resumed(2 * len(LATE) + 3, 1, was_held=True)
    assert restores.resume(road.site.pk) == restores.Resumed(0, 0, was_held=False)
    road.work()

    assert all("Greeted" in str(names(row)) for row in crm.in_bulk(*EARLY, OPEN, *LATE, NEW))
    assert not Job.objects.exclude(state="finished").exists()
    assert max(Counter(post.left).values()) == 1
    assert post.left[-1].startswith(new)
    unknown = Job.objects.filter(outcome="unknown")
    assert set(unknown.values_list("command", "reason")) == {("mail", "restored-mail-unknown")}
    assert unknown.count() == len(LATE) + 1
    counted = {standing: n for standing, n in Counted.objects.filter(command="greet").values_list("standing", "n") if n}
    assert counted == dict(Counter(Job.objects.filter(root=None).values_list("standing", flat=True)))


def test_an_unknown_mail_leaves_by_a_click_only(road: Road, post: Post, greeted: str) -> None:
    lived_through(road, post)
    mail = Job.objects.filter(reason="restored-mail-unknown").earliest("pk")
    store.redeliver([mail.root], account=None)  # while all is held: it waits for that
    road.work()
    restores.resume(road.site.pk)
    road.work()
    assert Counter(post.left)[mail.key] == 2
    assert Counter(Counter(post.left).values()) == {1: len(EARLY) + 1 + len(LATE) - 1, 2: 1}


def test_a_resume_before_the_worker_came_by_lets_no_mail_out(road: Road, post: Post, greeted: str) -> None:
    post.away = True
    road.call("aal_greet", *EARLY)
    road.work(lambda: Job.objects.filter(command="mail", tries__gte=1).count() == len(EARLY))
    backup = transaction.savepoint()
    post.away = False
    back_to(road, backup)

    restores.resume(road.site.pk)
    road.work()
    assert post.left == []
    assert set(Job.objects.filter(command="mail").values_list("outcome", flat=True)) == {"unknown"}


def test_what_was_in_hand_goes_on_without_a_crash_counted(road: Road, greeted: str, post: Post) -> None:
    road.call("aal_updateuser", 1)
    lane = leases.lease(leases.due_lanes()[0], "another")
    assert lane
    assert leases.take(lane, "another", size=10)
    back_to(road, transaction.savepoint())
    road.work()
    assert Job.objects.get().crashes == 0
    assert Job.objects.get().outcome == "done"


def test_another_site_goes_on_holding(road: Road, other_site: object, post: Post, greeted: str) -> None:
    theirs = Connection.objects.create(site=other_site, crm="sandbox", name="Theirs")
    lived_through(road, post)
    restores.resume(theirs.site_id)
    road.work()
    assert restores.on_hold(road.site.pk)
    assert Job.objects.filter(state="held", reason="restored").exists()
