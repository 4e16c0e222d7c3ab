"""Statements on the cursor of Django's own connection, so that rules (ORM) and journal (SQL) commit together."""

from collections.abc import Sequence
from typing import Any

from django.db import InterfaceError, OperationalError, connection

from tagwarden.core.sql import Dialect

# The database is away, locked or restarting: wait and go on. Any other error is a mistake in what was asked of it.
AWAY = (OperationalError, InterfaceError)


def dialect() -> Dialect:
    return Dialect(connection.vendor)


def run(sql: str, params: tuple[Any, ...] = ()) -> int:
    """Carries out one statement. Returns how many rows it touched."""
    with connection.cursor() as opened:
        opened.execute(sql, params)
        return int(opened.rowcount)


def rows(sql: str, params: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All rows of one query."""
    with connection.cursor() as opened:
        opened.execute(sql, params)
        return list(opened.fetchall())


def insert(table: str, columns: tuple[str, ...], values: Sequence[tuple[Any, ...]]) -> None:
    """Many rows; those whose unique key is there already are passed over."""
    # COPY goes past Django's cursor, so its errors are turned into Django's here: a cut connection must count as AWAY.
    with connection.cursor() as opened, connection.wrap_database_errors:
        dialect().insert(opened, table, columns, values)


def update(
    table: str,
    columns: dict[str, str],
    values: list[tuple[Any, ...]],
    *,
    key: tuple[str, ...] = ("id",),
    where: str = "true",
) -> None:
    """Many rows, each with values of its own; see core/sql.py."""
    with connection.cursor() as opened:
        dialect().update(opened, table, columns, values, key=key, where=where)
