"""The doctor names what is wrong, says what to do, and leaves with 1; on a server that is well with 0."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tagwarden.accounts.models import Site
from tagwarden.connections import handshakes
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.crypto import make_keys
from tagwarden.core.env import env
from tagwarden.core.health import intake_name
from tagwarden.core.uuid7 import uuid7
from tagwarden.journal import store
from tagwarden.spool import door
from tagwarden.spool import log as spool
from tests.sandbox.conftest import QUIET, Crm, running

Findings = dict[str, Any]
Doctor = Callable[..., tuple[int, Findings]]


@pytest.fixture(scope="module")
def crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    with running(tmp_path_factory.mktemp("crm") / "crm.sqlite3", 5) as crm:
        crm.set(**QUIET)
        yield crm


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder of a server on which nothing is amiss so far."""
    keys = tmp_path / "keys"
    keys.write_bytes(env().keys_file.read_bytes())
    keys.chmod(0o600)
    monkeypatch.setenv("TAGWARDEN_DATA", str(tmp_path))
    env.cache_clear()
    spool.SpoolWriter(spool.spool_folder(tmp_path)).close()
    yield tmp_path
    monkeypatch.undo()
    env.cache_clear()


@pytest.fixture
def doctor(data: Path, run: Callable[..., Any]) -> Doctor:
    """Asks the doctor: exit code, and check → finding."""

    def ask(*arguments: str) -> tuple[int, Findings]:
        ran = run("doctor", *arguments, "--json")
        return ran.code, {row["check"]: row for row in ran.json}

    return ask


@pytest.fixture
def well(data: Path, connection: Connection, crm: Crm) -> Connection:
    """Worker and intake live, the CRM takes the key, and the door knows the handshake."""
    Connection.objects.update(base_url=crm.url)
    connection.refresh_from_db()
    handshakes.make(connection, "first")
    door.fill(door.door_path(data), handshakes.door_entries())
    for kind, name in (("worker", "worker:box:7"), ("intake", intake_name(spool.spool_id(spool.spool_folder(data))))):
        store.beat(name=name, kind=kind, host="box", pid=7, started=1, counts=[])
    return connection


def wrong(findings: Findings) -> list[str]:
    return [name for name, row in findings.items() if not row["ok"]]


def test_a_server_that_is_well_leaves_with_0(doctor: Doctor, well: Connection) -> None:
    code, findings = doctor()
    assert (code, wrong(findings)) == (0, []), findings
    mine = f"connection {well.pk}"
    assert list(findings) == [
        *("keys", "disk", "database", "mail", "intake", "door", "worker", "work", "failures"),
        *(mine, f"{mine}, handshakes", f"{mine}, calls"),
    ]
    assert findings[mine]["finding"].startswith("Sandbox CRM works: it reads from ")
    assert "webhook-url" in findings[f"{mine}, calls"]["finding"]


def test_people_get_a_table(data: Path, well: Connection, run: Callable[..., Any]) -> None:
    ran = run("doctor")
    assert ran.code == 0
    assert re.search(r"^worker +ok +1 worker works\.", ran.out, re.MULTILINE)


def test_nobody_at_work_and_no_site_are_findings(db: None, doctor: Doctor) -> None:
    code, findings = doctor()
    assert (code, wrong(findings)) == (1, ["intake", "door", "worker", "sites"])
    assert "No worker works" in findings["worker"]["finding"]
    assert "tagwarden site add" in findings["sites"]["finding"]


def test_a_key_that_the_crm_refuses_is_named(doctor: Doctor, well: Connection) -> None:
    sealed = well.credentials
    Connection.objects.update(credentials="")
    code, findings = doctor("--connection", str(well.pk))
    assert (code, wrong(findings)) == (1, [f"connection {well.pk}"])
    assert "Sandbox CRM" in findings[f"connection {well.pk}"]["finding"]
    Connection.objects.update(credentials=sealed, base_url="http://127.0.0.1:9")
    assert wrong(doctor("--connection", str(well.pk))[1]) == [f"connection {well.pk}"]


def test_a_connection_that_nothing_can_call_is_named(doctor: Doctor, well: Connection) -> None:
    handshakes.revoke(well.handshakes.get())
    code, findings = doctor()
    assert (code, wrong(findings)) == (1, ["door", f"connection {well.pk}, handshakes"])


def test_a_short_secret_of_an_older_system_is_told(doctor: Doctor, well: Connection) -> None:
    handshakes.import_secret(well, "old", "only12letter")
    said = doctor("--connection", str(well.pk))[1][f"connection {well.pk}, handshakes"]["finding"]
    assert "Short enough to be guessed" in said
    assert "only12letter" not in said


def test_keys_that_others_may_read_are_a_finding(doctor: Doctor, data: Path, well: Connection) -> None:
    (data / "keys").chmod(0o644)
    assert wrong(doctor()[1]) == ["keys"]


def test_calls_that_intake_leaves_lying_are_counted(doctor: Doctor, data: Path, well: Connection) -> None:
    writer = spool.SpoolWriter(spool.spool_folder(data))
    empty = {"query": "", "headers": "[]", "body": b"", "address": "", "host": "", "word": "", "reason": ""}
    row = {"kind": "call", "handshake": 1, "connection": 1, "site": 1, "method": "POST", "path": "/", "status": 200}
    writer.append([spool.Row(id=uuid7(), received=clock.now_ms() - 90_000, **row, **empty)])  # type: ignore[arg-type]  # mixed
    writer.close()
    findings = doctor()[1]
    assert wrong(findings) == ["intake"]
    assert findings["intake"]["figures"]["backlog"] == 1
    assert findings["intake"]["finding"].startswith("Intake runs but carries nothing: 1 call on disk")


def test_what_most_failures_share_is_told_with_advice(
    doctor: Doctor, well: Connection, call: Callable[..., Any]
) -> None:
    for contact in ("1", "2", "3"):
        call(contact, standing="failed", reason="crm-key-refused", detail=json.dumps({"crm": "Sandbox CRM"}))
    said = doctor("--connection", str(well.pk))[1][f"connection {well.pk}, calls"]["finding"]
    assert "3 share one reason: " in said
    assert "Sandbox CRM" in said


@pytest.mark.parametrize(("standing", "code"), [("done", 0), ("failed", 1), ("waiting", 0)])
def test_one_delivery_is_looked_at(doctor: Doctor, call: Callable[..., Any], standing: str, code: int) -> None:
    job = call(standing=standing, reason="contact-not-found" if standing == "failed" else "")
    got, findings = doctor("--delivery", job.delivery)
    assert (got, list(findings)) == (code, [job.key])
    assert findings[job.key]["finding"].startswith(standing.capitalize())


def test_a_machine_that_takes_no_webhooks_isnt_asked_for_them(site: Site, data: Path, run: Callable[..., Any]) -> None:
    (spool.spool_folder(data) / "id").unlink()
    checks = [row["check"] for row in run("doctor", "--json").json]
    assert not {"intake", "door"} & set(checks)


def test_without_a_database_it_says_so(tagwarden: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make_keys(tmp_path / "data" / "keys")
    ran = tagwarden("doctor", DATABASE_URL="postgresql://tagwarden@127.0.0.1:9/none")
    assert ran.code == 1
    assert re.search(r"^database +failed +The main database doesn't answer", ran.out, re.MULTILINE)
    assert "Traceback" not in ran.error
