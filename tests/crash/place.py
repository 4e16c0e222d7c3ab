"""A real `tagwarden serve` with a data folder, a port and a database of its own, and ways to end it."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from tagwarden.spool import log as spool
from tests.sandbox.conftest import Crm, free_port

ROOT = Path(__file__).parents[2]


def until(happened: Callable[[], Any], seconds: float, what: str | Callable[[], str]) -> Any:
    """Waits until it has happened and gives what that was; fails if it doesn't in time, and says what didn't."""
    deadline = time.monotonic() + seconds
    while not (result := happened()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.02)
    return result


def processes_of(session: int) -> list[int]:
    """The live processes of a session: a server and all that it started, whatever group they are in."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            state, _, _, its_session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(its_session) == session and state not in "ZX":
                found.append(int(folder.name))
    return found


def plainly(pids: list[int]) -> str:
    """What these processes are."""
    lines = []
    for pid in pids:
        with contextlib.suppress(OSError):
            lines.append(f"{pid} {Path(f'/proc/{pid}/cmdline').read_text().replace(chr(0), ' ')}")
    return "; ".join(lines)


def _kill_session(leader: subprocess.Popen[bytes]) -> None:
    while pids := processes_of(leader.pid):
        random.shuffle(pids)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    leader.wait(10)


class Database:
    """The main database, read from outside, without a line of the product. `url`: "" is SQLite in `data`."""

    def __init__(self, data: Path, url: str = "") -> None:
        self.file, self.url = data / "tagwarden.db", url

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if self.url:
            with psycopg.connect(self.url, autocommit=True) as server:
                return server.execute(query).fetchall()
        with contextlib.closing(sqlite3.connect(f"{self.file.as_uri()}?mode=ro", uri=True, timeout=20)) as file:
            return file.execute(query).fetchall()

    def write(self, statement: str) -> None:
        """Changes it behind the product's back."""
        if self.url:
            with psycopg.connect(self.url, autocommit=True) as server:
                server.execute(statement)
            return
        with contextlib.closing(sqlite3.connect(self.file, isolation_level=None, timeout=20)) as file:
            file.execute(statement)

    def one(self, query: str) -> Any:
        """The first value of the first row."""
        return self.rows(query)[0][0]


@contextlib.contextmanager
def fresh_database(data: Path, server_url: str) -> Iterator[Database]:
    """On PostgreSQL a new database, dropped afterwards; else the file in the data folder."""
    if not server_url:
        yield Database(data)
        return
    name = f"tagwarden_crash_{uuid4().hex[:12]}"
    head, _, tail = server_url.partition("://")
    place, _, rest = tail.partition("/")
    _, mark, options = rest.partition("?")
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'create database "{name}"')
        try:
            yield Database(data, f"{head}://{place}/{name}{mark}{options}")
        finally:
            server.execute(f'drop database "{name}" with (force)')


class Place:
    """A server that can be started and killed again and again. Its members are all contacts of the sandbox CRM.

    `secret`: of its webhooks, where the data is there already; else it is filled.
    """

    def __init__(self, data: Path, crm: Crm, database: Database, members: int, secret: str = "") -> None:
        self.data, self.crm, self.database = data, crm, database
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._sessions: list[subprocess.Popen[bytes]] = []  # which may still have somebody in them
        self._http = httpx.Client(base_url=self.url, timeout=5)
        self.members = members
        self.secret = secret or json.loads(self._run("tests.crash.fill", str(self.port), crm.url))["secret"]

    def _environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        settings = {"TAGWARDEN_DATA": str(self.data), "TAGWARDEN_RETRY_SCALE": "0.01", "PYTHONPATH": str(ROOT)}
        return kept | settings | ({"DATABASE_URL": self.database.url} if self.database.url else {}) | more

    def _run(self, *arguments: str) -> str:
        return self._python("-m", *arguments)

    def run_python(self, text: str) -> str:
        """Runs a few lines there, as a process of its own."""
        return self._python("-c", text)

    def _python(self, *arguments: str) -> str:
        ran = subprocess.run(
            [sys.executable, *arguments],
            env=self._environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def tagwarden(self, *arguments: str) -> str:
        """Runs a command of the command line to its end; gives what it said."""
        return self._run("tagwarden", *arguments)

    def launch(self, environ: Mapping[str, str], port: int = 0) -> subprocess.Popen[bytes]:
        """`tagwarden serve` in a session of its own; all that it starts stays in that session."""
        command = [sys.executable, "-m", "tagwarden", "serve", "--port", str(port or self.port)]
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=self._environment(**environ),
                cwd=self.data,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._sessions.append(process)
        return process

    def start(self, **environ: str) -> None:
        self.process = self.launch(environ)

    def is_open(self) -> bool:
        """Whether calls are taken."""
        with contextlib.suppress(httpx.TransportError):
            return self._http.head("/hooks/nobody").status_code == 204
        return False

    def until_open(self) -> None:
        until(self.is_open, 30, f"the port opens, see {self.log}")

    def kill(self) -> None:
        """Ends all of it at once, as a power cut does."""
        if self.process is not None:
            _kill_session(self.process)
            self._sessions.remove(self.process)
            self.process = None

    def stop(self) -> int:
        """Ends it as an operator does; gives its exit code."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(40)
        assert not processes_of(self.process.pid)
        self._sessions.remove(self.process)
        self.process = None
        return code

    def close(self) -> None:
        """Nothing is left of whatever was started here."""
        for process in self._sessions:
            _kill_session(process)
        self._http.close()

    def address(self, command: str, **parameters: str) -> httpx.URL:
        """A webhook's address."""
        return httpx.URL(f"{self.url}/", params={f"aal_{command}": self.secret, **parameters})

    # What is to be seen from outside.

    def spool_ids(self) -> list[str]:
        """The ids of all calls on disk beside the door."""
        folder, ids = spool.spool_folder(self.data), []
        for segment in sorted(folder.glob("*.sqlite")):
            with contextlib.closing(sqlite3.connect(segment)) as file:
                ids += [row[0] for row in file.execute("select id from delivery order by row")]
        return ids

    def uncarried(self) -> int:
        """How many calls are on disk and not in the journal."""
        positions = self.database.rows("select segment, line from journal_spoolposition")
        position = spool.Position(*positions[0]) if positions else None
        return spool.backlog(spool.spool_folder(self.data), position).rows

    def open_work(self) -> dict[str, Any]:
        """All that goes on by itself, by kind; empty when nothing does. A held step waits for a person."""
        count = "select count(*) from"
        found = {
            "calls not carried": self.uncarried(),
            "jobs": self.database.one(f"{count} journal_job where state = 'waiting'"),
            "open attempts": self.database.one(f"{count} journal_attempt where ended is null"),
            "leases": self.database.one(f"{count} journal_lane where token <> ''"),
            "open releases": self.database.one(f"{count} journal_release where closed is null"),
        }
        return {kind: n for kind, n in found.items() if n}

    def until_settled(self, seconds: float) -> None:
        """Waits until nothing is left to do, however much that is; for so long without a job finished it is stuck."""
        finished, deadline = -1, 0.0
        while left := self.open_work():
            if (now := self.database.one("select count(*) from journal_job where state = 'finished'")) > finished:
                finished, deadline = now, time.monotonic() + seconds
            assert time.monotonic() < deadline, f"nothing finished for {seconds:g} s: {left}; {self._waiting()}"
            time.sleep(0.2)

    def _waiting(self) -> list[tuple[Any, ...]]:
        return self.database.rows(
            "select j.id, j.command, j.contact, j.reason, j.tries, j.crashes, j.due, a.token from journal_job j "
            "left join journal_attempt a on a.job = j.id and a.ended is null where j.state <> 'finished' limit 20"
        )

    def tags_here(self) -> dict[int, frozenset[str]]:
        """Contact → the names of the tags it holds here."""
        held: dict[int, set[str]] = {
            int(contact): set() for (contact,) in self.database.rows("select external_id from members_contact")
        }
        query = (
            "select c.external_id, t.name from members_contacttag h join members_contact c on c.id = h.contact_id "
            "join members_tag t on t.id = h.tag_id where h.until is null"
        )
        for contact, name in self.database.rows(query):
            held[int(contact)].add(name)
        return {contact: frozenset(names) for contact, names in held.items()}

    def there(self, joined: Sequence[int]) -> list[dict[str, Any]]:
        """The members and those who joined, as the CRM has them."""
        ids = [*range(1, self.members + 1), *joined]
        return [row for at in range(0, len(ids), 100) for row in self.crm.in_bulk(*ids[at : at + 100])]

    def tags_there(self, joined: Sequence[int] = ()) -> dict[int, frozenset[str]]:
        """Contact → the names of the tags it holds in the CRM."""
        return {row["id"]: frozenset(tag["name"] for tag in row["tags"]) for row in self.there(joined)}

    def hashed_passwords(self) -> dict[int, str]:
        """Contact → its account's password as it is stored."""
        query = (
            "select c.external_id, a.password from members_contact c join members_member m on m.id = c.member_id "
            "join accounts_account a on a.id = m.account_id"
        )
        return {int(contact): password for contact, password in self.database.rows(query)}
