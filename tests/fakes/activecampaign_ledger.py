"""What the fake ActiveCampaign knows besides contacts, tags and fields: lists, kinds, and the ids of its links.

A tag on a contact is a row with an id of its own, and so is a field's value; both ids are unlike those of the tag,
the field and the contact, so that code which mixes them up fails.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.fakes import base
from tests.fakes.book import Book, Contact

DETAILS = ("phone", "orgname", "customer_acct_name", "ip", "status", "lists")


@dataclass(frozen=True, slots=True)
class Settings(base.Settings):
    """Besides the shared ones, a switch for whatever nobody could settle (facts, section 7). Defaults: the likelier."""

    tag_moves_udate: bool = False  # whether a tag put on or taken off moves the contact's udate
    repeat_tag_status: int = 201  # POST /contactTags of a tag that is on already: 200, 201 or 422
    duplicate_tag: str = "422"  # POST /tags of a name that is there: "422", "existing" or "new" (a second one)
    sync_known_status: int = 200  # POST /contact/sync of a known address: 200 or 201
    created_field_as: str = "field"  # POST /fields answers one "field", or "fields" as the description shows
    unknown_field: str = "ignored"  # a value for a field that isn't there: "ignored" or "422"
    empty_sideloads: bool = True  # whether a contact without tags or values has the keys, empty
    hide_listless: bool = False  # whether list calls leave out who is on no list
    most_ids: int = 0  # more ids[] than that get a 400; 0: any number, in pages as ever
    deleted_shows: str = "404"  # a deleted contact by id: "404", or an "address" deleted+<id>@...
    empty_dates: bool = False  # whether a date can be emptied
    import_seconds: float = 5  # how long the importer takes, by the fake's clock
    admin_source: str = "admin"  # whom global hooks name for changes by the admin API: public, admin or system
    duplicate_rate: float = 0  # the share of hooks that are sent twice
    hook_timeout_seconds: float = 5
    empty_fields_in_hooks: bool = False  # whether the automation's hook names fields without a value


@dataclass(frozen=True, slots=True)
class Details:
    """What the shared contact has no place for. `lists`: by id, when the contact was put on."""

    phone: str = ""
    orgname: str = ""
    customer_acct_name: str = ""
    ip: str = "127.0.0.1"
    status: int = 1
    lists: Mapping[int, float] | None = None


@dataclass(frozen=True, slots=True)
class TagNote:
    kind: str
    description: str
    created: float


@dataclass(frozen=True, slots=True)
class FieldNote:
    kind: str
    perstag: str
    description: str
    created: float


@dataclass(frozen=True, slots=True)
class Value:
    """The row of one field's value at one contact."""

    id: int
    created: float
    updated: float


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a global hook or an automation may be told. `who`: api, admin, merge, import, import-quiet."""

    kind: str
    contact: int
    who: str
    at: float
    tag: int = 0


Listener = Callable[[Event], None]


class Ledger(Book):
    """The account's book, which tells `listener` what happens and numbers links and values."""

    def __init__(self, now: Callable[[], float], settings: Callable[[], Settings]) -> None:
        super().__init__()
        self._now_by_clock, self._settings = now, settings
        self.listener: Listener = lambda event: None
        self.details: dict[int, Details] = {}
        self._addresses: defaultdict[str, set[int]] = defaultdict(set)  # who has or had it: an import looks up many
        self.tag_notes: dict[int, TagNote] = {}
        self.field_notes: dict[int, FieldNote] = {}
        self.relations: dict[int, tuple[int, int, float]] = {}  # id → field, list (0: all), when made
        self.links: dict[int, tuple[int, int, float]] = {}  # id → contact, tag, when it was put on
        self.values: dict[tuple[int, int], Value] = {}  # contact and field → row
        self._link_ids: dict[tuple[int, int, float], int] = {}
        self._link_numbers = itertools.count(4001)  # far from the ids of tags and contacts
        self.new_tag("Newsletter layout", kind="template")  # every account has some, mixed among the others

    # --- contacts ----------------------------------------------------------------------------------------------

    def add(self, at: float, who: str, **values: Any) -> Contact:
        details = self._taken(values)
        lists = {int(number): at for number in details.pop("lists", (1,) if who in {"first", "admin"} else ())}
        made = super().add(at, who, **values)
        self._addresses[made.email.lower()].add(made.id)
        self.details[made.id] = Details(lists=lists, **details)
        self._number_values(made.id, made.fields, at)
        for tag in made.tags:
            self._link(made.id, tag, at)
            self._tell("contact_tag_added", made.id, who, at, tag)
        for _ in lists:
            self._tell("subscribe", made.id, who, at)
        return made

    def change(self, contact: int, at: float, who: str, **values: Any) -> Contact:
        details = self._taken(values)
        lists = details.pop("lists", None)
        self.details[contact] = replace(self.details[contact], **details)
        self._number_values(contact, values.get("fields", {}), at)
        changed = super().change(contact, at, who, **values)
        self._addresses[changed.email.lower()].add(contact)
        if lists is not None:
            self._put_on_lists(contact, {int(number) for number in lists}, at, who)
        elif not values.get("deleted"):
            self._tell("update", contact, who, at)
        return changed

    def by_email(self, email: str, seen: float | None = None) -> list[Contact]:
        found = (self.contact(contact, seen) for contact in sorted(self._addresses[email.lower()]))
        return [one for one in found if one is not None and one.email.lower() == email.lower()]

    def shown(self, contact: int, seen: float | None = None) -> Contact | None:
        """As the API shows it: a deleted one is gone, or has the address by which ActiveCampaign marks it."""
        found = self.with_deleted(contact, seen)
        if found is None or not found.deleted:
            return found
        if self._settings().deleted_shows != "address":
            return None
        return replace(found, email=f"deleted+{contact}@example.com", tags={}, fields={})

    def all_shown(self, seen: float | None = None) -> list[Contact]:
        found = (self.shown(contact, seen) for contact in self.details)
        return [one for one in found if one is not None]

    def _taken(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: values.pop(name) for name in DETAILS if name in values}

    def _put_on_lists(self, contact: int, wanted: set[int], at: float, who: str) -> None:
        had = self.details[contact].lists or {}
        lists = {number: had.get(number, at) for number in sorted(wanted)}
        self.details[contact] = replace(self.details[contact], lists=lists)
        for _ in wanted - set(had):
            self._tell("subscribe", contact, who, at)
        for _ in set(had) - wanted:
            self._tell("unsubscribe", contact, who, at)

    # --- tags --------------------------------------------------------------------------------------------------

    def new_tag(self, name: str, kind: str = "contact", description: str = "") -> int:
        number = super().new_tag(name)
        self.tag_notes[number] = TagNote(kind, description, self._now_by_clock())
        return number

    def tag_named(self, name: str) -> int | None:
        """A contact's tag: one for templates may have the same name."""
        named = (tag for tag, known in self.tags.items() if known == name)
        return next((tag for tag in named if self.tag_notes[tag].kind == "contact"), None)

    def set_tag(self, contact: int, tag: int, at: float, who: str, *, remove: bool = False) -> bool:
        changed = super().set_tag(contact, tag, at, who, remove=remove)
        if changed and not remove:
            self._link(contact, tag, at)
        if changed and self._settings().tag_moves_udate:
            super().change(contact, at, who)
        if changed:
            self._tell("contact_tag_removed" if remove else "contact_tag_added", contact, who, at, tag)
        return changed

    def drop_tag(self, tag: int, at: float, who: str) -> None:
        """Deletes the tag itself, off all contacts."""
        for contact in self.contacts():
            if tag in contact.tags:
                self.set_tag(contact.id, tag, at, who, remove=True)
        del self.tags[tag]

    def links_of(self, contact: Contact) -> list[int]:
        """The ids of the rows that say which tags this contact has."""
        return [self._link_ids[contact.id, tag, at] for tag, at in contact.tags.items() if tag in self.tags]

    def is_on(self, link: int) -> bool:
        contact, tag, at = self.links.get(link, (0, 0, 0.0))
        found = self.contact(contact)
        return found is not None and found.tags.get(tag) == at

    def _link(self, contact: int, tag: int, at: float) -> None:
        number = next(self._link_numbers)
        self.links[number] = (contact, tag, at)
        self._link_ids[contact, tag, at] = number

    # --- fields ------------------------------------------------------------------------------------------------

    def new_field(self, label: str, kind: str = "text", perstag: str = "", description: str = "") -> int:
        number = super().new_field(label)
        wanted = perstag or label.upper().replace(" ", "_")
        taken = {note.perstag for note in self.field_notes.values()}
        unique = wanted if wanted not in taken else f"{wanted}_{number}"
        self.field_notes[number] = FieldNote(kind, unique, description, self._now_by_clock())
        return number

    def relate(self, field: int, to: int, at: float) -> int:
        """Attaches a field to a list; 0 means all."""
        number = len(self.relations) + 1
        self.relations[number] = (field, to, at)
        return number

    def values_of(self, contact: Contact) -> list[tuple[int, str, Value]]:
        """(field, value, row) for every field that has a row at this contact."""
        rows = ((field, value, self.values.get((contact.id, field))) for field, value in contact.fields.items())
        return [(field, value, row) for field, value, row in rows if row is not None]

    def _number_values(self, contact: int, fields: Iterable[int], at: float) -> None:
        for field in fields:
            old = self.values.get((contact, field))
            number = old.id if old else 9001 + len(self.values)
            self.values[contact, field] = Value(number, old.created if old else at, at)

    def _tell(self, kind: str, contact: int, who: str, at: float, tag: int = 0) -> None:
        if who != "first":  # those were always there
            self.listener(Event(kind, contact, who, at, tag))
