"""Writes many rows to PostgreSQL, which ends the connection in the middle of them; prints what that is for the caller.

A process of its own, for PostgreSQL only: `DATABASE_URL=postgresql://… python -m tests.outage.cut_while_copying`.
"""

from collections.abc import Iterator
from typing import Any

import psycopg

from tagwarden.cli import loading
from tagwarden.core.env import env

ROWS = 100_000  # more than fits into any buffer between here and there


class _Cut(list[tuple[Any, ...]]):
    """Rows on whose way the connection with that number is ended."""

    def __init__(self, backend: int) -> None:
        super().__init__([(n, "x" * 200) for n in range(ROWS)])
        self._backend = backend

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for n, row in enumerate(super().__iter__()):
            if n == 100:
                with psycopg.connect(env().database_url, autocommit=True) as other:
                    other.execute("select pg_terminate_backend(%s, 5000)", (self._backend,))
            yield row


def main() -> None:
    sql = loading.with_django("tagwarden.journal.sql")
    sql.run("create table wide (n bigint, content text)")
    try:
        sql.insert("wide", ("n", "content"), _Cut(sql.rows("select pg_backend_pid()")[0][0]))
    except sql.AWAY:
        print("the database is away")


if __name__ == "__main__":
    main()
