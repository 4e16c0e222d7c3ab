"""How Ontraport's lists are asked for: conditions, order and pages. Refusals are plain text."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Cell = Callable[[str], object]

PAGE = 50
_OPS = {"=", "<>", ">", "<", ">=", "<=", "IN", "NOT IN", "IS", "LIKE"}


class Refused(Exception):
    """An answer that is not a success: its status and its text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


INVALID = "Invalid query"


def condition(text: str) -> list[Any]:
    """The `condition` parameter. Refused with 400 if it isn't one."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise Refused(400, INVALID)
    return found


def holds(terms: list[Any], cell: Cell) -> bool:
    """Whether a row fulfils it; AND binds closer than OR, as in SQL. `cell` refuses columns that there aren't."""
    groups: list[list[bool]] = [[]]
    joined = True
    for term in terms:
        if isinstance(term, str) and term.upper() in {"AND", "OR"} and not joined:
            if term.upper() == "OR":
                groups.append([])
            joined = True
        elif joined and isinstance(term, list | dict):
            groups[-1].append(holds(term, cell) if isinstance(term, list) else _term(term, cell))
            joined = False
        else:
            raise Refused(400, INVALID)
    if joined and terms:
        raise Refused(400, INVALID)
    return any(all(group) for group in groups)


def _term(term: dict[str, Any], cell: Cell) -> bool:
    try:
        found, op, value = cell(term["field"]["field"]), str(term["op"]).upper(), term["value"]
        if op not in _OPS:
            raise Refused(400, INVALID)
        if op in {"IN", "NOT IN"}:
            inside = any(_compare(found, "=", one["value"]) for one in value["list"])
            return inside is (op == "IN")
        return _compare(found, op, value["value"])
    except (KeyError, TypeError) as error:
        raise Refused(400, INVALID) from error


def _compare(found: object, op: str, value: object) -> bool:
    if value is None or str(value).upper() == "NULL":
        return (found is None) is (op in {"IS", "="})
    if found is None:
        return op == "<>"
    left, right = _comparable(found), _comparable(value)
    if left[0] != right[0]:
        left, right = (False, 0.0, str(found).lower()), (False, 0.0, str(value).lower())
    if op == "LIKE":
        pattern = ".*".join(re.escape(part) for part in str(value).lower().split("%"))
        return re.fullmatch(pattern, str(found).lower(), re.DOTALL) is not None
    order = (left > right) - (left < right)
    return {
        "=": order == 0,
        "IS": order == 0,
        "<>": order != 0,
        ">": order > 0,
        "<": order < 0,
        ">=": order >= 0,
        "<=": order <= 0,
    }[op]


def _comparable(value: object) -> tuple[bool, float, str]:
    text = str(value)
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return True, float(text), ""
    return False, 0.0, text.lower()


def in_order(rows: list[Any], asked: Mapping[str, Any], cell: Callable[[Any, str], object]) -> list[Any]:
    """By `sort` and `sortDir`; as they come if nothing is asked."""
    name = asked.get("sort")
    if not name:
        return rows
    keyed = [(_comparable("" if (found := cell(row, name)) is None else found), row) for row in rows]
    keyed.sort(key=lambda pair: pair[0], reverse=str(asked.get("sortDir", "asc")).lower() == "desc")
    return [row for _, row in keyed]


def cut(rows: list[Any], asked: Mapping[str, Any], over: str) -> list[Any]:
    """The page of `start` and `range`. Over 50 in a page are cut silently, unless `over` says otherwise."""
    start, wanted = whole(asked.get("start", 0)), whole(asked.get("range", PAGE))
    if wanted > PAGE and over == "refused":
        raise Refused(400, INVALID)
    return rows[start : start + (wanted if over == "obeyed" else min(wanted, PAGE))]


def whole(value: object) -> int:
    """A number that isn't negative, sent as text or number. Refused with 400 if it isn't one."""
    if not isinstance(value, int | str) or isinstance(value, bool) or not re.fullmatch(r"\d{1,18}", str(value)):
        raise Refused(400, INVALID)
    return int(value)


def numbers(value: object) -> list[int]:
    """Ids as the API takes them: "1,2", [1, 2], ["1"] or 1."""
    parts = value if isinstance(value, list) else [part for part in str(value).split(",") if part.strip()]
    return [whole(part.strip() if isinstance(part, str) else part) for part in parts]


def truthy(value: object) -> bool:
    """A switch as JSON or a form sends it."""
    return str(value).lower() in {"true", "1"}


def is_email(text: str) -> bool:
    return re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", text) is not None


def cells_of(row: Mapping[str, Any]) -> Cell:
    """The cells of a row that is there already. Refused with 400 where it has none of that name."""

    def cell(name: str) -> object:
        if name not in row:
            raise Refused(400, INVALID)
        return row[name]

    return cell
