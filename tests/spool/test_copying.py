"""A spool is copied while calls come in, and what is restored never replaces one that is there."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import time_machine

from tagwarden.spool import copying, log
from tagwarden.spool.log import Position, Row, SpoolWriter
from tests.spool.rows import row


def calls(n: int) -> list[Row]:
    return [row(b"contactId=1") for _ in range(n)]


def filled(folder: Path, days: dict[str, int]) -> list[str]:
    """A spool with so many calls on each of these days. Returns their ids."""
    ids: list[str] = []
    for day, n in days.items():
        with time_machine.travel(datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC), tick=False):
            writer, rows = SpoolWriter(folder), calls(n)
            writer.append(rows)
            writer.close()
            ids += [row.id for row in rows]
    return ids


def copied(folder: Path, into: Path) -> Path:
    into.mkdir()
    assert len(list(copying.copy(folder, into))) == len(copying.segments(folder))
    return into


def all_ids(folder: Path) -> list[str]:
    """As intake reads them."""
    ids, position = [], None
    while found := log.read_after(folder, position, 10):
        ids += [row.id for _, row in found]
        position = found[-1][0]
    return ids


def test_it_works(tmp_path: Path) -> None:
    ids = filled(tmp_path / "spool", {"2026-11-01": 3, "2026-11-02": 2})
    saved = copied(tmp_path / "spool", tmp_path / "saved")
    assert copying.end(saved) == Position("2026-11-02.sqlite", 2)
    copying.put_back(saved, tmp_path / "new" / "web", "the-id")
    assert (all_ids(tmp_path / "new" / "web"), log.spool_id(tmp_path / "new" / "web")) == (ids, "the-id")
    writer = SpoolWriter(tmp_path / "new" / "web")
    assert writer.id == "the-id"
    writer.close()


def test_a_call_that_comes_while_it_is_copied_changes_no_copy(tmp_path: Path) -> None:
    ids = filled(tmp_path / "spool", {"2026-11-01": 3})
    with time_machine.travel(datetime(2026, 11, 1, 13, tzinfo=UTC), tick=False):
        writer = SpoolWriter(tmp_path / "spool")
        (tmp_path / "saved").mkdir()
        for _ in copying.copy(tmp_path / "spool", tmp_path / "saved"):
            writer.append(calls(1))
        writer.close()
    assert all_ids(tmp_path / "saved") == ids
    assert copying.end(tmp_path / "spool") == Position("2026-11-01.sqlite", 4)


def test_only_what_is_missing_is_laid_beside_and_only_once(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    ids = filled(spool, {"2026-11-01": 3, "2026-11-02": 2})
    first, second = copied(spool, tmp_path / "first"), copied(spool, tmp_path / "second")
    ids += filled(spool, {"2026-11-02": 4})
    (spool / "2026-11-01.sqlite").unlink()

    assert copying.lay_beside(first, spool) == ["2026-11-01.sqlite"]
    assert copying.lay_beside(second, spool) == []
    assert all_ids(spool) == ids


def test_segments_of_another_spool_of_the_same_days_find_a_place(tmp_path: Path) -> None:
    ids = filled(tmp_path / "old", {"2026-11-01": 3, "2026-11-02": 2})
    saved = copied(tmp_path / "old", tmp_path / "saved")
    again = copied(tmp_path / "old", tmp_path / "again")
    mine = filled(tmp_path / "spool", {"2026-11-02": 1})

    assert copying.lay_beside(saved, tmp_path / "spool") == ["2026-11-01.sqlite", "2026-10-31.sqlite"]
    assert copying.lay_beside(again, tmp_path / "spool") == []
    assert sorted(all_ids(tmp_path / "spool")) == sorted(ids + mine)


def test_a_copy_is_complete_without_the_files_beside_it(tmp_path: Path) -> None:
    filled(tmp_path / "spool", {"2026-11-01": 3})
    saved = copied(tmp_path / "spool", tmp_path / "saved")
    assert [path.name for path in saved.iterdir()] == ["2026-11-01.sqlite"]
    db = sqlite3.connect(saved / "2026-11-01.sqlite")
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.close()
