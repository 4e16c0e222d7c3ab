"""Running commands: in this process on the test's database, or as a process with a data folder of its own."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tagwarden.cli.main import COMMANDS
from tagwarden.core import clock
from tagwarden.core.uuid7 import uuid7
from tagwarden.journal.models import Attempt, Delivery, Job, Release
from tests.sandbox.conftest import crm, shared_crm

__all__ = ["crm", "shared_crm"]

ROOT = Path(__file__).parents[2]


@dataclass
class Ran:
    """What a command left behind."""

    code: int
    out: str
    error: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run() -> Callable[..., Ran]:
    """Runs a command in this process; an error it raises comes through."""

    def _run(name: str, *arguments: str) -> Ran:
        app = importlib.import_module(f"tagwarden.cli.{COMMANDS[name].module}").app
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        return Ran(result.exit_code, result.stdout, result.stderr)

    return _run


@pytest.fixture
def tagwarden(tmp_path: Path) -> Callable[..., Ran]:
    """Runs `tagwarden …` as a process, in an empty data folder of its own."""

    def _run(*arguments: str, **environ: str) -> Ran:
        kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        environment = kept | {"TAGWARDEN_DATA": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)} | environ
        command = [sys.executable, "-m", "tagwarden", *arguments]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    return _run


@pytest.fixture
def call(connection) -> Callable[..., Job]:
    """Puts a call into the journal as intake and worker leave it, with one try if it is finished."""

    def _call(contact: str = "526", *, standing: str = "done", reason: str = "", **more: Any) -> Job:
        now, identity = clock.now(), uuid7()
        Delivery.objects.create(
            id=identity,
            site=connection.site_id,
            connection=connection.pk,
            handshake=1,
            received=now,
            kind="call",
            method="POST",
            path="/",
            query="aal_updateuser=***",
            headers='[["content-type","application/x-www-form-urlencoded"]]',
            body=f"contactId={contact}".encode(),
            body_size=13,
            address="127.0.0.1",
            host="northlight.example",
            status=200,
        )
        finished = standing not in ("waiting", "held")
        values = {
            "key": f"{identity}:1",
            "delivery": identity,
            "site": connection.site_id,
            "connection": connection.pk,
            "lane": 1,
            "contact": contact,
            "stream": "refresh",
            "command": "updateuser",
            "source": "webhook",
            "received": now,
            "turn": now,
            "due": now,
            "priority": 10,
            "state": "finished" if finished else standing,
            "outcome": standing if finished else "",
            "standing": standing,
            "reason": reason,
            "finished": now if finished else None,
        }
        job = Job.objects.create(**(values | more))
        if finished:
            Attempt.objects.create(
                job=job.pk,
                token="t",
                worker="w",
                started=now,
                ended=now,
                result=standing,
                reason=reason,
                calls='[{"what":"Read the contact","found":"Found Bob with 6 tags","status":200,"ms":21,"ok":true}]',
            )
        return job

    return _call


@pytest.fixture
def release(connection) -> Release:
    """An open release named Module_3."""
    now = clock.now()
    return Release.objects.create(
        site=connection.site_id,
        connection=connection.pk,
        name="Module_3",
        opened=now,
        reads_at=now,
        last_call=now,
        delay_ms=4000,
    )
