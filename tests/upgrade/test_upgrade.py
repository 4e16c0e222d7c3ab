"""Data of each version opens with this one, is migrated, and goes on, while calls come in.

`make.py` writes down how a version leaves its data: a folder for each tagged version.
"""

import contextlib
import fcntl
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tagwarden.cli import migrate
from tests.crash.place import Database, Place, fresh_database, until
from tests.sandbox.conftest import QUIET, Crm, running
from tests.upgrade.make import CONTACTS, KEYS

pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(240)]
VERSIONS = sorted(path for path in Path(__file__).parent.iterdir() if (path / "sqlite").is_dir())
WHILE_MIGRATING = 20  # calls that are answered before the migration may begin


@pytest.fixture(scope="module")
def crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    with running(tmp_path_factory.mktemp("upgrade-crm") / "crm.sqlite3", CONTACTS) as crm:
        crm.set(**QUIET)
        yield crm


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def version(request: pytest.FixtureRequest) -> Path:
    """What that version left behind on this kind of database."""
    found: Path = request.param / ("postgresql" if os.environ.get("DATABASE_URL") else "sqlite")
    return found


@pytest.fixture
def place(version: Path, tmp_path: Path, crm: Crm) -> Iterator[Place]:
    """That version's data, with a server of this version that isn't running yet."""
    with fresh_database(tmp_path, os.environ.get("DATABASE_URL", "")) as database:
        (tmp_path / "keys").write_bytes((version / KEYS).read_bytes())
        spool = tmp_path / "spool" / "web"
        spool.mkdir(parents=True)
        (spool / "id").write_text((version / "spool-id").read_text())
        for segment in version.glob("spool-*.sql"):
            _read(segment, spool / f"{segment.stem.removeprefix('spool-')}.sqlite")
        _read(version / "door.sql", tmp_path / "door.db")
        _fill(database, version / "database.sql")
        database.write(f"update connections_connection set base_url = '{crm.url}'")
        with contextlib.closing(Place(tmp_path, crm, database, CONTACTS, _expected(version)["secret"])) as place:
            yield place


def _read(text: Path, into: Path) -> None:
    with contextlib.closing(sqlite3.connect(into)) as db:
        db.executescript(text.read_text())


def _fill(database: Database, text: Path) -> None:
    if not database.url:
        _read(text, database.file)
        return
    script = "\n".join(line for line in text.read_text().splitlines() if not line.startswith("\\"))  # psql's own
    with psycopg.connect(database.url, autocommit=True) as server:
        server.execute(script.encode())


def _expected(version: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((version / "expected.json").read_text())
    return content


@contextlib.contextmanager
def migration_held_up(place: Place) -> Iterator[None]:
    """Nobody migrates before this is left, as if the migration took that long."""
    if place.database.url:
        with psycopg.connect(place.database.url, autocommit=True) as server:
            server.execute("select pg_advisory_lock(%s)", [migrate._LOCK])
            yield
        return
    with open(place.data / "migrate.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Caller(threading.Thread):
    """Calls for one member after the other, until told to stop."""

    def __init__(self, place: Place) -> None:
        super().__init__(daemon=True)
        self._place = place
        self.done = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.ids: list[str] = []

    def run(self) -> None:
        with httpx.Client(timeout=10) as http:
            while not self.done.wait(0.02):
                contact = self.statuses.total() % CONTACTS + 1
                answer = http.post(self._place.address("updateuser"), data={"contactId": contact})
                self.statuses[answer.status_code] += 1
                self.ids.append(answer.json().get("delivery", ""))


def _jobs(place: Place) -> dict[str, tuple[Any, ...]]:
    columns = "key, state, outcome, reason, command, contact"
    return {row[0]: row[1:] for row in place.database.rows(f"select {columns} from journal_job")}


def _still_open(place: Place) -> dict[str, Any]:
    """As place.open_work, but what is held stays held."""
    waiting = place.database.one("select count(*) from journal_job where state = 'waiting'")
    return {kind: n for kind, n in place.open_work().items() if kind != "jobs"} | ({"jobs": waiting} if waiting else {})


def test_old_data_goes_on_and_no_call_is_refused_meanwhile(place: Place, version: Path) -> None:
    expected = _expected(version)
    place.database.write("update journal_job set due = received where state = 'waiting'")  # their time has come
    uncarried = place.uncarried()
    caller = Caller(place)
    with migration_held_up(place):
        place.start()
        place.until_open()
        caller.start()
        until(lambda: len(caller.ids) >= WHILE_MIGRATING, 60, "calls are answered while the database migrates")
        assert not place.database.rows(f"select 1 from journal_delivery where id = '{caller.ids[0]}'")
    until(lambda: place.database.rows(f"select 1 from journal_delivery where id = '{caller.ids[0]}'"), 60, "intake")
    caller.done.set()
    caller.join()
    until(lambda: not _still_open(place), 90, lambda: f"all is settled: {_still_open(place)}")

    assert caller.statuses == {200: len(caller.ids)}
    jobs = _jobs(place)
    for key, (state, *rest) in expected["jobs"].items():
        if state == "waiting":
            assert jobs[key][:2] in {("finished", "done"), ("finished", "no-op")}, (key, jobs[key])
        else:
            assert list(jobs[key]) == [state, *rest], key
    new = {f"{call}:1" for call in caller.ids}
    assert {jobs[key][1] for key in new} == {"done"}
    assert len(jobs) == len(expected["jobs"]) + uncarried + len(new)
    assert place.tags_here() == place.tags_there()
    assert "Nothing is held." in place.tagwarden("resume")
