"""The few statements that SQLite and PostgreSQL want in different shapes, on a cursor that is handed in.

Measured: SQLite is quick with `executemany` everywhere; PostgreSQL wants one statement a batch, COPY for wide
rows and `unnest` for narrow ones.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class Cursor(Protocol):
    """What Django's cursor offers, on either database."""

    def execute(self, sql: str, params: Sequence[Any] = ...) -> Any: ...
    def executemany(self, sql: str, params: Sequence[Sequence[Any]]) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def fetchone(self) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...


class Dialect:
    """The shapes of one database: `vendor` is Django's name for it."""

    def __init__(self, vendor: str) -> None:
        self.postgresql = vendor == "postgresql"
        self.now_ms = (
            "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)"
            if self.postgresql
            else "cast((julianday('now') - 2440587.5) * 86400000 as integer)"
        )

    def among(self, column: str) -> str:
        """A condition that holds for the values in the list which `values()` makes a parameter of."""
        if self.postgresql:
            return f"{column} = any(%s)"
        return f"{column} in (select value from json_each(%s))"

    def values(self, items: Iterable[Any]) -> Any:
        """One parameter that holds many values, for `among()`."""
        return list(items) if self.postgresql else json.dumps(list(items))

    def insert(self, cursor: Cursor, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Many rows; those whose unique key is there already are passed over."""
        if not rows:
            return
        names = ", ".join(columns)
        if not self.postgresql:
            marks = ", ".join(["%s"] * len(columns))
            cursor.executemany(f"insert into {table} ({names}) values ({marks}) on conflict do nothing", rows)
            return
        cursor.execute(
            f"create temp table if not exists new_{table} on commit delete rows as select {names} from {table} limit 0"
        )
        with cursor.copy(f"copy new_{table} ({names}) from stdin") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(f"insert into {table} ({names}) select {names} from new_{table} on conflict do nothing")
        cursor.execute(f"delete from new_{table}")

    def update(
        self,
        cursor: Cursor,
        table: str,
        columns: dict[str, str],
        rows: Sequence[Sequence[Any]],
        *,
        key: Sequence[str] = ("id",),
        where: str = "true",
    ) -> None:
        """Many rows, each with values of its own.

        `columns`: name → PostgreSQL type of everything in a row, keys included, in the row's order.
        `where`: a further condition on the table, which is called `t` in it.
        """
        if not rows:
            return
        names = list(columns)
        changed = [name for name in names if name not in key]
        one = [f"{name} = %s" for name in changed]
        if len(key) == 1 and (values := _of_all(rows, [names.index(name) for name in changed])):
            statement = f"update {table} as t set {', '.join(one)} where {self.among(f't.{key[0]}')} and {where}"
            at = names.index(key[0])
            cursor.execute(statement, [*values, self.values(row[at] for row in rows)])
            return
        if not self.postgresql:
            keys = " and ".join(f"{name} = %s" for name in key)
            order = [names.index(name) for name in (*changed, *key)]
            statement = f"update {table} as t set {', '.join(one)} where {keys} and {where}"
            cursor.executemany(statement, [[row[i] for i in order] for row in rows])
            return
        sets = ", ".join(f"{name} = v.{name}" for name in changed)
        keys = " and ".join(f"t.{name} = v.{name}" for name in key)
        arrays = ", ".join(f"%s::{kind}[]" for kind in columns.values())
        statement = (
            f"update {table} t set {sets} from unnest({arrays}) as v({', '.join(names)}) where {keys} and {where}"
        )
        cursor.execute(statement, [list(column) for column in zip(*rows, strict=True)])


def _of_all(rows: Sequence[Sequence[Any]], columns: Sequence[int]) -> list[Any]:
    """What all rows have in these columns; nothing if they differ. A batch's jobs mostly end alike."""
    first = [rows[0][i] for i in columns]
    return first if all([row[i] for i in columns] == first for row in rows) else []
