"""What Ontraport's subscriptions tell ("Webhooks"), in a call or in its log: pure functions, without network."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tagwarden.core import payload
from tagwarden.core.hooks import Event, Happened, Hook
from tagwarden.crms.ontraport.answers import CONTACT, is_id, text

_WHICH = re.compile(r"(sub_tag|unsub_tag|object_create|object_submits_form)(?:\((\d*)\))?")
_OF_TAGS = {"sub_tag", "unsub_tag"}
_HAPPENED = {
    "sub_tag": Happened.TAG_ADDED,
    "unsub_tag": Happened.TAG_REMOVED,
    "object_create": Happened.CREATED,
    "object_submits_form": Happened.CHANGED,
}
_TIMES = ("timestamp", "date", "time", "created", "sent", "last_hook", "dla", "dlm")  # what a log may call its moment


def subscription(happened: Happened, tag: str) -> str | None:
    """What is subscribed to for that; a tag's events only one tag at a time. None: there is no such event."""
    if happened == Happened.CREATED:
        return f"object_create({CONTACT})"
    kind = {Happened.TAG_ADDED: "sub_tag", Happened.TAG_REMOVED: "unsub_tag"}.get(happened)
    return f"{kind}({tag})" if kind and tag else None


def hook_of(row: Mapping[str, Any]) -> Hook | None:
    """A row of the list of subscriptions; None for one of an event that we know nothing of."""
    which = _WHICH.fullmatch(text(row.get("event")).strip())
    if which is None or not text(row.get("id")):
        return None
    tag = (which[2] or "") if which[1] in _OF_TAGS else ""
    return Hook(text(row["id"]), text(row.get("url")), _HAPPENED[which[1]], tag)


def told(body: bytes, headers: Mapping[str, str]) -> Event | None:
    """The event in a subscription's call, JSON or a form of PHP's kind; None if it is none of a contact's.

    Ontraport gives its calls no id. The same call has the same moment, so an id is made of all that tells it apart.
    """
    flat = _flattened(body, headers)
    which = _WHICH.fullmatch((flat.get("event.type") or flat.get("event", "")).strip())
    if which is None or flat.get("object_type_id", CONTACT) != CONTACT:
        return None
    kind, hook, moment = which[1], flat.get("webhook_id", ""), flat.get("timestamp", "")
    tag = _first_id(flat.get("event.tag_id"), which[2]) if kind in _OF_TAGS else ""
    contact = _first_id(*(flat.get(path) for path in ("data.id", "object_id", "data")))
    marks = f"{hook} {kind} {tag} {contact} {moment}".encode("utf-8", "replace")
    ref = hashlib.sha256(marks).hexdigest()[:32] if hook and contact and moment else ""
    email = payload.clean(flat.get("data.email", ""))
    return Event(_HAPPENED[kind], contact, email, tag, at=_moment(moment), ref=ref)


def _first_id(*came: str | None) -> str:
    return next((one.strip() for one in came if one and is_id(one.strip())), "")


def logged(row: Mapping[str, Any]) -> Event | None:
    """The event in an entry of the log. Its columns are described nowhere, so each value is looked at."""
    texts = [value if isinstance(value, str) else json.dumps(value) for value in row.values()]
    addresses = [one for one in texts if one.startswith(("http://", "https://"))]
    if addresses and not any("/hooks/" in address for address in addresses):
        return None  # a call to somebody else
    events = (told(one.encode("utf-8", "replace"), {}) for one in texts if "event" in one)
    found = next((event for event in events if event and (event.contact or event.email)), None)
    if found is None or found.at:
        return found
    at = next((moment for name in _TIMES if (moment := _moment(text(row.get(name))))), None)
    return replace(found, at=at) if at else None


def _flattened(body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
    """Path in lower case → value, as in "data.id"."""
    try:
        return dict(_flat(json.loads(body)))
    except (ValueError, RecursionError):
        return {path: value for path, (_, value) in payload.read(body, headers).fields.items()}


def _flat(tree: object, path: str = "") -> Iterator[tuple[str, str]]:
    pairs: Iterable[tuple[str, object]] = tree.items() if isinstance(tree, dict) else ()
    for name, value in pairs:
        here = f"{path}{name}".lower()
        if isinstance(value, dict):
            yield from _flat(value, f"{here}.")
        else:
            yield here, text(value)


def _moment(seconds: str) -> datetime | None:
    """Seconds since 1970 in UTC; "0" and what is no number are none."""
    try:
        return datetime.fromtimestamp(int(float(seconds)), UTC) if float(seconds) > 0 else None
    except (ValueError, OverflowError, OSError):
        return None
