"""From a running server into a file and back: nothing that was answered is missing afterwards."""

import stat
import threading
from pathlib import Path

import pytest

from tagwarden.core import failpoints
from tests.backup.conftest import fire, jobs, lose_database, lose_spool, run, tag_all
from tests.crash.load import Senders
from tests.crash.place import Place

pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(300)]
SETTLED_WITHIN = 90


def start(place: Place) -> None:
    place.start()
    place.until_open()


def test_what_came_after_the_backup_is_filled_in_under_its_old_keys(place: Place, tmp_path: Path) -> None:
    """Made while calls come in; then 500 calls; then the database is lost."""
    file = tmp_path / "backup.tar"
    start(place)
    senders = Senders(place, seed=5)
    senders.start()
    place.tagwarden("backup", str(file))
    senders.stop()
    tag_all(place, "After the backup")
    fire(place)
    fire(place, "batchsync")
    place.until_settled(SETTLED_WITHIN)
    place.stop()
    before = jobs(place)
    lose_database(place)

    place.tagwarden("restore", str(file))
    start(place)
    place.until_settled(SETTLED_WITHIN)

    assert set(place.spool_ids()) >= set(senders.answered)
    assert {key: job for key, job in jobs(place).items() if before.get(key) != job} == {}
    assert set(jobs(place)) == set(before)
    assert place.tags_here() == place.tags_there()
    counted = "select standing, count(*) from journal_job where root is null group by 1 order by 1"
    kept = "select standing, sum(n) from journal_counter where standing <> 'stranger' group by 1 having sum(n) > 0"
    assert dict(place.database.rows(counted)) == dict(place.database.rows(kept))


def test_twice_is_once(place: Place, tmp_path: Path) -> None:
    """Two backups of the same state, restored one after the other, leave the same behind."""
    start(place)
    fire(place)
    place.until_settled(SETTLED_WITHIN)
    for name in ("one.tar", "two.tar"):
        place.tagwarden("backup", str(tmp_path / name))
    place.stop()
    before = jobs(place)
    again = run(place, "backup", str(tmp_path / "one.tar"))
    assert (again.returncode, "never overwritten" in again.stderr) == (1, True)

    for name in ("one.tar", "two.tar", "two.tar"):
        refused = run(place, "restore", str(tmp_path / name))
        assert (refused.returncode, "--replace" in refused.stderr) == (1, True)
        place.tagwarden("restore", "--replace", str(tmp_path / name))
        assert jobs(place) == before
        assert len(place.database.rows("select * from journal_restore")) == 1
    start(place)
    place.until_settled(SETTLED_WITHIN)
    assert jobs(place) == before
    assert "Resumed." in place.tagwarden("resume")
    assert "Nothing is held." in place.tagwarden("resume")


@pytest.mark.parametrize("point", [failpoints.UNPACKED, failpoints.SPOOL_BACK, failpoints.DATABASE_BACK])
def test_a_restore_that_was_cut_off_is_repeated(point: str, place: Place, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    start(place)
    fire(place)
    place.until_settled(SETTLED_WITHIN)
    place.tagwarden("backup", str(file))
    place.stop()
    before = jobs(place)
    lose_database(place)
    lose_spool(place)

    died = run(place, "restore", str(file), TAGWARDEN_FAILPOINT=f"{point}:1:{tmp_path / 'hits'}")
    assert died.returncode == -9
    refused = run(place, "init")
    assert (refused.returncode, "cut off" in refused.stderr) == (1, True)

    place.tagwarden("restore", str(file))
    assert jobs(place) == before
    start(place)
    fire(place)
    place.until_settled(SETTLED_WITHIN)
    assert len(jobs(place)) == 2 * len(before)


def test_a_spool_that_lies_behind_the_database_loses_no_later_call(place: Place, tmp_path: Path) -> None:
    """The backup's spool was copied before its database; what was carried in between has no row in it."""
    file = tmp_path / "backup.tar"
    start(place)
    stop, calls = threading.Event(), []

    def call() -> None:
        while not stop.is_set():
            fire(place)
            calls.append(1)

    caller = threading.Thread(target=call)
    caller.start()
    place.tagwarden("backup", str(file))
    stop.set()
    caller.join()
    place.stop()
    lose_database(place)
    lose_spool(place)

    place.tagwarden("restore", str(file))
    known = jobs(place)
    start(place)
    fire(place)
    place.until_settled(SETTLED_WITHIN)
    assert len(jobs(place)) >= len(known) + place.members


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
    missing = run(place, "restore", str(without))
    assert (missing.returncode, "There is no key file" in missing.stderr) == (1, True)
    place.tagwarden("restore", str(with_keys))
    assert (keys.read_bytes(), stat.S_IMODE(keys.stat().st_mode)) == (kept, 0o600)

    keys.unlink()
    run(place, "init")
    other = run(place, "restore", "--replace", str(with_keys))
    assert (other.returncode, "isn't the one" in other.stderr) == (1, True)
    assert not (place.data / "restoring").exists()


def test_while_the_server_runs_nothing_is_restored(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    start(place)
    place.tagwarden("backup", str(file))
    refused = run(place, "restore", "--replace", str(file))
    assert (refused.returncode, "is running" in refused.stderr) == (1, True)


def test_a_damaged_backup_replaces_nothing(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    start(place)
    fire(place)
    place.until_settled(SETTLED_WITHIN)
    place.tagwarden("backup", str(file))
    place.stop()
    before = jobs(place)
    content = bytearray(file.read_bytes())
    cut = tmp_path / "cut.tar"
    cut.write_bytes(content[: len(content) // 2])
    middle = len(content) * 3 // 4
    content[middle : middle + 20_000] = bytes(20_000)
    spoilt = tmp_path / "spoilt.tar"
    spoilt.write_bytes(content)

    for file in (cut, spoilt):
        assert run(place, "restore", "--replace", str(file)).returncode == 1
        assert jobs(place) == before
    start(place)
    fire(place)
    place.until_settled(SETTLED_WITHIN)
