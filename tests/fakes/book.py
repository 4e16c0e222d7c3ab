"""What a fake CRM knows: contacts, tags and fields, each with its past, so that lists may show an older state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact at one moment. `fields` by their id, `tags` by theirs with the moment each was put on."""

    id: int
    email: str
    first_name: str = ""
    last_name: str = ""
    fields: Mapping[int, str] = field(default_factory=dict)
    tags: Mapping[int, float] = field(default_factory=dict)
    created: float = 0
    updated: float = 0
    state: str = "active"  # of the subscription, where the vendor has one
    deleted: bool = False
    merged_into: int | None = None


class Book:
    """All contacts of one account. Moments in seconds since 1970, by the fake's own clock."""

    def __init__(self) -> None:
        self.tags: dict[int, str] = {}
        self.fields: dict[int, str] = {}
        self.writes: list[dict[str, Any]] = []
        self._pasts: dict[int, list[tuple[float, Contact]]] = {}

    # --- reading -----------------------------------------------------------------------------------------------

    def contact(self, contact: int, seen: float | None = None) -> Contact | None:
        """As it was at that moment, now if none is given; None if it wasn't there or is deleted."""
        found = self.with_deleted(contact, seen)
        return None if found is None or found.deleted else found

    def with_deleted(self, contact: int, seen: float | None = None) -> Contact | None:
        """The same, but a deleted one is found too."""
        past = self._pasts.get(contact, [])
        return next((state for at, state in reversed(past) if seen is None or at <= seen), None)

    def contacts(self, seen: float | None = None) -> list[Contact]:
        """All that are there, by id."""
        found = (self.contact(contact, seen) for contact in sorted(self._pasts))
        return [contact for contact in found if contact is not None]

    def by_email(self, email: str, seen: float | None = None) -> list[Contact]:
        return [one for one in self.contacts(seen) if one.email.lower() == email.lower()]

    def tag_named(self, name: str) -> int | None:
        return next((tag for tag, known in self.tags.items() if known == name), None)

    def field_named(self, label: str) -> int | None:
        return next((field_ for field_, known in self.fields.items() if known == label), None)

    # --- writing -----------------------------------------------------------------------------------------------

    def add(self, at: float, who: str, **values: Any) -> Contact:
        """A new contact; its id is the next free one unless given."""
        number = values.pop("id", None) or max(self._pasts, default=0) + 1
        made = Contact(id=number, created=at, updated=at, **values)
        self._pasts[number] = [(at, made)]
        self._log(at, who, number, "contact-add", made.email)
        return made

    def change(self, contact: int, at: float, who: str, **values: Any) -> Contact:
        """Other names, e-mail, state, fields (those given), or its end (`deleted`, `merged_into`)."""
        now = self._now(contact)
        if values.get("state", now.state) != now.state:
            self._log(at, who, contact, "state-set", values["state"])
        values["fields"] = {**now.fields, **values.get("fields", {})}
        for key, value in values["fields"].items():
            if now.fields.get(key, "") != value:
                self._log(at, who, contact, "field-set", self.fields.get(key, str(key)), value)
        return self._put(replace(now, updated=at, **values), at)

    def set_tag(self, contact: int, tag: int, at: float, who: str, *, remove: bool = False) -> bool:
        """Whether that changed anything. It is logged in either case. `updated` stays: no vendor promises more."""
        now, tags = self._now(contact), dict(self._now(contact).tags)
        changed = (tag in tags) == remove
        self._log(at, who, contact, "tag-remove" if remove else "tag-add", self.tags[tag], changed=changed)
        if changed and remove:
            del tags[tag]
        elif changed:
            tags[tag] = at
        if changed:
            self._put(replace(now, tags=tags), at)
        return changed

    def new_tag(self, name: str) -> int:
        return self._name(self.tags, name)

    def new_field(self, label: str) -> int:
        return self._name(self.fields, label)

    def _name(self, names: dict[int, str], name: str) -> int:
        number = max(names, default=0) + 1
        names[number] = name
        return number

    def _now(self, contact: int) -> Contact:
        return self._pasts[contact][-1][1]

    def _put(self, contact: Contact, at: float) -> Contact:
        self._pasts[contact.id].append((at, contact))
        return contact

    def _log(
        self, at: float, who: str, contact: int, what: str, subject: str, value: str = "", *, changed: bool = True
    ) -> None:
        number = len(self.writes) + 1
        self.writes.append(
            {"id": number, "at": at, "who": who, "contact": contact, "what": what}
            | {"detail": subject, "value": value, "changed": changed}
        )


def invented(count: int) -> Iterable[dict[str, Any]]:
    """So many people who don't exist."""
    first, last = ("Ada", "Ben", "Cleo", "Dora", "Emil", "Fay"), ("Adler", "Brook", "Castle", "Dale", "Ely")
    for n in range(1, count + 1):
        one, other = first[n % len(first)], last[n % len(last)]
        yield {"email": f"{one}.{other}.{n}@example.com".lower(), "first_name": one, "last_name": other}
