"""While the main database can't be used, calls are taken as ever; afterwards all of them are done.

By hand with a longer outage: `OUTAGE_SECONDS=90 pytest tests/outage`.
"""

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.place import ROOT, Place, until
from tests.outage.cluster import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # each wait inside has a bound of its own
SECONDS = float(os.environ.get("OUTAGE_SECONDS") or 10)
IN_HAND = 300  # contacts whose reads are under way when the database goes
_LOCK = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
file.execute("begin exclusive")
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the file."""
    command = [sys.executable, "-c", _LOCK, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        yield
        holder.communicate()


def fire(place: Place, tag: str, contacts: object = "all", command: str = "updateuser") -> dict[str, Any]:
    """The CRM tags contacts and calls for each, 64 at a time; gives what became of the calls."""
    post = place.crm.admin.post
    post("/admin/tag", json={"tag": tag, "contacts": contacts}, timeout=60).raise_for_status()
    shot = {"url": str(place.address(command)), "contacts": contacts, "concurrency": 64}
    figures: dict[str, Any] = post("/admin/fire", json=shot, timeout=60).json()
    return figures


def work_in_hand(place: Place) -> None:
    """Reads are under way, and there is more to do."""
    place.crm.set(latency_ms=400)
    fire(place, "In hand", list(range(1, IN_HAND + 1)))
    until(lambda: place.database.one("select count(*) from journal_attempt where ended is null"), 30, "work in hand")


def all_taken_at_once(figures: dict[str, Any]) -> None:
    assert figures["statuses"] == {"200": 1000}, figures
    assert figures["slowest_ms"] < 1000


def all_done(place: Place, jobs: int = 1000 + IN_HAND) -> None:
    place.crm.set(latency_ms=0)
    place.until_settled(120)
    outcomes = place.database.rows("select outcome, count(*) from journal_job group by 1")
    assert outcomes == [("done", jobs)]
    assert place.tags_here() == place.tags_there()
    assert place.database.rows("select job, reason from journal_attempt where result = 'crash'") == []


def test_sqlite_locked_by_another_process(on_sqlite: Place) -> None:
    work_in_hand(on_sqlite)
    with locked(on_sqlite.database.file):
        began = time.monotonic()
        all_taken_at_once(fire(on_sqlite, "While locked"))
        time.sleep(max(0.0, began + SECONDS - time.monotonic()))
        assert on_sqlite.uncarried() == 1000
    all_done(on_sqlite)


@pytest.mark.parametrize("how", ["immediate", "fast"])
def test_postgresql_stopped_and_started_again(on_postgresql: Place, cluster: Cluster, how: str) -> None:
    work_in_hand(on_postgresql)
    cluster.stop(how)
    began = time.monotonic()
    all_taken_at_once(fire(on_postgresql, "While stopped"))
    time.sleep(max(0.0, began + SECONDS - time.monotonic()))
    cluster.start()
    all_done(on_postgresql)


def test_postgresql_cuts_connections_again_and_again(on_postgresql: Place) -> None:
    """As a pooler or a fail-over does it: in the middle of whatever is going on, also of a commit."""
    on_postgresql.crm.set(latency_ms=20)
    others = "pid <> pg_backend_pid() and datname = current_database()"
    cut = f"select pg_terminate_backend(pid) from pg_stat_activity where {others}"
    calls = threading.Thread(target=fire, args=(on_postgresql, "While cut"))
    calls.start()
    until_then = time.monotonic() + SECONDS
    while time.monotonic() < until_then:
        on_postgresql.database.rows(cut)
        time.sleep(random.uniform(0.05, 0.5))
    calls.join()
    all_done(on_postgresql, 1000)


def test_work_taken_just_before_the_database_went_is_done_afterwards(on_sqlite: Place) -> None:
    """A worker takes jobs and can't go on: here since another table is away. They aren't left in hand for ever."""
    ten = list(range(1, 11))
    with contextlib.closing(sqlite3.connect(on_sqlite.database.file, isolation_level=None, timeout=20)) as file:
        file.execute("alter table members_contact rename to away")
        fire(on_sqlite, "While away", ten)
        until(lambda: on_sqlite.database.one("select count(*) from journal_attempt"), 30, "work was taken")
        file.execute("alter table away rename to members_contact")
    all_done(on_sqlite, len(ten))


def test_a_connection_cut_amid_many_rows_is_a_database_that_is_away(cluster: Cluster, folder: Path) -> None:
    """And no mistake of ours: else intake would put the call aside for which it was cut."""
    environ = os.environ | {"DATABASE_URL": cluster.url, "TAGWARDEN_DATA": str(folder)}
    command = [sys.executable, "-m", "tests.outage.cut_while_copying"]
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout == "the database is away\n", ran.stderr
