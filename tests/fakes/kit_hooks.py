"""The fake Kit's webhooks: the legacy ones (one event each, unsigned) and endpoints (signed, batched)."""

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.fakes.book import Book, Contact
from tests.fakes.kit_post import WAITS, Post
from tests.fakes.kit_rows import Rows, iso
from tests.fakes.kit_settings import HOOK_SECRET

ACCOUNT = 27
_BATCH = 100
# Legacy event → the parameter that it needs.
LEGACY = {
    "subscriber.subscriber_activate": None,
    "subscriber.subscriber_unsubscribe": None,
    "subscriber.subscriber_bounce": None,
    "subscriber.subscriber_complain": None,
    "subscriber.form_subscribe": "form_id",
    "subscriber.course_subscribe": "sequence_id",
    "subscriber.course_complete": "sequence_id",
    "subscriber.link_click": "initiator_value",
    "subscriber.product_purchase": "product_id",
    "subscriber.tag_add": "tag_id",
    "subscriber.tag_remove": "tag_id",
    "purchase.purchase_create": None,
    "custom_field.field_created": None,
    "custom_field.field_deleted": None,
    "custom_field.field_value_updated": "custom_field_id",
}
# What the fake can bring about, as endpoints and as legacy hooks call it.
_OLD_NAMES = {
    "subscriber.activated": "subscriber.subscriber_activate",
    "subscriber.unsubscribed": "subscriber.subscriber_unsubscribe",
    "subscriber.bounced": "subscriber.subscriber_bounce",
    "subscriber.complained": "subscriber.subscriber_complain",
    "subscriber.tag_added": "subscriber.tag_add",
    "subscriber.tag_removed": "subscriber.tag_remove",
    "subscriber.custom_field_value_updated": "custom_field.field_value_updated",
}
_ENDS = {
    "active": "subscriber.activated",
    "cancelled": "subscriber.unsubscribed",
    "bounced": "subscriber.bounced",
    "complained": "subscriber.complained",
}


class Account(Protocol):
    """What webhooks ask of the fake they belong to."""

    book: Book
    rows: Rows
    settings: Any
    post: Post
    chance: Any

    def now(self) -> float: ...
    def later(self, seconds: float, work: Any) -> None: ...


@dataclass(slots=True)
class Legacy:
    """A hook for one event, and one tag or field if the event needs it."""

    number: int
    url: str
    event: str
    parameter: Any = None

    def row(self) -> dict[str, Any]:
        """The name loses its prefix here, as at Kit."""
        event = {"name": self.event.partition(".")[2], LEGACY[self.event] or "initiator_value": self.parameter}
        return {"id": self.number, "account_id": ACCOUNT, "event": event, "target_url": self.url}


@dataclass(slots=True)
class Endpoint:
    """An address for several events, with its secret."""

    number: int
    url: str
    events: list[str]
    name: str
    description: str | None
    by_app: bool
    made: float
    secret: str = ""
    status: str = "active"
    previous: str | None = None
    previous_until: float = 0
    waiting: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # events of a type, not yet a delivery

    def secrets(self, now: float) -> list[str]:
        """All that sign now, the newest first."""
        return [self.secret] + ([self.previous] if self.previous and now < self.previous_until else [])

    def row(self, now: float, *, secret: bool = False) -> dict[str, Any]:
        previous = iso(self.previous_until) if len(self.secrets(now)) == 2 else None
        row = {"id": self.number, "name": self.name, "url": self.url, "events": self.events, "status": self.status}
        row |= {"source": "api", "description": self.description, "created_by_app": self.by_app}
        row |= {"created_at": iso(self.made), "previous_secret_expires_at": previous}
        return row | ({"secret": self.secret} if secret else {})


def signature(keys: Iterable[str], t: int, body: bytes) -> str:
    """The header X-Kit-Signature: HMAC-SHA256 over "<t>.<body>" with each secret as it is written (facts 2.2)."""
    signed = f"{t}.".encode() + body
    marks = [hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in keys]
    return ",".join([f"t={t}", *(f"v1={mark}" for mark in marks)])


class Hooks:
    """Subscriptions, and what makes deliveries of what the book says has changed."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.legacy: dict[int, Legacy] = {}
        self.endpoints: dict[int, Endpoint] = {}
        self._made = 0
        self._read = 0  # writes of the book told so far
        self._tags: dict[int, str] = {}
        self._fields: dict[int, str] = {}

    def number(self) -> int:
        self._made += 1
        return self._made

    # --- what has changed --------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Tells of all writes since the last time, by the API or not."""
        book = self._account.book
        tags, fields = dict(book.tags), dict(book.fields)
        for row in book.writes[self._read :]:
            contact = book.with_deleted(row["contact"])
            if contact is not None and not contact.deleted:
                self._tell_of(row, contact, self._tags | tags, self._fields | fields)
        self._read = len(book.writes)
        self._tell_of_names("tag", self._tags, tags)
        self._tell_of_names("custom_field", self._fields, fields)
        self._tags, self._fields = tags, fields

    def _tell_of(self, row: Mapping[str, Any], contact: Contact, tags: dict[int, str], fields: dict[int, str]) -> None:
        what, at = row["what"], row["at"]
        if what == "contact-add":
            self._fire("subscriber.created", at, contact)
            if contact.state == "active" and self._account.settings.activated_on_create:
                self._fire("subscriber.activated", at, contact)
        elif what == "state-set":
            self._account.rows.state_since[contact.id] = at
            if row["detail"] in _ENDS:
                self._fire(_ENDS[row["detail"]], at, contact)
        elif what in {"tag-add", "tag-remove"}:
            kind = "subscriber.tag_added" if what == "tag-add" else "subscriber.tag_removed"
            tag = next((number for number, name in tags.items() if name == row["detail"]), 0)
            if row["changed"]:
                self._fire(kind, at, contact, tag, {"tag": {"id": tag, "name": row["detail"]}})
            elif what == "tag-add" and self._account.settings.legacy_repeats:
                self._fire_legacy(kind, contact, tag)
        elif what == "field-set":
            number = next((number for number, label in fields.items() if label == row["detail"]), None)
            if number in self._account.book.fields:
                more = {"custom_field": self._account.rows.field(number)}
                self._fire("subscriber.custom_field_value_updated", at, contact, number, more)

    def _tell_of_names(self, kind: str, old: dict[int, str], new: dict[int, str]) -> None:
        named = "name" if kind == "tag" else "label"
        for number in new.keys() - old.keys():
            self._gather(f"{kind}.created", self._account.now(), {kind: {"id": number, named: new[number]}}, 0)
        for number in old.keys() - new.keys():
            self._gather(f"{kind}.deleted", self._account.now(), {kind: {"id": number, named: old[number]}}, 0)

    def _fire(
        self, kind: str, at: float, contact: Contact, parameter: int | None = None, more: dict[str, Any] | None = None
    ) -> None:
        self._fire_legacy(kind, contact, parameter)
        self._gather(kind, at, {"subscriber": self._account.rows.single(contact)} | (more or {}), contact.id)

    # --- legacy ------------------------------------------------------------------------------------------------

    def _fire_legacy(self, kind: str, contact: Contact, parameter: int | None) -> None:
        old = _OLD_NAMES.get(kind)
        for hook in list(self.legacy.values()):
            if hook.event == old and (LEGACY[hook.event] is None or hook.parameter == parameter):
                sent = self.legacy_request(contact)
                self._account.post.add(
                    "legacy",
                    hook.url,
                    lambda _number, sent=sent: sent,
                    type=kind,
                    contacts=[contact.id],
                    waits=tuple(self._account.settings.legacy_retries),
                    alive=lambda hook=hook: hook.number in self.legacy,
                )

    def legacy_request(self, contact: Contact) -> tuple[dict[str, str], bytes]:
        """Headers and body: neither event nor tag is in them."""
        body = self._bytes({"subscriber": self._account.rows.legacy(contact)})
        return {"Content-Type": "application/json"}, body

    # --- endpoints ---------------------------------------------------------------------------------------------

    def _gather(self, kind: str, at: float, data: dict[str, Any], contact: int) -> None:
        """Puts an event to those that wait with it for the same endpoint."""
        event = {"id": str(uuid.uuid4()), "type": kind, "created": iso(at), "data": data}
        for endpoint in self.endpoints.values():
            if endpoint.status != "active" or kind not in endpoint.events:
                continue
            waiting = endpoint.waiting.setdefault(kind, [])
            waiting.append({"contact": contact, "event": event})
            if len(waiting) == 1:
                self._account.later(
                    self._account.settings.batch_seconds, lambda one=endpoint, kind=kind: self._pack(one, kind)
                )

    def _pack(self, endpoint: Endpoint, kind: str) -> None:
        """Makes deliveries of up to 100 events of what waits."""
        waiting, endpoint.waiting[kind] = endpoint.waiting[kind], []
        if self._account.settings.out_of_order:
            self._account.chance.shuffle(waiting)
        for start in range(0, len(waiting), _BATCH):
            cut = waiting[start : start + _BATCH]
            self._account.post.add(
                "events",
                endpoint.url,
                lambda number, events=[one["event"] for one in cut]: self._signed(endpoint, number, events),
                type=kind,
                contacts=[one["contact"] for one in cut],
                waits=WAITS,
                endpoint=endpoint.number,
                alive=lambda: self.endpoints.get(endpoint.number) is endpoint and endpoint.status == "active",
                gone=lambda: self._gone(endpoint),
            )

    def _gone(self, endpoint: Endpoint) -> None:
        if self._account.settings.gone_disables:
            endpoint.status = "disabled"

    def _signed(self, endpoint: Endpoint, number: int, events: list[dict[str, Any]]) -> tuple[dict[str, str], bytes]:
        now = self._account.now()
        t = time.time() if self._account.settings.sign_by_real_clock else now
        return self.events_request(endpoint.secrets(now), int(t), number, events)

    def events_request(
        self, keys: Iterable[str], t: int, number: int, events: list[dict[str, Any]]
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of a delivery signed at `t` (seconds since 1970) with each of the secrets `keys`."""
        body = self._bytes({"delivery_id": number, "events": events})
        headers = {"Content-Type": "application/json", "User-Agent": "Kit-Webhooks/2.0"}
        return headers | {"X-Kit-Delivery": str(number), "X-Kit-Signature": signature(keys, t, body)}, body

    def one_event(self, contact: Contact, event: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        """A delivery as a test wants it: type, tag and field (names), secrets, t, delivery_id, event_id, created."""
        account, kind = self._account, event.get("type", "subscriber.tag_added")
        data: dict[str, Any] = {"subscriber": account.rows.single(contact)}
        if name := event.get("tag"):
            data["tag"] = {"id": account.book.tag_named(name), "name": name}
        if (label := event.get("field")) and (number := account.book.field_named(label)):
            data["custom_field"] = account.rows.field(number)
        t = int(event.get("t", account.now()))
        made = {"id": event.get("event_id") or str(uuid.uuid4()), "type": kind}
        made["created"] = event.get("created") or iso(account.now())
        keys = event.get("secrets", [HOOK_SECRET])
        return self.events_request(keys, t, event.get("delivery_id", 123_456), [made | {"data": data}])

    def _bytes(self, content: Any) -> bytes:
        if self._account.settings.compact_hooks:
            return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
