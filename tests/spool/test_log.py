"""The spool keeps what was committed, in order, whatever happens around it."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from tagwarden.core.errors import SettingsError
from tagwarden.spool import log
from tagwarden.spool.log import Position, SpoolWriter
from tests.spool.rows import row

DAY = datetime(2026, 8, 10, 12, tzinfo=UTC)


def bodies(folder: Path, position: Position | None = None) -> list[bytes]:
    """All that can be read after that position, in small batches."""
    found = []
    while batch := log.read_after(folder, position, 2):
        found += [each.body for _, each in batch]
        position = batch[-1][0]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return log.spool_folder(tmp_path)


def test_what_was_appended_is_read_back_as_it_was(folder: Path) -> None:
    writer = SpoolWriter(folder)
    rows = [row(bytes(range(256))), row(b"")]
    writer.append(rows)
    assert [each for _, each in log.read_after(folder, None, 10)] == rows
    assert log.spool_id(folder) == writer.id
    writer.close()
    assert [each for _, each in log.read_after(folder, None, 10)] == rows


def test_an_empty_or_missing_spool_reads_as_nothing(folder: Path) -> None:
    assert log.read_after(folder, None, 10) == []
    assert log.backlog(folder, None) == log.Backlog(0, None)
    assert log.spool_id(folder) == ""


def test_a_reader_goes_on_over_midnight_and_misses_nothing(folder: Path) -> None:
    with time_machine.travel(DAY, tick=False) as clock:
        writer = SpoolWriter(folder)
        for n in range(7):
            writer.append([row(b"%d" % n)])
            clock.shift(timedelta(hours=9))
        assert bodies(folder) == [b"%d" % n for n in range(7)]
        middle = log.read_after(folder, None, 2)[-1][0]
        assert bodies(folder, middle) == [b"%d" % n for n in range(2, 7)]
        assert log.backlog(folder, middle) == log.Backlog(5, 1)
        writer.close()


def test_a_clock_that_goes_back_doesnt_hide_rows_from_a_reader(folder: Path) -> None:
    with time_machine.travel(DAY, tick=False):
        writer = SpoolWriter(folder)
        writer.append([row(b"1")])
        position = log.read_after(folder, None, 10)[-1][0]
    with time_machine.travel(DAY - timedelta(days=2), tick=False):
        writer.append([row(b"2")])
        writer.close()
        writer = SpoolWriter(folder)
        writer.append([row(b"3")])
        writer.close()
    assert bodies(folder, position) == [b"2", b"3"]


def test_the_id_stays_the_same_for_ever(folder: Path) -> None:
    first = SpoolWriter(folder)
    first.close()
    second = SpoolWriter(folder)
    second.close()
    assert first.id == second.id
    assert len(first.id) == 32


def test_a_second_writer_is_refused_with_folder_and_process(folder: Path) -> None:
    writer = SpoolWriter(folder)
    with pytest.raises(SettingsError) as refusal:
        SpoolWriter(folder)
    assert str(folder) in str(refusal.value)
    assert str(os.getpid()) in str(refusal.value)
    writer.close()
    SpoolWriter(folder).close()


def test_the_lock_of_a_killed_writer_is_free(folder: Path) -> None:
    code = "import sys; from pathlib import Path; from tagwarden.spool.log import SpoolWriter; "
    code += "SpoolWriter(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(SettingsError, match=str(process.pid)):
            SpoolWriter(folder)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    SpoolWriter(folder).close()


def test_a_folder_that_cant_be_written_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file is in the way")
    with pytest.raises(SettingsError, match=r"can't be written to"):
        SpoolWriter(log.spool_folder(tmp_path))


def test_a_spool_of_a_newer_version_is_refused(folder: Path) -> None:
    writer = SpoolWriter(folder)
    writer.append([row()])
    writer.close()
    db = sqlite3.connect(folder / writer.segment)
    db.execute("pragma user_version=2")
    db.close()
    with pytest.raises(SettingsError, match="newer version"):
        SpoolWriter(folder)
    with pytest.raises(SettingsError, match="newer version"):
        log.read_after(folder, None, 1)


def test_nobody_else_may_read_the_files(folder: Path) -> None:
    writer = SpoolWriter(folder)
    writer.append([row()])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    writer.close()
    assert set(modes.values()) == {0o600}
    assert any(name.endswith("-wal") for name in modes)


def test_commits_wait_for_the_disk(folder: Path) -> None:
    writer = SpoolWriter(folder)
    db = writer._current()
    assert db.execute("pragma synchronous").fetchone() == (2,)  # FULL
    assert db.execute("pragma journal_mode").fetchone() == ("wal",)
    writer.close()


def test_a_batch_is_there_whole_or_not_at_all(folder: Path) -> None:
    writer = SpoolWriter(folder)
    broken = row()._replace(status=None)  # type: ignore[arg-type]  # broken on purpose
    with pytest.raises(sqlite3.IntegrityError):
        writer.append([row(b"1"), broken])
    writer.append([row(b"2")])
    assert bodies(folder) == [b"2"]
    writer.close()


def test_only_old_closed_segments_that_were_carried_are_deleted(folder: Path) -> None:
    with time_machine.travel(DAY, tick=False) as clock:
        writer = SpoolWriter(folder)
        for n in range(4):
            writer.append([row(b"%d" % n), row(b"%d" % n)])
            clock.shift(timedelta(days=1))
        positions = [Position(f"2026-08-{10 + n}.sqlite", 2) for n in range(4)]
        far = date(2027, 1, 1)
        assert log.delete_segments(folder, far, positions[3]) == []  # younger than seven days
        clock.shift(timedelta(days=60))
        assert log.delete_segments(folder, far, Position("2026-08-10.sqlite", 1)) == []  # not read whole
        assert log.delete_segments(folder, date(2026, 8, 11), positions[2]) == ["2026-08-10.sqlite"]
        assert log.delete_segments(folder, far, positions[3]) == ["2026-08-11.sqlite", "2026-08-12.sqlite"]
        assert bodies(folder) == [b"3", b"3"]  # the newest is still the writer's
        assert bodies(folder, Position("2026-08-11.sqlite", 2)) == [b"3", b"3"]  # its position's file is gone
        writer.close()


def test_readers_leave_the_write_ahead_log_free_to_shrink(folder: Path) -> None:
    writer = SpoolWriter(folder)
    position = None
    for _ in range(120):
        writer.append([row(b"x" * 50_000) for _ in range(4)])
        position = log.read_after(folder, position, 100)[-1][0]
    assert (folder / f"{writer.segment}-wal").stat().st_size < 8 << 20  # 24 MB went through it
    writer.close()
