"""The door table: all the receiver must know of handshakes, in a small SQLite file of its own.

The worker fills it from `connections`; the receiver reads it. So webhooks are let in while the main database
is locked, down or migrating. A handshake stands in it only as HMAC.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tagwarden.core import wire

BUSY_SECONDS = 0.1  # the receiver reads on its event loop; the old content serves as well for once
_CREATE = """
create table if not exists content (version integer not null);
create table if not exists entry (
    digest text primary key, handshake integer not null, site integer not null, connection integer not null,
    crm text not null, scopes text not null, get_allowed integer not null, revoked integer not null,
    id_pattern text not null
);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One handshake.

    `digest`: what Keys.digest makes of its secret. `handshake`, `site`, `connection`: numbers of the main
    database. `crm`: the adapter's name. `scopes`: wire words it may run, none = all. `id_pattern`: what a
    contact id looks like.
    """

    digest: str
    handshake: int
    site: int
    connection: int
    crm: str
    scopes: tuple[str, ...] = ()
    get_allowed: bool = False
    revoked: bool = False
    id_pattern: str = wire.DIGITS

    def allows(self, word: str) -> bool:
        """Whether it may run that command."""
        return not self.scopes or word in self.scopes


def door_path(data: Path) -> Path:
    """Where the door table is, in the data folder."""
    return data / "door.db"


class DoorTable:
    """The door table as last read. Not for use by several threads at once."""

    def __init__(self, path: Path, digest: Callable[[str], str]) -> None:
        """`digest`: Keys.digest, under which the secrets were stored. Reads the file if there is one."""
        self._path = path
        self._digest = digest
        self._version = 0
        self._entries: dict[str, Entry] = {}
        self.refresh()

    @property
    def was_ever_filled(self) -> bool:
        """Whether the worker or `init` ever wrote it, even with no handshake at all."""
        return self._version > 0

    def find(self, value: str) -> Entry | None:
        """The handshake with that secret, also a revoked one."""
        return self._entries.get(self._digest(value))

    def refresh(self) -> bool:
        """Reads the file again if its version changed. True if it did; a file that can't be read changes
        nothing.
        """
        try:
            with closing(_connected(self._path, "rw")) as db:
                version = _version(db)
                if version == self._version:
                    return False
                entries = _read(db)
        except sqlite3.Error:
            return False
        self._version, self._entries = version, {entry.digest: entry for entry in entries}
        return True


def entries(path: Path) -> list[Entry]:
    """What stands in the table at `path`, by digest. Raises sqlite3.Error if it isn't there or can't be read."""
    with closing(_connected(path, "ro", 5)) as db:
        return _read(db)


def fill(path: Path, entries: Iterable[Entry]) -> bool:
    """Makes these entries the whole content of the table at `path`, in one transaction, and raises its
    version.

    The file is made if need be. False if it held just that already; then nothing is written. Raises
    sqlite3.Error.
    """
    wanted = sorted(entries, key=lambda entry: entry.digest)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    with closing(_connected(path, "rwc", 5)) as db:
        db.executescript(_CREATE)
        db.execute("begin immediate")
        version = _version(db)
        if version and _read(db) == wanted:
            db.execute("rollback")
            return False
        db.execute("delete from entry")
        db.executemany("insert into entry values (?,?,?,?,?,?,?,?,?)", map(_values, wanted))
        db.execute("delete from content")
        db.execute("insert into content values (?)", (version + 1,))
        db.execute("commit")
    return True


def _connected(path: Path, mode: str, timeout: float = BUSY_SECONDS) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=timeout, isolation_level=None)


def _version(db: sqlite3.Connection) -> int:
    row = db.execute("select version from content").fetchone()
    return int(row[0]) if row else 0


def _values(entry: Entry) -> tuple[object, ...]:
    return (
        entry.digest,
        entry.handshake,
        entry.site,
        entry.connection,
        entry.crm,
        json.dumps(entry.scopes),
        entry.get_allowed,
        entry.revoked,
        entry.id_pattern,
    )


def _read(db: sqlite3.Connection) -> list[Entry]:
    return [_entry(*row) for row in db.execute("select * from entry order by digest")]


def _entry(
    digest: str,
    handshake: int,
    site: int,
    connection: int,
    crm: str,
    scopes: str,
    get_allowed: int,
    revoked: int,
    id_pattern: str,
) -> Entry:
    words = tuple(json.loads(scopes))
    return Entry(digest, handshake, site, connection, crm, words, bool(get_allowed), bool(revoked), id_pattern)
