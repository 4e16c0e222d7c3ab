"""The door table follows its file, and keeps what it had when the file can't be read."""

import sqlite3
import stat
from pathlib import Path

import pytest

from tagwarden.core.crypto import Keys, make_keys, read_keys
from tagwarden.spool import door
from tagwarden.spool.door import DoorTable, Entry

SECRET = "a-secret-of-forty-characters-or-so-0123456"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    make_keys(tmp_path / "keys")
    return read_keys(tmp_path / "keys")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return door.door_path(tmp_path)


def entry(keys: Keys, secret: str = SECRET, **changes: object) -> Entry:
    return Entry(keys.digest(secret), 7, 1, 3, "keap", **changes)  # type: ignore[arg-type]  # each test's own


def test_a_table_that_was_never_filled_says_so(path: Path, keys: Keys) -> None:
    table = DoorTable(path, keys.digest)
    assert not table.was_ever_filled
    door.fill(path, [])
    assert table.refresh()
    assert table.was_ever_filled  # no handshakes yet is not the same as never filled


def test_what_is_filled_in_is_found_by_its_secret(path: Path, keys: Keys) -> None:
    wanted = entry(keys, scopes=("genpass", "updateuser"), get_allowed=True, revoked=True, id_pattern="[a-z]+")
    door.fill(path, [wanted, entry(keys, "another")])
    table = DoorTable(path, keys.digest)
    assert table.find(SECRET) == wanted
    assert table.find(SECRET + "x") is None
    assert SECRET.encode() not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_change_is_seen_at_the_next_look_and_no_change_costs_nothing(path: Path, keys: Keys) -> None:
    door.fill(path, [entry(keys)])
    table = DoorTable(path, keys.digest)
    assert not table.refresh()
    assert not door.fill(path, [entry(keys)])  # the same again: nothing written
    assert not table.refresh()
    assert door.fill(path, [entry(keys, revoked=True)])
    assert table.refresh()
    found = table.find(SECRET)
    assert found is not None
    assert found.revoked


def test_while_the_file_cant_be_read_the_last_content_serves(path: Path, keys: Keys) -> None:
    door.fill(path, [entry(keys)])
    table = DoorTable(path, keys.digest)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin exclusive")
    assert not table.refresh()
    assert table.find(SECRET)
    holder.close()
    path.write_bytes(b"not a database at all" * 100)
    assert not table.refresh()
    assert table.find(SECRET)
    path.unlink()
    assert not table.refresh()
    assert table.find(SECRET)
    assert not path.exists()  # looking makes no file


def test_scopes_say_which_commands_may_run(keys: Keys) -> None:
    assert entry(keys).allows("genpass")
    assert entry(keys, scopes=("genpass",)).allows("genpass")
    assert not entry(keys, scopes=("genpass",)).allows("updateuser")
