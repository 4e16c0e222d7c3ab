"""A server with members, to be backed up, to lose its database, and to be restored."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.crash.place import ROOT, Place, fresh_database
from tests.sandbox.conftest import QUIET, Crm, running

MEMBERS = 250


@pytest.fixture(scope="session")
def crm_of_members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    with running(tmp_path_factory.mktemp("backup-crm") / "crm.sqlite3", MEMBERS) as crm:
        yield crm


@pytest.fixture
def place(tmp_path: Path, crm_of_members: Crm) -> Iterator[Place]:
    """A server that is not running yet, on SQLite, or on PostgreSQL if DATABASE_URL says so."""
    crm_of_members.set(**QUIET)
    data = tmp_path / "data"
    data.mkdir()
    with fresh_database(data, os.environ.get("DATABASE_URL", "")) as database:
        place = Place(data, crm_of_members, database, MEMBERS)
        with contextlib.closing(place):
            yield place


def fire(place: Place, command: str = "updateuser") -> None:
    """The CRM calls once for each member."""
    shot = {"url": str(place.address(command)), "contacts": "all", "concurrency": 32}
    figures = place.crm.admin.post("/admin/fire", json=shot, timeout=60).json()
    assert figures["statuses"] == {"200": MEMBERS}, figures


def tag_all(place: Place, tag: str) -> None:
    place.crm.admin.post("/admin/tag", json={"tag": tag, "contacts": "all"}, timeout=30).raise_for_status()


def lose_database(place: Place) -> None:
    """The main database is gone, and all else is there."""
    if not place.database.url:
        for file in place.data.glob("tagwarden.db*"):
            file.unlink()
        return
    with psycopg.connect(place.database.url, autocommit=True) as server:
        server.execute("drop schema public cascade")
        server.execute("create schema public")


def lose_spool(place: Place) -> None:
    shutil.rmtree(place.data / "spool")


def jobs(place: Place) -> dict[str, tuple[Any, ...]]:
    """Key → what the job was and how it ended."""
    columns = "key, command, contact, state, outcome"
    return {row[0]: row[1:] for row in place.database.rows(f"select {columns} from journal_job")}


def members(place: Place) -> list[tuple[Any, ...]]:
    """The members' contacts, with what the CRM said of them."""
    return place.database.rows("select id, external_id, email, read_started_at from members_contact order by id")


def run(place: Place, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command that may be refused, or die: in a session of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tagwarden", *arguments],
        env=place._environment(**environ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
