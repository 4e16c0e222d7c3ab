"""How much quicker the set-based refresh is than one contact after the other by the ORM, in one run.

Both do the same steps on the same contacts: open an attempt, compare what the CRM said with what is known, write the
difference, end the job and its attempt. Snapshots lie in memory, so that only our own work is measured.

    python -m benchmarks.apply [--contacts 2000] [--single 300]

Works in a fresh database of its own: a temporary folder (SQLite), or an empty database named by DATABASE_URL.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection, transaction

from benchmarks import fresh_database
from benchmarks.yardstick import yardstick
from tagwarden.accounts.models import Site
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.errors import NeedsSetting
from tagwarden.core.options import ConnectionOptions, SiteOptions
from tagwarden.core.outcome import CrmTag, Snapshot
from tagwarden.core.uuid7 import uuid7
from tagwarden.journal import leases, store
from tagwarden.journal.models import Attempt, Job
from tagwarden.journal.models import Lane as LaneRow
from tagwarden.members import enrol
from tagwarden.members.models import Contact, ContactTag, Tag
from tagwarden.worker import dispatch, reads

CONTACTS_A_BATCH = 250
TAGS, TAGS_EACH, FIELDS = 300, 20, 32


class Bench:
    """A site with members, and what its CRM says of them."""

    def __init__(self, contacts: int) -> None:
        self.site = Site.objects.create(name="Bench", host="bench.example", public_url="http://bench.example")
        self.connection = Connection.objects.create(site=self.site, crm="sandbox", name="Bench")
        self.contacts = [str(n) for n in range(1, contacts + 1)]
        chance = random.Random(1)
        self.tags = {c: chance.sample(range(1, TAGS + 1), TAGS_EACH) for c in self.contacts}
        self.enrol()

    def snapshots(self, contacts: list[str], change: str = "none") -> dict[str, Any]:
        now = clock.now()
        return {
            c: Snapshot(
                contact=c,
                started=now,
                seen_until=now,
                email=f"member{c}@example.com",
                first_name="Member",
                last_name=c,
                fields={f"field {n}": f"value {n} of {c}" for n in range(FIELDS)},
                tags=frozenset(CrmTag(str(t), f"Tag {t}") for t in changed(self.tags[c], change)),
            )
            for c in contacts
        }

    def enrol(self) -> None:
        for batch in batches(self.contacts):
            with transaction.atomic():
                enrol.enrol(
                    connection=self.connection.pk,
                    site=self.site.pk,
                    snapshots=list(self.snapshots(batch).values()),
                    source="first",
                    ref="",
                    now=clock.now() - timedelta(seconds=1),
                )

    def add_jobs(self, contacts: list[str]) -> None:
        for batch in batches(contacts):
            with transaction.atomic():
                store.add(
                    [
                        store.NewJob(
                            key=str(uuid7()),
                            site=self.site.pk,
                            connection=self.connection.pk,
                            command="updateuser",
                            contact=c,
                            stream="refresh",
                            received=clock.now_ms(),
                        )
                        for c in batch
                    ]
                )


def changed(tags: list[int], change: str) -> list[int]:
    """The tags of a contact after that change: none, one more for all, half of them others."""
    if change == "one":
        return [*tags, TAGS + 1]
    return [*tags[: len(tags) // 2], *((t + 1_000) for t in tags[len(tags) // 2 :])] if change == "half" else tags


def batches(items: list[str]) -> list[list[str]]:
    return [items[i : i + CONTACTS_A_BATCH] for i in range(0, len(items), CONTACTS_A_BATCH)]


def set_based(bench: Bench, change: str) -> float:
    """Settled jobs a second on the real road: take a batch, apply, finish."""

    bench.add_jobs(bench.contacts)
    (lane_id,) = leases.due_lanes()
    lane = leases.lease(lane_id, "bench")
    assert lane is not None
    around = dispatch.Surroundings(lane, {}, None, NeedsSetting("connection-off"), SiteOptions(), ConnectionOptions())
    spent, settled = 0.0, 0
    while True:
        began = time.perf_counter()
        jobs = leases.take(lane, "bench", size=CONTACTS_A_BATCH)
        spent += time.perf_counter() - began
        if not jobs:
            break
        fetched = reads.Fetched(snapshots=bench.snapshots([job.contact for job in jobs], change))
        began = time.perf_counter()
        dispatch.settle_refreshes(around, jobs, fetched)
        spent += time.perf_counter() - began
        settled += len(jobs)
    leases.give_back(lane)
    return settled / spent


def one_by_one(bench: Bench, contacts: list[str], change: str) -> float:
    """The same steps with the ORM, two transactions a job."""

    bench.add_jobs(contacts)
    keys = list(Job.objects.filter(state="waiting").order_by("pk").values_list("pk", flat=True))
    spent = 0.0
    for key in keys:
        said = bench.snapshots([Job.objects.get(pk=key).contact], change)
        began = time.perf_counter()
        with transaction.atomic():
            LaneRow.objects.select_for_update().first()
            job = Job.objects.get(pk=key)
            attempt = Attempt.objects.create(job=key, token="t", worker="bench", started=clock.now())
        with transaction.atomic():
            LaneRow.objects.select_for_update().first()
            snapshot = said[job.contact]
            contact = Contact.objects.get(connection=bench.connection, external_id=job.contact)
            held = {row.tag.external_id: row for row in contact.held_tags.filter(until=None).select_related("tag")}
            names = {tag.external_id: tag.name for tag in snapshot.tags}
            for external_id in set(names) - set(held):
                tag, _ = Tag.objects.get_or_create(
                    connection=bench.connection, external_id=external_id, defaults={"name": names[external_id]}
                )
                ContactTag.objects.create(contact=contact, tag=tag, since=clock.now(), source="call", ref=job.key)
            for external_id in set(held) - set(names):
                held[external_id].until = clock.now()
                held[external_id].save()
            contact.fields, contact.read_started_at = dict(snapshot.fields), snapshot.started
            contact.save()
            job.state, job.outcome, job.standing, job.finished = "finished", "done", "done", clock.now()
            job.save()
            attempt.ended, attempt.result = clock.now(), "done"
            attempt.save()
        spent += time.perf_counter() - began
    LaneRow.objects.update(next_due=None)
    return len(keys) / spent


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--contacts", type=int, default=2_000)
    parser.add_argument("--single", type=int, default=300)
    options = parser.parse_args(argv)

    bench = Bench(options.contacts)
    print(f"{connection.vendor}, in {fresh_database.DATA}")
    print(f"{options.contacts} contacts with {TAGS_EACH} tags and {FIELDS} fields, batches of {CONTACTS_A_BATCH}")
    print(f"{'what changed':14} {'set-based/s':>12} {'one by one/s':>13} {'ratio':>7} {'yard-stick ms':>14}")
    measures: list[tuple[str, Callable[[], float]]] = [
        (c, lambda c=c: set_based(bench, c)) for c in ("none", "one", "half")
    ]  # type: ignore[misc]  # bound at once
    for change, measure in measures:
        quick = measure()
        bench_reset(bench)
        slow = one_by_one(bench, bench.contacts[: options.single], change)
        bench_reset(bench)
        print(f"{change:14} {quick:12,.0f} {slow:13,.0f} {quick / slow:6.1f}× {yardstick():14.0f}")


def bench_reset(bench: Bench) -> None:
    """Back to the tags of the start."""
    set_based(bench, "none")


if __name__ == "__main__":
    main(sys.argv[1:])
