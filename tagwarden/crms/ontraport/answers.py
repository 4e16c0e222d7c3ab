"""What stands in Ontraport's answers, in all the forms it comes in: pure functions, without network."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tagwarden.core.names import plain
from tagwarden.crms import base

CONTACT = "0"  # "Object type IDs"
BETWEEN = "*/*"  # tags and lists are written as */*15*/*22*/*
_NOT_TEXT = {"parent", "subscription", "file", "image"}  # kinds of columns that hold something else
_TEXT = {"text", "longtext", "email"}


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the contact. `options`: a drop-down's id → label."""

    label: str
    kind: str
    options: Mapping[str, str] = field(default_factory=dict)

    def shown(self, stored: object) -> str:
        """The value as people see it: labels in place of the ids of options."""
        came = text(stored)
        if not self.options:
            return came
        chosen = [part for part in came.split(BETWEEN) if part in self.options or part not in {"", "0"}]
        return ", ".join(self.options.get(part, part) for part in chosen)

    def stored(self, shown: str) -> str:
        """The value as it is written: the option's id for its label."""
        return next((id_ for id_, label in self.options.items() if plain(label) == plain(shown)), shown)

    def holds(self, stored: object, sent: str) -> bool:
        """Whether that is what was sent. Other kinds than text are put into another form ("Australia" into AU)."""
        there = text(stored)
        if self.kind in _TEXT:
            return there.split() == sent.split()
        return there == sent or bool(there.strip("0. ")) == bool(sent.strip("0. "))


def columns(meta: Any) -> Mapping[str, Any]:
    """The contact's columns in an answer of objects/meta. PHP writes an object as a list if its keys are 0, 1, …"""
    contact = meta[0] if isinstance(meta, list) and meta else meta.get(CONTACT) if isinstance(meta, dict) else None
    found = contact.get("fields") if isinstance(contact, dict) else None
    return found if isinstance(found, dict) else {}


def field_of(name: str, row: object) -> Field | None:
    """None for a column that can't be written as text. `editable` is null for some that can."""
    if not isinstance(row, dict) or name in {"id", "contact_cat"}:
        return None
    label, kind, editable = text(row.get("alias")), text(row.get("type")).lower(), text(row.get("editable"))
    own = re.fullmatch(r"f\d+", name) is not None
    if not label.strip() or kind in _NOT_TEXT or editable == "0" or not (own or editable):
        return None
    options = row.get("options")
    pairs = options.items() if isinstance(options, dict) else enumerate(options if isinstance(options, list) else ())
    return Field(label, kind, {str(id_): text(shown) for id_, shown in pairs})


def text(value: object) -> str:
    """Nearly every value is a string; some are numbers, some null."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else ""


def is_id(came: str) -> bool:
    """Whether that may be the id of anything."""
    return re.fullmatch(r"\d{1,18}", came, re.ASCII) is not None


def tag_ids(row: Mapping[str, Any]) -> list[str] | None:
    """The ids in contact_cat. None has "", "*/*" or null there; a row without that column doesn't say."""
    if "contact_cat" not in row:
        return None
    value = "" if row["contact_cat"] is None else row["contact_cat"]
    parts = [part for part in value.split(BETWEEN) if part] if isinstance(value, str) else ["?"]
    return parts if all(map(is_id, parts)) else None


def ids(data: object, name: str = "id") -> list[str]:
    """The ids in an answer. They stand in `id`, `attrs.id`, `ids` or in a list of any of these."""
    if isinstance(data, list):
        return [id_ for one in data for id_ in ids(one, name)]
    if isinstance(data, dict):
        places = (data.get(key) for key in (name, "id", "ids", "attrs"))
        return next((found for place in places if (found := ids(place, name))), [])
    parts = [part.strip() for part in text(data).split(",")]
    return [part for part in parts if is_id(part) and int(part)]


def where(column: str, op: str, value: int) -> dict[str, Any]:
    """A condition, as "Criteria" writes it."""
    return {"field": {"field": column}, "op": op, "value": {"value": value}}


def is_gone(error: base.Refused) -> bool:
    """Only its own words prove that a contact is gone; another 404 may be a proxy's."""
    words = error.body if isinstance(error.body, str) else json.dumps(error.body)
    return re.search("object not found|invalid contact id", words, re.IGNORECASE) is not None
