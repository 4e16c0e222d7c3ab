"""What breaks servers of this kind: kills, locks, stalled senders, full queues. Nothing acknowledged may be lost."""

import contextlib
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.receiver.conftest import Door, until
from tests.receiver.load import Told, fire


def under_load(own_door: Door, then: Callable[[], object]) -> Told:
    """Fires on 64 connections, does `then` in the middle of it, and says what the senders were told."""
    with ThreadPoolExecutor(1) as pool:
        firing = pool.submit(fire, own_door.port, own_door.url, connections=64, seconds=10)
        until(lambda: len(own_door.rows()) > 500)
        then()
        return firing.result(30)


def test_what_was_acked_is_on_disk_after_a_kill(own_door: Door) -> None:
    told = under_load(own_door, own_door.kill)
    assert len(told.acked) > 500 - 64  # of the rows that were there, each connection's last answer may be cut off
    assert told.broken == 64
    assert set(told.acked) <= {row.id for row in own_door.rows()}


def test_a_clean_stop_under_load_loses_nothing_and_ends(own_door: Door) -> None:
    codes: list[int] = []
    told = under_load(own_door, lambda: codes.append(own_door.stop()))
    assert codes == [0]
    assert not list(own_door.spool.glob("*-wal"))  # the writer closed the file itself
    assert set(told.statuses) == {200}
    stored = [row.id for row in own_door.rows()]
    assert set(told.acked) <= set(stored)
    assert len(stored) - len(told.acked) <= 64  # answers that the closing connections could not carry
    assert len(set(stored)) == len(stored)


def test_a_dead_worker_comes_back_and_loses_nothing(own_door: Door) -> None:
    told = under_load(own_door, lambda: os.kill(own_door.worker(), signal.SIGKILL))
    assert set(told.acked) <= {row.id for row in own_door.rows()}
    until(own_door.is_open, 20)
    assert own_door.post().status_code == 200


def test_a_writer_that_dies_takes_the_process_with_it_and_both_come_back(own_door: Door) -> None:
    first = own_door.post().json()["delivery"]
    worker = own_door.worker()
    own_door.client.get("/kill-writer")
    with contextlib.suppress(httpx.HTTPError):  # nobody answers it any more
        assert own_door.post().status_code != 200
    until(lambda: own_door.worker() not in (0, worker))
    until(own_door.is_open, 20)
    assert own_door.post().status_code == 200
    assert "the spool's writer stopped" in (own_door.data / "log").read_text().lower()
    assert own_door.rows()[0].id == first


def test_a_kill_between_commit_and_answer_keeps_the_row(closed_door: Door) -> None:
    closed_door.fill()
    marks = closed_door.data / "marks"
    closed_door.start(TAGWARDEN_FAILPOINT=f"between-commit-and-answer:1:{marks}")
    with pytest.raises(httpx.HTTPError):
        closed_door.post()
    assert marks.read_text() == "between-commit-and-answer\n"
    assert [row.body for row in closed_door.rows()] == [b"contactId=526"]


def test_a_failed_batch_is_refused_and_the_writer_lives(own_door: Door) -> None:
    segment = next(own_door.spool.glob("*.sqlite"))
    worker = own_door.worker()
    with contextlib.closing(sqlite3.connect(segment, isolation_level=None)) as db:
        db.execute("alter table delivery rename to hidden")
        answer = own_door.post()
        assert (answer.status_code, answer.json()["reason"]) == (503, "not-stored")
        assert answer.headers["retry-after"] == "2"
        db.execute("alter table hidden rename to delivery")
    assert own_door.post().status_code == 200
    assert own_door.worker() == worker


@contextlib.contextmanager
def locked(own_door: Door, seconds: float) -> Iterator[None]:
    """The spool's file is locked for that long, by somebody else."""
    db = sqlite3.connect(next(own_door.spool.glob("*.sqlite")), isolation_level=None, check_same_thread=False)
    db.execute("begin immediate")
    timer = threading.Timer(seconds, lambda: db.execute("rollback"))
    timer.start()
    yield
    timer.join()
    db.close()


def test_a_spool_that_is_locked_for_3_seconds_refuses_nobody(own_door: Door) -> None:
    with locked(own_door, 3):
        told = fire(own_door.port, own_door.url, connections=50, seconds=2)
    assert dict(told.statuses) == {200: 50}
    assert 2.5 < told.slowest(0.5) < 4
    assert set(told.acked) == {row.id for row in own_door.rows()}


def test_a_spool_that_is_locked_for_longer_refuses_in_time_and_stores_nothing(own_door: Door) -> None:
    with locked(own_door, 6):
        started = time.monotonic()
        answer = own_door.post()
        assert 3.9 < time.monotonic() - started < 4.8
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        late = own_door.post()  # comes when the lock has a second or two to go, so it waits and is taken
        assert late.status_code == 200
    assert [row.id for row in own_door.rows()] == [late.headers["x-request-id"]]


def test_a_locked_spool_holds_up_no_page(own_door: Door) -> None:
    with locked(own_door, 2), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(own_door.post)
        started = time.monotonic()
        assert own_door.client.get("/a").status_code == 201
        assert time.monotonic() - started < 1
        assert waiting.result(10).status_code == 200


@pytest.mark.parametrize(
    "request_head",
    [b"Content-Length: 100\r\n\r\ncontactId=526", b"Transfer-Encoding: chunked\r\n\r\n3\r\n526\r\n"],
)
def test_a_sender_who_leaves_in_the_middle_of_a_body_stores_nothing(own_door: Door, request_head: bytes) -> None:
    for pause in (0, 0.05):
        with socket.create_connection(("127.0.0.1", own_door.port)) as connection:
            connection.sendall(f"POST {own_door.url} HTTP/1.1\r\nHost: x\r\n".encode() + request_head)
            time.sleep(pause)  # also when the server has begun to read
    assert own_door.post().status_code == 200
    until(lambda: len(own_door.rows()) == 1)
    assert own_door.stop() == 0
    assert len(own_door.rows()) == 1


def test_300_stalled_senders_delay_nobody(own_door: Door) -> None:
    with contextlib.ExitStack() as stalled:
        for _ in range(300):
            connection = stalled.enter_context(socket.create_connection(("127.0.0.1", own_door.port)))
            connection.sendall(f"POST {own_door.url} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf".encode())
        told = fire(own_door.port, own_door.url, connections=8, seconds=5, most=25)
        assert dict(told.statuses) == {200: 200}
        assert told.slowest(1) < 1
        started = time.monotonic()
        assert own_door.client.get("/a").status_code == 201
        assert time.monotonic() - started < 1


def test_a_stop_waits_for_a_call_in_hand(own_door: Door) -> None:
    with locked(own_door, 2), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(own_door.post)
        time.sleep(0.5)  # the call is in the queue, behind the lock
        assert own_door.stop() == 0
        assert waiting.result(10).status_code == 200
    assert len(own_door.rows()) == 1


def test_a_stop_doesnt_wait_long_for_a_stalled_sender(own_door: Door) -> None:
    with socket.create_connection(("127.0.0.1", own_door.port)) as connection:
        connection.sendall(f"POST {own_door.url} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf".encode())
        time.sleep(0.3)
        assert own_door.post().status_code == 200
        started = time.monotonic()
        own_door.stop()
        assert time.monotonic() - started < 14
    assert len(own_door.rows()) == 1


def test_a_server_whose_supervisor_is_killed_leaves_too(own_door: Door) -> None:
    assert own_door.process
    worker = own_door.worker()
    os.kill(own_door.process.pid, signal.SIGKILL)
    own_door.process.wait(5)
    until(lambda: not own_door.is_open(), 10)
    until(lambda: not _runs(worker), 10)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
