"""ActiveCampaign, by version 3 of its API. How to set it up, and what it can't do: docs/crms/activecampaign.md."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

import httpx

from tagwarden.core import payload
from tagwarden.core.errors import NeedsSetting, Permanent, TagwardenError
from tagwarden.core.hooks import Arrived, Event, Happened, Hook
from tagwarden.core.names import plain
from tagwarden.core.outcome import CrmTag, Snapshot
from tagwarden.core.ratelimit import Limit, Said
from tagwarden.crms import base

Row = Mapping[str, Any]
Fits = Callable[[Row], bool]

PAGE = 100  # the most that a list gives; 20 unless it is asked for more (developers.activecampaign.com, Pagination)
WITH_ALL = "contactTags.tag,fieldValues"  # loaded beside the contacts (developers.activecampaign.com, Sideloading)
TRIES_WHEN_REFUSED = 3
BARE_AT_MOST = 10  # contacts without a list of tags whose own list is asked for, so many a page
# A contact that was deleted may stay, under an address like this (observed by integrations).
GONE = re.compile(r"deleted\+\d+@", re.IGNORECASE)

# By the name of the event at ActiveCampaign, and back. There is none for a contact made: `subscribe` comes next to it.
HAPPENED = {
    "contact_tag_added": Happened.TAG_ADDED,
    "contact_tag_removed": Happened.TAG_REMOVED,
    "update": Happened.CHANGED,
    "subscribe": Happened.CREATED,
    "unsubscribe": Happened.CHANGED,
}
EVENT = {happened: event for event, happened in HAPPENED.items() if event != "unsubscribe"}
SOURCES = ["public", "admin", "system"]  # the contact, a user, automations; not `api`, which would be ourselves


class Crm(base.Crm):
    """Credentials: {"api_key": "…"}. The address is the account's own: https://ACCOUNT.api-us1.com."""

    label = "ActiveCampaign"
    needed = (frozenset({"api_key"}),)
    cannot: ClassVar = {
        "tags-together": "ActiveCampaign takes one tag for one contact in a call, and two calls to take one off.",
        "hooks-for-one-tag": "ActiveCampaign's webhooks tell of every tag; those nobody asked for are passed over.",
        "signatures": "ActiveCampaign doesn't sign its webhooks: the secret in the address is all that proves them.",
        "second-delivery": "ActiveCampaign sends a webhook once; what gets lost on the way is found by reading.",
    }
    paste = (
        "Open the automation and add the action Webhook, after the steps that add or remove tags.",
        "Paste {url} into its URL and save it: it sends the contact by itself. It reaches https on port 443 only.",
    )
    paths = "/api/3"  # before each path; empty for a server that imitates the API without it
    bulk_size = page_size = PAGE  # as many ids in a call as a page holds: more aren't documented
    tags_at_once = 1  # POST contactTags takes one
    # No lag is documented, for single reads or lists, and no integration that we read waits: both lags stay 0.
    limits = (Limit(5, seconds=1),)  # of the account, all keys together (developers.activecampaign.com, Rate Limits)
    timeout = httpx.Timeout(20, connect=5)  # public integrations wait 15 to 20 s; lists with sideloads take long

    def __init__(self, *, base_url: str, credentials: Mapping[str, str], tokens: base.Tokens | None = None) -> None:
        plain = base_url.strip().rstrip("/").removesuffix("/api/3")  # as some guides write it
        super().__init__(base_url=plain, credentials=credentials, tokens=tokens)

    # --- how its answers differ ---------------------------------------------------------------------------------

    def headers(self, credentials: Mapping[str, str]) -> dict[str, str]:
        # Stripped: a line break in a header is an error whose text holds the key.
        return {"Api-Token": credentials.get("api_key", "").strip(), "Accept": "application/json"}

    def said(self, headers: Mapping[str, str]) -> tuple[Said, ...]:
        limit, remaining = (base.number(headers, f"ratelimit-{name}") for name in ("limit", "remaining"))
        return (Said(1, limit, remaining),)

    def meaning(self, response: httpx.Response) -> TagwardenError | None:
        if response.status_code == 402:  # observed by integrations
            return NeedsSetting("crm-unpaid", crm=self.label)
        return self.usual(response)

    def again(self, error: TagwardenError, tried: int) -> bool:
        """A bad key is answered 403; so is, now and then, a good one (observed by integrations, which repeat it)."""
        return error.reason == "crm-key-refused" and tried < TRIES_WHEN_REFUSED

    # --- contacts -----------------------------------------------------------------------------------------------

    def check(self) -> str:
        _, answer = self._call("GET", "/users/me", "Try the key")
        self._id_of(answer, "user")
        return _text(answer["user"].get("email") or answer["user"].get("username") or self.label)

    def contact(self, contact: str) -> Snapshot:
        moments = base.began(self.one_lag)
        call, answer = self._read(contact)
        snapshots = self._snapshots(answer, [answer["contact"]], moments)
        if not snapshots:
            raise self.broken()
        snapshot = snapshots[0] if snapshots[0].tags is not None else self._with_own_tags(snapshots[0])
        call.found = _found(snapshot)
        return snapshot

    def _with_own_tags(self, snapshot: Snapshot) -> Snapshot:
        """With the tags that weren't loaded beside it: they have a list of their own."""
        return replace(snapshot, tags=self._named(self._own_links(snapshot.contact)))

    def contacts(self, contacts: Sequence[str]) -> dict[str, Snapshot]:
        what = "Read the contact" if len(contacts) == 1 else f"Read {len(contacts)} contacts together"
        wanted = set(contacts)
        snapshots, _ = self._list(what, {"ids[]": list(contacts)}, lambda row: str(row["id"]) in wanted)
        found = {snapshot.contact: snapshot for snapshot in snapshots}
        # Whether somebody without tags has an empty list of them, or none, isn't documented.
        bare = [snapshot for snapshot in snapshots if snapshot.tags is None][:BARE_AT_MOST]
        with suppress(TagwardenError):  # their tags stay unknown
            for snapshot in bare:
                found[snapshot.contact] = self._with_own_tags(snapshot)
        return found

    def by_email(self, email: str) -> list[Snapshot]:
        plain = email.strip()
        filters = {"email": plain}
        found, _ = self._list("Look for the address", filters, lambda row: _email(row).casefold() == plain.casefold())
        return sorted(found, key=lambda snapshot: int(snapshot.contact))

    def page(self, cursor: str) -> tuple[list[Snapshot], str]:
        """The cursor is the highest id on the page before."""
        return self._after(cursor, "Read the list of contacts", {})

    def tagged(self, tag: str) -> Iterator[list[str]]:
        for snapshots in self._pages("Read who has the tag", {"tagid": tag}):
            yield [snapshot.contact for snapshot in snapshots]

    def changed(self, since: datetime) -> Iterator[list[Snapshot]]:
        """By a filter that is documented for whole days, but not in which time zone: two more days are asked for."""
        day = (since - timedelta(days=2)).date().isoformat()
        return self._pages("Read who changed", {"filters[updated_after]": day}, lambda row: _changed_since(row, since))

    def _pages(self, what: str, filters: Row, fits: Fits = bool) -> Iterator[list[Snapshot]]:
        snapshots, cursor = self._after("", what, filters, fits)
        yield snapshots
        while cursor:
            snapshots, cursor = self._after(cursor, what, filters, fits)
            yield snapshots

    def _after(self, cursor: str, what: str, filters: Row, fits: Fits = bool) -> tuple[list[Snapshot], str]:
        """The page after an id: `id_greater` stays quick in big accounts (developers.activecampaign.com, Pagination).

        Only an empty page is the last one: a page may be short because rows were left out of it.
        """
        snapshots, ids = self._list(what, {**filters, "orders[id]": "ASC", "id_greater": cursor or 0}, fits)
        if ids and max(ids) <= int(cursor or 0):
            raise self.broken()
        return snapshots, str(max(ids, default=""))

    def _list(self, what: str, filters: Row, fits: Fits) -> tuple[list[Snapshot], list[int]]:
        """The contacts on a page that fit and are not gone, and the ids of all on it."""
        moments = base.began(self.bulk_lag)
        call, answer = self._call("GET", "/contacts", what, params={**filters, "limit": PAGE, "include": WITH_ALL})
        rows = self._rows(answer, "contacts")
        here = [row for row in rows if fits(row) and not GONE.match(_email(row))]
        snapshots = self._snapshots(answer, here, moments)
        call.found = f"{len(snapshots)} found"
        return snapshots, [int(row["id"]) for row in rows]

    def _read(self, contact: str) -> tuple[base.Call, dict[str, Any]]:
        """The answer to a read of one contact. Only a 404 in ActiveCampaign's own words says that it is gone, or the
        address of a deleted one: never its absence from a list, which may hide contacts that are on no mailing list.
        """
        try:
            call, answer = self._call("GET", f"/contacts/{contact}", "Read the contact", params={"include": WITH_ALL})
        except base.Refused as error:
            raise self.not_found(contact) if _says_gone(error) else error from error
        if (id_ := self._id_of(answer, "contact")) != contact or GONE.match(_email(answer["contact"])):
            call.found = f"That is contact {id_} now" if id_ != contact else "Its address says that it was deleted"
            raise self.not_found(contact)
        return call, answer

    def _snapshots(self, answer: Row, rows: Sequence[Row], moments: Row) -> list[Snapshot]:
        """Contacts of an answer with what was loaded beside them, less those whose field values it hasn't got."""
        links, values = _by_contact(answer, "contactTags", "tag"), _by_contact(answer, "fieldValues", "field")
        names = {str(tag.get("id")): _text(tag.get("tag")) for tag in _dicts(answer.get("tags"))}
        none: list[str] | None = [] if "fieldValues" in answer else None
        whole = [row for row in rows if _complete(row.get("fieldValues", none), values[str(row["id"])])]
        labels = self.field_names.of(str(value["field"]) for row in whole for value in values[str(row["id"])])
        found: dict[str, Snapshot] = {}  # by id, since a row may come twice
        for row in whole:
            id_ = str(row["id"])
            tags = self._named(links[id_], names) if _complete(row.get("contactTags"), links[id_]) else None
            first, last = _text(row.get("firstName")), _text(row.get("lastName"))
            texts = ((labels.get(str(value["field"])), _text(value.get("value"))) for value in values[id_])
            fields = {label: text for label, text in texts if label}
            found[id_] = Snapshot(
                id_, **moments, email=_email(row), first_name=first, last_name=last, fields=fields, tags=tags
            )
        return list(found.values())

    def _named(self, links: Sequence[Row], names: Mapping[str, str] | None = None) -> frozenset[CrmTag]:
        """Tags with the names that came along; of those that didn't, the CRM's list says them."""
        ids, known = {str(link["tag"]) for link in links}, names or {}
        came = frozenset(CrmTag(tag, known[tag]) for tag in ids if known.get(tag))
        return came | self.tags_of(tag for tag in ids if not known.get(tag))

    # --- tags ---------------------------------------------------------------------------------------------------

    def list_tags(self) -> dict[str, str]:
        rows = self._all("/tags", "tags", "Read the list of tags")
        return {str(row["id"]): _text(row.get("tag")) for row in rows if row.get("tagType") != "template"}

    def make_tag(self, name: str) -> str:
        content = {"tag": {"tag": name, "tagType": "contact", "description": ""}}
        try:
            _, answer = self._call("POST", "/tags", f"Make the tag {name}", json=content)
        except base.Refused as error:
            self.tag_names.forget()
            there = self.tag_names.id_of(name) if error.status == 422 else None  # somebody was quicker than we
            if there is None:
                raise
            return there
        return self._id_of(answer, "tag")

    def add_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        return {contact for contact in contacts if self._put_on(tag, contact)}

    def remove_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        return {contact for contact in contacts if self._take_off(tag, contact)}

    def _put_on(self, tag: str, contact: str) -> bool:
        """Whether the contact has it now. Whatever success is answered to a tag that was there already is well."""
        content = {"contactTag": {"contact": int(contact), "tag": int(tag)}}
        try:
            self._call("POST", "/contactTags", "Add the tag", json=content)
        except base.Refused as error:
            if error.status not in {404, 422}:
                raise
            return self._has_it_all_the_same(tag, contact, error)
        return True

    def _has_it_all_the_same(self, tag: str, contact: str, refused: base.Refused) -> bool:
        """A tag was refused, in words that nobody documents: is the tag gone, or the contact, or was it there?"""
        try:
            self._call("GET", f"/tags/{tag}", "Look for the tag")
        except base.Refused as error:
            if error.status != 404:
                raise
            self.tag_names.forget()
            raise NeedsSetting("crm-tag-missing", crm=self.label, tag=tag) from error
        if (links := self._links(contact)) is None:
            return False
        if any(str(link["tag"]) == tag for link in links):
            return True
        raise refused

    def _take_off(self, tag: str, contact: str) -> bool:
        """Whether the contact is without it now. A tag is taken off by the id of its link to the contact."""
        if (links := self._links(contact)) is None:
            return False
        for link in links:
            if str(link["tag"]) == tag:
                self._delete(f"/contactTags/{link['id']}", "Take the tag off")
        return True

    def _links(self, contact: str) -> list[Row] | None:
        """What ties the contact to its tags, each with an id of its own; None if the contact is gone."""
        try:
            _, answer = self._read(contact)
        except Permanent as error:
            if error.reason != "contact-not-found":
                raise
            return None
        links = _by_contact(answer, "contactTags", "tag")[contact]
        return links if _complete(answer["contact"].get("contactTags"), links) else self._own_links(contact)

    def _own_links(self, contact: str) -> list[Row]:
        links = self._all(f"/contacts/{contact}/contactTags", "contactTags", "Read the contact's tags")
        if not all(_numbered(link, "tag") for link in links):
            raise self.broken()
        return links

    # --- fields -------------------------------------------------------------------------------------------------

    def list_fields(self) -> dict[str, str]:
        """Fields of all types: their values are all texts on the wire (a date as 2026-11-27, a choice as ||a||b||)."""
        rows = self._all("/fields", "fields", "Read the list of fields")
        return {str(row["id"]): _text(row.get("title")) for row in rows}

    def make_field(self, label: str) -> None:
        """A field must be put on lists, too: `relid` 0 is all of them. Without it, it is on none and hard to find."""
        content = {"field": {"type": "text", "title": label}}
        try:
            _, answer = self._call("POST", "/fields", f"Make the field {label}", json=content)
            loose = self._id_of(answer, "field") if "field" in answer else self._loose(label)
        except base.Refused as error:
            loose = self._loose(label) if error.status == 422 else None  # there already, as it seems
            if loose is None:
                raise
        self.field_names.forget()
        if loose:
            relation = {"fieldRel": {"field": int(loose), "relid": 0}}
            self._call("POST", "/fieldRels", f"Put the field {label} on all lists", json=relation)

    def _loose(self, label: str) -> str | None:
        """The id of the field of that label if it is on no list, "" if it is on one, None if there is no such field."""
        for row in self._all("/fields", "fields", "Look for the field"):
            if plain(_text(row.get("title"))) == plain(label):
                return str(row["id"]) if row.get("relations") == [] else ""
        return None

    def set_fields(self, contact: str, values: Mapping[str, str]) -> None:
        ids = self.field_ids(values)
        content = {"contact": {"fieldValues": [{"field": id_, "value": value} for id_, value in ids.items()]}}
        try:
            _, answer = self._call("PUT", f"/contacts/{contact}", f"Write {', '.join(values)}", json=content)
        except base.Refused as error:
            if _says_gone(error):
                raise self.not_found(contact) from error
            self._still_there(values)
            raise
        if any(GONE.match(_email(row)) for row in _dicts([answer.get("contact")])):
            raise self.not_found(contact)
        echoed = {str(value["field"]) for value in _by_contact(answer, "fieldValues", "field")[contact]}
        if not ids.keys() <= echoed:
            self._still_there(values)

    def _still_there(self, values: Mapping[str, str]) -> None:
        """A write was refused or not shown: is a field gone? Nobody documents what is answered then."""
        self.field_names.forget()
        self.field_ids(values)

    # --- hooks --------------------------------------------------------------------------------------------------

    @classmethod
    def events(cls, arrived: Arrived, secrets: Sequence[str]) -> list[Event]:
        """A global webhook, or that of an automation's step, which names no event: `seriesid` is its automation.

        Nothing is signed. There is no id of the event either: what is told twice has the same second and tag.
        """
        body = payload.read(arrived.body, arrived.headers)
        kind, contact = body.text("type").strip(), body.text("contact.id").strip()
        happened = HAPPENED.get(kind) if kind else Happened.CHANGED if body.text("seriesid") else None
        email = payload.clean(body.text("contact.email").strip())
        known = re.fullmatch(cls.id_pattern, contact, re.ASCII) if contact else email
        if happened is None or not known:
            raise Permanent("hook-not-understood", crm=cls.label)
        tag, at = payload.clean(body.text("tag")), body.text("date_time").strip()
        same = f"{kind}\n{contact or email}\n{at}\n{tag}" if kind and at else ""
        ref = hashlib.sha256(same.encode("utf-8", "replace")).hexdigest()[:32] if same else ""
        return [Event(happened, contact, email, tag_name=tag, at=_moment(at), ref=ref)]

    def hooks(self) -> list[Hook]:
        """Those of other tools are among them; one of several events is there for each that we know."""
        rows = self._all("/webhooks", "webhooks", "Read the list of webhooks")
        return [hook for row in rows for hook in _hooks_in(row)]

    def make_hook(self, url: str, happened: Happened, tag: str = "") -> Hook:
        """It tells of every tag, whatever `tag` says, so one address has one hook for all tags."""
        for hook in self.hooks():
            if (hook.url, hook.happened) != (url, happened):
                continue
            if hook.alive:
                return hook
            self.remove_hook(hook)
        content = {"name": f"Tagwarden: {happened}", "url": url, "events": [EVENT[happened]], "sources": SOURCES}
        _, answer = self._call("POST", "/webhooks", "Set up the webhook", json={"webhook": content})
        return Hook(self._id_of(answer, "webhook"), url, happened)

    def revive_hook(self, hook: Hook) -> Hook:
        """One that was answered 410 stays off for good: it is taken away and made anew."""
        self.remove_hook(hook)
        return self.make_hook(hook.url, hook.happened)

    def remove_hook(self, hook: Hook) -> None:
        self._delete(f"/webhooks/{hook.id}", "Take the webhook away")

    # --- calls --------------------------------------------------------------------------------------------------

    def _call(self, method: str, path: str, what: str, **request: Any) -> tuple[base.Call, dict[str, Any]]:
        """One call under `paths`. What is no object is as good as an empty one: whoever needs something in it asks."""
        call, answer = self.ask(method, self.paths + path, what=what, **request)
        return call, answer if isinstance(answer, dict) else {}

    def _delete(self, path: str, what: str) -> None:
        try:
            self._call("DELETE", path, what)
        except base.Refused as error:
            if error.status != 404:  # gone already is well
                raise

    def _all(self, path: str, key: str, what: str) -> list[Row]:
        """All rows of a list that goes by offset. Raises Retryable `crm-answer-broken` if the offset isn't minded."""
        found: dict[str, Row] = {}
        offset = 0
        while True:
            _, answer = self._call("GET", path, what, params={"limit": PAGE, "offset": offset})
            rows, total = self._rows(answer, key), _total(answer)
            new = {str(row["id"]): row for row in rows if str(row["id"]) not in found}
            offset += len(rows)
            if rows and not new and (total is not None or len(rows) == PAGE):
                raise self.broken()
            found |= new
            if not new or (total is not None and offset >= total):
                return list(found.values())

    def _rows(self, answer: Row, key: str) -> list[Row]:
        """The rows under that key. An answer without the key, or with a row without an id, is no answer."""
        rows = answer.get(key)
        if not isinstance(rows, list) or any(not _numbered(row) for row in rows):
            raise self.broken()
        return rows

    def _id_of(self, answer: Row, key: str) -> str:
        if not _numbered(answer.get(key)):
            raise self.broken()
        return str(answer[key]["id"])


# --- what is in an answer: nearly all values are texts, ids as well, and some are null -----------------------------


def _dicts(rows: object) -> list[Row]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _numbered(row: object, *others: str) -> bool:
    """Whether that is a row with an id, and ids of others under these names."""
    return isinstance(row, dict) and all(str(row.get(name)).isdecimal() for name in ("id", *others))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _email(row: Row) -> str:
    return _text(row.get("email")).strip()


def _by_contact(answer: Row, key: str, of: str) -> defaultdict[str, list[Row]]:
    """Rows that were loaded beside contacts, by the contact they name, in any order; those that name nothing not."""
    grouped: defaultdict[str, list[Row]] = defaultdict(list)
    for row in _dicts(answer.get(key)):
        if _numbered(row, of):
            grouped[str(row.get("contact"))].append(row)
    return grouped


def _complete(named: object, rows: Sequence[Row]) -> bool:
    """Whether all that a contact's own list of ids names is there. No list is not an empty one."""
    return isinstance(named, list) and {str(id_) for id_ in named} <= {str(row.get("id")) for row in rows}


def _found(snapshot: Snapshot) -> str:
    name = f"{snapshot.first_name} {snapshot.last_name}".strip() or snapshot.email
    count = len(snapshot.tags or ())
    return f"Found {name} with {count} {'tag' if count == 1 else 'tags'}"


def _total(answer: Row) -> int | None:
    """How many there are in all, where the list says it; as a text."""
    meta = answer.get("meta")
    total = str(meta.get("total")) if isinstance(meta, dict) else ""
    return int(total) if total.isdecimal() else None


def _says_gone(error: base.Refused) -> bool:
    """A 404 in one of ActiveCampaign's two forms. Another server's page, at a wrong address, has neither."""
    words = error.body if error.status == 404 and isinstance(error.body, dict) else {}
    return "no result found" in _text(words.get("message")).casefold() or bool(_dicts(words.get("errors")))


def _moment(text: str) -> datetime | None:
    """A moment with its own offset. `…_utc_timestamp` is never read: it holds local time (seen in a capture)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _changed_since(row: Row, since: datetime) -> bool:
    """Whether it changed since then, or doesn't say: an empty date comes as null or as zeros."""
    moment = _moment(_text(row.get("udate")))
    return moment is None or moment >= since


def _hooks_in(row: Row) -> list[Hook]:
    """What a webhook tells of ours; it may have several events."""
    events = row["events"] if isinstance(row.get("events"), list) else []
    known = dict.fromkeys(happened for event, happened in HAPPENED.items() if event in events)
    return [Hook(str(row["id"]), _text(row.get("url")), happened, alive=_alive(row)) for happened in known]


def _alive(row: Row) -> bool:
    """How a webhook that is off is shown isn't documented: by a word or a number under one of these names."""
    said = {_text(row[name]).strip().casefold() for name in ("state", "status", "active", "enabled") if name in row}
    return not said & {"0", "false", "off", "inactive", "disabled", "deactivated"}
