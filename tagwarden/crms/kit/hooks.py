"""Kit's two kinds of hooks: webhook endpoints, of many events and signed; and the older webhooks, of one event and tag.

Kit's automations can't call an address: a tag that somebody gets is what tells us.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tagwarden.core import payload
from tagwarden.core.errors import NeedsSetting, Permanent
from tagwarden.core.hooks import Arrived, Event, Happened, Hook
from tagwarden.crms import base
from tagwarden.crms.kit.road import Road
from tagwarden.crms.kit.rows import Row, content, dicts, moment, part, text

TOLERANCE = 300  # seconds that a signature is good for (developers.kit.com, Verifying signatures)
ENDPOINTS, OLDER = "webhook_endpoints", "webhooks"  # their paths, and how the ids of hooks begin

# By an event's name after `subscriber.`; whatever else befalls a subscriber is a change.
HAPPENED = {
    "created": Happened.CREATED,
    "tag_added": Happened.TAG_ADDED,
    "tag_removed": Happened.TAG_REMOVED,
    "custom_field_value_updated": Happened.CHANGED,
}
EVENT = {happened: name for name, happened in HAPPENED.items()}
OLDER_EVENT = {
    Happened.CREATED: "subscriber_activate",
    Happened.TAG_ADDED: "tag_add",
    Happened.TAG_REMOVED: "tag_remove",
}
OLDER_HAPPENED = {name: happened for happened, name in OLDER_EVENT.items()}
OF_A_TAG = {Happened.TAG_ADDED, Happened.TAG_REMOVED}


class WithHooks(Road):
    """Hooks at Kit."""

    @classmethod
    def events(cls, arrived: Arrived, secrets: Sequence[str]) -> list[Event]:
        """Up to a hundred events of a webhook endpoint; or a subscriber, which is all that an older webhook sends: what
        happened stands in the address, where `make_hook` put it.
        """
        if secrets and not _signed(arrived, secrets):
            raise Permanent("signature-wrong", crm=cls.label)
        body = content(arrived.body)
        if body.get("events") == []:
            return []
        if "subscriber" in body:
            found = [cls._of_older(body, dict(parse_qsl(arrived.query)))]
        else:
            found = [cls._of_endpoint(row) for row in dicts(body.get("events"))]
        events = [event for event in found if event is not None]
        if not events:
            raise Permanent("hook-not-understood", crm=cls.label)
        return sorted(events, key=lambda event: event.at.timestamp() if event.at else 0)  # they come in any order

    @classmethod
    def _of_older(cls, body: Row, asked: Mapping[str, str]) -> Event | None:
        happened = next((one for one in Happened if one == asked.get("told")), Happened.TAG_ADDED)
        return cls._event(happened, body, payload.clean(asked.get("tag", "")))

    @classmethod
    def _of_endpoint(cls, row: Row) -> Event | None:
        data = part(row, "data")
        group, _, name = text(row.get("type")).partition(".")
        if group != "subscriber":
            return None
        tag = part(data, "tag")
        return cls._event(
            HAPPENED.get(name, Happened.CHANGED),
            data,
            payload.clean(text(tag.get("id"))),
            tag_name=payload.clean(text(tag.get("name"))),
            at=moment(row.get("created")),
            ref=payload.clean(text(row.get("id"))),
        )

    @classmethod
    def _event(cls, happened: Happened, of: Row, tag: str, **more: Any) -> Event | None:
        """None if it names nobody."""
        subscriber = part(of, "subscriber")
        contact, email = text(subscriber.get("id")), payload.clean(text(subscriber.get("email_address"))).strip()
        known = contact if re.fullmatch(cls.id_pattern, contact, re.ASCII) else ""
        return Event(happened, known, email, tag, **more) if known or email else None

    # --- at Kit -------------------------------------------------------------------------------------------------

    def hooks(self) -> list[Hook]:
        """Of both kinds; those of other tools are among them. One of several events is there for each that we know."""
        older = [_older_hook(row) for row in self.all(f"/{OLDER}", OLDER, "Read the list of webhooks")]
        endpoints = [hook for row in self._endpoints() for hook in _endpoint_hooks(row)]
        return endpoints + [hook for hook in older if hook]

    def _endpoints(self) -> list[Row]:
        """None where Kit gives us none: an API key was answered 401 there, though the documentation allows keys."""
        found: list[Row] = []
        cursor, seen = "", {""}
        try:
            while True:
                asked = {"per_page": 100, **({"after": cursor} if cursor else {})}
                _, answer = self.call("GET", f"/{ENDPOINTS}", "Read the list of webhook endpoints", params=asked)
                found += [row for row in dicts(answer.get(ENDPOINTS)) if row.get("id")]
                cursor = self.next_of(answer) if "pagination" in answer else ""
                if cursor in seen:
                    return found
                seen.add(cursor)
        except (base.Refused, NeedsSetting):
            return []

    def make_hook(self, url: str, happened: Happened, tag: str = "") -> Hook:
        """An endpoint tells of every tag, whatever `tag` says; an older webhook of that one."""
        for hook in self.hooks():
            if (hook.url, hook.happened) == (url, happened) and hook.tag in {"", tag}:
                return hook if hook.alive else self.revive_hook(hook)
        return self._new_hook(url, happened, tag)

    def _new_hook(self, url: str, happened: Happened, tag: str) -> Hook:
        """An endpoint; an older webhook where Kit doesn't tell of that event there yet (422) or gives us none."""
        asked = {"url": url, "events": [f"subscriber.{EVENT[happened]}"], "name": "Tagwarden"}
        try:
            _, answer = self.call("POST", f"/{ENDPOINTS}", "Set up the webhook endpoint", json=asked)
        except (base.Refused, NeedsSetting) as error:
            if isinstance(error, base.Refused) and error.status not in {404, 422}:
                raise
            return self._new_older_hook(url, happened, tag if happened in OF_A_TAG else "")
        row = part(answer, "webhook_endpoint")
        if not row.get("id"):
            raise self.broken()
        return Hook(f"{ENDPOINTS}/{row['id']}", url, happened, secret=text(row.get("secret")))

    def _new_older_hook(self, url: str, happened: Happened, tag: str) -> Hook:
        if happened not in OLDER_EVENT or (happened in OF_A_TAG and not tag):
            raise Permanent("crm-cannot", crm=self.label, what=self.cannot["hooks-for-changes"])
        event = {"name": f"subscriber.{OLDER_EVENT[happened]}", **({"tag_id": int(tag)} if tag else {})}
        asked = {"target_url": _telling(url, happened, tag), "event": event}
        _, answer = self.call("POST", f"/{OLDER}", "Set up the webhook", json=asked)
        return Hook(f"{OLDER}/{self.id_of(answer, 'webhook')}", url, happened, tag)

    def revive_hook(self, hook: Hook) -> Hook:
        """An endpoint is switched on again and keeps its secret; an older webhook is made anew."""
        if not hook.id.startswith(ENDPOINTS):
            self.remove_hook(hook)
            return self._new_hook(hook.url, hook.happened, hook.tag)
        try:
            self.call("PATCH", f"/{hook.id}", "Switch the webhook endpoint on", json={"status": "active"})
        except base.Refused as error:
            if error.status != 404:
                raise
            return self._new_hook(hook.url, hook.happened, hook.tag)
        return Hook(hook.id, hook.url, hook.happened, hook.tag)

    def remove_hook(self, hook: Hook) -> None:
        try:
            self.call("DELETE", f"/{hook.id}", "Take the webhook away")
        except base.Refused as error:
            if error.status != 404:  # gone already is well
                raise


def _endpoint_hooks(row: Row) -> list[Hook]:
    events = row["events"] if isinstance(row.get("events"), list) else []
    known = [happened for happened, name in EVENT.items() if f"subscriber.{name}" in events]
    alive = text(row.get("status") or "active") == "active"
    return [Hook(f"{ENDPOINTS}/{row['id']}", text(row.get("url")), happened, alive=alive) for happened in known]


def _older_hook(row: Row) -> Hook | None:
    """The list calls events by their names without `subscriber.`. They have no state: one that is there is alive."""
    event = part(row, "event")
    happened = OLDER_HAPPENED.get(text(event.get("name")).removeprefix("subscriber."))
    url = _without_told(text(row.get("target_url")))
    return Hook(f"{OLDER}/{row['id']}", url, happened, text(event.get("tag_id"))) if happened else None


def _telling(url: str, happened: Happened, tag: str) -> str:
    """An address that says what an older webhook's body doesn't."""
    told = urlencode({"told": happened, **({"tag": tag} if tag else {})})
    return f"{url}{'&' if '?' in url else '?'}{told}"


def _without_told(url: str) -> str:
    return re.sub(r"[?&]told=[^&]*(&tag=\d+)?$", "", url)


def _signed(arrived: Arrived, secrets: Sequence[str]) -> bool:
    """Whether any of the secrets made one of the signatures, of which there are two while a secret is being changed.

    The key is the secret as it was given, with its `whsec_` (as working receivers do).
    """
    parts = [piece.strip().partition("=") for piece in arrived.headers.get("x-kit-signature", "").split(",")]
    when = next((value for name, _, value in parts if name == "t"), "")
    given = [value.strip().encode() for name, _, value in parts if name == "v1"]
    if not re.fullmatch(r"\d{1,12}", when, re.ASCII):
        return False
    if abs(arrived.received.timestamp() - int(when)) > TOLERANCE:
        return False
    signed = f"{when}.".encode() + arrived.body
    made = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode() for secret in secrets]
    return any(hmac.compare_digest(one, other) for one in made for other in given)
