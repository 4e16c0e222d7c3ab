"""From a server into a file and back: nothing that was answered is missing afterwards."""

import stat
import tarfile
from pathlib import Path

import psycopg
import pytest

from tagwarden.cli import archive
from tagwarden.core import failpoints, locks
from tagwarden.spool import copying
from tagwarden.spool.log import SpoolWriter, spool_folder
from tests.backup.conftest import fire, jobs, lose_database, lose_spool, members, run, tag_all
from tests.crash.load import Senders
from tests.crash.place import Place

pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(300)]
SETTLED_WITHIN = 90


def start(place: Place) -> None:
    place.start()
    place.until_open()


def refused(place: Place, because: str, *arguments: str) -> bool:
    ran = run(place, *arguments)
    assert because in ran.stderr, ran.stderr
    return ran.returncode == 1


def test_what_came_after_the_backup_is_filled_in_under_its_old_keys(place: Place, tmp_path: Path) -> None:
    """Made while calls come in; then 500 calls; then the database is lost."""
    file = tmp_path / "backup.tar"
    start(place)
    senders = Senders(place, seed=5, joining=False)
    senders.start()
    place.tagwarden("backup", str(file))
    senders.stop()
    tag_all(place, "After the backup")
    fire(place)
    fire(place, "batchsync")
    place.until_settled(SETTLED_WITHIN)
    assert refused(place, "is running", "restore", "--replace", str(file))
    place.stop()
    before = jobs(place)
    lose_database(place)

    place.tagwarden("restore", str(file))
    assert len(jobs(place)) <= len(before) - 500
    start(place)
    place.until_settled(SETTLED_WITHIN)

    assert set(place.spool_ids()) >= set(senders.answered)
    assert {key: job for key, job in jobs(place).items() if before.get(key) != job} == {}
    assert set(jobs(place)) == set(before)
    assert place.tags_here() == place.tags_there()
    counted = "select standing, count(*) from journal_job where root is null group by 1"
    kept = "select standing, sum(n) from journal_counter where standing <> 'stranger' group by 1 having sum(n) > 0"
    assert dict(place.database.rows(counted)) == dict(place.database.rows(kept))


def test_twice_is_once(place: Place, tmp_path: Path) -> None:
    """Two backups of the same state, restored one after the other, leave the same behind."""
    there = members(place)
    for name in ("one.tar", "two.tar"):
        place.tagwarden("backup", str(tmp_path / name))
    assert refused(place, "never overwritten", "backup", str(tmp_path / "one.tar"))
    assert refused(place, "--replace", "restore", str(tmp_path / "one.tar"))

    for name in ("one.tar", "two.tar", "two.tar"):
        place.tagwarden("restore", "--replace", str(tmp_path / name))
        assert members(place) == there
        assert len(place.database.rows("select * from journal_restore where resumed is null")) == 1
    assert "Resumed." in place.tagwarden("resume")
    assert "Nothing is held." in place.tagwarden("resume")


def test_a_restore_that_was_cut_off_is_repeated(place: Place, tmp_path: Path) -> None:
    file, hits, there = tmp_path / "backup.tar", tmp_path / "hits", members(place)
    SpoolWriter(spool_folder(place.data)).close()
    place.tagwarden("backup", str(file))
    points = (failpoints.UNPACKED, failpoints.SPOOL_BACK, failpoints.DATABASE_BACK)
    for point in points:
        lose_database(place)
        lose_spool(place)
        died = run(place, "restore", str(file), TAGWARDEN_FAILPOINT=f"{point}:1:{hits}")
        assert died.returncode == -9
        assert refused(place, "cut off", "init")
        place.tagwarden("restore", str(file))
        assert members(place) == there
        assert len(copying.segments(spool_folder(place.data))) == 1
    assert hits.read_text().split() == list(points)
    place.tagwarden("init")


def test_a_position_behind_the_end_of_the_spool_comes_back_to_it(place: Place, tmp_path: Path) -> None:
    """The backup's spool is a little older than its database; else the next calls would count as carried."""
    file = tmp_path / "backup.tar"
    start(place)
    fire(place)
    place.until_settled(SETTLED_WITHIN)
    place.stop()
    place.database.write("update journal_spoolposition set line = line + 100")
    place.tagwarden("backup", str(file))
    lose_database(place)
    lose_spool(place)

    place.tagwarden("restore", str(file))

    last = copying.end(spool_folder(place.data))
    assert last
    assert place.database.rows("select segment, line from journal_spoolposition") == [(last.segment, last.row)]


def test_a_backup_is_readable_by_its_owner_only_and_holds_the_keys_only_if_told(place: Place, tmp_path: Path) -> None:
    with_keys, without = tmp_path / "with.tar", tmp_path / "without.tar"
    place.tagwarden("backup", str(without))
    place.tagwarden("backup", "--with-keys", str(with_keys))
    keys = (place.data / "keys").read_bytes()
    for file in (with_keys, without):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert (keys in file.read_bytes()) == (file == with_keys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "with.tar", "without.tar"]


def test_without_the_right_key_file_nothing_is_restored(place: Place, tmp_path: Path) -> None:
    with_keys, without = tmp_path / "with.tar", tmp_path / "without.tar"
    place.tagwarden("backup", str(without))
    place.tagwarden("backup", "--with-keys", str(with_keys))
    keys, kept = place.data / "keys", (place.data / "keys").read_bytes()
    lose_database(place)

    keys.unlink()
    assert refused(place, "There is no key file", "restore", str(without))
    place.tagwarden("restore", str(with_keys))
    assert (keys.read_bytes(), stat.S_IMODE(keys.stat().st_mode)) == (kept, 0o600)

    keys.unlink()
    place.tagwarden("init")
    assert refused(place, "isn't the one", "restore", "--replace", str(with_keys))


def test_while_a_part_of_the_server_runs_nothing_is_restored(place: Place, tmp_path: Path) -> None:
    file, folder, there = tmp_path / "backup.tar", spool_folder(place.data), members(place)
    SpoolWriter(folder).close()
    place.tagwarden("backup", str(file))
    for lock in (folder / "lock", folder / "intake.lock", place.data / "worker.lock"):
        with open(locks.take(lock)):
            assert refused(place, "is running", "restore", "--replace", str(file))
    if place.database.url:
        with psycopg.connect(place.database.url):
            assert refused(place, "1 other connection", "restore", "--replace", str(file))
    assert members(place) == there


def test_a_damaged_backup_replaces_nothing(place: Place, tmp_path: Path) -> None:
    file, cut, spoilt = tmp_path / "backup.tar", tmp_path / "cut.tar", tmp_path / "spoilt.tar"
    place.tagwarden("backup", str(file))
    there = members(place)
    content = bytearray(file.read_bytes())
    cut.write_bytes(content[: len(content) // 2])
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    spoilt.write_bytes(content)

    assert refused(place, "no whole backup", "restore", "--replace", str(cut))
    assert refused(place, "n this backup ", "restore", "--replace", str(spoilt))

    assert members(place) == there
    place.tagwarden("init")  # which a restore that was cut off would refuse


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "spool/../../out", "elsewhere/file"])
def test_nothing_in_a_backup_lands_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    file, into = tmp_path / "backup.tar", tmp_path / "into"
    with tarfile.open(file, "w") as tar:
        tar.add(__file__, name)
    with pytest.raises(OSError, match="no place"):
        archive.unpack(file, into)
