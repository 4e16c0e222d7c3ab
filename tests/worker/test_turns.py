"""Lanes take turns: neither a small site nor somebody who waits for a password notices another site's release."""

import time
from collections.abc import Callable
from types import ModuleType

import pytest
from django.db import transaction

from tagwarden.accounts.models import Site
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.outcome import Needs, done
from tagwarden.core.uuid7 import uuid7
from tagwarden.journal import store
from tagwarden.journal.models import Job
from tagwarden.members import enrol
from tagwarden.operations.base import URGENT
from tests.sandbox.conftest import Crm
from tests.worker.conftest import Road

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(300)]

MANY = 10_000
BATCH = 250


def release(road: Road, connection: Connection, contacts: range, *, priority: int = store.BULK) -> None:
    """Refreshes of so many contacts, which are members, as a release leaves them when its pause is over."""
    snapshots = list(road.adapter.everybody())
    known = [snapshot for page in snapshots for snapshot in page]
    for start in range(0, len(contacts), BATCH):
        some = contacts[start : start + BATCH]
        with transaction.atomic():
            enrol.enrol(
                connection=connection.pk,
                site=connection.site_id,
                snapshots=[known[contact - 1] for contact in some],
                source="first",
                ref="",
                now=clock.now(),
            )
            store.add([_refresh(connection, contact, priority) for contact in some])


def _refresh(connection: Connection, contact: int, priority: int) -> store.NewJob:
    return store.NewJob(
        key=str(uuid7()),
        site=connection.site_id,
        connection=connection.pk,
        command="batchsync" if priority == store.BULK else "updateuser",
        contact=str(contact),
        stream="refresh",
        received=clock.now_ms() - 60_000,
        priority=priority,
    )


@pytest.fixture
def big_crm(crm: Crm) -> Crm:
    """The sandbox CRM with ten thousand contacts, 20 ms away."""
    missing = MANY - crm.admin.get("/api/contacts", headers=crm.api.headers).json()["total"]
    if missing > 0:
        crm.admin.post("/admin/contacts", json={"count": missing}, timeout=120)
    crm.set(latency_ms=20)
    return crm


def seconds_until_done(road: Road, connection: Connection) -> float:
    began = time.monotonic()
    road.work(lambda: not Job.objects.filter(connection=connection.pk, state="waiting").exists())
    return time.monotonic() - began


def test_a_small_site_beside_a_release_of_ten_thousand_is_done_as_if_alone(
    road: Road, big_crm: Crm, other_site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Connection.objects.create(
        site=other_site, crm="sandbox", name="Small", base_url=big_crm.url, credentials=road.connection.credentials
    )
    release(road, small, range(1, 11), priority=store.URGENT)
    alone = seconds_until_done(road, small)

    release(road, road.connection, range(1, MANY + 1))
    road.work(lambda: Job.objects.filter(connection=road.connection.pk, outcome="done").count() > 500)
    with transaction.atomic():
        store.add([_refresh(small, contact, store.URGENT) for contact in range(1, 11)])
    beside = seconds_until_done(road, small)

    left = Job.objects.filter(connection=road.connection.pk, state="waiting").count()
    with capsys.disabled():
        print(f"\nten contacts alone: {alone:.2f} s; beside a release: {beside:.2f} s, of which {left:,} were left")
    assert left > MANY / 2
    assert beside <= max(2 * alone, 1)


@pytest.mark.parametrize(("calls_a_second", "contacts"), [(5, 3_000), (10_000, MANY)])
def test_a_password_in_the_middle_of_a_release_takes_no_three_seconds(
    road: Road,
    big_crm: Crm,
    commands: Callable[..., ModuleType],
    capsys: pytest.CaptureFixture[str],
    calls_a_second: int,
    contacts: int,
) -> None:
    commands("password", lambda params, member, ctx: done(), NEEDS=Needs.CONTACT, PRIORITY=URGENT)
    release(road, road.connection, range(1, contacts + 1))
    big_crm.set(rate_limit=calls_a_second)
    road.work(lambda: Job.objects.filter(outcome="done").count() > 100)

    took = []
    for contact in range(1, 21):
        (delivery,) = road.call("aal_password", contact)
        began = time.monotonic()
        road.work(lambda number=delivery: road.job(number).outcome == "done")  # type: ignore[misc]  # bound at once
        took.append(time.monotonic() - began)
    left = Job.objects.filter(command="batchsync", state="waiting").count()

    p95 = sorted(took)[18]
    with capsys.disabled():
        print(f"\n{calls_a_second} calls/s: password p95 {p95:.2f} s, slowest {max(took):.2f} s; {left:,} left")
    assert left > 0, "the release ran all the time"
    assert p95 <= 3
    assert big_crm.counters()["limited"] == 0
