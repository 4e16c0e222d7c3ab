"""Which read satisfies which refresh, and what a read that lags may change."""

from collections.abc import Callable
from types import ModuleType

from tagwarden.connections.models import Connection
from tagwarden.core.outcome import Effect, done
from tagwarden.journal.models import Attempt, Job
from tests.worker.conftest import Road

AddCommand = Callable[..., ModuleType]
FIVE = range(1, 6)


def test_a_call_that_arrives_while_its_contact_is_read_is_not_satisfied_by_that_read(road: Road) -> None:
    road.enrol(1)
    road.crm.set(latency_ms=300)
    (first,) = road.call("aal_updateuser", 1)
    road.work(road.in_hand)
    (second,) = road.call("aal_updateuser", 1)
    road.engine.turn()
    assert not Attempt.objects.filter(job=road.job(second).pk).exists()

    road.work()

    assert road.crm.counters()["reads"] == 2
    read_first = Attempt.objects.get(job=road.job(first).pk)
    read_second = Attempt.objects.get(job=road.job(second).pk)
    assert read_first.ended is not None
    assert read_second.started >= read_first.ended


def test_a_batchsync_in_its_five_minutes_does_not_hold_up_an_updateuser_which_takes_it_along(road: Road) -> None:
    road.enrol(1)
    (batchsync,) = road.call("aal_batchsync", 1)
    road.engine.turn()
    assert road.job(batchsync).standing == "waiting"

    (updateuser,) = road.call("aal_updateuser", 1)
    road.work()

    assert (road.job(updateuser).outcome, road.job(batchsync).outcome) == ("done", "done")
    assert road.crm.counters()["reads"] == 1
    assert Connection.objects.get().options.release_delay == 300


def test_many_calls_for_one_contact_are_one_read(road: Road) -> None:
    road.enrol(1)

    road.call("aal_updateuser", *[1] * 50)
    road.work()

    assert Job.objects.filter(outcome="done").count() == 50
    assert road.crm.counters()["reads"] == 1


def test_a_lagging_list_never_takes_a_tag_away(road: Road) -> None:
    road.enrol(*FIVE)
    tag = road.crm.new_tag("Fresh")
    road.crm.set(lag_seconds=2)
    for contact in FIVE:
        road.crm.tag(tag, contact)
    road.call("aal_updateuser", 1)  # alone: read by id, which doesn't lag
    road.work()
    assert "Fresh" in road.tags(1)

    road.call("aal_updateuser", *FIVE)  # together: read from the list, which doesn't show the tag yet
    road.work(lambda: Attempt.objects.filter(result="settling").count() == 5)
    assert "Fresh" in road.tags(1)
    assert set(Job.objects.filter(state="waiting").values_list("reason", "tries")) == {("crm-settling", 0)}

    road.work()
    assert all("Fresh" in road.tags(contact) for contact in FIVE)
    assert not Job.objects.exclude(outcome="done").exists()


def test_a_lagging_list_may_give_at_once(road: Road) -> None:
    road.enrol(*FIVE)
    road.crm.tag(road.crm.new_tag("Early"), *FIVE)

    road.call("aal_updateuser", *FIVE)
    road.work(lambda: Attempt.objects.filter(result="settling").count() == 5)

    assert all("Early" in road.tags(contact) for contact in FIVE)
    road.work()


def test_an_answer_without_tags_takes_nothing_away(road: Road) -> None:
    road.crm.tag(road.crm.new_tag("Base"), 1)
    road.enrol(1)
    road.crm.set(fault_rate=1, faults=["missing-tags"])

    (delivery,) = road.call("aal_updateuser", 1)
    road.work(lambda: Attempt.objects.filter(result="retry").exists())

    job = road.job(delivery)
    assert (job.state, job.reason, job.tries) == ("waiting", "tags-missing", 1)
    assert "Base" in road.tags(1)
    road.crm.set(fault_rate=0)
    road.work()
    assert "Base" in road.tags(1)


def test_a_contact_left_out_of_the_list_is_asked_for_alone(road: Road) -> None:
    road.enrol(*FIVE)
    road.crm.set(fault_rate=1, faults=["missing-rows"])

    road.call("aal_updateuser", *FIVE)
    road.work(lambda: road.crm.counters()["reads_by_kind"]["by_id"] > 0)
    road.crm.set(fault_rate=0)
    road.work()

    assert set(Job.objects.values_list("outcome", flat=True)) == {"done"}
    assert all(road.tags(contact) for contact in FIVE)


def test_a_contact_is_not_written_to_while_it_is_being_read(road: Road, commands: AddCommand) -> None:
    """The read would not show the tag, and what it says is applied after the tag was put on."""
    road.enrol(1)
    tag = str(road.crm.new_tag("Written meanwhile"))
    effect = Effect("tag-add", "tag", {"tag": tag, "name": "Written meanwhile"})
    commands("mark", lambda params, member, ctx: done(effects=(effect,)))
    road.crm.set(latency_ms=700)
    road.call("aal_updateuser", 1)
    road.work(road.in_hand)
    road.call("aal_mark", 1)
    road.work()

    (read,) = Attempt.objects.filter(job__in=Job.objects.filter(command="updateuser").values("pk"))
    (write,) = Attempt.objects.filter(job__in=Job.objects.filter(command="tag-add").values("pk"))
    assert write.started >= read.ended
    assert "Written meanwhile" in road.tags(1)
