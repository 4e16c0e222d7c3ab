"""A fake Keap account: its switches, what it knows besides names and tags, and how it refuses."""

import json
import re
from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from aiohttp import web

from tests.fakes import base
from tests.fakes.book import Book, Contact

V1, V2 = "/crm/rest/v1", "/crm/rest/v2"
SHORT = web.RequestKey("SHORT", bool)  # a page with fewer rows than asked for
# Type names of v1; those of v2 are the same in capitals with underscores.
_WORDS = (
    "Currency Date DateTime DayOfWeek Drilldown Email Month ListBox Name WholeNumber DecimalNumber Percent PhoneNumber "
    "Radio Dropdown SocialSecurityNumber State Text TextArea User UserListBox Website Year YesNo"
)
FIELD_TYPES = _WORDS.split()
NUMBERS = {"Currency", "WholeNumber", "DecimalNumber", "Percent", "Year", "Month", "DayOfWeek", "User"}
DATES = {"Date", "DateTime"}
LONGEST_TEXT = 65_535


@dataclass(frozen=True, slots=True)
class Settings(base.Settings):
    """What nobody could tell us of Keap, each with the likelier answer as its default."""

    tag_ids_in_lists: bool = True  # whether rows of the v2 list carry `tag_ids` when asked for
    groups_in_lists: bool = True  # the same for `groups`
    empty_tags: str = "list"  # or absent: what a contact without tags carries as `tag_ids`
    tagging_updates: bool = False  # whether tagging moves `update_time`, and is a contact.edit
    v1_unset_field: str = "null"  # or absent, empty: a custom field without a value
    v2_unset_field: str = "absent"
    v2_unset_property: str = "null"  # or absent, empty
    milliseconds: bool = True  # whether v2 shows them
    last_token: str = "empty"  # or absent, null: `next_page_token` of the last page
    token_as_url: bool = False
    token_repeats: bool = False  # every page names itself as the next
    cursor: str = "key"  # or offset, which skips rows when others move meanwhile
    plus_is_space: bool = False  # whether a plus in a v2 query is read as a space
    v2_patch: str = "replaces"  # or merges: what becomes of list items that a PATCH leaves out
    escapes: bool = False  # whether v2 keeps & and < as &amp; and &lt;
    same_tag_name: str = "refused"  # or found, second: the answer to another tag of that name
    tag_results: str = "map"  # or list: what v1 says of tags put on
    most_tagged: int = 0  # contacts that applyTags takes, 0 for any number
    merged: str = "404"  # or redirect, survivor: the answer to an id merged into another
    longest_url: int = 7168  # characters of path and query, as Apigee has it by default
    v1_errors: str = "message"  # or envelope: v1's own errors look like v2's
    # OAuth
    token_seconds: int = 86_400
    refresh_days: int = 45
    refresh_ends_access: bool = False  # whether a refresh ends the access token before its time
    expired_as: str = "expired"  # or invalid: how an expired access token is refused
    # limits
    limit_body: str = "quota"  # or apigee
    retry_after: bool = False
    day_used: int = 0  # calls this key or client made before
    tenant_minute_used: int = 0  # calls of the owner's other programs
    tenant_day_used: int = 0
    # REST hooks
    verifies: str = "during"  # or after: whether creating a hook waits for its verification
    second_hook: str = "allowed"  # or refused: another hook for the same event
    hook_timeout_seconds: float = 30
    api_urls: str = "mixed"  # or all, none: whether an event's objects carry `apiUrl`
    tag_hooks: str = "contacts"  # or tags: whether events of tags tell whose
    old_hook_key: bool = False  # `object_key`, as very old hooks had it
    hook_duplicates: float = 0  # the share of posts that is sent twice
    hook_disorder: bool = False


class Refused(Exception):
    """The application's no, in the words of the version asked."""

    def __init__(self, status: int, message: str, resource: str = "contact") -> None:
        super().__init__(message)
        self.status, self.message, self.resource = status, message, resource


_STATUS = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ALREADY_EXISTS", 500: "INTERNAL"}


def refusal(request: web.Request, no: Refused, settings: Settings) -> web.Response:
    if request.path.startswith(V1) and settings.v1_errors == "message":
        return answer({"message": no.message}, no.status)
    details = [{"domain": "", "resource": no.resource}]
    status = _STATUS.get(no.status, "UNKNOWN")
    return answer({"code": no.status, "message": no.message, "status": status, "details": details}, no.status)


def answer(content: object, status: int = 200) -> web.Response:
    return web.json_response(content, status=status, dumps=compact)


def compact(content: object) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def fault(status: int, sentence: str, code: str) -> web.Response:
    """The gateway's no: Apigee's own envelope, never the application's."""
    return answer({"fault": {"faultstring": sentence, "detail": {"errorcode": code}}}, status)


def stamp(at: float, *, milliseconds: bool) -> str:
    shown = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds" if milliseconds else "seconds")
    return shown.replace("+00:00", "Z")


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:?\d\d)")


def moment(text: str) -> float:
    """Seconds since 1970. Raises Refused on all but a full date, time, milliseconds and zone."""
    try:
        if _MOMENT.fullmatch(text):
            return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    raise Refused(400, f"Invalid date-time: {text}")


async def content_of(request: web.Request) -> dict[str, Any]:
    """The JSON object of a body. Raises Refused if it is none."""
    try:
        content = await request.json()
    except ValueError:
        raise Refused(400, "Could not parse request body") from None
    if not isinstance(content, dict):
        raise Refused(400, "Could not parse request body")
    return content


@dataclass(frozen=True, slots=True)
class FieldKind:
    """A custom field besides its label; `type` as v1 names it."""

    name: str
    type: str = "Text"
    options: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TagKind:
    """A tag besides its name."""

    description: str = ""
    category: int | None = None
    created: float = 0
    updated: float = 0


@dataclass(slots=True)
class Change:
    """What a write asks for, whichever version it came by. None: the list wasn't in the body."""

    names: dict[str, str] = field(default_factory=dict)
    emails: list[dict[str, Any]] | None = None
    fields: dict[int, str] | None = None
    rest: dict[str, Any] = field(default_factory=dict)

    def first_email(self) -> str:
        return next((one["email"] for one in self.emails or () if one["field"] == "EMAIL1"), "")


class WatchedBook(Book):
    """Tells what happens in it: told(event key, tag or 0, contact or 0, moment)."""

    def __init__(self, told: Callable[[str, int, int, float], None], account: "Account") -> None:
        super().__init__()
        self._told, self._account = told, account

    def add(self, at: float, who: str, **values: Any) -> Contact:
        made = super().add(at, who, **values)
        self._told("contact.add", 0, made.id, at)
        for tag in made.tags:
            self._told("contactGroup.applied", tag, made.id, at)
        return made

    def set_tag(self, contact: int, tag: int, at: float, who: str, *, remove: bool = False) -> bool:
        changed = super().set_tag(contact, tag, at, who, remove=remove)
        if changed and self._account.settings.tagging_updates:
            self._put(replace(self._now(contact), updated=at), at)
        return changed

    def new_tag(self, name: str) -> int:
        made = super().new_tag(name)
        self._account.set_tag_kind(made)
        self._told("contactGroup.add", made, 0, self._account.now())
        return made

    def _put(self, contact: Contact, at: float) -> Contact:
        before = self._now(contact.id)
        for tag in contact.tags.keys() - before.tags.keys():
            self._told("contactGroup.applied", tag, contact.id, at)
        for tag in before.tags.keys() - contact.tags.keys():
            self._told("contactGroup.removed", tag, contact.id, at)
        if contact.deleted and not before.deleted:
            self._told("contact.delete", 0, contact.id, at)
        elif replace(contact, tags=before.tags) != before:
            self._told("contact.edit", 0, contact.id, at)
        return super()._put(contact, at)


class Account(base.Fake, ABC):
    """What both versions of the API read and write."""

    settings_class: ClassVar[type[Settings]] = Settings
    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self.book = WatchedBook(self.told, self)
        self.categories: dict[int, str] = {}
        self._extras: dict[int, dict[str, Any]] = {}  # contact → other properties, under v2's names
        self._field_kinds: dict[int, FieldKind] = {}
        self._tag_kinds: dict[int, TagKind] = {}

    def told(self, event: str, tag: int, contact: int, at: float) -> None:
        """Something happened that a REST hook may tell."""

    def now(self) -> float:
        """In whole milliseconds, so that what is shown of a moment finds it again."""
        return round(super().now(), 3)

    # --- reading -----------------------------------------------------------------------------------------------

    def field_kind(self, number: int) -> FieldKind:
        """A field made by its label alone is a text."""
        kind = self._field_kinds.get(number)
        return kind or self.set_field_kind(number, "Text")

    def set_field_kind(
        self, number: int, type_: str, name: str = "", options: tuple[Mapping[str, str], ...] = ()
    ) -> FieldKind:
        stem = name or re.sub(r"\W", "", self.book.fields[number]) or "Custom"
        taken = {kind.name.lower() for kind in self._field_kinds.values()}
        free = (stem + (str(n) if n else "") for n in range(len(taken) + 1))
        kind = FieldKind(next(one for one in free if one.lower() not in taken), type_, options)
        self._field_kinds[number] = kind
        return kind

    def field_by_name(self, name: str) -> int | None:
        return next((one for one in self.book.fields if self.field_kind(one).name.lower() == name.lower()), None)

    def tag_kind(self, number: int) -> TagKind:
        if number not in self._tag_kinds:
            self.set_tag_kind(number)
        return self._tag_kinds[number]

    def set_tag_kind(self, number: int, description: str = "", category: int | None = None) -> None:
        now = self.now()
        self._tag_kinds[number] = TagKind(description, category, now, now)

    def extras(self, contact: int) -> dict[str, Any]:
        """Properties besides names, e-mail, fields and tags, as v2 shows them."""
        return self._extras.setdefault(contact, {})

    def emails(self, contact: Contact) -> list[dict[str, Any]]:
        kept = {one["field"]: one for one in self.extras(contact.id).get("email_addresses", ())}
        first = kept.pop("EMAIL1", {})
        rows = [{"email": contact.email, "field": "EMAIL1"} | first | {"email": contact.email}]
        return [*(rows if contact.email else ()), *kept.values()]

    def values(self, contact: Contact, unset: str) -> list[tuple[int, object]]:
        """Custom fields by id with their content; `unset` is what one without a value looks like."""
        blank = None if unset == "null" else ""
        shown = ((one, self._content(one, contact.fields.get(one, ""))) for one in sorted(self.book.fields))
        return [
            (one, blank if content == "" else content) for one, content in shown if content != "" or unset != "absent"
        ]

    def _content(self, number: int, text: str) -> object:
        if text == "" or self.field_kind(number).type not in NUMBERS:
            return text
        return float(text) if "." in text else int(text)

    def read(self, number: str, seen: float | None = None) -> Contact:
        """The contact of that id. Raises Refused (404) if there is none, or as `merged` says."""
        known = self.book.with_deleted(int(number), seen) if number.isdigit() and len(number) < 19 else None
        if known is None or (known.deleted and known.merged_into is None):
            raise Refused(404, "Contact not found")
        if known.merged_into is None:
            return known
        survivor = self.read(str(known.merged_into), seen)
        if self.settings.merged == "survivor":
            return survivor
        if self.settings.merged == "redirect":
            raise Moved(survivor.id)
        raise Refused(404, "Contact not found")

    def tag(self, number: str) -> int:
        """Raises Refused (404) if there is no such tag."""
        if not number.isdigit() or int(number) not in self.book.tags:
            raise Refused(404, "Tag not found", "tag")
        return int(number)

    # --- writing -----------------------------------------------------------------------------------------------

    def write(self, contact: Contact | None, change: Change, *, replaces: bool) -> Contact:
        """Makes a contact, or changes one. `replaces`: what a list leaves out is gone."""
        now, values = self.now(), dict[str, Any](change.names)
        if change.emails is not None:
            keeps = {} if contact is None or replaces else {one["field"]: one for one in self.emails(contact)}
            change.emails = list((keeps | {one["field"]: one for one in change.emails}).values())
            values["email"] = change.first_email()
        if change.fields is not None:
            gone = dict.fromkeys(contact.fields, "") if contact is not None and replaces else {}
            values["fields"] = gone | change.fields
        if contact is None:
            contact = self.book.add(now, "api", **{"email": "", **values})
        else:
            contact = self.book.change(contact.id, now, "api", **values)
        kept = self.extras(contact.id)
        if change.emails is not None:
            kept["email_addresses"] = change.emails
        for name, value in change.rest.items():
            kept[name] = value if replaces or not isinstance(value, list) else _merged(kept.get(name, []), value)
        return contact

    def matching(self, change: Change, option: str) -> Contact | None:
        """The contact that a `duplicate_option` means, the oldest of several."""
        found = self.book.by_email(change.first_email()) if change.first_email() else []
        if option != "Email":
            found = [one for one in found if _same_names(one, change)]
        if option == "EmailAndNameAndCompany":
            found = [one for one in found if self.extras(one.id).get("company") == change.rest.get("company")]
        return found[0] if found else None

    def text(self, number: object, content: object) -> str:
        """What is kept of a custom field's content. Raises Refused on an unknown field or too much."""
        if not str(number).isdigit() or int(str(number)) not in self.book.fields:
            raise Refused(400, f"Custom field not found: {number}", "custom_field")
        kept = "" if content is None else str(content)
        if len(kept) > LONGEST_TEXT:
            raise Refused(400, "Custom field content is too long", "custom_field")
        if kept and self.field_kind(int(str(number))).type in NUMBERS and not re.fullmatch(r"-?\d+(\.\d+)?", kept):
            raise Refused(400, "Custom field content is not a number", "custom_field")
        return kept

    def new_tag(self, name: object, description: object, category: object) -> tuple[int, bool]:
        """The tag's id, and whether it is new. Raises Refused on a name too long, missing or, mostly, taken."""
        if not isinstance(name, str) or not 0 < len(name) <= 255:
            raise Refused(400, "Tag name must have 1 to 255 characters", "tag")
        number = int(str(category["id"])) if isinstance(category, dict) else None
        if number is not None and number not in self.categories:
            raise Refused(400, "Tag category not found", "tag_category")
        known = self.book.tag_named(name)
        if known is not None and self.settings.same_tag_name == "found":
            return known, False
        if known is not None and self.settings.same_tag_name == "refused":
            raise Refused(409, "Tag already exists", "tag")
        made = self.book.new_tag(name)
        self.set_tag_kind(made, str(description or ""), number)
        return made, True

    def merge(self, into: Contact, old: Contact) -> Contact:
        """`old` is gone; its tags live on."""
        for tag in old.tags:
            if tag not in into.tags:
                self.book.set_tag(into.id, tag, self.now(), "merge")
        self.book.change(old.id, self.now(), "merge", deleted=True, merged_into=into.id)
        return self.read(str(into.id))

    # --- steering ----------------------------------------------------------------------------------------------

    async def set_up(self, request: web.Request) -> web.Response:
        """`tags` and `fields` with ids of the test's choice, `categories` by id, `extras` of contacts by id."""
        content = await request.json()
        self.categories |= {int(one): name for one, name in content.get("categories", {}).items()}
        for tag in content.get("tags", ()):
            self.book.tags[tag["id"]] = tag["name"]
            self.set_tag_kind(tag["id"], tag.get("description", ""), tag.get("category"))
            self._tag_kinds[tag["id"]] = replace(self.tag_kind(tag["id"]), **tag.get("times", {}))
        for one in content.get("fields", ()):
            self.book.fields[one["id"]] = one["label"]
            self.set_field_kind(one["id"], one.get("type", "Text"), one.get("name", ""), tuple(one.get("options", ())))
        for contact, extras in content.get("extras", {}).items():
            self.extras(int(contact)).update(extras)
        return web.json_response({"fields": {one: asdict(self.field_kind(one)) for one in self.book.fields}})


class Moved(Exception):
    """The id lives on as another one."""

    def __init__(self, contact: int) -> None:
        super().__init__(contact)
        self.contact = contact


def _merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items that name a slot take the place of what was there."""
    slots = {one.get("field", one.get("type")): one for one in old} | {
        one.get("field", one.get("type")): one for one in new
    }
    return list(slots.values())


def _same_names(contact: Contact, change: Change) -> bool:
    return (contact.first_name, contact.last_name) == (
        change.names.get("first_name", ""),
        change.names.get("last_name", ""),
    )
