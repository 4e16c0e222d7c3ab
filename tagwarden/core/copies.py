"""A copy of an SQLite file that others read and write meanwhile: as it stood at one moment."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

PAGES_AT_ONCE = 4_096  # between two reports of progress

Progress = Callable[[int, int], None]  # done, of how many


def copy(source: Path, to: Path, progress: Progress = lambda done, total: None) -> None:
    """Copies by SQLite's online backup, writers don't wait. `to` must not be there yet. Raises sqlite3.Error."""
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=20, isolation_level=None)) as read,
        closing(sqlite3.connect(to, isolation_level=None)) as written,
    ):
        read.execute("begin")  # one reading transaction: a writer in between would let the copy begin again
        read.execute("select count(*) from sqlite_master").fetchone()
        read.backup(
            written, pages=PAGES_AT_ONCE, progress=lambda _, left, total: progress(total - left, total), sleep=0
        )
        read.execute("rollback")
    to.chmod(0o600)


def is_whole(path: Path) -> bool:
    """Whether that file is an SQLite database without damage."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            return bool(db.execute("pragma quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False
