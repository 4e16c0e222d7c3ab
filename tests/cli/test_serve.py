"""`tagwarden serve` as processes: it starts all parts, starts them again, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import serving
from tests.serving import Server, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with a site and a connection, and the webhook's path and query."""
    folder = tmp_path_factory.mktemp("data")
    serving.tagwarden(folder, "init")
    serving.tagwarden(folder, "site", "add", "Northlight", "--host", "127.0.0.1", "--public-url", "http://127.0.0.1")
    (folder / "key.json").write_text('{"api_key": "sandbox-key"}')
    crm = ("--crm", "sandbox", "--base-url", "http://127.0.0.1:9", "--credentials-file", str(folder / "key.json"))
    serving.tagwarden(folder, "connection", "add", "127.0.0.1", *crm)
    url = serving.tagwarden(folder, "webhook-url", "1", "updateuser").strip()
    return folder, url.removeprefix("http://127.0.0.1")


@pytest.fixture
def server(made: tuple[Path, str]) -> Iterator[Server]:
    with serving.serving(made[0]) as running:
        running.wait_until_ready()
        yield running


def test_a_webhook_comes_in_at_once_and_becomes_a_job(server, made):
    answer = httpx.post(server.url + made[1], data={"contactId": "526"})

    assert answer.status_code == 200
    delivery = answer.json()["delivery"]
    wait_until(lambda: delivery in serving.tagwarden(made[0], "delivery", "list", "--json"))


def test_the_door_goes_before_the_work_behind_it(server):
    def niceness(part: str) -> int:
        return os.getpriority(os.PRIO_PROCESS, server.part(part))

    wait_until(lambda: niceness("intake") == niceness("worker") > niceness("web"))


def test_sigterm_ends_all_parts_cleanly(server):
    children = serving.descendants(server.process.pid)
    assert len(children) >= 3
    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(30) == 0
    assert not [line for pid, line in children.items() if serving.is_alive(pid)]
    assert "Stopped." in server.log
    assert "was killed" not in server.log


@pytest.mark.parametrize("part", ["intake", "worker", "web"])
def test_a_part_that_dies_is_started_again_and_it_says_so(server, part):
    first = server.part(part)
    os.kill(first, signal.SIGKILL)

    wait_until(lambda: server.part(part) not in (0, first))
    wait_until(server.answers)
    assert "was ended by SIGKILL. It starts again in 0.5 s." in server.log


def test_no_part_outlives_a_supervisor_that_was_killed(server):
    children = serving.descendants(server.process.pid)
    server.process.kill()
    server.process.wait()

    wait_until(lambda: not [pid for pid in children if serving.is_alive(pid)])


def test_a_port_in_use_is_said_before_anything_starts(made):
    folder, _ = made
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "tagwarden", "serve", "--port", str(taken.getsockname()[1])]
        ran = subprocess.run(
            command, env=serving.environment(folder), capture_output=True, text=True, timeout=30, check=False
        )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "Address already in use. Choose another with --port." in ran.stderr
