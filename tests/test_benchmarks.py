"""The benchmark of the door measures what it says, and leaves nothing behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(180)]


def test_it_counts_answers_and_drains_what_it_fired(tmp_path: Path) -> None:
    file, temporary = tmp_path / "figures.json", tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "benchmarks.receiver", "--seconds", "0.2", "--json", str(file)]
    environ = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [*command, "--only", "door,pages"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    figures = json.loads(file.read_text())["figures"]
    acks, pages = figures["durable acks, 64"], figures["pages, 5/s, beside 64 connections"]
    assert set(acks["statuses"]) == set(pages["statuses"]) == {"200"}
    assert acks["unanswered"] == 0
    assert 0 < acks["p50"] <= acks["p99"] <= acks["max"]
    assert figures["bytes a delivery, spool"]["bytes"] > 200
    assert not list(temporary.iterdir())


def test_a_part_that_there_is_not_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks.receiver", "--only", "doors"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert "there is no part doors" in ran.stderr
