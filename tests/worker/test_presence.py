"""A worker that died is noticed by those that share its data folder; one that lives, or left, never is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tagwarden.worker.presence import Presence

ROOT = Path(__file__).parents[2]
LIVE = "import sys, pathlib, time; from tagwarden.worker.presence import Presence; "
LIVE += "p = Presence(pathlib.Path(sys.argv[1]), 'other'); print('here', flush=True); time.sleep(60)"


def buried(presence: Presence) -> list[str]:
    names: list[str] = []
    presence.bury(names.append)
    return names


def test_a_killed_worker_is_buried_once(tmp_path: Path) -> None:
    ours = Presence(tmp_path / "workers", "ours")
    command = [sys.executable, "-c", LIVE, str(tmp_path / "workers")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"here\n"
        assert buried(ours) == []
        os.kill(other.pid, signal.SIGKILL)
        other.wait(10)
    assert buried(ours) == ["other"]
    assert buried(ours) == []
    ours.leave()


def test_one_that_left_is_not_buried(tmp_path: Path) -> None:
    ours, other = Presence(tmp_path, "ours"), Presence(tmp_path, "other")
    other.leave()
    assert buried(ours) == []
    ours.leave()


def test_one_whose_burial_failed_comes_again(tmp_path: Path) -> None:
    ours, other = Presence(tmp_path, "ours"), Presence(tmp_path, "other")
    os.close(other._lock)  # as at its death

    def away(name: str) -> None:
        raise ConnectionError(name)

    with pytest.raises(ConnectionError):
        ours.bury(away)
    assert buried(ours) == ["other"]
    ours.leave()
