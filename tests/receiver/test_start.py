"""How the receiver starts, and when it had better not."""

import subprocess

from granian.constants import HTTPModes, Interfaces, Loops, TaskImpl

from tagwarden import rsgi
from tagwarden.spool import door
from tests.receiver.conftest import Door, until


def test_the_flags_are_those_that_were_measured() -> None:
    server = rsgi.build_server("127.0.0.1", 8000)
    assert server.interface is Interfaces.RSGI
    assert server.workers == 1  # a second one would be a second writer of one spool
    assert server.loop is Loops.uvloop  # asyncio's lost SIGTERM
    assert server.task_impl is TaskImpl.asyncio  # the other one grew to 400 MiB
    assert server.respawn_failed_workers
    assert server.workers_kill_timeout == 10
    assert server.http is HTTPModes.http1
    assert not server.log_access  # addresses hold secrets
    assert server.backpressure > 64 * 16  # more stalled senders than anybody was seen to have
    assert server.blocking_threads == 1


def test_the_port_stays_shut_until_the_door_table_was_filled(closed_door: Door) -> None:
    closed_door.process = closed_door.launch()
    until(lambda: "never filled" in (closed_door.data / "log").read_text(), 20)
    assert not closed_door.is_open()
    door.fill(door.door_path(closed_door.data), [])
    until(closed_door.is_open, 20)
    assert closed_door.post().status_code == 403
    assert (closed_door.data / "log").read_text().count("never filled") == 1


def test_a_second_receiver_on_the_same_data_is_refused_and_told_why(own_door: Door) -> None:
    second = own_door.launch()
    assert second.wait(20) != 0
    said = (own_door.data / "log").read_text()
    assert "in use by another" in said
    assert str(own_door.worker()) in said
    assert own_door.post().status_code == 200


def test_a_start_without_keys_says_what_to_do(closed_door: Door) -> None:
    closed_door.fill()
    (closed_door.data / "keys").unlink()
    assert closed_door.launch().wait(20) != 0
    assert "tagwarden init" in (closed_door.data / "log").read_text()


def test_a_start_on_an_unwritable_spool_says_so(closed_door: Door) -> None:
    closed_door.fill()
    (closed_door.data / "spool").write_text("a file is in the way")
    process: subprocess.Popen[bytes] = closed_door.launch()
    assert process.wait(20) != 0
    assert "can't be written to" in (closed_door.data / "log").read_text()


def test_a_restart_goes_on_in_the_same_spool(own_door: Door) -> None:
    first = own_door.post().json()["delivery"]
    own_door.stop()
    own_door.start()
    own_door.client.close()
    second = own_door.raw(f"POST {own_door.url} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n526".encode()).headers[
        "x-request-id"
    ]
    assert [row.id for row in own_door.rows()] == [first, second]
