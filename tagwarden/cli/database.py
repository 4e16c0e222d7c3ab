"""The main database out into a file and back from it: SQLite by its online backup, PostgreSQL by its own tools."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

from django.db import connection

from tagwarden.core import copies, disk
from tagwarden.core.env import env
from tagwarden.core.errors import SettingsError

_CHUNK = 1 << 20


def kind() -> str:
    """ "sqlite" or "postgresql"."""
    return connection.vendor


def save(to: Path, progress: copies.Progress) -> None:
    """Writes the whole database to that file, as it stands at one moment. Work goes on meanwhile."""
    if kind() == "sqlite":
        copies.copy(_file(), to, progress)
    else:
        _run("pg_dump", ["--format=custom", "--no-owner", "--no-acl", f"--file={to}"])


def is_empty() -> bool:
    """Whether nothing would be replaced."""
    if kind() == "sqlite":
        return not _file().exists()
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_tables where schemaname = 'public'")
        return bool(cursor.fetchone()[0] == 0)


def others() -> int:
    """How many other connections there are. On SQLite locks on files tell."""
    if kind() == "sqlite":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_stat_activity where datname = current_database() "
            "and pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        return int(cursor.fetchone()[0])


def put_back(saved: Path, statements: Sequence[str]) -> None:
    """Makes a saved database the main one, with these statements carried out on it: all or nothing.

    Raises SettingsError with a sentence if it is damaged.
    """
    connection.close()
    if kind() == "sqlite":
        _move_into_place(saved, statements)
    else:
        _load(saved, statements)


# SQLite.


def _file() -> Path:
    return env().data / "tagwarden.db"


def _move_into_place(saved: Path, statements: Sequence[str]) -> None:
    if not copies.is_whole(saved):
        raise SettingsError("The database in this backup is damaged, so nothing was replaced. Take another backup.")
    with closing(sqlite3.connect(saved, isolation_level=None)) as db:
        db.executescript(f"begin; {' '.join(f'{statement};' for statement in statements)} commit;")
        db.execute("pragma journal_mode=delete")  # all of it in one file, also what was written just now
    with open(saved, "rb") as stream:
        os.fsync(stream.fileno())
    # The log of the database before would be taken for the new one's. Until the restore is over nothing else looks.
    for name in ("-wal", "-shm"):
        _file().with_name(_file().name + name).unlink(missing_ok=True)
    saved.rename(_file())
    disk.sync_folder(_file().parent)


# PostgreSQL.


def _load(saved: Path, statements: Sequence[str]) -> None:
    """One transaction: the old tables go, the saved ones come, the statements are carried out."""
    script, place = _tool("pg_restore"), _tool("psql")
    url, environ = _address()
    quiet = [place, "--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1", f"--dbname={url}"]
    with (
        subprocess.Popen(quiet, env=environ, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as psql,
        subprocess.Popen(
            [script, "--no-owner", "--no-acl", "--file=-", str(saved)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as dump,
    ):
        assert psql.stdin
        assert dump.stdout
        assert dump.stderr
        try:
            _say(psql.stdin, "begin", "drop schema public cascade", "create schema public")
            shutil.copyfileobj(dump.stdout, psql.stdin, _CHUNK)
            if dump.wait():
                psql.kill()  # before its commit: nothing has changed
                raise SettingsError(f"The database in this backup can't be read: {_last_line(dump.stderr.read())}")
            _say(psql.stdin, "set search_path = public", *statements, "commit")
            psql.stdin.close()
        except BrokenPipeError:
            dump.kill()
        said = psql.stderr.read() if psql.stderr else b""
        if psql.wait():
            raise SettingsError(f"The database could not be put back, and is as it was: {_last_line(said)}")


def _say(stream: IO[bytes], *statements: str) -> None:
    stream.write("".join(f"{statement};\n" for statement in statements).encode())
    stream.flush()


def _run(tool: str, arguments: list[str]) -> None:
    url, environ = _address()
    command = [_tool(tool), *arguments, f"--dbname={url}"]
    ran = subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if ran.returncode:
        raise SettingsError(f"{tool} could not do its part: {_last_line(ran.stderr)}")


def _tool(name: str) -> str:
    """The newest one there is, since it reads older servers, too. Raises SettingsError."""
    there = [path for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}") if path.parts[-3].isdecimal()]
    newest = max(there, key=lambda path: int(path.parts[-3]), default=None)
    found = str(newest) if newest else shutil.which(name)
    if not found:
        raise SettingsError(f"{name} isn't installed here. Install PostgreSQL's client programs, then run this again.")
    return found


def _address() -> tuple[str, dict[str, str]]:
    """DATABASE_URL without the password, which would be seen in the list of processes, and an environment with it."""
    parts = urlsplit(env().database_url)
    user_and_password, mark, host = parts.netloc.rpartition("@")
    user = user_and_password.partition(":")[0]
    environ = dict(os.environ)
    if parts.password:
        environ["PGPASSWORD"] = unquote(parts.password)
    return urlunsplit(parts._replace(netloc=f"{user}{mark}{host}")), environ


def _last_line(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it did not say why."
