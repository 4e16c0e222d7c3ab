"""What is wrong with one call, contact or connection holds up nothing else."""

from collections.abc import Callable
from types import ModuleType

import pytest

from tagwarden.connections.models import Connection
from tagwarden.core.clock import now_ms
from tagwarden.journal import leases, store
from tagwarden.journal.models import Attempt, Job
from tagwarden.journal.models import Lane as LaneRow
from tagwarden.worker import dispatch
from tests.worker.conftest import Road


def test_a_connection_that_is_off_fails_its_jobs_until_it_is_on(road: Road) -> None:
    road.enrol(1)
    Connection.objects.update(active=False)
    (delivery,) = road.call("aal_updateuser", 1)
    road.work()
    assert (road.job(delivery).outcome, road.job(delivery).reason) == ("failed", "connection-off")

    Connection.objects.update(active=True)
    store.redeliver([road.job(delivery).pk], account=None)
    road.work()

    assert road.job(delivery).outcome == "done"


@pytest.mark.parametrize("broken", [{"crm": "nosuch"}, {"credentials": "not sealed by us"}])
def test_a_connection_that_can_not_be_opened_says_why(road: Road, broken: dict[str, str]) -> None:
    road.enrol(1)
    (delivery,) = road.call("aal_updateuser", 1)
    Connection.objects.update(**broken)

    road.work()

    job = road.job(delivery)
    assert (job.outcome, job.reason) == ("failed", "connection-broken")
    assert "why" in job.detail


def test_a_command_that_is_gone_fails_visibly(road: Road) -> None:
    road.enrol(1)
    (delivery,) = road.call("aal_updateuser", 1)
    Job.objects.update(command="gone", stream="command")

    road.work()

    assert (road.job(delivery).outcome, road.job(delivery).reason) == ("failed", "operation-gone")


def test_one_bad_contact_is_put_aside_and_the_others_are_done(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    road.enrol(1, 2, 3, 4, 5)
    apply = dispatch.sync.apply

    def breaks_on_three(*, reads: list[dispatch.sync.Read], **rest: object) -> object:
        if any(read.snapshot.contact == "3" for read in reads):
            raise ValueError("a mistake of ours")
        return apply(reads=reads, **rest)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(dispatch.sync, "apply", breaks_on_three)
    long_ago = now_ms() - 60_000
    calls = road.call("aal_updateuser", *range(1, 6), received=long_ago)
    road.work(lambda: Attempt.objects.filter(reason="internal-error").exists())

    outcomes = {job.contact: job.outcome for job in map(road.job, calls)}
    assert outcomes == {"1": "done", "2": "done", "3": "", "4": "done", "5": "done"}
    monkeypatch.undo()
    road.work()
    assert road.job(calls[2]).outcome == "done"


def test_a_mistake_outside_any_transaction_is_a_crash_of_that_lane_only(
    road: Road, commands: Callable[..., ModuleType], caplog: pytest.LogCaptureFixture
) -> None:
    road.enrol(1)

    def run(params: object, member: object, ctx: object) -> None:
        raise RuntimeError("nobody expected this")

    commands("surprise", run)
    (delivery,) = road.call("aal_surprise", 1)
    for _ in range(3):
        road.work(road.in_hand)
        LaneRow.objects.update(until=1)  # as if its minute were over
        road.engine.turn()
    road.work()

    assert (road.job(delivery).outcome, road.job(delivery).reason) == ("failed", "worker-died")
    assert "a mistake of ours" in caplog.text
    (fine,) = road.call("aal_updateuser", 1)
    road.work()
    assert road.job(fine).outcome == "done"
    assert leases.due_lanes() == []
