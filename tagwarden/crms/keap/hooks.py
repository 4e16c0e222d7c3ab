"""Keap's REST hooks: what a call tells, and the subscriptions as they are listed. No network."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tagwarden.core.hooks import Event, Happened, Hook
from tagwarden.crms.keap import answers

EVENTS = {
    Happened.CREATED: "contact.add",
    Happened.CHANGED: "contact.edit",
    Happened.TAG_ADDED: "contactGroup.applied",  # Keap's API calls a tag a contact group
    Happened.TAG_REMOVED: "contactGroup.removed",
}
HAPPENED = {event: happened for happened, event in EVENTS.items()}


def hook(row: object) -> Hook | None:
    """A subscription; None if it is of an event that we don't ask for."""
    if not isinstance(row, dict) or not row.get("key") or row.get("eventKey") not in HAPPENED:
        return None
    alive = row.get("status") == "Verified"
    return Hook(answers.text(row["key"]), answers.text(row.get("hookUrl")), HAPPENED[row["eventKey"]], alive=alive)


def events(content: Mapping[str, Any], happened: Happened) -> Iterator[Event]:
    """One for each contact. Old hooks call the objects `object_key`, which may be JSON in a text or one object."""
    objects = content.get("object_keys") or content.get("object_key")
    if isinstance(objects, str) and objects[:1] in {"[", "{"}:
        try:
            objects = json.loads(objects)
        except (ValueError, RecursionError):
            return
    of_tag = happened in {Happened.TAG_ADDED, Happened.TAG_REMOVED}
    for one in objects if isinstance(objects, list) else [objects]:
        row = one if isinstance(one, dict) else {"id": one}
        if not of_tag:
            yield from _event(happened, row)
            continue
        tag = answers.text(row.get("tag_id") or row.get("tagId"))
        told = row.get("contact_details") or row.get("applied") or row.get("removed") or []
        for contact in told if isinstance(told, list) else [told]:
            yield from _event(happened, contact if isinstance(contact, dict) else {"id": contact}, tag)


def _event(happened: Happened, row: Mapping[str, Any], tag: str = "") -> Iterator[Event]:
    contact = answers.id_of(row)
    if contact.isdigit() and contact.isascii():
        yield Event(happened, contact, tag=tag, at=_moment(row.get("timestamp")))


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(answers.text(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
