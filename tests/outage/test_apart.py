"""Two web machines and two workers on one PostgreSQL: everything is done once, also when one of each dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tagwarden.journal import leases
from tagwarden.spool import log as spool
from tests.crash.place import Database, Place, processes_of, until
from tests.outage.cluster import Cluster, binaries
from tests.sandbox.conftest import QUIET, Crm, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # each wait inside has a bound of its own
LEASE = leases.LEASE_MS / 1000
HALVES = (list(range(1, 501)), list(range(501, 1001)))


class Machine:
    """A process of the command line with a data folder of its own, in a session of its own."""

    def __init__(self, place: Place, folder: Path, *arguments: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.log = folder, folder / "log"
        environ = place._environment(TAGWARDEN_DATA=str(folder), TAGWARDEN_KEYS_FILE=str(place.data / "keys"))
        command = [sys.executable, "-m", "tagwarden", *arguments]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, env=environ, cwd=folder, stdout=output, stderr=output, start_new_session=True
            )
        place._sessions.append(self.process)

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """Ends all of it at once, as a power cut does."""
        while pids := processes_of(self.pid):
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            self.process.poll()

    def stop(self) -> int:
        """Ends it as an operator does; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


class Apart:
    """Machines a and b take calls, c and d work."""

    def __init__(self, place: Place) -> None:
        self.place, self.database = place, place.database
        self.ports = {name: free_port() for name in "ab"}
        self.machines: dict[str, Machine] = {}

    def start(self, *names: str) -> None:
        for name in names:
            port = self.ports.get(name)
            arguments = ["web", "--port", str(port)] if port else ["worker"]
            self.machines[name] = Machine(self.place, self.place.data / name, *arguments)
        for name in set(names) & set(self.ports):
            until(lambda name=name: self._opens(name), 60, f"{name} opens, see {self.machines[name].log}")

    def start_all(self) -> None:
        """Those that don't run."""
        self.start(*[n for n in "abcd" if n not in self.machines or self.machines[n].process.poll() is not None])

    def _opens(self, name: str) -> bool:
        try:
            return httpx.head(f"http://127.0.0.1:{self.ports[name]}/hooks/nobody", timeout=2).status_code == 204
        except httpx.TransportError:
            return False

    def fire(self, name: str, contacts: list[int], tag: str) -> dict[str, Any]:
        """The CRM tags these contacts and calls that machine for each; gives what became of the calls."""
        post = self.place.crm.admin.post
        post("/admin/tag", json={"tag": tag, "contacts": contacts}, timeout=60).raise_for_status()
        url = f"http://127.0.0.1:{self.ports[name]}/?aal_updateuser={self.place.secret}"
        shot = {"url": url, "contacts": contacts, "concurrency": 64}
        figures: dict[str, Any] = post("/admin/fire", json=shot, timeout=60).json()
        return figures

    def fire_at_both(self, tag: str) -> None:
        """A thousand calls, all of which are taken."""
        statuses = {}

        def fire(name: str, contacts: list[int]) -> None:
            statuses[name] = self.fire(name, contacts, tag)["statuses"]

        threads = [threading.Thread(target=fire, args=shot) for shot in zip("ab", HALVES, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == {"a": {"200": 500}, "b": {"200": 500}}

    def holder(self) -> str:
        """The name of the machine that drains the lane, "" if nobody does."""
        rows = self.database.rows("select worker from journal_lane where token <> ''")
        pids = {int(worker.split(":")[1]) for (worker,) in rows}
        return next((name for name, machine in self.machines.items() if machine.pid in pids), "")

    def uncarried(self, names: str = "ab") -> int:
        reached = {
            row[0]: spool.Position(*row[1:])
            for row in self.database.rows("select spool, segment, line from journal_spoolposition")
        }
        folders = [spool.spool_folder(self.place.data / name) for name in names]
        return sum(spool.backlog(folder, reached.get(spool.spool_id(folder))).rows for folder in folders)

    def jobs(self) -> int:
        return int(self.database.one("select count(*) from journal_job"))

    def until_done(self, seconds: float, carried_from: str = "ab") -> float:
        """Waits until nothing is left to do; gives the seconds that took."""
        began = time.monotonic()
        waiting = "select count(*) from journal_job where state <> 'finished'"
        until(lambda: not self.uncarried(carried_from) and not self.database.one(waiting), seconds, self._left)
        return time.monotonic() - began

    def _left(self) -> str:
        return str(self.database.rows("select id, worker, until, next_due from journal_lane"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, big_crm: Crm) -> Iterator[Place]:
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    cluster = Cluster()
    data = tmp_path_factory.mktemp("apart")
    place = Place(data, big_crm, Database(data, cluster.url), 1000)
    yield place
    place.close()
    cluster.remove()


@pytest.fixture(scope="module")
def machines(place: Place) -> Apart:
    return Apart(place)


@pytest.fixture
def apart(machines: Apart) -> Apart:
    """All four machines run, and there is nothing to do."""
    machines.place.crm.set(**QUIET)
    machines.start_all()
    return machines


def each_done_once(apart: Apart, calls: int) -> None:
    database = apart.database
    assert database.rows("select outcome, count(*) from journal_job group by 1") == [("done", calls)]
    twice = "select job from journal_attempt where result = 'done' group by 1 having count(*) > 1"
    assert database.rows(twice) == []
    assert apart.place.tags_here() == apart.place.tags_there()


def test_a_thousand_calls_at_both_doors_are_done_once(apart: Apart) -> None:
    before = apart.jobs()
    apart.fire_at_both("Both doors")
    seconds = apart.until_done(60)
    each_done_once(apart, before + 1000)
    print(f"1,000 calls at two doors were done {seconds:.1f} s after the last answer")


def test_with_every_wake_lost_all_is_done_within_a_minute(apart: Apart) -> None:
    before = apart.jobs()
    over = threading.Event()

    def lose_wakes() -> None:
        with psycopg.connect(apart.database.url, autocommit=True) as server:
            while not over.wait(0.01):
                server.execute("delete from procrastinate_jobs where task_name = 'tagwarden.drain'")

    loser = threading.Thread(target=lose_wakes)
    loser.start()
    try:
        apart.fire_at_both("No wakes")
        seconds = apart.until_done(60)
    finally:
        over.set()
        loser.join()
    each_done_once(apart, before + 1000)
    print(f"without wakes 1,000 calls were done {seconds:.1f} s after the last answer")


def kill_in_the_middle(apart: Apart, tag: str) -> str:
    """Kills the worker that drains the lane, with more to do; gives its name."""
    apart.place.crm.set(latency_ms=400)
    apart.fire_at_both(tag)
    holder: str = until(apart.holder, 30, "a worker drains the lane")
    until(lambda: apart.database.one("select count(*) from journal_attempt where ended is null"), 30, "work in hand")
    apart.machines[holder].kill()
    apart.place.crm.set(latency_ms=0)
    return holder


def until_it_goes_on(apart: Apart, seconds: float) -> float:
    """Waits until the next job is taken; gives the seconds that took."""
    began, newest = time.monotonic(), apart.database.one("select max(id) from journal_attempt")
    query = f"select 1 from journal_attempt where id > {newest}"
    until(lambda: apart.database.rows(query), seconds, "the lane goes on")
    return time.monotonic() - began


def died_in_all(apart: Apart) -> int:
    """How many workers left crashes behind."""
    return int(apart.database.one("select count(distinct worker) from journal_attempt where result = 'crash'"))


def test_when_a_worker_and_a_web_machine_die_no_lane_stands_longer_than_its_lease(apart: Apart) -> None:
    """And the calls in the dead machine's spool are done when it is back."""
    jobs, died = apart.jobs(), died_in_all(apart)
    kill_in_the_middle(apart, "One of each dies")
    apart.machines["a"].kill()
    apart.fire("b", HALVES[0], "After it died")
    print(f"the dead worker's lane went on after {until_it_goes_on(apart, LEASE + 15):.1f} s")

    apart.start_all()
    apart.until_done(180)  # what was in hand when it died is tried one by one
    each_done_once(apart, jobs + 1500)
    assert died_in_all(apart) == died + 1


def test_a_worker_that_died_and_is_started_again_goes_on_at_once(apart: Apart) -> None:
    jobs, died = apart.jobs(), died_in_all(apart)
    apart.start(kill_in_the_middle(apart, "Started again"))
    seconds = until_it_goes_on(apart, LEASE / 2)
    print(f"the lane of a worker that was started again went on after {seconds:.1f} s")
    apart.until_done(180)
    each_done_once(apart, jobs + 1000)
    assert died_in_all(apart) == died + 1


def test_a_worker_that_is_stopped_leaves_its_lanes_to_the_other_at_once(apart: Apart) -> None:
    before = apart.jobs()
    crashes = apart.database.one("select count(*) from journal_attempt where result = 'crash'")
    apart.place.crm.set(latency_ms=200)
    apart.fire_at_both("One is stopped")
    holder = until(apart.holder, 30, "a worker drains the lane")
    assert apart.machines[holder].stop() == 0
    apart.until_done(30)
    each_done_once(apart, before + 1000)
    assert apart.database.one("select count(*) from journal_attempt where result = 'crash'") == crashes
