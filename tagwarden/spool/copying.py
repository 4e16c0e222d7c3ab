"""Copies of a spool for a backup, and what a restore does with them.

A spool that is there is never replaced: it may hold calls that stand nowhere else.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from tagwarden.core import copies
from tagwarden.spool import log
from tagwarden.spool.log import Position


def segments(folder: Path) -> list[Path]:
    """The segments of a spool, oldest first."""
    return [folder / name for name in log.segments(folder)]


def copy(folder: Path, into: Path) -> Iterator[Path]:
    """Copies one segment after the other while calls come in, and gives each copy.

    A call is in the copies if it was on disk before its segment was begun. Raises sqlite3.Error.
    """
    for segment in segments(folder):
        made = into / segment.name
        try:
            copies.copy(segment, made)
        except sqlite3.OperationalError:
            if segment.exists():
                raise
            made.unlink(missing_ok=True)  # it was carried long ago, and deleted just now
            continue
        yield made


def end(folder: Path) -> Position | None:
    """The last call there is; None if there is none."""
    return next(filter(None, map(end_of, reversed(segments(folder)))), None)


def end_of(segment: Path) -> Position | None:
    """The last call in one segment."""
    last = _one(segment, "select max(row) from delivery")
    return Position(segment.name, int(str(last))) if last else None


def lay_beside(saved: Path, folder: Path) -> list[str]:
    """Moves those segments of a saved spool that aren't there into `folder`; gives the names they have now.

    A segment is there if one begins with the same call. Where another has its name, it takes that of an earlier day:
    it is read from its start either way, and calls that are known are passed over by their key.
    """
    there = {_first_call(segment) for segment in segments(folder)}
    laid = []
    for segment in segments(saved):
        first = _first_call(segment)
        if first and first not in there:
            name = _free_name(folder, segment.name)
            segment.rename(folder / name)
            laid.append(name)
    return laid


def put_back(saved: Path, folder: Path, spool_id: str) -> None:
    """Makes a saved spool the one at `folder`, where there is none. All or nothing."""
    (saved / "id").write_text(spool_id)
    (saved / "id").chmod(0o600)
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    saved.chmod(0o700)
    saved.rename(folder)


def _first_call(segment: Path) -> object:
    return _one(segment, "select id from delivery order by row limit 1")


def _free_name(folder: Path, name: str) -> str:
    day = date.fromisoformat(name[:10])
    while (folder / f"{day}.sqlite").exists():
        day -= timedelta(days=1)
    return f"{day}.sqlite"


def _one(segment: Path, query: str) -> object:
    with closing(sqlite3.connect(f"{segment.as_uri()}?mode=ro", uri=True, timeout=5)) as db:
        found = db.execute(query).fetchone()
    return found[0] if found else None
