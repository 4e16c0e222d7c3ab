"""Who is left when `serve` dies, and who may not start beside it."""

import os
import signal
import socket
import time

import pytest

from tests.crash.place import Place, plainly, processes_of, until
from tests.sandbox.conftest import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# Seconds until the last child of a killed supervisor has left. Two or three when all run; a web worker that still loads
# misses the signal and is killed by its starter after ten.
GONE_WITHIN, GONE_FROM_START_WITHIN = 8.0, 15.0


def kill_supervisor_alone(place: Place) -> int:
    """Gives the session in which its children are left."""
    assert place.process
    session = place.process.pid
    os.kill(session, signal.SIGKILL)
    place.process.wait(10)
    return session


def until_left(session: int, seconds: float = GONE_WITHIN) -> None:
    """Waits until nobody of that session is left."""
    until(lambda: not processes_of(session), seconds, lambda: f"left are {plainly(processes_of(session))}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_children_of_a_killed_supervisor_leave_by_themselves_and_a_restart_works(small: Place) -> None:
    assert small.process
    until(lambda: len(processes_of(small.process.pid)) >= 5, 20, "all parts run")  # type: ignore[union-attr]  # is set
    session = kill_supervisor_alone(small)
    until_left(session)
    assert is_free(small.port)

    small.start()
    small.until_open()
    answer = small.crm.admin.post("/admin/fire", json={"url": str(small.address("updateuser")), "contacts": "all"})
    assert answer.json()["statuses"] == {"200": 10}
    small.until_settled(30)


@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.8, 1.1])
def test_children_leave_also_if_the_supervisor_is_killed_while_they_start(small: Place, seconds: float) -> None:
    assert small.stop() == 0
    small.start()
    time.sleep(seconds)
    session = kill_supervisor_alone(small)
    until_left(session, GONE_FROM_START_WITHIN)


def test_a_restart_right_after_the_supervisor_was_killed_works(small: Place) -> None:
    """As a service manager does it: at once, while the children of the one before still leave."""
    session = kill_supervisor_alone(small)
    deadline = time.monotonic() + 30
    while True:
        small.start()
        assert small.process
        if small.process.poll() is None and _opens(small):
            break
        small.process.wait(10)
        assert time.monotonic() < deadline
    until_left(session, GONE_FROM_START_WITHIN)


def _opens(place: Place) -> bool:
    """Whether the new one's port opens before it ends."""
    assert place.process
    until(lambda: place.process.poll() is not None or place.is_open(), 30, "it opens or ends")  # type: ignore[union-attr]  # is set
    return place.process.poll() is None


def test_a_second_serve_on_one_data_folder_is_refused_with_a_sentence(small: Place) -> None:
    second = small.launch({}, port=free_port())
    assert second.wait(25) == 1
    assert "is in use by another" in small.log.read_text()
    assert not processes_of(second.pid)
    assert small.is_open()
