"""The whole road below the door, in this process: a real spool, a real journal, a real sandbox CRM over HTTP."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tagwarden.accounts.models import Site
from tagwarden.connections.models import Connection
from tagwarden.core import catalogue, clock
from tagwarden.core.env import env
from tagwarden.core.outcome import Needs
from tagwarden.core.uuid7 import uuid7
from tagwarden.crms import base
from tagwarden.crms.sandbox import Crm as Adapter
from tagwarden.journal.models import Attempt, Job, Lane
from tagwarden.members import enrol
from tagwarden.members.models import ContactTag
from tagwarden.operations.base import URGENT
from tagwarden.spool import log as spool
from tagwarden.worker.engine_embedded import Engine
from tagwarden.worker.intake import Intake
from tests.sandbox.conftest import QUIET, Crm, running

DEADLINE = 20


@pytest.fixture(scope="session")
def crm_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    with running(tmp_path_factory.mktemp("crm") / "crm.sqlite3", 250) as crm:
        yield crm


@pytest.fixture
def crm(crm_process: Crm) -> Crm:
    """A sandbox CRM of at least 250 contacts, without latency, lag or faults."""
    crm_process.set(**QUIET)
    crm_process.admin.post("/admin/counters/reset")
    return crm_process


class Road:
    """Calls come in at the spool, the worker works, the sandbox is the CRM."""

    def __init__(
        self, site: Site, connection: Connection, crm: Crm, data: Path, *, adapter: base.Crm | None = None
    ) -> None:
        self.site, self.connection, self.crm = site, connection, crm
        self.adapter = adapter or Adapter(base_url=crm.url, credentials={"api_key": "sandbox-key"})
        self._data = data
        self._writer = spool.SpoolWriter(spool.spool_folder(data))
        self.intake = Intake(data)
        self.engine = Engine()

    def enrol(self, *contacts: int) -> None:
        """Makes members of contacts, as the CRM has them now."""
        snapshots = self.adapter.contacts([str(contact) for contact in contacts])
        enrol.enrol(
            connection=self.connection.pk,
            site=self.site.pk,
            snapshots=list(snapshots.values()),
            source="first",
            ref="",
            now=clock.now(),
        )
        self.crm.admin.post("/admin/counters/reset")

    def row(self, word: str, contact: object, query: str = "", **changed: object) -> spool.Row:
        """A call as the receiver puts it on disk."""
        values: dict[str, object] = {
            "id": str(uuid7()),
            "received": clock.now_ms(),
            "kind": "call",
            "handshake": 1,
            "site": self.site.pk,
            "connection": self.connection.pk,
            "method": "POST",
            "path": "/",
            "query": f"{word}=***{query}",
            "headers": json.dumps([["content-type", "application/x-www-form-urlencoded"]]),
            "body": f"contactId={contact}".encode(),
            "address": "127.0.0.1",
            "host": "northlight.example",
            "word": word,
            "status": 200,
            "reason": "",
        }
        return spool.Row(**(values | changed))  # type: ignore[arg-type]  # mixed on purpose

    def call(self, word: str, *contacts: object, query: str = "", **changed: object) -> list[str]:
        """Calls come in and are carried into the journal. Returns their ids."""
        return self.carry(*[self.row(word, contact, query, **changed) for contact in contacts])

    def carry(self, *rows: spool.Row) -> list[str]:
        """These rows come in and are carried into the journal. Returns their ids."""
        self._writer.append(rows)
        while self.intake.carry():
            pass
        return [row.id for row in rows]

    def work(self, until: Callable[[], bool] | None = None, *, seconds: float = DEADLINE) -> None:
        """The worker's loop, until that holds (at first: until nothing waits that comes due in so many seconds)."""
        deadline, wait = time.monotonic() + seconds, timedelta(seconds=seconds)
        until = until or (lambda: not Job.objects.filter(state="waiting", due__lt=clock.now() + wait).exists())
        while not until():
            assert time.monotonic() < deadline, list(Job.objects.values_list("command", "state", "reason", "due"))
            if not self.engine.turn():
                time.sleep(0.005)

    def in_hand(self) -> bool:
        """Whether a job's attempt is open."""
        return Attempt.objects.filter(ended=None).exists()

    def job(self, delivery: str) -> Job:
        return Job.objects.get(delivery=delivery, root=None)

    def tags(self, contact: object) -> set[str]:
        """The names of the tags that contact holds here."""
        live = ContactTag.objects.filter(contact__external_id=contact, until=None)
        return set(live.values_list("tag__name", flat=True))

    def close(self) -> None:
        self._writer.close()
        self.adapter.close()
        self.engine.leave()


def nothing_left_open() -> bool:
    """No attempt and no lease is open."""
    return not Attempt.objects.filter(ended=None).exists() and not Lane.objects.exclude(token="").exists()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Adds a command to the catalogue, for this test only."""
    listed = catalogue.listed("tagwarden.operations")

    def add(word: str, run: object = None, **content: object) -> ModuleType:
        usual = {"PLAIN": word, "PARAMS": {}, "NEEDS": Needs.NOTHING, "PRIORITY": URGENT}
        command = SimpleNamespace(run=run, **(usual | content))
        monkeypatch.setitem(listed, word, command)  # type: ignore[arg-type]  # what a command's file holds, without the file
        return command  # type: ignore[return-value]

    return add


@pytest.fixture
def quick_ladder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Shortens the retry ladder: at first to a hundredth."""

    def scale(factor: float) -> None:
        monkeypatch.setenv("TAGWARDEN_RETRY_SCALE", str(factor))
        env.cache_clear()

    scale(0.01)
    yield scale
    monkeypatch.undo()
    env.cache_clear()


@pytest.fixture
def road(
    site: Site,
    connection: Connection,
    crm: Crm,
    tmp_path: Path,
    commands: Callable[..., ModuleType],
    quick_ladder: Callable[[float], None],
    settings: Any,
) -> Iterator[Road]:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # argon2 takes 0.2 s a password
    Connection.objects.filter(pk=connection.pk).update(base_url=crm.url)
    connection.refresh_from_db()
    road = Road(site, connection, crm, tmp_path)
    yield road
    road.close()
