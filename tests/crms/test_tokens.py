"""Tokens of Keap and Kit are good for one renewal: processes that need a new one at the same moment renew once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crms.conftest import FakeServer, running_fake
from tests.fakes import keap, kit
from tests.sandbox.conftest import ROOT

AT_ONCE = 4
TOKENS = {
    "keap": (keap.CLIENT_ID, keap.CLIENT_SECRET, keap.ACCESS_TOKEN, keap.REFRESH_TOKEN),
    "kit": (kit.CLIENT_ID, kit.CLIENT_SECRET, kit.ACCESS_TOKEN, kit.REFRESH_TOKEN),
}
NAMES = ("client_id", "client_secret", "access_token", "refresh_token")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(folder: Path) -> Start:
    """Starts a command over a data folder of its own."""
    environ = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environ |= {"TAGWARDEN_DATA": str(folder), "PYTHONPATH": str(ROOT)}

    def started(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tagwarden", *arguments]
        return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return started


def _well(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, out + error
    return out


def _connect(start: Start, name: str, fake: FakeServer, folder: Path) -> None:
    secrets = folder / "credentials.json"
    secrets.write_text(json.dumps(dict(zip(NAMES, TOKENS[name], strict=True))))
    _well(start("init"))
    _well(start("site", "add", "Northlight Studio", "--host", "northlight.example"))
    place = ["--crm", name, "--base-url", fake.url, "--credentials-file", str(secrets)]
    _well(start("connection", "add", "northlight.example", *place))
    _well(start("connection", "fields", "1", "--create"))


@pytest.mark.parametrize("name", TOKENS)
def test_processes_that_meet_an_expired_token_renew_it_once(name: str, start: Start, folder: Path) -> None:
    with running_fake(name, 3) as fake:
        _connect(start, name, fake, folder)
        for round_ in (1, 2):  # the second round needs what the first one kept
            fake.post("/admin/tokens/expire")
            fake.admin.post("/admin/counters/reset")
            processes = [start("connection", "fields", "1") for _ in range(AT_ONCE)]
            for process in processes:
                assert "Password" in _well(process)
            renewals = sum(count for call, count in fake.counters().items() if call.endswith("/token"))
            assert renewals == 1, f"round {round_}: {fake.counters()}"
