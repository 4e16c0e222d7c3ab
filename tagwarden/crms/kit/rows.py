"""What is in Kit's answers and hooks: read without trust, since any of it may be missing or null."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tagwarden.core.outcome import Snapshot
from tagwarden.crms import base

Row = Mapping[str, Any]


def text(value: object) -> str:
    return "" if value is None else str(value)


def plain(secret: str) -> str:
    """A key or token fit for a header: what else is in it makes an error whose text would hold it."""
    return secret.strip().encode("ascii", "ignore").decode()


def dicts(rows: object) -> list[Row]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def part(row: Row, name: str) -> Row:
    """The object of that name in a row; an empty one if there is none."""
    found = row.get(name)
    return found if isinstance(found, dict) else {}


def numbered(row: object) -> bool:
    """Whether that is a row with an id."""
    return isinstance(row, dict) and text(row.get("id")).isdecimal()


def content(body: bytes) -> Row:
    """A hook's JSON; an empty object if it is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def moment(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return found if found.tzinfo else None


def says_gone(error: base.Refused) -> bool:
    """A 404 in Kit's own form. Another server's page, at a wrong address, has another."""
    return error.status == 404 and isinstance(error.body, dict) and isinstance(error.body.get("errors"), list)


def same(shown: object, written: str) -> bool:
    """Whether an answer shows the value that was written."""
    return text(shown).strip() == written.strip()


def found_in_words(snapshot: Snapshot) -> str:
    """A read in words."""
    name = f"{snapshot.first_name} {snapshot.last_name}".strip() or snapshot.email
    count = len(snapshot.tags or ())
    return f"Found {name} with {count} {'tag' if count == 1 else 'tags'}"
