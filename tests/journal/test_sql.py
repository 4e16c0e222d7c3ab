"""Statements that the two databases want in different shapes do the same on both."""

import pytest

from tagwarden.journal import sql

pytestmark = pytest.mark.django_db

COLUMNS = {"id": "bigint", "word": "text", "n": "bigint"}


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ([], [(1, "a", 1), (2, "a", 2), (3, "", 3)]),
        ([(1, "b", 7)], [(1, "b", 7), (2, "a", 2), (3, "", 3)]),
        ([(1, "b", 7), (2, "b", 7), (3, "b", 7)], [(1, "b", 7), (2, "b", 7), (3, "", 3)]),
        ([(1, "b", 7), (2, "c", 8), (3, "c", 8)], [(1, "b", 7), (2, "c", 8), (3, "", 3)]),
    ],
    ids=["none", "one", "all alike", "each its own"],
)
def test_many_rows_are_updated_as_told_and_no_others(
    changes: list[tuple[int, str, int]], after: list[tuple[int, str, int]]
) -> None:
    sql.run("create temp table thing (id bigint primary key, word text, n bigint)")
    sql.run("insert into thing values (1, 'a', 1), (2, 'a', 2), (3, '', 3)")

    sql.update("thing", COLUMNS, list(changes), where="t.word <> ''")

    assert sorted(sql.rows("select id, word, n from thing")) == after
    sql.run("drop table thing")
