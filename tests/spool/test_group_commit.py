"""Calls are committed together, and none waits longer than it may."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tagwarden.spool import group_commit, log
from tagwarden.spool.group_commit import GroupCommit, NotCommitted
from tagwarden.spool.log import SpoolWriter
from tests.spool.rows import row


@pytest.fixture
def writer(tmp_path: Path) -> SpoolWriter:
    return SpoolWriter(log.spool_folder(tmp_path))


@pytest.fixture
def lock(writer: SpoolWriter) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection to the spool's file, which has it locked."""
    with closing(sqlite3.connect(writer.folder / writer.segment, isolation_level=None)) as db:
        db.execute("begin immediate")
        yield db


def stored(writer: SpoolWriter) -> list[bytes]:
    return [each.body for _, each in log.read_after(writer.folder, None, 10_000)]


def test_what_append_returned_for_is_on_disk(writer: SpoolWriter) -> None:
    async def scene() -> None:
        commit = GroupCommit(writer, asyncio.get_running_loop())
        await commit.append(row(b"1"))
        assert stored(writer) == [b"1"]
        started = time.monotonic()
        await asyncio.gather(*(commit.append(row()) for _ in range(3_000)))
        assert time.monotonic() - started < 2.5  # one by one it would be 3,000 flushes of the disk
        assert commit.queued_bytes == 0
        commit.stop()

    asyncio.run(scene())
    assert len(stored(writer)) == 3_001


def test_a_stop_commits_what_is_queued(writer: SpoolWriter) -> None:
    async def scene() -> None:
        commit = GroupCommit(writer, asyncio.get_running_loop())
        tasks = [asyncio.create_task(commit.append(row())) for _ in range(50)]
        await asyncio.sleep(0)
        commit.stop()
        await asyncio.gather(*tasks)

    asyncio.run(scene())
    assert len(stored(writer)) == 50


def test_nobody_waits_longer_than_patience(
    writer: SpoolWriter, lock: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE", 0.8)

    async def scene() -> None:
        commit = GroupCommit(writer, asyncio.get_running_loop())
        started = time.monotonic()
        with pytest.raises(NotCommitted):
            await commit.append(row(b"too early"))
        assert 0.7 < time.monotonic() - started < 1.5
        lock.execute("rollback")
        await commit.append(row(b"in time"))
        commit.stop()

    asyncio.run(scene())
    assert stored(writer) == [b"in time"]  # what nobody waits for any more is not written


def test_a_row_whose_sender_gave_up_is_not_written(writer: SpoolWriter, lock: sqlite3.Connection) -> None:
    async def scene() -> None:
        commit = GroupCommit(writer, asyncio.get_running_loop())
        gone = asyncio.create_task(commit.append(row(b"gone")))
        waits = asyncio.create_task(commit.append(row(b"waits")))
        await asyncio.sleep(0.1)
        gone.cancel()
        await asyncio.wait([gone])
        lock.execute("rollback")
        await waits
        commit.stop()

    asyncio.run(scene())
    assert stored(writer) == [b"waits"]


def test_what_doesnt_fit_waits_for_room_in_its_turn(
    writer: SpoolWriter, lock: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "ROOM", 5_000)

    async def scene() -> None:
        commit = GroupCommit(writer, asyncio.get_running_loop())
        tasks = [asyncio.create_task(commit.append(row(b"%d" % n))) for n in range(20)]
        await asyncio.sleep(0.1)
        assert 0 < commit.queued_bytes <= 5_000
        lock.execute("rollback")
        await asyncio.gather(*tasks)
        commit.stop()

    asyncio.run(scene())
    assert stored(writer) == [b"%d" % n for n in range(20)]


def test_the_wait_for_room_counts_towards_patience(
    writer: SpoolWriter, lock: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "ROOM", 1_500)
    monkeypatch.setattr(group_commit, "PATIENCE", 0.8)

    async def scene() -> None:
        commit = GroupCommit(writer, asyncio.get_running_loop())
        started = time.monotonic()
        results = await asyncio.gather(*(commit.append(row()) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(result, NotCommitted) for result in results)
        assert time.monotonic() - started < 1.5
        lock.execute("rollback")
        await commit.append(row(b"later"))
        commit.stop()

    asyncio.run(scene())
    assert stored(writer) == [b"later"]


def test_an_error_of_the_file_fails_its_batch_and_no_more(writer: SpoolWriter) -> None:
    async def scene() -> None:
        commit = GroupCommit(writer, asyncio.get_running_loop())
        await commit.append(row(b"1"))
        with closing(sqlite3.connect(writer.folder / writer.segment, isolation_level=None)) as db:
            db.execute("alter table delivery rename to hidden")
            with pytest.raises(NotCommitted):
                await commit.append(row(b"2"))
            db.execute("alter table hidden rename to delivery")
        await commit.append(row(b"3"))
        commit.stop()

    asyncio.run(scene())
    assert stored(writer) == [b"1", b"3"]
