"""/health and /ready on the real server, without a main database behind it: its worst day."""

import contextlib
import sqlite3
import time

import pytest

from tests.receiver.conftest import SECRET, Door, until

pytestmark = pytest.mark.timeout(60)


def test_without_the_tables_of_a_main_database_it_is_degraded_and_takes_calls(the_door: Door) -> None:
    the_door.post()
    answer = the_door.client.get("/health")
    told = answer.json()
    assert (answer.status_code, told["ok"]) == (200, False)
    assert list(told["checks"]) == ["spool", "disk", "database", "intake", "worker", "work", "failures"]
    assert [name for name, check in told["checks"].items() if check["ok"]] == ["spool", "disk"]
    assert told["checks"]["database"]["sentence"].startswith("The main database hasn't this version's schema (yet).")
    assert 0 <= told["checks"]["spool"]["last_commit"] < 10
    assert told["checks"]["disk"]["free_bytes"] > 0
    assert the_door.client.get("/ready").status_code == 200


def test_a_monitor_that_reads_the_status_only_asks_strictly(the_door: Door) -> None:
    assert the_door.client.get("/health?strict").status_code == 503
    assert the_door.client.get("/health?strict=1").status_code == 503


def test_the_answers_are_for_programs_and_never_kept(the_door: Door) -> None:
    for path in ("/health", "/ready"):
        answer = the_door.client.head(path)
        assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, b"", "no-store")
        assert the_door.client.post(path).status_code == 405


def test_a_webhook_on_that_path_is_a_webhook(the_door: Door) -> None:
    answer = the_door.post(f"/health?aal_updateuser={SECRET}")
    assert answer.json()["delivery"] == the_door.last().id


def test_a_server_that_cant_put_calls_on_disk_says_503_until_it_can(own_door: Door) -> None:
    with contextlib.closing(sqlite3.connect(next(own_door.spool.glob("*.sqlite")), isolation_level=None)) as db:
        db.execute("alter table delivery rename to hidden")
        assert own_door.post().status_code == 503
        assert own_door.client.get("/ready").status_code == 503
        answer = own_door.client.get("/health")
        assert (answer.status_code, answer.json()["checks"]["spool"]["ok"]) == (503, False)
        db.execute("alter table hidden rename to delivery")
    assert own_door.post().status_code == 200
    assert own_door.client.get("/ready").status_code == 200


def test_a_disk_that_stands_still_is_said_while_calls_still_wait(own_door: Door) -> None:
    with contextlib.closing(sqlite3.connect(next(own_door.spool.glob("*.sqlite")), isolation_level=None)) as db:
        db.execute("begin immediate")
        assert own_door.post().status_code == 503  # after 4 s
        # The writer asks on as long as somebody waits, so that somebody must.
        own_door.client.timeout = 0.2
        with contextlib.suppress(Exception):
            own_door.post()
        own_door.client.timeout = 20
        until(lambda: own_door.client.get("/ready").status_code == 503, 10)
        began = time.monotonic()
        own_door.client.get("/health")
        assert time.monotonic() - began < 3
