"""What /health says of a whole server while parts of it are taken away."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.crash.place import ROOT, Place, processes_of, until
from tests.outage.cluster import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def health(place: Place) -> dict[str, Any]:
    answer = httpx.get(f"{place.url}/health", timeout=10)
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    return told


def metrics(place: Place) -> str:
    answer = httpx.get(f"{place.url}/metrics", timeout=10)
    assert answer.status_code == 200
    return answer.text


def findings(place: Place) -> list[str]:
    return [name for name, check in health(place)["checks"].items() if not check["ok"]]


@contextlib.contextmanager
def standing_still(place: Place, part: str) -> Iterator[None]:
    """A part of the server hangs."""
    assert place.process
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in processes_of(place.process.pid)}
    (pid,) = [pid for pid, line in lines.items() if f"part\0{part}" in line]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def call(place: Place, contact: int) -> None:
    httpx.post(str(place.address("updateuser")), data={"contactId": str(contact)}).raise_for_status()


def test_a_server_that_is_well_says_so_and_tells_what_waits(small: Place) -> None:
    until(lambda: health(small)["ok"], 20, lambda: str(health(small)))
    with standing_still(small, "intake"):
        call(small, 1)
        call(small, 2)
        until(lambda: health(small)["checks"]["intake"].get("backlog") == 2, 5, lambda: str(health(small)))
        assert health(small)["checks"]["intake"]["sentence"].startswith("2 calls on disk and not listed yet")
    until(lambda: health(small)["checks"]["intake"]["backlog"] == 0, 10, "the calls are carried")


def test_what_workers_do_is_told_at_metrics(small: Place) -> None:
    for contact in range(1, 4):
        call(small, contact)
    small.until_settled(30)
    done = 'tagwarden_attempts_total{process="worker:[^"]+",result="done"} 3.0\n'
    until(lambda: re.search(done, metrics(small)), 15, lambda: metrics(small))
    told = metrics(small)
    named = re.findall(r"`(tagwarden_\w+)`", (ROOT / "docs" / "operating.md").read_text().split("| metric |")[1])
    assert sorted(re.findall("^# TYPE (tagwarden_\\w+) ", told, re.MULTILINE)) == sorted({*named})
    assert re.search('tagwarden_crm_calls_total{connection="1",process="worker:[^"]+",status="200"} [1-9]', told), told
    assert 'tagwarden_jobs{connection="1",standing="done"} 3.0\n' in told
    assert "tagwarden_spool_backlog_rows 0.0\n" in told
    assert re.search('tagwarden_heartbeat_age_seconds{kind="intake",process="intake:[^"]+"} [0-9.]+\n', told)


def test_a_worker_and_an_intake_that_hang_are_missed(small: Place) -> None:
    until(lambda: not findings(small), 20, lambda: str(health(small)))
    with standing_still(small, "worker"), standing_still(small, "intake"):
        until(lambda: findings(small) == ["intake", "worker"], 50, lambda: str(health(small)))
    until(lambda: not findings(small), 20, lambda: str(health(small)))


def test_without_its_database_it_answers_at_once_and_counts_what_waits(
    small_on_postgresql: Place, cluster: Cluster
) -> None:
    until(lambda: not findings(small_on_postgresql), 20, lambda: str(health(small_on_postgresql)))
    cluster.stop("immediate")
    for contact in range(1, 6):
        call(small_on_postgresql, contact)
    until(
        lambda: health(small_on_postgresql)["checks"]["intake"].get("backlog") == 5,
        10,
        lambda: str(health(small_on_postgresql)),
    )
    away = ["database", "intake", "worker", "work", "failures"]
    until(lambda: findings(small_on_postgresql) == away, 10, lambda: str(health(small_on_postgresql)))
    began = time.monotonic()
    assert findings(small_on_postgresql) == away
    assert time.monotonic() - began < 3
    assert httpx.get(f"{small_on_postgresql.url}/ready").status_code == 200
    cluster.start()
    until(lambda: not findings(small_on_postgresql), 30, lambda: str(health(small_on_postgresql)))


def test_a_database_that_hangs_holds_up_neither_health_nor_calls(small_on_postgresql: Place, cluster: Cluster) -> None:
    until(lambda: not findings(small_on_postgresql), 20, lambda: str(health(small_on_postgresql)))
    with cluster.hanging():
        until(lambda: "database" in findings(small_on_postgresql), 5, "the database is missed")
        for _ in range(3):
            began = time.monotonic()
            assert "database" in findings(small_on_postgresql)
            assert time.monotonic() - began < 3
            call(small_on_postgresql, 1)
    until(lambda: not findings(small_on_postgresql), 60, lambda: str(health(small_on_postgresql)))
