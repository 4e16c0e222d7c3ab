"""A release on the real road: how near it comes to what the CRM allows, and how quick our own part is.

First part: a release against the sandbox CRM with its rate limit on. Counted are calls, those answered 429, and the
time against what our share of the limit allows. Second part: the same road with a CRM that has no limit, 5 ms away,
while intake carries a thousand deliveries a second beside it.

    python -m benchmarks.release [--contacts 1000] [--limit 5] [--json]

Works in a fresh database of its own: a temporary folder (SQLite), or an empty database named by DATABASE_URL. The
sandbox CRM runs beside it as a process of its own.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from django.conf import settings
from django.db import connection, transaction

from benchmarks import fresh_database
from benchmarks.apply import yardstick
from tagwarden.accounts.models import Site
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.uuid7 import uuid7
from tagwarden.crms.sandbox import Crm
from tagwarden.journal import store
from tagwarden.journal.models import Delivery, Job
from tagwarden.members import enrol
from tagwarden.worker.engine_embedded import Engine

KEY = {"api_key": "sandbox-key"}
BATCH = 250
INTAKE_A_SECOND = 1_000
UNLIMITED = 100_000
TAGS_EACH = 20
SHARE = 0.8  # the usual reserve of a connection is 20 %


class Bench:
    """A site whose members are the sandbox's contacts."""

    def __init__(self, url: str, contacts: int) -> None:
        self.admin = httpx.Client(base_url=url, timeout=120)
        sealed = settings.KEYS.encrypt(json.dumps(KEY))
        self.site = Site.objects.create(name="Bench", host="bench.example", public_url="http://bench.example")
        self.connection = Connection.objects.create(
            site=self.site, crm="sandbox", name="Bench", base_url=url, credentials=sealed
        )
        self.contacts = [str(n) for n in range(1, contacts + 1)]
        self.change(rate_limit=UNLIMITED, latency_ms=0)
        for n in range(TAGS_EACH):
            self.tag(f"Tag {n}")
        self.enrol(Crm(base_url=url, credentials=KEY))
        self.engine = Engine()

    def change(self, **changes: object) -> None:
        self.admin.put("/admin/settings", json=changes).raise_for_status()

    def tag(self, name: str, *, remove: bool = False) -> None:
        self.admin.post("/admin/tag", json={"tag": name, "contacts": "all", "remove": remove}).raise_for_status()

    def counters(self) -> dict[str, Any]:
        counted: dict[str, Any] = self.admin.get("/admin/counters").json()
        return counted

    def enrol(self, crm: Crm) -> None:
        for page in crm.everybody():
            with transaction.atomic():
                enrol.enrol(
                    connection=self.connection.pk,
                    site=self.site.pk,
                    snapshots=page,
                    source="first",
                    ref="",
                    now=clock.now(),
                )
        crm.close()

    def add_release(self) -> None:
        """One waiting batchsync a contact, received before any lag of the CRM's lists."""
        received = clock.now_ms() - 60_000
        for batch in (self.contacts[i : i + BATCH] for i in range(0, len(self.contacts), BATCH)):
            with transaction.atomic():
                store.add([self._job(contact, received) for contact in batch])

    def _job(self, contact: str, received: int) -> store.NewJob:
        return store.NewJob(
            key=str(uuid7()),
            site=self.site.pk,
            connection=self.connection.pk,
            command="batchsync",
            contact=contact,
            stream="refresh",
            received=received,
            priority=store.BULK,
        )

    def run(self) -> float:
        """Seconds until nothing of the release waits."""
        self.admin.post("/admin/counters/reset").raise_for_status()
        began = time.perf_counter()
        while True:
            if self.engine.turn():
                continue
            if not Job.objects.filter(state="waiting", command="batchsync").exists():
                return time.perf_counter() - began
            self.engine._wait(self.engine._until_next_look())  # as its own loop does


def limited(bench: Bench, limit: int) -> dict[str, Any]:
    """A release under the CRM's limit."""
    bench.change(rate_limit=limit, latency_ms=20)
    bench.add_release()
    took, counted = bench.run(), bench.counters()
    bench.change(rate_limit=UNLIMITED, latency_ms=5)
    allowed = counted["calls"] / (limit * SHARE)
    return {
        "contacts": len(bench.contacts),
        "limit_a_second": limit,
        "calls": counted["calls"],
        "answered_429": counted["limited"],
        "seconds": round(took, 2),
        "seconds_our_share_allows": round(allowed, 2),
        "percent_of_our_share": round(100 * allowed / took),
    }


def changes(bench: Bench) -> dict[str, Callable[[], None]]:
    """What changes in the CRM before each measure of the second part."""

    def half() -> None:
        for n in range(TAGS_EACH // 2):
            bench.tag(f"Tag {n}", remove=True)
            bench.tag(f"Other {n}")

    return {"nothing": lambda: None, "one tag": lambda: bench.tag("Module 3"), "half of the tags": half}


def unlimited(bench: Bench, change: Callable[[], None]) -> dict[str, Any]:
    """Settled refreshes a second of the whole road, with intake beside it."""
    change()
    bench.add_release()
    with intake_beside(bench):
        before, began = Delivery.objects.count(), time.perf_counter()
        took = bench.run()
        carried = (Delivery.objects.count() - before) / (time.perf_counter() - began)
    return {
        "refreshes_a_second": round(len(bench.contacts) / took),
        "intake_a_second": round(carried),
        "yardstick_ms": round(yardstick()),
    }


@contextlib.contextmanager
def intake_beside(bench: Bench) -> Iterator[None]:
    """A process that carries deliveries; yields when the first are in."""
    numbers = [str(n) for n in (bench.site.pk, bench.connection.pk, INTAKE_A_SECOND)]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.intake_beside", *numbers])
    try:
        before = Delivery.objects.count()
        while Delivery.objects.count() == before:
            assert process.poll() is None, "the intake ended"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def sandbox(contacts: int) -> Iterator[str]:
    """A sandbox CRM of so many contacts; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = ["--port", str(port), "--file", str(fresh_database.DATA / "crm.sqlite3")]
    command = [sys.executable, "-m", "tagwarden.sandbox.crm", *place, "--contacts", str(contacts)]
    process, url = subprocess.Popen(command), f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{url}/api/ping")
                break
            assert time.monotonic() < deadline, "the sandbox CRM didn't start"
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def told(found: dict[str, Any]) -> None:
    """The figures as a table."""
    one = found["limited"]
    print(f"{found['database']}, in {fresh_database.DATA}")
    print(f"{one['contacts']:,} contacts, a limit of {one['limit_a_second']} calls/s, a fifth left to others:")
    print(f"  {one['calls']} calls, {one['answered_429']} answered 429, {one['seconds']} s")
    print(f"  our share allows {one['seconds_our_share_allows']} s: {one['percent_of_our_share']} % of it")
    print(f"\nNo limit, 5 ms away, {INTAKE_A_SECOND:,} deliveries a second beside it:")
    print(f"{'what changed':18} {'refreshes/s':>12} {'intake/s':>10} {'yard-stick ms':>14}")
    for change, row in found["unlimited"].items():
        figures = (row["refreshes_a_second"], row["intake_a_second"], row["yardstick_ms"])
        print(f"{change:18} {figures[0]:12,} {figures[1]:10,} {figures[2]:14}")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--contacts", type=int, default=1_000)
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    with sandbox(options.contacts) as url:
        bench = Bench(url, options.contacts)
        found = {"database": connection.vendor, "limited": limited(bench, options.limit)}
        found["unlimited"] = {what: unlimited(bench, change) for what, change in changes(bench).items()}
        bench.engine.leave()
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        told(found)


if __name__ == "__main__":
    main(sys.argv[1:])
