"""Commands and their effects: order, repeats, retries, dead letters, siblings."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tagwarden.core.errors import NeedsSetting, Retryable
from tagwarden.core.outcome import Effect, FollowUp, done, refused
from tagwarden.core.wire import Param
from tagwarden.journal import leases, store
from tagwarden.journal.models import Attempt, Counter, Job
from tests.sandbox.conftest import names
from tests.worker.conftest import Road

AddCommand = Callable[..., ModuleType]


def counted() -> dict[str, int]:
    """The counters by standing, without those at zero."""
    totals: dict[str, int] = {}
    for standing, n in Counter.objects.values_list("standing", "n"):
        totals[standing] = totals.get(standing, 0) + n
    return {standing: n for standing, n in totals.items() if n}


def in_journal() -> dict[str, int]:
    """What the counters should say."""
    totals: dict[str, int] = {}
    for (standing,) in Job.objects.filter(root=None).values_list("standing"):
        totals[standing] = totals.get(standing, 0) + 1
    return totals


def test_commands_of_a_contact_run_in_their_order(road: Road, commands: AddCommand) -> None:
    road.enrol(1, 2)
    ran: list[int] = []

    def run(params: Any, member: Any, ctx: Any) -> Any:
        if params["n"] == 1 and ran.count(1) < 2:
            ran.append(1)
            raise Retryable("crm-overloaded", crm="Sandbox CRM", status=503)
        ran.append(params["n"])
        return done()

    commands("count", run, PARAMS={"n": Param()})
    road.call("aal_count", 1, query="&n=1")
    road.call("aal_count", 1, query="&n=2")
    road.call("aal_count", 2, query="&n=3")
    road.work()

    assert ran == [1, 3, 1, 1, 2]


def test_one_that_waits_holds_later_ones_until_its_third_retry_only(road: Road, commands: AddCommand) -> None:
    road.enrol(1)
    ran: list[int] = []

    def run(params: Any, member: Any, ctx: Any) -> Any:
        ran.append(params["n"])
        if params["n"] == 1:
            raise Retryable("crm-overloaded", crm="Sandbox CRM", status=503)
        return done()

    commands("count", run, PARAMS={"n": Param()})
    road.call("aal_count", 1, query="&n=1")
    road.call("aal_count", 1, query="&n=2")
    road.work(lambda: 2 in ran)

    assert ran == [1, 1, 1, 1, 2]


def test_a_dead_letter_after_the_last_rung(
    road: Road, commands: AddCommand, quick_ladder: Callable[[float], None]
) -> None:
    quick_ladder(0.00001)
    road.enrol(1)

    def run(params: Any, member: Any, ctx: Any) -> Any:
        raise Retryable("crm-overloaded", crm="Sandbox CRM", status=503)

    commands("fails", run)
    (delivery,) = road.call("aal_fails", 1)
    road.work()

    job = road.job(delivery)
    assert (job.outcome, job.reason, job.tries) == ("failed", "crm-overloaded", 9)
    assert Attempt.objects.filter(job=job.pk).count() == 9


def test_a_mistake_of_ours_is_tried_again_and_loses_nothing(road: Road, commands: AddCommand) -> None:
    road.enrol(1)
    mistakes = [ZeroDivisionError("a bug")]

    def run(params: Any, member: Any, ctx: Any) -> Any:
        member.account.first_name = "Half done"
        member.account.save()
        if mistakes:
            raise mistakes.pop()
        return done()

    commands("slips", run)
    (delivery,) = road.call("aal_slips", 1)
    road.work()

    results = list(Attempt.objects.order_by("pk").values_list("result", "reason"))
    assert results == [("retry", "internal-error"), ("done", "")]
    assert road.job(delivery).outcome == "done"


def test_a_rule_that_says_no_is_refused_at_once(road: Road, commands: AddCommand) -> None:
    road.enrol(1)
    commands("no", lambda params, member, ctx: refused("crm-refused", status=1))

    (delivery,) = road.call("aal_no", 1)
    road.work()

    assert (road.job(delivery).outcome, road.job(delivery).tries) == ("refused", 1)
    assert counted() == in_journal() == {"refused": 1}


def test_a_command_for_somebody_who_is_no_member_fails_visibly(road: Road, commands: AddCommand) -> None:
    commands("hello", lambda params, member, ctx: done())

    (delivery,) = road.call("aal_hello", 9)
    road.work()

    assert (road.job(delivery).outcome, road.job(delivery).reason) == ("failed", "not-a-member")


def effects_of(tag: int) -> tuple[Effect, ...]:
    return (
        Effect("field-set", "password", {"field": "Password", "value": "blue-boat"}),
        Effect("tag-add", "done", {"tag": str(tag), "name": "Login ready"}, after="password"),
    )


def test_effects_are_jobs_that_reach_the_crm_in_order(road: Road, commands: AddCommand) -> None:
    road.enrol(1)
    tag = road.crm.new_tag("Login ready")
    road.crm.api.post("/api/fields", json={"label": "Password"})
    commands("welcome", lambda params, member, ctx: done(effects=effects_of(tag)))
    before = road.crm.writes()[-1]["id"]

    (delivery,) = road.call("aal_welcome", 1)
    road.work()

    assert [write["what"] for write in road.crm.writes(before)] == ["field-set", "tag-add"]
    assert road.crm.contact(1)["fields"]["Password"] == "blue-boat"
    assert "Login ready" in names(road.crm.contact(1)) & road.tags(1)
    assert set(Job.objects.filter(delivery=delivery).values_list("standing", flat=True)) == {"done"}
    assert counted() == in_journal() == {"done": 1}


def test_a_step_given_up_holds_its_sibling_until_it_is_mended(road: Road, commands: AddCommand) -> None:
    road.enrol(1)
    tag = road.crm.new_tag("Login ready")
    effects = (Effect("field-set", "password", {"field": "Nowhere", "value": "x"}), effects_of(tag)[1])
    ran: list[int] = []

    def run(params: Any, member: Any, ctx: Any) -> Any:
        ran.append(1)
        return done(effects=effects)

    commands("welcome", run)
    (delivery,) = road.call("aal_welcome", 1)
    road.work()

    root = road.job(delivery)
    by_step = dict(Job.objects.filter(root=root.pk).values_list("step", "standing"))
    assert (root.outcome, root.standing) == ("done", "failed")
    assert by_step == {"password": "failed", "done": "held"}
    assert counted() == in_journal() == {"failed": 1}

    road.crm.api.post("/api/fields", json={"label": "Nowhere"})
    assert store.redeliver([root.pk], account=None) == 2
    assert counted() == in_journal() == {"waiting": 1}
    road.work()

    assert road.job(delivery).standing == "done"
    assert ran == [1]
    assert "Login ready" in names(road.crm.contact(1))
    assert counted() == in_journal() == {"done": 1}


def test_tags_of_many_are_written_in_one_call(road: Road, commands: AddCommand) -> None:
    road.enrol(*range(1, 41))
    tag = road.crm.new_tag("Synced")
    commands(
        "mark", lambda params, member, ctx: done(effects=(Effect("tag-add", "t", {"tag": str(tag), "name": "Synced"}),))
    )

    road.call("aal_mark", *range(1, 41))
    before = road.crm.counters()["calls"]
    road.work()

    assert road.crm.counters()["calls"] - before == 1
    assert all("Synced" in road.tags(contact) for contact in range(1, 41))


def test_our_own_write_is_laid_over_a_list_that_does_not_show_it_yet(road: Road, commands: AddCommand) -> None:
    five = range(21, 26)
    road.enrol(*five)
    tag = road.crm.new_tag("Ours")
    road.crm.set(lag_seconds=2)
    commands(
        "mark", lambda params, member, ctx: done(effects=(Effect("tag-add", "t", {"tag": str(tag), "name": "Ours"}),))
    )
    road.call("aal_mark", *five)
    road.work()

    calls = road.call("aal_updateuser", *five, received=store.clock.now_ms() - 60_000)
    road.work()

    assert all(road.job(delivery).outcome == "done" for delivery in calls)
    assert all("Ours" in road.tags(contact) for contact in five)


def test_a_follow_up_is_a_job_of_its_own(road: Road, commands: AddCommand) -> None:
    road.enrol(1)
    heard: list[object] = []
    commands("first", lambda params, member, ctx: done(follow_ups=(FollowUp("second", "next", {"n": 7}),)))

    def second(params: Any, member: Any, ctx: Any) -> Any:
        heard.append(params["n"])
        return done()

    commands("second", second)
    (delivery,) = road.call("aal_first", 1)
    road.work()

    child = Job.objects.get(delivery=delivery, command="second")
    assert (heard, child.key, child.root) == ([7], f"{delivery}:1:next", road.job(delivery).pk)


def test_a_setting_that_is_missing_is_not_tried_again_until_it_is_there(road: Road, commands: AddCommand) -> None:
    road.enrol(1)
    missing = [NeedsSetting("crm-tag-missing", crm="Sandbox CRM", tag="Gone")]

    def run(params: Any, member: Any, ctx: Any) -> Any:
        if missing:
            raise missing[0]
        return done()

    commands("needs", run)
    (delivery,) = road.call("aal_needs", 1)
    road.work()
    assert (road.job(delivery).outcome, road.job(delivery).tries) == ("failed", 1)

    missing.clear()
    store.redeliver([road.job(delivery).pk], account=None)
    road.work()
    assert road.job(delivery).outcome == "done"


@pytest.mark.parametrize("times", [1, 2])
def test_redelivering_what_is_done_runs_nothing_again(road: Road, commands: AddCommand, times: int) -> None:
    road.enrol(1)
    ran: list[int] = []

    def run(params: Any, member: Any, ctx: Any) -> Any:
        ran.append(1)
        return done()

    commands("once", run)
    (delivery,) = road.call("aal_once", 1)
    road.work()

    for _ in range(times):
        assert store.redeliver([road.job(delivery).pk], account=None) == 0
        road.work()
    assert ran == [1]


def test_run_again_as_new_is_another_job_of_staff(road: Road, commands: AddCommand) -> None:
    road.enrol(1)
    commands("once", lambda params, member, ctx: done(n=params["n"]), PARAMS={"n": Param()})
    (delivery,) = road.call("aal_once", 1, query="&n=4")
    road.work()

    key = store.run_again(road.job(delivery).pk, account=5)
    road.work()

    again = Job.objects.get(key=key)
    assert (again.source, again.account, again.outcome, again.params) == ("staff", 5, "done", '{"n":4}')


def test_the_sibling_of_a_step_that_died_with_the_worker_is_held(road: Road, commands: AddCommand) -> None:
    road.enrol(1)
    road.crm.set(latency_ms=500)
    commands("welcome", lambda params, member, ctx: done(effects=effects_of(7)))
    (delivery,) = road.call("aal_welcome", 1)
    steps = Job.objects.filter(delivery=delivery).exclude(root=None)
    for _ in range(3):
        road.work(lambda: road.in_hand() and steps.exists())
        leases.take_over_all()

    assert dict(steps.values_list("step", "standing")) == {"password": "failed", "done": "held"}
    assert road.job(delivery).standing == "failed"
