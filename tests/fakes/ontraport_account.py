"""An Ontraport account: the book with the vendor's columns, which tells what happened to contacts and tags."""

import re
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tests.fakes.book import Book, Contact
from tests.fakes.ontraport_columns import HEAD, OWN, TAIL, Column

_BEFORE_OWN = 1556  # columns made here are f1557 and on, as in the vendor's own fixture
_NAMES = {"email": "email", "firstname": "first_name", "lastname": "last_name"}
_LETTERS = string.ascii_uppercase + string.digits


class Habits(Protocol):
    """The switches that a row depends on; see `tests.fakes.ontraport.Settings`."""

    @property
    def no_tags(self) -> str: ...
    @property
    def settle_seconds(self) -> float: ...
    @property
    def drift_seconds(self) -> float: ...
    @property
    def tags_move_dlm(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Event:
    """What subscriptions are about: `kind` as the vendor names it, and the tag if it is about one."""

    kind: str
    contact: int
    at: float
    tag: int = 0


class Account(Book):
    """The contacts of one account. Listeners hear of each event once the change is in the book."""

    def __init__(self, habits: Callable[[], Habits]) -> None:
        super().__init__()
        self._habits = habits
        self.listeners: list[Callable[[Event], None]] = []
        self.tag_types: dict[int, str] = {}  # the object type of tags that aren't for contacts
        self.own: dict[str, Column] = {}
        self._columns: dict[str, Column] = {}  # all, in the order of a full row
        self._numbers: dict[str, int] = {}  # of columns that aren't named by their number
        for column in (*HEAD, *TAIL):
            self._register(column)
        self.replace_own(OWN)

    # --- columns -----------------------------------------------------------------------------------------------

    def replace_own(self, columns: Iterable[Column]) -> None:
        """The columns of this account besides the vendor's, in the order that rows show them."""
        for old in self.own:
            self.fields.pop(self.number(old), None)
        self.own = {}
        self._columns = {one.name: one for one in (*HEAD, *TAIL)}
        for column in columns:
            self.add_own(column)

    def add_own(self, column: Column) -> None:
        self.own[column.name] = column
        self._register(column)
        self._columns = {one.name: one for one in (*HEAD, *self.own.values(), *TAIL)}

    def _register(self, column: Column) -> None:
        self._numbers.setdefault(column.name, len(self._numbers) + 1)
        self.fields[self.number(column.name)] = column.alias

    def number(self, name: str) -> int:
        """The number that the book keeps the column's values under."""
        return int(name[1:]) if re.fullmatch(r"f\d+", name) else self._numbers[name]

    def new_field(self, label: str) -> int:
        number = max(_BEFORE_OWN, *self.fields) + 1
        self.add_own(Column(f"f{number}", label))
        return number

    def columns(self) -> dict[str, Column]:
        """All, in the order of a full row."""
        return self._columns

    # --- what a row shows --------------------------------------------------------------------------------------

    def cell(self, contact: Contact, column: Column, seen: float) -> str | None:
        """What the contact shows in that column at that moment, as the API writes it."""
        if column.name in _NAMES:
            return str(getattr(contact, _NAMES[column.name]))
        computed = {"id": _id, "date": _date, "unique_id": _unique_id, "dlm": self._dlm, "contact_cat": self._tags}
        if column.name in computed:
            return computed[column.name](contact, seen)
        return contact.fields.get(self.number(column.name), column.initial)

    def row(self, contact: Contact, columns: Iterable[Column], seen: float) -> dict[str, Any]:
        return {column.name: self.cell(contact, column, seen) for column in columns}

    def _tags(self, contact: Contact, seen: float) -> str | None:
        """Captured: "" at creation, "*/*" a moment later; null or "" in other accounts."""
        if contact.tags:
            return f"*/*{'*/*'.join(map(str, contact.tags))}*/*"
        habits = self._habits()
        if seen < contact.created + habits.settle_seconds:
            return ""
        form = ("blank", "stars", "null")[contact.id % 3] if habits.no_tags == "mixed" else habits.no_tags
        return {"blank": "", "stars": "*/*", "null": None}[form]

    def _dlm(self, contact: Contact, seen: float) -> str:
        """Captured: it moves on by itself soon after a write."""
        drifted = contact.updated + self._habits().drift_seconds
        return str(int(drifted if seen >= drifted else contact.updated))

    # --- writing -----------------------------------------------------------------------------------------------

    def write(self, contact: int, cells: dict[str, str], at: float, who: str) -> None:
        """Puts these values into these columns."""
        values: dict[str, Any] = {_NAMES[name]: text for name, text in cells.items() if name in _NAMES}
        fields = {self.number(name): text for name, text in cells.items() if name not in _NAMES}
        self.change(contact, at, who, fields=fields, **values)

    def create(self, cells: dict[str, str], at: float, who: str) -> Contact:
        values: dict[str, Any] = {_NAMES[name]: text for name, text in cells.items() if name in _NAMES}
        fields = {self.number(name): text for name, text in cells.items() if name not in _NAMES}
        return self.add(at, who, fields=fields, **{"email": "", **values})

    def add(self, at: float, who: str, **values: Any) -> Contact:
        made = super().add(at, who, **values)
        self._heard(Event("object_create", made.id, at))
        for tag in made.tags:
            self._heard(Event("sub_tag", made.id, at, tag))
        return made

    def set_tag(self, contact: int, tag: int, at: float, who: str, *, remove: bool = False) -> bool:
        changed = super().set_tag(contact, tag, at, who, remove=remove)
        if changed and self._habits().tags_move_dlm:
            self._put(replace(self._now(contact), updated=at), at)
        if changed:
            self._heard(Event("unsub_tag" if remove else "sub_tag", contact, at, tag))
        return changed

    def _heard(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)


def _id(contact: Contact, _: float) -> str:
    return str(contact.id)


def _date(contact: Contact, _: float) -> str:
    return str(int(contact.created))


def _unique_id(contact: Contact, _: float) -> str:
    """Three letters or digits of the id between what is the same for all: AAA11AA."""
    number, text = contact.id, ""
    for _place in range(3):
        number, place = divmod(number, len(_LETTERS))
        text = _LETTERS[place] + text
    return f"{text}11AA"
