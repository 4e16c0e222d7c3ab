"""The shapes of the fake Kit's answers: subscribers, tags, fields, times, pages."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.fakes.book import Book, Contact
from tests.fakes.kit_settings import Settings

_ATTRIBUTION = (
    "referrer utm_source utm_medium utm_campaign utm_term utm_content "
    "source_type source_name source_mechanism source_mechanism_id"
)


CUT = web.RequestKey("cut", bool)  # the page of this call is to be cut short


class Refused(Exception):
    """A call that gets an error: its status and sentences."""

    def __init__(self, status: int, *sentences: str) -> None:
        super().__init__(*sentences)
        self.status, self.sentences = status, sentences

    def answer(self) -> web.Response:
        return answer({"errors": list(self.sentences)}, self.status)


def answer(content: Any, status: int = 200) -> web.Response:
    """As Kit writes JSON: without spaces, letters as they are."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return web.Response(status=status, text=text, content_type="application/json")


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object that was sent; {} if nothing was. Refuses what is none."""
    text = await request.text()
    try:
        content = json.loads(text or "{}")
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Refused(400, "The request is not valid JSON")
    return content


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_ms(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_us(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


def moment(text: str, name: str) -> float:
    """Of `yyyy-mm-dd` (midnight, UTC) or a full time. Refuses anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(422, f"The {name} param is not a date") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def key_of(label: str) -> str:
    """The key that Kit makes of a field's label: ASCII, lower case, underscores."""
    kept = "".join(one if one.isascii() and one.isalnum() else " " for one in label.lower())
    return "_".join(kept.split())


class Rows:
    """Makes rows of what the book knows."""

    def __init__(self, book: Book, settings: Callable[[], Settings]) -> None:
        self._book, self._settings = book, settings
        self.names: dict[int, str] = {}  # of fields; a name stays when the label changes
        self.made: dict[int, float] = {}  # when each tag was made
        self.state_since: dict[int, float] = {}  # when each subscriber's state last changed

    def fields(self, contact: Contact, *, unset: bool = True, by_label: bool = False) -> dict[str, str | None]:
        """Values by key, in the order of the keys; null where there is none, or left out."""
        found = {}
        for number, label in self._book.fields.items():
            value = contact.fields.get(number)
            if not value and key_of(label) == "last_name":
                value = contact.last_name or value
            if value == "" and self._settings().empty_is_null:
                value = None
            if unset or value is not None:
                found[label if by_label else key_of(label)] = value
        return dict(sorted(found.items()))

    def single(self, contact: Contact, **more: Any) -> dict[str, Any]:
        """As upsert and update answer."""
        return self._head(contact) | {"fields": self.fields(contact)} | more

    def tagged(self, contact: Contact, tag: int, *, slim: bool = False) -> dict[str, Any]:
        """As tagging and a tag's list answer."""
        row = self._head(contact) | {"tagged_at": iso(contact.tags.get(tag, 0))}
        return row if slim else row | {"fields": self.fields(contact)}

    def bulk_tagged(self, contact: Contact, tag: int) -> dict[str, Any]:
        row = self._head(contact) | {"tagged_at": iso(contact.tags[tag])}
        del row["state"]
        return row

    def listed(self, contact: Contact, include: set[str], slim: bool) -> dict[str, Any]:
        """As the list of subscribers answers, which has an order of its own."""
        row: dict[str, Any] = {"id": contact.id, "state": contact.state, **self._head(contact)}
        if not slim:
            row["fields"] = self.fields(contact, unset=self._settings().unset_in_list)
        if "attribution" in include:
            row["attribution"] = dict.fromkeys(_ATTRIBUTION.split())
        if "tags" in include and (contact.tags or not self._settings().empty_tags_missing):
            row["tags"] = self._tags(contact)
        if "location" in include:
            row["location"] = None
        if "canceled_at" in include:
            row["canceled_at"] = self.ended(contact)
        return row

    def ended(self, contact: Contact) -> str | None:
        """When a subscription was cancelled."""
        return iso(self.state_since.get(contact.id, contact.created)) if contact.state == "cancelled" else None

    def tag_of(self, contact: Contact, tag: int) -> dict[str, Any]:
        return {"id": tag, "name": self._book.tags[tag], "tagged_at": iso(contact.tags[tag])}

    def filtered(self, contact: Contact, include: set[str]) -> dict[str, Any]:
        """As the filter answers: ids are strings there."""
        tags = [tag for tag in sorted(contact.tags) if tag in self._book.tags]
        head = self._head(contact)
        del head["state"]
        row = head | {"id": str(contact.id), "tag_names": [self._book.tags[tag] for tag in tags]}
        row["tag_ids"] = [str(tag) for tag in tags]
        if "tags" in include:
            row["tags"] = self._tags(contact)
        if "custom_fields" in include:
            row["fields"] = self.fields(contact)
        return row

    def legacy(self, contact: Contact) -> dict[str, Any]:
        """As a legacy webhook tells: fields by their labels, a time with milliseconds."""
        row = self._head(contact) | {"created_at": iso_ms(contact.created)}
        return row | {"fields": self.fields(contact, by_label=True)}

    def tag(self, number: int, at: float) -> dict[str, Any]:
        made = iso(self.made.setdefault(number, at))
        return {"id": number, "name": self._book.tags[number], "created_at": made}

    def field(self, number: int) -> dict[str, Any]:
        label = self._book.fields[number]
        name = self.names.setdefault(number, f"ck_field_{number}_{key_of(label)}")
        return {"id": number, "name": name, "key": key_of(label), "label": label}

    def _tags(self, contact: Contact) -> list[dict[str, Any]]:
        """Without those that are no more, which a list that lags may still see."""
        return [{"id": tag, "name": self._book.tags[tag]} for tag in sorted(contact.tags) if tag in self._book.tags]

    def _head(self, contact: Contact) -> dict[str, Any]:
        names = {"id": contact.id, "first_name": contact.first_name or None, "email_address": contact.email}
        return names | {"state": contact.state, "created_at": iso(contact.created)}


# --- pages -----------------------------------------------------------------------------------------------------


def cursor(key: Sequence[Any], *, padded: bool = False) -> str:
    """A place in a list, in base64. `padded`: it ends in = whatever is in it."""
    text = json.dumps(key, separators=(",", ":"))
    while padded and len(text) % 3 == 0:
        text += " "
    return base64.b64encode(text.encode()).decode()


def _place(text: str, name: str) -> list[Any]:
    try:
        found = json.loads(base64.b64decode(text, validate=True))
    except ValueError:
        raise Refused(422, f"The {name} param is not a cursor of this list") from None
    if not isinstance(found, list):
        raise Refused(422, f"The {name} param is not a cursor of this list")
    return found


def per_page(wanted: Mapping[str, Any]) -> int:
    """500 if nothing or nonsense is asked for, at most 1000."""
    asked = str(wanted.get("per_page") or "")
    return min(int(asked), 1000) if asked.isdigit() and int(asked) else 500


def page(
    name: str,
    rows: Iterable[tuple[list[Any], Any]],
    wanted: Mapping[str, Any],
    shown: Callable[[Any], dict[str, Any]],
    *,
    newest_first: bool = False,
    padded: bool = False,
) -> dict[str, Any]:
    """One page of `rows` (each with the key it is sorted by) as `wanted` asks, and where it lies."""
    found = sorted(rows, key=lambda row: row[0], reverse=newest_first)
    start, stop = _cut([key for key, _ in found], wanted, newest_first)
    cut = found[start:stop]
    place: dict[str, Any] = {
        "has_previous_page": start > 0,
        "has_next_page": stop < len(found),
        "start_cursor": cursor(cut[0][0], padded=padded) if cut else None,
        "end_cursor": cursor(cut[-1][0], padded=padded) if cut else None,
        "per_page": per_page(wanted),
    }
    if str(wanted.get("include_total_count")).lower() == "true":
        place["total_count"] = len(found)
    return {name: [shown(row) for _, row in cut], "pagination": place}


def _cut(keys: list[list[Any]], wanted: Mapping[str, Any], newest_first: bool) -> tuple[int, int]:
    """From where to where a page goes."""

    def beyond(key: list[Any], mark: list[Any]) -> bool:
        return key < mark if newest_first else key > mark

    size, after, before = per_page(wanted), wanted.get("after"), wanted.get("before")
    try:
        if after:
            mark = _place(str(after), "after")
            start = sum(not beyond(key, mark) for key in keys)
        elif before:
            mark = _place(str(before), "before")
            stop = sum(key != mark and not beyond(key, mark) for key in keys)
            return max(0, stop - size), stop
        else:
            start = 0
    except TypeError:  # a cursor of another list
        raise Refused(422, "The cursor is not one of this list") from None
    return start, min(start + size, len(keys))
