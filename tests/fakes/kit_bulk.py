"""The fake Kit's bulk calls: for tokens only; up to 100 entries at once, more later with a callback."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from aiohttp import web

from tests.fakes.book import Book
from tests.fakes.kit_rows import Refused, Rows, answer, iso
from tests.fakes.kit_settings import Settings
from tests.fakes.kit_tokens import INVALID, credential, refusal

AT_ONCE = 100
_FULL = (
    "This request exceeds your queued bulk requests limit. "
    "Please wait while we process your existing requests and try again later."
)
Row = Mapping[str, Any]
Work = Callable[[Row], dict[str, Any]]


class Account(Protocol):
    """What bulk work asks of the fake it belongs to."""

    book: Book
    rows: Rows
    settings: Any

    def now(self) -> float: ...
    def later(self, seconds: float, work: Callable[[], None]) -> None: ...
    def call_back(self, url: str, body: bytes) -> None: ...
    def upsert(self, given: Row) -> tuple[int, bool]: ...
    def set_fields(self, contact: int, values: Mapping[int, str]) -> None: ...
    def tag(self, contact: int, tag: int, *, remove: bool = False) -> bool: ...
    def drop_tag(self, tag: int) -> None: ...
    def tag_by_name(self, name: str) -> tuple[int, bool]: ...
    def field_by_label(self, label: str) -> tuple[int, bool]: ...


class Bulk:
    """Each call: a list of entries under `key`, worked off one by one; what fails is listed, and no error."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._queued = 0  # bytes

    def routes(self) -> Iterable[web.RouteDef]:
        calls: list[tuple[str, str, str, str, Work, str | None]] = [
            ("POST", "tags/subscribers", "taggings", "tagging", self._tag, "subscribers"),
            ("DELETE", "tags/subscribers", "taggings", "tagging", self._untag, None),
            (
                "POST",
                "custom_fields/subscribers",
                "custom_field_values",
                "custom_field_value",
                self._set,
                "custom_field_values",
            ),
            ("POST", "subscribers", "subscribers", "subscriber", self._subscriber, "subscribers"),
            ("POST", "tags", "tags", "tag", self._new_tag, "tags"),
            ("DELETE", "tags", "tags", "tag", self._drop_tag, None),
            ("POST", "custom_fields", "custom_fields", "custom_field", self._new_field, "custom_fields"),
        ]
        for method, path, key, entry, work, results in calls:
            yield web.route(method, f"/v4/bulk/{path}", self._call(key, entry, work, results))

    def _call(self, key: str, entry: str, work: Work, results: str | None) -> Callable[[web.Request], Any]:
        async def call(request: web.Request) -> web.Response:
            if credential(request)[0] != "token":
                return refusal(INVALID)
            text = await request.text()
            try:
                content = json.loads(text)
                entries = content.get(key)
            except (ValueError, AttributeError):
                entries = None
            if not isinstance(entries, list) or not entries or not all(isinstance(one, dict) for one in entries):
                raise Refused(422, f"No {key.replace('_', ' ')} included for processing")
            self._check_plan(key, entries)
            if len(entries) <= AT_ONCE:
                return answer(self._worked(entries, entry, work, results))
            self._queue(len(text), content.get("callback_url"), lambda: self._worked(entries, entry, work, results))
            return web.Response(status=202)

        return call

    def _check_plan(self, key: str, entries: list[Row]) -> None:
        """The plan's limit counts people of a request for new subscribers."""
        limit = self._account.settings.subscriber_limit
        if key == "subscribers" and limit and len(self._account.book.contacts()) + len(entries) > limit:
            raise Refused(403, "This request would exceed your subscriber limit")

    def _queue(self, size: int, callback: str | None, work: Callable[[], dict[str, Any]]) -> None:
        settings: Settings = self._account.settings
        if self._queued + size > settings.bulk_queue_bytes:
            raise Refused(413, _FULL)
        self._queued += size

        def done() -> None:
            self._queued -= size
            result = work()
            if callback:
                self._account.call_back(callback, json.dumps(result, separators=(",", ":")).encode())

        self._account.later(settings.bulk_seconds, done)

    @staticmethod
    def _worked(entries: list[Row], entry: str, work: Work, results: str | None) -> dict[str, Any]:
        """Results last first: Kit's own examples don't keep the order either."""
        rows: list[dict[str, Any]] = []
        failures: list[dict[str, Any]] = []
        for one in entries:
            try:
                rows.append(work(one))
            except Refused as refused:
                failures.append({"errors": list(refused.sentences), entry: one})
        return ({results: rows[::-1]} if results else {}) | {"failures": failures}

    # --- one entry each ----------------------------------------------------------------------------------------

    def _known(self, one: Row) -> tuple[int, int]:
        contact, tag = one.get("subscriber_id"), one.get("tag_id")
        if not isinstance(contact, int) or self._account.book.contact(contact) is None:
            raise Refused(422, "Subscriber does not exist")
        if tag not in self._account.book.tags:
            raise Refused(422, "Tag does not exist")
        return contact, tag

    def _tag(self, one: Row) -> dict[str, Any]:
        contact, tag = self._known(one)
        self._account.tag(contact, tag)
        found = self._account.book.contact(contact)
        assert found is not None
        return self._account.rows.bulk_tagged(found, tag)

    def _untag(self, one: Row) -> dict[str, Any]:
        self._account.tag(*self._known(one), remove=True)
        return {}

    def _set(self, one: Row) -> dict[str, Any]:
        contact, field = one.get("subscriber_id"), one.get("subscriber_custom_field_id")
        if not isinstance(contact, int) or self._account.book.contact(contact) is None:
            raise Refused(422, "Subscriber does not exist")
        if not isinstance(field, int) or field not in self._account.book.fields:
            raise Refused(422, "Custom field does not exist")
        value = "" if one.get("value") is None else str(one["value"])
        self._account.set_fields(contact, {field: value})
        return {"subscriber_id": contact, "subscriber_custom_field_id": field, "value": value}

    def _subscriber(self, one: Row) -> dict[str, Any]:
        contact, _ = self._account.upsert(one)
        found = self._account.book.contact(contact)
        assert found is not None
        row = self._account.rows.single(found)
        del row["fields"]
        return row

    def _new_tag(self, one: Row) -> dict[str, Any]:
        tag, _ = self._account.tag_by_name(str(one.get("name") or ""))
        return self._account.rows.tag(tag, self._account.now())

    def _drop_tag(self, one: Row) -> dict[str, Any]:
        if one.get("id") not in self._account.book.tags:
            raise Refused(422, "Tag does not exist")
        self._account.drop_tag(one["id"])
        return {}

    def _new_field(self, one: Row) -> dict[str, Any]:
        field, _ = self._account.field_by_label(str(one.get("label") or ""))
        row = self._account.rows.field(field)
        order = ("id", "key", "label", "name")
        return {name: row[name] for name in order} | {"created_at": iso(self._account.now())}
