"""The spool: an append-only log of calls on local disk, one writer, any number of readers.

A folder holds segments, one SQLite file a day in UTC (`2026-08-11.sqlite`), a file `id` (random, made once)
and a file `lock`. A position in it is (segment, row). Only the writer makes segments, and it makes the next
one after its last commit to the one before; a reader that saw the next one therefore knows that the one
before is complete.
"""

import os
import re
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tagwarden.core import clock, disk, locks
from tagwarden.core.errors import SettingsError

SCHEMA = 1
KEPT = timedelta(days=7)  # after the last row of a segment was carried
BUSY_SECONDS = 0.5  # short: the group commit asks again as long as somebody waits
_NAME = re.compile(r"\d{4}-\d\d-\d\d\.sqlite")


class Row(NamedTuple):
    """One call as it came, without its secrets.

    `id`: the delivery's id, a UUIDv7. `received`: milliseconds since 1970 UTC. `kind`: "call" (an `aal_`
    address), "hook" (`/hooks/…`) or "stranger" (no known handshake; then without body and values).
    `handshake`, `site`, `connection`: plain numbers of the main database, None for strangers. `query`,
    `path`: the handshake in them is `***`. `headers`: a JSON list of [name, value], names in lower case.
    `word`: the command's name as spelled. `status`: what the sender was answered; `reason`: the code with it,
    "" for 200.
    """

    id: str
    received: int
    kind: str
    handshake: int | None
    site: int | None
    connection: int | None
    method: str
    path: str
    query: str
    headers: str
    body: bytes
    address: str
    host: str
    word: str
    status: int
    reason: str


_COLUMNS = ", ".join(Row._fields)
_INSERT = f"insert into delivery ({_COLUMNS}) values ({', '.join('?' * len(Row._fields))})"
_SELECT = f"select row, {_COLUMNS} from delivery where row > ? order by row limit ?"
_SITES = (
    "select count(*), coalesce(sum(site = ?3), 0) from (select site from delivery where row > ?1 order by row limit ?2)"
)
_LAST = "select coalesce(max(row), 0) from delivery"
_CREATE = """
create table delivery (
    row integer primary key, id text not null, received integer not null, kind text not null,
    handshake integer, site integer, connection integer,
    method text not null, path text not null, query text not null, headers text not null, body blob not null,
    address text not null, host text not null, word text not null, status integer not null, reason text not
    null
)
"""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The last row that was carried: its segment's file name and its number there."""

    segment: str
    row: int


def spool_folder(data: Path, name: str = "web") -> Path:
    """Where the receiver of that name keeps its spool, below the data folder."""
    return data / "spool" / name


class SpoolWriter:
    """The one writer of a spool. Holds the folder's lock until `close`; not for use by several threads at
    once.
    """

    def __init__(self, folder: Path, wait: float = 0) -> None:
        """Takes the folder, which is made if need be; a lock held by another process is waited for `wait`
        seconds.

        Raises SettingsError with a sentence if another process holds it, if it can't be written to, or if its
        newest segment was made by a newer version.
        """
        self.folder = folder
        self._db: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _locked(folder, wait)
            self.id = _made_once(folder / "id")
            self.segment = _segment_of_today(folder)
            self._db = _opened(folder / self.segment)
        except (OSError, sqlite3.OperationalError) as error:
            raise SettingsError(f"The spool folder {folder} can't be written to: {error}.") from error

    def append(self, rows: Iterable[Row]) -> None:
        """Puts the rows on disk in one transaction: all of them are there, or, after an error, none.

        `rows` is gone through when the file is ours. Raises sqlite3.Error or OSError; the next call starts
        afresh.
        """
        db = self._current()
        try:
            db.execute("begin immediate")
            db.executemany(_INSERT, rows)
            db.execute("commit")
        except BaseException:
            self._drop()
            raise

    def close(self) -> None:
        """Closes the segment and gives the folder back."""
        self._drop()
        os.close(self._lock)

    def _current(self) -> sqlite3.Connection:
        """The connection to today's segment; a new one after midnight or after an error."""
        segment = _segment_of_today(self.folder, self.segment)
        if segment != self.segment:
            self._drop()
            self.segment = segment
        if self._db is None:
            self._db = _opened(self.folder / segment)
        return self._db

    def _drop(self) -> None:
        """Closing rolls back whatever was open."""
        if self._db is not None:
            self._db.close()
            self._db = None


def _locked(folder: Path, wait: float) -> int:
    try:
        return locks.take(folder / "lock", wait)
    except locks.Taken as taken:
        raise SettingsError(
            f"The spool folder {folder} is in use by another `web` or `serve` (process {taken.holder}). "
            "Stop that one first, or give this one a data folder of its own."
        ) from None


def _made_once(path: Path) -> str:
    """The spool's id. The caller holds the lock."""
    if not path.exists():
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(16))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
        disk.sync_folder(path.parent)
    return path.read_text().strip()


def _segment_of_today(folder: Path, last: str = "") -> str:
    """Today's segment, but never one before the last there is: readers only go forwards, clocks do not."""
    today = f"{clock.now():%Y-%m-%d}.sqlite"
    return max([today, last or today, *([] if last else segments(folder))])


def segments(folder: Path) -> list[str]:
    """The names of the segments, oldest first."""
    try:
        return sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def _opened(path: Path) -> sqlite3.Connection:
    """A connection for writing; the segment is made first if it isn't there, and then appears complete."""
    if not path.exists():
        _make(path)
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _check_version(db, path)
        db.execute("pragma synchronous=full")
        db.execute(f"pragma journal_size_limit={64 << 20}")
    except BaseException:
        db.close()
        raise
    return db


def _make(path: Path) -> None:
    fresh = path.with_suffix(".new")
    for leftover in (fresh, Path(f"{fresh}-wal"), Path(f"{fresh}-shm")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT, 0o600))
    db = sqlite3.connect(fresh, isolation_level=None)
    try:
        db.execute("pragma synchronous=full")
        db.execute("pragma journal_mode=wal")
        db.executescript(f"begin; {_CREATE}; pragma user_version={SCHEMA}; commit;")
    finally:
        db.close()
    fresh.rename(path)
    disk.sync_folder(path.parent)


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("pragma user_version").fetchone()[0]
    if version > SCHEMA:
        raise SettingsError(
            f"The spool file {path} was made by a newer version of Tagwarden (form {version}, this one knows "
            f"{SCHEMA}). Install that version again; nothing is lost meanwhile."
        )


# Readers.


def spool_id(folder: Path) -> str:
    """The spool's own id, or "" if no writer was ever there."""
    try:
        return (folder / "id").read_text().strip()
    except FileNotFoundError:
        return ""


def _from(folder: Path, position: Position | None) -> list[tuple[str, int]]:
    """The segments with rows after that position, oldest first, each with the row after which they stand.

    All are listed before any is read: see the top of this file.
    """
    names = [name for name in segments(folder) if not position or name >= position.segment]
    return [(name, position.row if position and name == position.segment else 0) for name in names]


def read_after(folder: Path, position: Position | None, limit: int) -> list[tuple[Position, Row]]:
    """The next rows after that position (None: from the start), at most `limit`, all from one segment.

    An empty list means that there are none now. The file is closed again before this returns, since a reader
    that stays open lets the write-ahead log grow without end. Raises sqlite3.Error, or SettingsError if a
    segment was made by a newer version.
    """
    for segment, after in _from(folder, position):
        rows = _read(folder / segment, _SELECT, (after, limit))
        if rows:
            return [(Position(segment, row[0]), Row(*row[1:])) for row in rows]
    return []


@dataclass(frozen=True, slots=True)
class Backlog:
    """Rows that weren't carried yet. `oldest`: when the first of them came, in ms; None if there is none."""

    rows: int
    oldest: int | None


def backlog(folder: Path, position: Position | None) -> Backlog:
    """What stands after that position (None: from the start). Cheap, however much it is: rows are numbered without
    gaps. Raises as `read_after` does.
    """
    rows, oldest = 0, None
    for segment, after in _from(folder, position):
        more = int(_read(folder / segment, _LAST, ())[0][0]) - after
        if more > 0 and oldest is None:
            oldest = int(_read(folder / segment, "select received from delivery where row = ?", (after + 1,))[0][0])
        rows += max(0, more)
    return Backlog(rows, oldest)


def calls_of(folder: Path, position: Position | None, site: int, limit: int) -> int:
    """How many of the next `limit` rows of a segment after that position are calls to that site."""
    for segment, after in _from(folder, position):
        found = _read(folder / segment, _SITES, (after, limit, site))[0]
        if found[0]:
            return int(found[1])
    return 0


def delete_segments(folder: Path, before: date, position: Position) -> list[str]:
    """Deletes closed segments of days before `before` that were carried whole; gives their names.

    A segment is closed when there is a newer one, and carried whole when `position` is its last row or lies
    in a newer one. None goes that is younger than seven days, whatever `before` says.
    """
    last_day = min(before, clock.now().date() - KEPT)
    deleted = []
    for segment in segments(folder)[:-1]:
        if date.fromisoformat(segment[:10]) >= last_day or not _carried(folder, segment, position):
            break
        for name in (segment, f"{segment}-wal", f"{segment}-shm"):
            (folder / name).unlink(missing_ok=True)
        deleted.append(segment)
    return deleted


def _carried(folder: Path, segment: str, position: Position) -> bool:
    if segment != position.segment:
        return segment < position.segment
    return not _read(folder / segment, "select 1 from delivery where row > ? limit 1", (position.row,))


def _read(path: Path, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5, isolation_level=None)
    try:
        _check_version(db, path)
        return db.execute(statement, values).fetchall()
    finally:
        db.close()
