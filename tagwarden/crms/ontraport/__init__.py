"""Ontraport, by version 1 of its API (docs/crms/ontraport.md).

Facts are from api.ontraport.com/doc, from traffic that others captured, and from integrations that work; where these
don't settle a thing, either answer is survived. A name in quotes is a section of that documentation.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

import httpx

from tagwarden.core.errors import NeedsSetting, Permanent, Retryable, TagwardenError
from tagwarden.core.hooks import Arrived, Event, Happened, Hook
from tagwarden.core.outcome import Snapshot
from tagwarden.core.ratelimit import Limit, Said
from tagwarden.crms import base
from tagwarden.crms.ontraport import answers, hooks
from tagwarden.crms.ontraport.answers import CONTACT

PAGE = 50  # "Pagination": default and maximum of `range`; what is over it is cut off without a word
LOG_PAGES = 20  # of the log of webhooks, newest first, are looked through at a time
OWN_COLUMNS = ("id", "email", "firstname", "lastname", "contact_cat")  # the last holds the tags
SECTION = "Tagwarden"  # under which the fields that we make stand in a contact


class Crm(base.Crm):
    """Credentials: {"app_id": "…", "api_key": "…"}."""

    label = "Ontraport"
    default_url = "https://api.ontraport.com"
    needed = (frozenset({"app_id", "api_key"}),)
    bulk_size = PAGE
    page_size = PAGE
    tags_at_once = PAGE  # no bound is published for the ids of a tag call; this is the one of lists
    one_lag = timedelta(minutes=1)  # a tag call is answered "is now being processed"; integrations see it done in less
    bulk_lag = timedelta(minutes=1)  # the same: the tags are a column of the contact; all other columns are fresh
    limits = (Limit(180, seconds=60),)  # "Rate limiting": rolling, for the whole account
    pause = timedelta(seconds=10)
    timeout = httpx.Timeout(10, connect=5, read=65)  # its support speaks of answers that take up to 60 s
    cannot: ClassVar = {
        "tell-of-the-gone": "Ontraport doesn't say which contacts of a tag call are gone; reading the contact does.",
        "hook-for-changes": "Ontraport tells by itself of new contacts and of single tags, not of changed fields.",
    }
    paste = (
        "In Ontraport, add the element Send a Webhook (in older rules: Ping URL) after the steps that change tags.",
        "Paste {url} as its URL. If a method can be chosen, choose POST.",
        "Let the box for post data hold nothing but the merge field [Contact ID], picked from Ontraport's own list.",
        "Save it and send one contact through: the call shows up among the deliveries.",
    )

    def __init__(self, *, base_url: str, credentials: Mapping[str, str], tokens: base.Tokens | None = None) -> None:
        self._fields: dict[str, answers.Field] = {}  # by column, as the list last had them; of equal labels one counts
        super().__init__(base_url=base_url, credentials=credentials, tokens=tokens)

    def headers(self, credentials: Mapping[str, str]) -> dict[str, str]:
        return {"Api-Appid": credentials.get("app_id", ""), "Api-Key": credentials.get("api_key", "")}

    def said(self, headers: Mapping[str, str]) -> tuple[Said, ...]:
        limit, remaining, reset = (
            base.number(headers, f"x-rate-limit-{name}") for name in ("limit", "remaining", "reset")
        )
        return (Said(60, limit, remaining, reset),)

    def paused(self, response: httpx.Response) -> Retryable:
        """Whether there is a Retry-After, sources disagree; the vendor's own client waits for X-Rate-Limit-Reset."""
        error = super().paused(response)
        reset = base.number(response.headers, "x-rate-limit-reset")
        if reset is not None and not response.headers.get("retry-after", "").isdigit():
            error.after = timedelta(seconds=min(max(reset, 1), 60))
        return error

    def check(self) -> str:
        answer = self._meta("Try the key")
        account = answers.text(answer.get("account_id"))
        return f"Ontraport account {account}" if account else "Ontraport"

    # --- contacts ----------------------------------------------------------------------------------------------

    def contact(self, contact: str) -> Snapshot:
        moments = base.began(self.one_lag)
        self.field_names.all()
        call, row = self._row(contact, "Read the contact")
        snapshot = self._snapshot(row, moments)
        call.found = _found(snapshot)
        return snapshot

    def contacts(self, contacts: Sequence[str]) -> dict[str, Snapshot]:
        what = "Read the contact" if len(contacts) == 1 else f"Read {len(contacts)} contacts together"
        try:
            found, _ = self._read(what, ids=",".join(contacts))
        except base.Refused as error:
            if not answers.is_gone(error):
                raise
            return {}  # of several it proves nothing: each is asked for alone
        return {contact: found[contact] for contact in contacts if contact in found}

    def by_email(self, email: str) -> list[Snapshot]:
        params = {"objectID": CONTACT, "email": email, "all": 1}
        try:
            _, answer = self._ask("GET", "object/getByEmail", what="Look for the address", params=params)
        except base.Refused as error:
            if error.status in {400, 404, 422}:  # nobody: 404 since April 2022, before that 400; 422: no address
                return []
            raise
        found = self._all_of(list(dict.fromkeys(answers.ids(answer["data"]))))
        same = [one for one in found if one.email.strip().casefold() == email.strip().casefold()]
        return sorted(same, key=lambda one: int(one.contact))

    def page(self, cursor: str) -> tuple[list[Snapshot], str]:
        found, last = self._after(int(cursor or 0), "Read the list of contacts")
        return found, str(last) if found else ""

    def tagged(self, tag: str) -> Iterator[list[str]]:
        query = {"objectID": CONTACT, "tag_id": tag, "listFields": "id", "sort": "id", "sortDir": "asc"}
        try:
            for rows in self._pages("objects/tag", "Read who has the tag", **query):
                yield [id_ for row in rows for id_ in answers.ids(row)]
        except base.Refused as error:
            if not answers.is_gone(error):
                raise
            self._must_know(tag)  # it may mean that nobody has the tag

    def changed(self, since: datetime) -> Iterator[list[Snapshot]]:
        last, when = 0, answers.where("dlm", ">=", int(since.timestamp()))  # date of last modification
        while True:
            found, last = self._after(last, "Read who changed", when)
            if not found:
                return
            yield found

    def _row(self, contact: str, what: str) -> tuple[base.Call, Mapping[str, Any]]:
        """All columns of one contact. Raises Permanent `contact-not-found`."""
        try:
            call, answer = self._ask("GET", "Contact", what=what, params={"id": contact})
        except base.Refused as error:
            if answers.is_gone(error):
                raise self.not_found(contact) from error
            raise
        data = answer["data"]
        row = data[0] if isinstance(data, list) and data else data
        if not isinstance(row, dict) or not answers.text(row.get("id")):
            raise self.broken()
        if answers.text(row["id"]) != contact:  # the one it was merged into, perhaps
            raise self.not_found(contact)
        return call, row

    def _read(self, what: str, **query: object) -> tuple[dict[str, Snapshot], int]:
        """Contacts by their id, and how many rows there were."""
        moments = base.began(self.bulk_lag)
        columns = ",".join(dict.fromkeys([*OWN_COLUMNS, *self.field_names.all()]))
        try:
            rows = self._rows("Contacts", what, listFields=columns, range=PAGE, **query)
        except base.Refused as error:
            if answers.is_gone(error) or set(columns.split(",")) <= {*OWN_COLUMNS, *self._fields_anew()}:
                raise
            return self._read(what, **query)  # a field was deleted, which is all that was wrong
        snapshots = (self._snapshot(row, moments) for row in rows if answers.is_id(answers.text(row.get("id"))))
        return {one.contact: one for one in snapshots}, len(rows)

    def _after(self, last: int, what: str, *more: object) -> tuple[list[Snapshot], int]:
        """The next page of a list in the order of ids, and its last id.

        Only an empty page is the end: one that lacks some rows isn't taken for it.
        """
        conditions = [*more, answers.where("id", ">", last)]
        condition = [part for one in conditions for part in (one, "AND")][:-1]
        found, rows = self._read(what, sort="id", sortDir="asc", condition=json.dumps(condition))
        ids = [int(contact) for contact in found]
        if rows and (not ids or min(ids) <= last):
            raise self.broken()  # it would go in circles
        return list(found.values()), max(ids, default=last)

    def _all_of(self, contacts: Sequence[str]) -> list[Snapshot]:
        """These contacts; those that a bulk read leaves out are asked for alone, and left out if they are gone."""
        found: dict[str, Snapshot] = {}
        for start in range(0, len(contacts), PAGE):
            found |= self.contacts(contacts[start : start + PAGE])
        for contact in contacts:
            if contact not in found:
                try:
                    found[contact] = self.contact(contact)
                except Permanent as error:
                    if error.reason != "contact-not-found":
                        raise
        return list(found.values())

    def _snapshot(self, row: Mapping[str, Any], moments: Mapping[str, Any]) -> Snapshot:
        tags = answers.tag_ids(row)
        return Snapshot(
            contact=answers.text(row.get("id")),
            email=answers.text(row.get("email")),
            first_name=answers.text(row.get("firstname")),
            last_name=answers.text(row.get("lastname")),
            fields={one.label: one.shown(row[name]) for name, one in reversed(self._fields.items()) if name in row},
            tags=None if tags is None else self.tags_of(tags),
            **moments,
        )

    # --- tags --------------------------------------------------------------------------------------------------

    def list_tags(self) -> dict[str, str]:
        pages = self._pages("Tags", "Read the list of tags", key="tag_id")
        rows = [row for page in pages for row in page if answers.text(row.get("object_type_id", CONTACT)) == CONTACT]
        if not all(answers.text(row.get("tag_id")) for row in rows):
            raise self.broken()
        return {answers.text(row["tag_id"]): answers.text(row.get("tag_name")) for row in rows}

    def make_tag(self, name: str) -> str:
        _, answer = self._ask("POST", "Tags", what=f"Make the tag {name}", json={"tag_name": name})
        made = answers.ids(answer["data"], "tag_id")
        if not made:
            raise self.broken()
        return made[0]

    def add_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        self._must_know(tag)  # a tag call is answered before it is worked on, whatever becomes of it
        return self._write_tag("PUT", {"add_list": tag}, contacts, f"Add the tag for {len(contacts)}")

    def remove_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        try:
            return self._write_tag("DELETE", {"remove_list": tag}, contacts, f"Take the tag off {len(contacts)}")
        except base.Refused:
            if self._knows(tag):
                raise
            return set(contacts)  # the tag itself is gone

    def _write_tag(self, method: str, which: Mapping[str, str], contacts: Sequence[str], what: str) -> set[str]:
        """Those for whom the call was taken: all, unless it is refused because of one that is gone."""
        content = {"objectID": 0, "ids": ",".join(contacts), **which, "background_request": True}
        try:
            self._ask(method, "objects/tag", what=what, json=content)
        except base.Refused as error:
            if not answers.is_gone(error) or not all(self._knows(tag) for tag in which.values()):
                raise
            if len(contacts) == 1:
                return set()
            middle = len(contacts) // 2
            halves = (contacts[:middle], contacts[middle:])
            return set().union(*(self._write_tag(method, which, half, what) for half in halves))
        return set(contacts)

    def _knows(self, tag: str) -> bool:
        """Whether there is such a tag; one that we don't know of is asked for."""
        if self.tag_names.of([tag]):
            return True
        self.tag_names.forget()
        return bool(self.tag_names.of([tag]))

    def _must_know(self, tag: str) -> None:
        if not self._knows(tag):
            raise NeedsSetting("crm-tag-missing", crm=self.label, tag=tag)

    # --- fields ------------------------------------------------------------------------------------------------

    def list_fields(self) -> dict[str, str]:
        columns = answers.columns(self._meta("Read the list of fields")["data"])
        if not columns:
            raise self.broken()
        known = {name: found for name in sorted(columns) if (found := answers.field_of(name, columns[name]))}
        self._fields = known
        return {name: one.label for name, one in known.items()}

    def make_field(self, label: str) -> None:
        self.field_names.forget()
        if self.has_field(label):
            return
        new = {"objectID": 0, "name": SECTION, "fields": [[{"alias": label, "type": "text"}], [], []]}
        _, answer = self._ask("POST", "objects/fieldeditor", what=f"Make the field {label}", json=new)
        self.field_names.forget()
        data = answer["data"]
        if not (isinstance(data, dict) and data.get("success")) and not self.has_field(label):
            raise Permanent("crm-refused", crm=self.label, status=200)  # it tells of errors with a 200

    def set_fields(self, contact: str, values: Mapping[str, str]) -> None:
        sent = {name: self._stored(name, value) for name, value in self.field_ids(values).items()}
        content = {"objectID": 0, "id": int(contact), **sent}
        try:
            _, answer = self._ask("PUT", "objects", what=f"Write {', '.join(values)}", json=content)
        except base.Refused as error:
            if answers.is_gone(error):
                raise self.not_found(contact) from error
            self._fields_anew()
            self.field_ids(values)  # which tells if one of them is what is gone
            raise
        changed = answer["data"].get("attrs") if isinstance(answer["data"], dict) else None
        unnamed = sent.keys() - (changed if isinstance(changed, dict) else {}).keys()
        if unnamed:
            self._look_back(contact, {name: sent[name] for name in unnamed})

    def _look_back(self, contact: str, sent: Mapping[str, str]) -> None:
        """An answer names the fields that changed. One that it leaves out was the same before, or wasn't taken."""
        _, row = self._row(contact, "Look whether it was written")
        for name, value in sent.items():
            known = self._fields.get(name)
            if known is None or name not in row or not known.holds(row[name], value):
                label = known.label if known else name
                there = name in self._fields_anew()
                reason = "crm-value-not-kept" if there else "crm-field-missing"
                raise (Retryable if there else NeedsSetting)(reason, crm=self.label, field=label)

    def _stored(self, name: str, value: str) -> str:
        known = self._fields.get(name)
        return known.stored(value) if known else value

    def _fields_anew(self) -> Mapping[str, str]:
        self.field_names.forget()
        return self.field_names.all()

    def _meta(self, what: str) -> Mapping[str, Any]:
        _, answer = self._ask("GET", "objects/meta", what=what, params={"objectID": CONTACT, "format": "byId"})
        return answer

    # --- hooks -------------------------------------------------------------------------------------------------

    @classmethod
    def events(cls, arrived: Arrived, secrets: Sequence[str]) -> list[Event]:
        """Ontraport signs nothing: `secrets` doesn't matter."""
        told = hooks.told(arrived.body, arrived.headers)
        if told is None:
            raise Permanent("hook-not-understood", crm=cls.label)
        return [told] if told.contact or told.email else []

    def hooks(self) -> list[Hook]:
        pages = self._pages("Webhooks", "Read the list of hooks")
        return [hook for rows in pages for row in rows if (hook := hooks.hook_of(row))]

    def make_hook(self, url: str, happened: Happened, tag: str = "") -> Hook:
        which = hooks.subscription(happened, tag)
        if which is None:
            raise Permanent("crm-cannot", crm=self.label, what=self.cannot["hook-for-changes"])
        for hook in self.hooks():
            if (hook.url, hook.happened, hook.tag) == (url, happened, tag):
                return hook
        form = {"url": url, "event": which}
        _, answer = self._ask("POST", "Webhook/subscribe", what=f"Set up a hook for {which}", data=form)
        made = answers.ids(answer["data"])
        if not made:
            raise self.broken()
        return Hook(made[0], url, happened, tag)

    def revive_hook(self, hook: Hook) -> Hook:
        """Ontraport is not known to switch a hook off; one that is gone is made again."""
        return self.make_hook(hook.url, hook.happened, hook.tag)

    def remove_hook(self, hook: Hook) -> None:
        try:
            self.ask("DELETE", "/1/Webhook/unsubscribe", what="Take the hook away", params={"id": hook.id})
        except base.Refused:
            if hook.id in {other.id for other in self.hooks()}:
                raise

    def missed(self, since: datetime) -> list[Event]:
        """From the log of webhooks ("Webhook Log"), which keeps successes for 2 days and failures for 7.

        Its newest 1,000 entries are looked through. One that can't be read is no trouble: there are sweeps.
        """
        found: list[Event] = []
        pages = self._pages("WebhookLogs", "Read the log of hooks", sort="id", sortDir="desc")
        try:
            for rows in itertools.islice(pages, LOG_PAGES):
                told = [(event.at, event) for row in rows if (event := hooks.logged(row)) and event.at]
                found += [event for at, event in told if at >= since]
                if told and max(at for at, _ in told) < since:
                    break
        except TagwardenError as error:
            if error.reason not in {"crm-refused", "crm-key-refused", "crm-answer-broken"}:
                raise
        return found

    # --- the vendor's envelope ---------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, *, what: str, **request: Any) -> tuple[base.Call, dict[str, Any]]:
        """One call. Returns its record and the envelope, whose `data` is there."""
        call, answer = self.ask(method, f"/1/{path}", what=what, **request)
        if not isinstance(answer, dict) or "data" not in answer or answer.get("code", 0) not in (0, "0"):
            raise self.broken()
        return call, answer

    def _rows(self, path: str, what: str, **query: Any) -> list[dict[str, Any]]:
        call, answer = self._ask("GET", path, what=what, params=query)
        data = answer["data"]
        rows = list(data.values()) if isinstance(data, dict) else data  # PHP writes a list with gaps as an object
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.broken()
        call.found = f"{len(rows)} found"
        return rows

    def _pages(self, path: str, what: str, key: str = "id", **query: Any) -> Iterator[list[dict[str, Any]]]:
        """A list, a page at a time. `key`: the column that tells its rows apart."""
        seen: set[str] = set()
        for start in itertools.count(0, PAGE):
            rows = self._rows(path, what, range=PAGE, start=start, **query)
            ids = {answers.text(row.get(key)) for row in rows}
            if rows and ids <= seen:
                raise self.broken()
            seen |= ids
            yield rows
            if len(rows) < PAGE:
                return


def _found(snapshot: Snapshot) -> str:
    if snapshot.tags is None:
        return "The answer came without tags"
    return "1 tag" if len(snapshot.tags) == 1 else f"{len(snapshot.tags)} tags"
