"""Native hooks: what a CRM tells by itself, the jobs that come of it, triggers and their tags."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tagwarden.connections import handshakes, triggers
from tagwarden.connections.models import Connection, HandshakeUse, ToldEvent, Trigger
from tagwarden.core import clock
from tagwarden.core.errors import Permanent, Retryable
from tagwarden.core.hooks import Event, Happened, Hook
from tagwarden.core.outcome import Needs, done, failed, no_op
from tagwarden.core.wire import Param
from tagwarden.crms import base
from tagwarden.journal import store
from tagwarden.journal.models import Attempt, Delivery, Job
from tagwarden.members.models import Member
from tagwarden.worker import care, plan, schedule
from tests.hooking import Crm as HookedCrm
from tests.hooking import body, hooked
from tests.sandbox.conftest import names
from tests.worker.conftest import Road
from tests.worker.test_commands import counted, in_journal

__all__ = ["hooked"]

AddCommand = Callable[..., ModuleType]
JSON = '[["content-type","application/json"]]'


@pytest.fixture(autouse=True)
def no_care(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock adds no look at the hooks by itself; tests say when."""
    monkeypatch.setattr(schedule, "care", SimpleNamespace(add_due=lambda: 0))


@pytest.fixture
def general(road: Road) -> int:
    """A handshake for all commands, which is no trigger's."""
    return handshakes.make(road.connection, "webhooks")[0].pk


@pytest.fixture
def hook(road: Road, hooked: type[HookedCrm], general: int) -> Callable[..., str]:
    """A hook with these events comes in. Returns its delivery."""

    def come(*events: dict[str, str], handshake: int = 0, **changed: Any) -> str:
        values = {"kind": "hook", "path": "/hooks/***", "query": "", "headers": JSON, "body": body(*events)}
        (delivery,) = road.carry(road.row("", 0, **(values | {"handshake": handshake or general} | changed)))
        return delivery

    return come


def trigger(road: Road, tag: str, command: str = "genpass", **more: Any) -> Trigger:
    made = triggers.add(road.connection, tag=tag, command=command, params=more.pop("params", {}), **more)
    triggers.set_up(made)
    return made


def jobs(delivery: str) -> list[Job]:
    return list(Job.objects.filter(delivery=delivery, root=None).order_by("key"))


def ends(delivery: str) -> list[tuple[str, str, str, str]]:
    return [(job.command, job.contact, job.outcome, job.reason) for job in jobs(delivery)]


def adds_up(commands: AddCommand) -> list[int]:
    """A command that changes something by an amount; the list says how often it ran."""
    ran: list[int] = []

    def run(params: Any, member: Any, ctx: Any) -> Any:
        ran.append(params["n"])
        return done()

    commands("addpoints", run, PARAMS={"n": Param()}, DELTA=True)
    return ran


# What a hook tells becomes jobs.


def test_each_contact_of_a_hook_is_refreshed_once_and_has_its_own_outcome(road: Road, hook: Any) -> None:
    road.enrol(1, 2)
    delivery = hook({"id": "1", "tag": "3"}, {"id": "99999", "tag": "3"}, {"id": "1", "tag": "4"}, {"id": "2"})
    road.work()

    assert ends(delivery) == [
        ("updateuser", "1", "done", ""),
        ("updateuser", "99999", "no-op", "not-a-member"),
        ("updateuser", "2", "done", ""),
    ]
    assert {job.source for job in jobs(delivery)} == {"hook"}
    assert counted() == in_journal()


@pytest.mark.parametrize(
    ("content", "outcome", "reason"),
    [
        (b"no json", "failed", "hook-not-understood"),
        (b"[]", "failed", "hook-not-understood"),  # the adapter itself stumbles over it
        (b'{"events":[]}', "no-op", "hook-only-tried"),
        (b'{"events":[{"tag":"3"}]}', "no-op", "hook-without-contact"),
    ],
)
def test_a_hook_that_asks_for_nothing_is_one_job_that_says_why(
    road: Road, hook: Any, content: bytes, outcome: str, reason: str
) -> None:
    delivery = hook(body=content)

    assert ends(delivery) == [("", "", outcome, reason)]
    assert counted() == in_journal() == {outcome: 1}


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "handshake-wrong"), (405, "method-not-allowed"), (413, "too-large")]
)
def test_what_the_door_held_against_a_hook_is_its_reason(road: Road, hook: Any, status: int, reason: str) -> None:
    delivery = hook({"id": "1"}, status=status, reason=reason)

    assert ends(delivery) == [("", "", "failed", reason)]


def test_a_hook_that_was_not_understood_is_read_again_when_it_is_redelivered(
    road: Road, hook: Any, hooked: type[HookedCrm], monkeypatch: pytest.MonkeyPatch
) -> None:
    road.enrol(1, 2)
    with monkeypatch.context() as patched:
        patched.setattr(hooked, "events", base.Crm.__dict__["events"])
        delivery = hook({"id": "1"}, {"id": "2"})
    assert ends(delivery) == [("", "", "failed", "hook-not-understood")]

    store.redeliver([jobs(delivery)[0].pk], account=None)
    road.work()

    assert ends(delivery) == [("updateuser", "1", "done", ""), ("updateuser", "2", "done", "")]
    assert counted() == in_journal() == {"done": 2}


def test_a_hook_that_only_tried_the_address_says_so_again_when_it_is_redelivered(road: Road, hook: Any) -> None:
    delivery = hook()
    store.redeliver([jobs(delivery)[0].pk], account=None)
    road.work()

    assert ends(delivery) == [("", "", "no-op", "hook-only-tried")]
    assert counted() == in_journal() == {"no-op": 1}


def test_a_signature_is_judged_by_when_the_hook_came_not_by_when_it_is_read(
    road: Road, hook: Any, hooked: type[HookedCrm], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived: list[Any] = []
    monkeypatch.setattr(hooked, "events", classmethod(lambda cls, one, secrets: arrived.append(one) or []))
    came = clock.now_ms() - 3_600_000
    hook(received=came)

    assert clock.to_ms(arrived[0].received) == came


# Contacts known by their e-mail only.


def test_a_contact_told_by_its_address_is_looked_up_and_refreshed(road: Road, hook: Any) -> None:
    road.enrol(1)
    email = road.crm.contact(1)["email"]
    delivery = hook({"email": f" {email} "})
    road.work()

    assert ends(delivery) == [("updateuser", "1", "done", "")]
    (job,) = jobs(delivery)
    assert (job.stream, job.params) == ("refresh", "{}")
    assert list(Attempt.objects.filter(job=job.pk).order_by("pk").values_list("result", flat=True)) == ["found", "done"]
    assert counted() == in_journal() == {"done": 1}


def test_of_several_contacts_with_that_address_the_lowest_id_counts(
    road: Road, hook: Any, hooked: type[HookedCrm], monkeypatch: pytest.MonkeyPatch
) -> None:
    road.enrol(1, 2)
    monkeypatch.setattr(hooked, "by_email", lambda self, email: [self.contact("1"), self.contact("2")])
    delivery = hook({"email": "both@example.com"})
    road.work()

    assert ends(delivery) == [("updateuser", "1", "done", "")]


def test_an_address_that_nobody_has_fails_as_an_unknown_contact(road: Road, hook: Any) -> None:
    delivery = hook({"email": "nobody@example.com"})
    road.work()

    assert ends(delivery) == [("updateuser", "", "failed", "contact-not-found")]
    assert counted() == in_journal() == {"failed": 1}


def test_a_crm_that_is_down_while_the_address_is_looked_up_is_asked_again(
    road: Road, hook: Any, hooked: type[HookedCrm], monkeypatch: pytest.MonkeyPatch
) -> None:
    road.enrol(1)
    troubles = [Retryable("crm-overloaded", crm="Hooked", status=503)]
    asked = hooked.by_email

    def by_email(self: Any, email: str) -> Any:
        if troubles:
            raise troubles.pop()
        return asked(self, email)

    monkeypatch.setattr(hooked, "by_email", by_email)
    delivery = hook({"email": road.crm.contact(1)["email"]})
    road.work()

    assert ends(delivery) == [("updateuser", "1", "done", "")]


# Triggers.


def test_a_trigger_runs_its_command_and_its_tag_comes_off_again(road: Road, hook: Any) -> None:
    made = trigger(road, "Make account")
    road.crm.tag(int(made.tag), 1)

    delivery = hook({"id": "1", "tag": made.tag}, handshake=made.handshake_id)
    road.work()

    (job,) = jobs(delivery)
    assert (job.command, job.standing) == ("genpass", "done")
    assert "1" in Member.of_contacts(road.connection.pk, ["1"])
    assert "Make account" not in names(road.crm.contact(1))
    off = Job.objects.get(root=job.pk, command="tag-remove")
    assert (off.key, off.source, off.outcome) == (f"{job.key}:take-off", "hook", "done")
    assert "Make account" not in road.tags(1)
    assert counted() == in_journal() == {"done": 1}


def test_a_trigger_with_keep_leaves_its_tag(road: Road, hook: Any) -> None:
    made = trigger(road, "Make account", take_off=False)
    road.crm.tag(int(made.tag), 1)
    delivery = hook({"id": "1", "tag": made.tag}, handshake=made.handshake_id)
    road.work()

    assert jobs(delivery)[0].standing == "done"
    assert "Make account" in names(road.crm.contact(1))


def test_a_tag_that_opens_something_is_never_taken_off(road: Road, hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trigger(road, "Gold")
    assert made.take_off
    monkeypatch.setattr(triggers, "opens_something", lambda connection, tag: tag == made.tag)
    road.crm.tag(int(made.tag), 1)
    hook({"id": "1", "tag": made.tag}, handshake=made.handshake_id)
    road.work()

    assert "Gold" in names(road.crm.contact(1))


@pytest.mark.parametrize("command", ["updateuser", "batchsync"])
def test_a_trigger_that_refreshes_takes_its_tag_off_whoever_it_is(road: Road, hook: Any, command: str) -> None:
    Connection.objects.filter(pk=road.connection.pk).update(options_json='{"release_delay": 0}')
    road.enrol(1)
    made = trigger(road, "Refresh me", command)
    road.crm.tag(int(made.tag), 1, 2)
    delivery = hook({"id": "1", "tag": made.tag}, {"id": "2", "tag": made.tag}, handshake=made.handshake_id)
    road.work()

    assert ends(delivery) == [(command, "1", "done", ""), (command, "2", "no-op", "not-a-member")]
    assert "Refresh me" not in names(road.crm.contact(1)) | names(road.crm.contact(2))


@pytest.mark.parametrize("ending", [Permanent("crm-refused", crm="Hooked", status=400), failed("email-missing")])
def test_the_tag_of_a_trigger_that_failed_stays_until_it_is_mended(
    road: Road, hook: Any, commands: AddCommand, ending: Any
) -> None:
    road.enrol(1)
    outcomes = [ending]

    def run(params: Any, member: Any, ctx: Any) -> Any:
        if not outcomes:
            return no_op("password-handed-over")
        outcome = outcomes.pop()
        if isinstance(outcome, Permanent):
            raise outcome
        return outcome

    commands("fails", run)
    made = trigger(road, "Try", "fails")
    road.crm.tag(int(made.tag), 1)
    delivery = hook({"id": "1", "tag": made.tag}, handshake=made.handshake_id)
    road.work()
    assert "Try" in names(road.crm.contact(1))

    store.redeliver([jobs(delivery)[0].pk], account=None)
    road.work()

    assert jobs(delivery)[0].outcome == "no-op"
    assert "Try" not in names(road.crm.contact(1))


def test_a_trigger_gives_its_command_its_parameters(road: Road, hook: Any, commands: AddCommand) -> None:
    road.enrol(1)
    ran = adds_up(commands)
    made = trigger(road, "Ten points", "addpoints", params={"n": "10"})
    hook({"id": "1", "tag": made.tag}, handshake=made.handshake_id)
    road.work()

    assert ran == [10]


def test_an_event_without_tag_is_the_trigger_s_where_it_came_in(road: Road, hook: Any) -> None:
    """As Kit's legacy hooks: one hook a tag, and neither event nor tag in the body."""
    made, other = trigger(road, "One"), trigger(road, "Other", "updateuser")

    first = hook({"id": "1", "happened": "contact-changed"}, handshake=made.handshake_id)
    second = hook({"id": "1"}, handshake=other.handshake_id)
    third = hook({"id": "1", "happened": "tag-removed"}, handshake=made.handshake_id)

    assert [jobs(delivery)[0].params for delivery in (first, second, third)] == [
        f'{{"trigger":{made.pk}}}',
        f'{{"trigger":{other.pk}}}',
        "{}",
    ]


def test_a_general_hook_finds_the_trigger_by_the_tag_s_id_or_name(road: Road, hook: Any) -> None:
    made = trigger(road, "Make account")
    events = [{"id": "1", "tag": made.tag}, {"id": "2", "tag_name": "MAKE account"}]
    others = [{"id": "3", "tag": "77"}, {"id": "4", "tag": made.tag, "happened": "tag-removed"}, {"id": "5"}]
    delivery = hook(*events, *others)

    assert [job.command for job in jobs(delivery)] == ["genpass", "genpass", *["updateuser"] * 3]


def test_a_trigger_s_hook_that_tells_of_all_tags_runs_only_its_own_trigger(road: Road, hook: Any) -> None:
    """As ActiveCampaign's and Keap's: each trigger's hook is told of every tag."""
    one, other = trigger(road, "One"), trigger(road, "Other")
    events = [{"id": "1", "tag": one.tag, "ref": "a"}, {"id": "2", "tag": other.tag, "ref": "b"}]

    first = hook(*events, handshake=one.handshake_id)
    second = hook(*events, handshake=other.handshake_id)

    assert [job.command for job in jobs(first)] == ["genpass", "updateuser"]
    assert [job.command for job in jobs(second)] == ["updateuser", "genpass"]


def test_a_handshake_runs_no_trigger_beyond_its_scope(road: Road, hook: Any) -> None:
    made = trigger(road, "Make account")
    narrow, _ = handshakes.make(road.connection, "only refreshes", scopes=["updateuser"])
    wide, _ = handshakes.make(road.connection, "both", scopes=["updateuser", "genpass"])

    assert jobs(hook({"id": "1", "tag": made.tag}, handshake=narrow.pk))[0].command == "updateuser"
    assert jobs(hook({"id": "1", "tag": made.tag}, handshake=wide.pk))[0].command == "genpass"


def test_what_is_signed_wrongly_runs_nothing(road: Road, hook: Any, hooked: type[HookedCrm]) -> None:
    hooked.signs = True
    made = trigger(road, "Make account")
    event = {"id": "1", "tag": made.tag}

    wrong = hook(event, handshake=made.handshake_id, headers='[["x-signature","forged"]]')
    right = hook(event, handshake=made.handshake_id, headers='[["x-signature","secret-1"]]')

    assert ends(wrong) == [("", "", "failed", "signature-wrong")]
    assert jobs(right)[0].command == "genpass"
    assert "secret-1" not in str(Trigger.objects.values().get())


# The same event told twice.


def test_a_command_that_adds_up_runs_once_for_an_event_that_is_told_again(
    road: Road, hook: Any, commands: AddCommand
) -> None:
    road.enrol(1)
    ran = adds_up(commands)
    made = trigger(road, "Ten points", "addpoints", params={"n": "10"})
    event = {"id": "1", "tag": made.tag, "ref": "e1"}

    hook(event, handshake=made.handshake_id)
    again = hook(event, handshake=made.handshake_id)
    another = hook({**event, "ref": "e2"}, handshake=made.handshake_id)
    road.work()

    assert ran == [10, 10]
    assert ends(again) == [("addpoints", "1", "no-op", "told-before")]
    assert jobs(another)[0].outcome == "done"
    assert counted() == in_journal() == {"done": 2, "no-op": 1}


def test_an_event_told_to_two_triggers_is_a_repeat_for_neither(road: Road, hook: Any, commands: AddCommand) -> None:
    road.enrol(1)
    ran = adds_up(commands)
    one = trigger(road, "Ten points", "addpoints", params={"n": "10"})
    other = trigger(road, "Five points", "addpoints", params={"n": "5"})
    for made in (one, other):
        hook({"id": "1", "ref": "e1"}, handshake=made.handshake_id)
    road.work()

    assert ran == [10, 5]


def test_a_repeat_of_what_may_be_repeated_runs_again(road: Road, hook: Any) -> None:
    road.enrol(1)
    made = trigger(road, "Make account")
    event = {"id": "1", "tag": made.tag, "ref": "e1"}
    for delivery in (hook(event, handshake=made.handshake_id), hook(event, handshake=made.handshake_id)):
        road.work()
        assert jobs(delivery)[0].outcome == "done"

    plain = {"id": "1", "tag": "77", "ref": "e2"}
    assert {jobs(hook(plain))[0].state for _ in range(2)} == {"waiting"}


def test_staff_may_have_a_repeat_run_after_all(road: Road, hook: Any, commands: AddCommand) -> None:
    road.enrol(1)
    ran = adds_up(commands)
    made = trigger(road, "Ten points", "addpoints", params={"n": "10"})
    event = {"id": "1", "tag": made.tag, "ref": "e1"}
    hook(event, handshake=made.handshake_id)
    again = hook(event, handshake=made.handshake_id)
    road.work()
    store.redeliver([jobs(again)[0].pk], account=None)
    road.work()

    assert ran == [10, 10]


def test_after_thirty_days_an_event_is_forgotten(road: Road, hook: Any) -> None:
    made = trigger(road, "Make account")
    hook({"id": "1", "tag": made.tag, "ref": "old"}, handshake=made.handshake_id)
    hook({"id": "1", "tag": made.tag, "ref": "x" * 300}, handshake=made.handshake_id)
    ToldEvent.objects.filter(ref__endswith="old").update(seen=clock.now() - timedelta(days=31))
    road.intake.clean()

    assert ToldEvent.objects.count() == 1


def test_a_batch_that_breaks_remembers_no_event(
    road: Road, hook: Any, commands: AddCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the call, carried again, isn't taken for its own repeat."""
    road.enrol(1)
    ran = adds_up(commands)
    made = trigger(road, "Ten points", "addpoints", params={"n": "10"})
    breaks = [True]
    carried = store.record

    def record(**batch: Any) -> None:
        carried(**batch)
        if breaks:
            breaks.pop()
            raise ValueError("cut off")

    monkeypatch.setattr(store, "record", record)
    row = {"kind": "hook", "path": "/hooks/***", "query": "", "headers": JSON, "handshake": made.handshake_id}
    event = body({"id": "1", "tag": made.tag, "ref": "e1"})
    rows = [road.row("", 0, body=event, **row), road.row("aal_updateuser", 1)]
    road.carry(*rows)  # breaks, then each alone
    road.work()

    assert ran == [10]


def test_a_crash_while_a_hook_is_carried_takes_nothing_twice(road: Road, hook: Any, commands: AddCommand) -> None:
    road.enrol(1)
    ran = adds_up(commands)
    made = trigger(road, "Ten points", "addpoints", params={"n": "10"})
    hook({"id": "1", "tag": made.tag, "ref": "e1"}, handshake=made.handshake_id)
    store.sql.run("delete from journal_spoolposition")  # as after a restore: the spool is carried once more
    while road.intake.carry():
        pass
    road.work()

    assert ran == [10]
    assert Delivery.objects.count() == Job.objects.filter(root=None).count() == 1


# Care.


def cared(road: Road) -> Job:
    """An hour later: the hooks are looked at."""
    Job.objects.filter(command=care.COMMAND).update(key="an earlier hour")
    assert care.add_due() == 1
    Job.objects.filter(command=care.COMMAND, state="waiting").update(due=clock.now())
    store.sql.run("update journal_lane set next_due = 0")
    road.work()
    job = Job.objects.filter(command=care.COMMAND).latest("pk")
    Job.objects.filter(pk=job.pk).update(key=f"before {job.pk}")
    return job


def test_care_is_due_once_an_hour_where_there_are_hooks(road: Road, hooked: type[HookedCrm], general: int) -> None:
    assert care.add_due() == 0
    HandshakeUse.objects.create(handshake_id=general, word="", last_used=clock.now())  # a hook came
    assert [care.add_due(), care.add_due()] == [1, 0]

    Job.objects.filter(command=care.COMMAND).update(key="of the last hour")
    assert care.add_due() == 0, "the last look still waits"

    Connection.objects.update(crm="sandbox")  # which has no hooks
    Job.objects.all().delete()
    assert care.add_due() == 0


def test_a_hook_that_was_switched_off_is_revived_and_one_that_is_gone_made_again(
    road: Road, hooked: type[HookedCrm]
) -> None:
    alive, off, gone = (trigger(road, name) for name in ("Alive", "Off", "Gone"))
    hooked.there["2"] = replace(hooked.there["2"], alive=False)
    del hooked.there["3"]

    job = cared(road)

    assert job.outcome == "done"
    assert [hook.alive for hook in hooked.there.values()] == [True, True, True]
    for one in (alive, off, gone):
        one.refresh_from_db()
    assert [one.state for one in (alive, off, gone)] == ["alive", "revived", "made-again"]
    assert "switched its hook off" in off.finding
    assert hooked.there[gone.hook].tag == gone.tag
    road.connection.refresh_from_db()
    assert road.connection.hooks_checked is not None

    cared(road)
    off.refresh_from_db()
    assert (off.state, off.finding) == ("alive", "")


def test_a_trouble_with_one_hook_is_told_and_the_others_are_cared_for(road: Road, hooked: type[HookedCrm]) -> None:
    first, second = trigger(road, "First"), trigger(road, "Second")
    hooked.there.clear()
    handshakes.revoke(first.handshake)

    job = cared(road)

    assert (job.outcome, job.reason) == ("failed", "hook-secret-revoked")
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("broken", "made-again")
    assert "First" in first.finding


def test_after_a_rotation_the_hook_is_made_anew_and_the_old_one_goes(
    road: Road, hook: Any, hooked: type[HookedCrm]
) -> None:
    hooked.signs = True
    made = trigger(road, "Make account")
    old = made.handshake_id
    new, secret = handshakes.rotate(made.handshake)
    under_way = hook({"id": "1"}, handshake=old, headers='[["x-signature","secret-1"]]')

    cared(road)

    made.refresh_from_db()
    assert made.handshake_id == new.pk
    assert [one.url for one in hooked.there.values()] == [f"http://northlight.example/hooks/{secret}"]
    assert jobs(under_way)[0].command == "genpass"
    assert jobs(hook({"id": "2"}, handshake=old, headers='[["x-signature","secret-1"]]'))[0].command == "genpass"


def test_a_hook_that_somebody_else_set_up_is_revived_and_a_stray_one_told(
    road: Road, hooked: type[HookedCrm], general: int
) -> None:
    trigger(road, "Make account")
    at = triggers.hook_url(handshakes.Handshake.objects.get(pk=general))
    hooked.there["8"] = Hook("8", at, Happened.CHANGED, alive=False)
    hooked.there["9"] = Hook("9", "http://northlight.example/hooks/long-gone-secret", Happened.CHANGED)
    hooked.there["10"] = Hook("10", "https://elsewhere.example/hooks/x", Happened.CHANGED, alive=False)

    cared(road)

    road.connection.refresh_from_db()
    assert [hooked.there[n].alive for n in ("8", "9", "10")] == [True, True, False]
    assert "1 hook set up by somebody else" in road.connection.hooks_finding
    assert "1 hook calling an address whose secret was revoked" in road.connection.hooks_finding
    assert "long-gone-secret" not in road.connection.hooks_finding


def test_the_clock_has_the_hooks_looked_at(road: Road, hooked: type[HookedCrm], monkeypatch: Any) -> None:
    monkeypatch.setattr(schedule, "care", care)
    trigger(road, "Make account")
    schedule.each_minute()
    schedule.each_minute()

    assert Job.objects.get(command=care.COMMAND).source == "clock"


def test_what_cannot_be_revived_is_told(road: Road, hooked: type[HookedCrm], general: int) -> None:
    made = trigger(road, "Make account")
    at = triggers.hook_url(handshakes.Handshake.objects.get(pk=general))
    hooked.there["8"] = Hook("8", at, Happened.CHANGED, alive=False)
    hooked.there[made.hook] = replace(hooked.there[made.hook], alive=False)
    hooked.refuses["revive_hook"] = Permanent("crm-refused", crm="Hooked", status=400)

    assert (cared(road).reason, Trigger.objects.get().state) == ("crm-refused", "broken")
    road.connection.refresh_from_db()
    assert "not to be revived" in road.connection.hooks_finding


def test_a_hook_made_anew_is_kept_though_the_old_one_will_not_go(road: Road, hooked: type[HookedCrm]) -> None:
    hooked.signs = True
    made = trigger(road, "Make account")
    handshakes.rotate(made.handshake)
    hooked.refuses["remove_hook"] = Retryable("crm-overloaded", crm="Hooked", status=503)
    cared(road)

    made.refresh_from_db()
    assert (made.hook, triggers.secrets_of(made)) == ("2", ["secret-2", "secret-1"])


def test_a_crm_that_is_down_is_looked_at_again(road: Road, hooked: type[HookedCrm]) -> None:
    trigger(road, "Make account")
    hooked.refuses["hooks"] = Retryable("crm-overloaded", crm="Hooked", status=503)
    care.add_due()
    Job.objects.update(due=clock.now())
    store.sql.run("update journal_lane set next_due = 0")
    road.work(lambda: Job.objects.filter(tries__gte=1).exists())
    del hooked.refuses["hooks"]
    road.work()

    assert Job.objects.get(command=care.COMMAND).outcome == "done"


def test_a_tag_that_was_renamed_at_the_crm_is_known_by_its_new_name(
    road: Road, hooked: type[HookedCrm], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trigger(road, "Make account")
    monkeypatch.setattr(hooked, "list_tags", lambda self: {made.tag: "Make an account"})
    cared(road)

    made.refresh_from_db()
    assert made.tag_name == "Make an account"


# What the CRM couldn't tell.


def test_what_the_crm_s_log_says_was_missed_is_done_once(
    road: Road, hook: Any, hooked: type[HookedCrm], commands: AddCommand
) -> None:
    road.enrol(1)
    ran = adds_up(commands)
    made = trigger(road, "Ten points", "addpoints", params={"n": "10"})
    hook({"id": "1", "tag": made.tag, "ref": "came"}, handshake=made.handshake_id)
    road.work()
    assert ran == [10]
    told = [Event(Happened.TAG_ADDED, "1", tag=made.tag, ref=ref) for ref in ("came", "missed")]
    hooked.log += [*told, Event(Happened.TAG_ADDED, "1", tag="77", at=clock.now() - timedelta(days=1))]

    cared(road)
    cared(road)

    assert ran == [10, 10]
    found = Job.objects.filter(source="sweep", root=None).order_by("pk")
    assert [(job.command, job.contact, job.outcome) for job in found] == [
        ("addpoints", "1", "done"),
        ("updateuser", "1", "done"),
    ]
    assert hooked.asked_since[1] > hooked.asked_since[0]
    assert counted() == in_journal()


def test_an_event_without_id_is_not_missed_if_a_hook_told_it_about_then(
    road: Road, hook: Any, hooked: type[HookedCrm]
) -> None:
    road.enrol(1, 2)
    hook({"id": "1", "tag": "77"})
    road.work()
    hooked.log += [Event(Happened.TAG_ADDED, who, tag="77", at=clock.now()) for who in ("1", "2")]
    trigger(road, "Make account")

    cared(road)

    assert [job.contact for job in Job.objects.filter(source="sweep")] == ["2"]


def test_no_other_command_is_disturbed_by_the_new_streams(road: Road, commands: AddCommand) -> None:
    commands("nothing", lambda params, member, ctx: done(), NEEDS=Needs.NOTHING)
    road.enrol(1)
    (delivery,) = road.call("aal_nothing", 1)
    road.work()

    assert road.job(delivery).outcome == "done"
    assert plan.places([road.connection.pk])[road.connection.pk].listening.triggers == ()
