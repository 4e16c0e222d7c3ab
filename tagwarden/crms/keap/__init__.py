"""Keap, once called Infusionsoft (docs/crms/keap.md): read and tagged by its REST API v2, written and hooked by v1."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

import httpx

from tagwarden.core.errors import NeedsSetting, Permanent, Retryable, TagwardenError
from tagwarden.core.hooks import Arrived, Event, Happened, Hook
from tagwarden.core.outcome import Snapshot
from tagwarden.core.ratelimit import Limit, Said
from tagwarden.crms import base
from tagwarden.crms.keap import answers, hooks

FIELDS = "id,given_name,family_name,email_addresses,custom_fields,tag_ids,groups"  # what isn't asked for isn't sent
PAGE = 1000  # Keap's largest page
ADDRESS_TOO_LONG = {413, 414, 431}

# developer.infusionsoft.com, "API token quota and usage measurements": calls a second, a minute, a day.
KEY_LIMITS = (Limit(10, seconds=1), Limit(240, seconds=60), Limit(30_000, seconds=86_400))
OAUTH_LIMITS = (Limit(25, seconds=1), Limit(1_500, seconds=60), Limit(150_000, seconds=86_400))


class Crm(base.Crm):
    """Credentials: {"token": "…"}, a Service Account Key or Personal Access Token; or those of an OAuth application:
    {"client_id": "…", "client_secret": "…", "access_token": "…", "refresh_token": "…"}.
    """

    label = "Keap"
    default_url = "https://api.infusionsoft.com"
    v1, v2 = "/crm/rest/v1", "/crm/rest/v2"
    needed = (
        frozenset({"token"}),
        frozenset({"client_id", "client_secret", "access_token", "refresh_token"}),
    )
    # Keap takes pages of 1,000, but the ids stand in the address, and how long that may be is not published.
    # 250 ids of ten digits are 2.7 kB, under the 4 kB that gateways commonly take; a 414 halves it.
    bulk_size = 250
    page_size = PAGE
    one_lag = bulk_lag = timedelta(0)  # no lag of Keap's reads has been published or observed
    tags_at_once = 100  # not published; public integrations send as many
    limits = KEY_LIMITS
    pause = timedelta(seconds=2)
    timeout = httpx.Timeout(20, connect=5)  # a page of 1,000 takes Keap a while; a renewal must end in 30 s
    paste = (
        "In Keap's automation builder open the sequence, and add Send HTTP POST after the step that adds the tag.",
        "Paste {url} as its Post URL.",
        "Leave the pair that is there already: contactId with the value ~Contact.Id~.",
        "Save, and publish the automation.",
    )
    cannot: ClassVar = {
        "tag-changes": "Keap doesn't say whether a tag moves a contact's time of change: tags show by reading all.",
        "hook-of-one-tag": "A hook of Keap's tells of all tags; what isn't meant is sorted out here.",
        "signatures": "Keap doesn't sign its calls: the secret is in the address, and each contact is read again.",
        "fields-together": "Keap writes fields for one contact a call.",
    }

    def __init__(self, *, base_url: str, credentials: Mapping[str, str], tokens: base.Tokens | None = None) -> None:
        super().__init__(base_url=base_url, credentials=credentials, tokens=tokens)
        self.limits = KEY_LIMITS if "token" in credentials else OAUTH_LIMITS
        self._ids_at_once = self.bulk_size

    def headers(self, credentials: Mapping[str, str]) -> dict[str, str]:
        """Keys and OAuth tokens go into the same header (Keap's own SDK)."""
        token = credentials.get("token") or credentials.get("access_token", "")
        return {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def check(self) -> str:
        """The only call that no permission can withhold: a key may be good and yet not allowed to read contacts."""
        _, answer = self._get(f"{self.v2}/oauth/connect/userinfo", what="Try the key")
        return answers.text(answer.get("tenant_id")) or answers.text(answer.get("email")) or self.label

    # --- contacts ----------------------------------------------------------------------------------------------

    def contact(self, contact: str) -> Snapshot:
        moments = base.began(self.one_lag)
        try:
            call, row = self._get(f"{self.v2}/contacts/{contact}", what="Read the contact", fields=FIELDS)
        except base.Refused as error:
            if not answers.not_there(error):
                raise
            raise self.not_found(contact) from error
        if not answers.id_of(row):
            raise self.broken()
        if answers.id_of(row) != contact:  # nobody has published what Keap answers for one that was merged
            raise self.not_found(contact)
        snapshot = self._with_tags(self._snapshot(row, moments))
        call.found = answers.in_words(snapshot)
        return snapshot

    def contacts(self, contacts: Sequence[str]) -> dict[str, Snapshot]:
        found: dict[str, Snapshot] = {}
        left = list(contacts)
        while left:
            part = left[: self._ids_at_once]
            try:
                found |= self._together(part)
            except base.Refused as error:
                if error.status not in ADDRESS_TOO_LONG or len(part) == 1:
                    raise
                self._ids_at_once = len(part) // 2
            else:
                left = left[len(part) :]
        return found

    def calls_for(self, contacts: int) -> int:
        return math.ceil(contacts / self._ids_at_once)

    def _together(self, contacts: Sequence[str]) -> dict[str, Snapshot]:
        """A filter that Keap doesn't know is ignored, and all contacts come: whoever wasn't asked for is dropped."""
        wanted, found = set(contacts), dict[str, Snapshot]()
        what = "Read the contact" if len(contacts) == 1 else f"Read {len(contacts)} contacts together"
        query = {"filter": f"contact_ids=={','.join(contacts)}", "fields": FIELDS}
        for moments, rows in self._pages(f"{self.v2}/contacts", "contacts", what=what, **query):
            asked_for = [row for row in rows if answers.id_of(row) in wanted]
            found |= {answers.id_of(row): self._snapshot(row, moments) for row in asked_for}
            if len(found) == len(wanted) or len(asked_for) < len(rows):
                break
        return found

    def page(self, cursor: str) -> tuple[list[Snapshot], str]:
        query = {"order_by": "id asc", "fields": FIELDS}
        moments, rows, following = self._page(
            f"{self.v2}/contacts", "contacts", cursor, what="Read the list of contacts", **query
        )
        return self._snapshots(rows, moments), following

    def changed(self, since: datetime) -> Iterator[list[Snapshot]]:
        moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")  # anything shorter is refused
        query = {"filter": f"start_update_time=={moment}", "order_by": "update_time asc", "fields": FIELDS}
        what = "Read who changed"
        for moments, rows in self._pages(f"{self.v2}/contacts", "contacts", what=what, **query):
            yield self._snapshots(rows, moments)

    def by_email(self, email: str) -> list[Snapshot]:
        """Those whose first address it is. In Keap's filter `*` stands for anything and `;` begins another one."""
        if not email.strip() or set(email) & set("*;"):
            return []
        query = {"filter": f"email=={email.strip()}", "fields": FIELDS}
        found: dict[str, Snapshot] = {}
        for moments, rows in self._pages(f"{self.v2}/contacts", "contacts", what="Look for the address", **query):
            theirs = [row for row in rows if answers.email(row).casefold() == email.strip().casefold()]
            found |= {one.contact: one for one in self._snapshots(theirs, moments)}
            if len(theirs) < len(rows):
                break
        return [found[contact] for contact in sorted(found, key=answers.by_number)]

    def tagged(self, tag: str) -> Iterator[list[str]]:
        try:
            for _, rows in self._pages(f"{self.v2}/tags/{tag}/contacts", "contacts", what="Read who has the tag"):
                yield [answers.id_of(row) for row in rows if answers.id_of(row)]
        except base.Refused as error:
            if not answers.not_there(error):
                raise
            raise self._tag_missing(tag) from error

    def _with_tags(self, snapshot: Snapshot) -> Snapshot:
        """One whose row came without tags, with those of its own list: nobody has published whether a contact without
        tags has an empty list or none. If that can't be had, either, they stay unknown, as they do in a bulk read.
        """
        if snapshot.tags is not None:
            return snapshot
        path, tags = f"{self.v2}/contacts/{snapshot.contact}/tags", set[str]()
        try:
            for _, rows in self._pages(path, "tags", what="Read the contact's tags"):
                if not all(answers.id_of(row.get("tag")) for row in rows):
                    return snapshot
                tags |= {answers.id_of(row["tag"]) for row in rows}
        except (base.Refused, Retryable) as error:
            if error.reason not in {"crm-refused", "crm-answer-broken"}:
                raise
            return snapshot
        return replace(snapshot, tags=self.tags_of(tags))

    def _snapshots(self, rows: Iterable[Mapping[str, Any]], moments: Mapping[str, Any]) -> list[Snapshot]:
        return [self._snapshot(row, moments) for row in rows if answers.id_of(row)]

    def _snapshot(self, row: Mapping[str, Any], moments: Mapping[str, Any]) -> Snapshot:
        values, tags = answers.values(row), answers.tag_ids(row)
        labels = self.field_names.of(values)
        known = sorted(labels, key=answers.by_number, reverse=True)  # of equal labels the lowest id wins, as in writing
        return Snapshot(
            contact=answers.id_of(row),
            email=answers.email(row),
            first_name=answers.text(row.get("given_name")),
            last_name=answers.text(row.get("family_name")),
            fields={labels[id_]: values[id_] for id_ in known},
            tags=None if tags is None else self.tags_of(tags),
            **moments,
        )

    # --- tags and fields ---------------------------------------------------------------------------------------

    def list_tags(self) -> dict[str, str]:
        pages = self._pages(f"{self.v2}/tags", "tags", what="Read the list of tags")
        found = [row for _, rows in pages for row in rows if answers.id_of(row)]
        return {answers.id_of(row): answers.text(row.get("name")) for row in found}

    def make_tag(self, name: str) -> str:
        """What Keap answers for a name that is there is not published: if it refuses, the list is read once more."""
        try:
            _, answer = self.ask("POST", f"{self.v2}/tags", what=f"Make the tag {name}", json={"name": name})
        except base.Refused:
            self.tag_names.forget()
            if (there := self.tag_names.id_of(name)) is None:
                raise
            return there
        self.tag_names.forget()
        made = answers.id_of(answer) or self.tag_names.id_of(name)
        if not made:
            raise self.broken()
        return made

    def add_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        """Answered 200 even if some failed, with a word for each contact."""
        words = self._write_tag("applyTags", tag, contacts, f"Add the tag for {len(contacts)}")
        done = {contact for contact, word in words.items() if word in {"SUCCESS", "DUPLICATE"}}
        for contact in set(contacts) - done:
            match words.get(contact, ""):
                case "CONTACT_NOT_FOUND":
                    continue
                case "TAG_ID_NOT_FOUND":
                    raise self._tag_missing(tag)
                case "NO_PERMISSION":
                    raise NeedsSetting("crm-key-refused", crm=self.label)
                case word:
                    raise Retryable("crm-refused", crm=self.label, status=word[:40] or "nothing")
        return done

    def remove_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        """Answered 204 without a word on any of them. Whoever is gone has no tag, either."""
        self._write_tag("removeTags", tag, contacts, f"Take the tag off {len(contacts)}")
        return set(contacts)

    def _write_tag(self, verb: str, tag: str, contacts: Sequence[str], what: str) -> dict[str, str]:
        """Contact → Keap's word for what came of it; empty if it had none."""
        path, ids = f"{self.v2}/tags/{tag}/contacts:{verb}", list(dict.fromkeys(contacts))
        try:
            _, answer = self.ask("POST", path, what=what, json={"contact_ids": ids})
        except base.Refused as error:
            if not answers.not_there(error):
                raise
            if "contact" not in answers.missing(error):
                raise self._tag_missing(tag) from error
            if len(ids) == 1:
                return {ids[0]: "CONTACT_NOT_FOUND"}
            # One who is gone may have spoilt it for all; whether Keap does so is not published.
            return {one: word for id_ in ids for one, word in self._write_tag(verb, tag, [id_], what).items()}
        if answer is None and verb == "removeTags":
            return {}
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, dict):
            raise self.broken()
        return {str(contact): answers.text(word).upper() for contact, word in results.items()}

    def _tag_missing(self, tag: str) -> NeedsSetting:
        self.tag_names.forget()
        return NeedsSetting("crm-tag-missing", crm=self.label, tag=tag)

    def list_fields(self) -> dict[str, str]:
        """Keap takes text for a field of any type, if it fits the type."""
        _, answer = self._get(f"{self.v2}/contacts/model", what="Read the list of fields")
        kinds = {"", "CONTACT"}  # orders and companies have fields of their own
        rows = [row for row in self._rows(answer, "custom_fields") if answers.text(row.get("record_type")) in kinds]
        return {answers.id_of(row): answers.text(row.get("label")) for row in rows if answers.id_of(row).isdigit()}

    def make_field(self, label: str) -> None:
        self.field_names.forget()
        if self.has_field(label):
            return
        path, content = f"{self.v2}/contacts/model/customFields", {"label": label, "field_type": "TEXT"}
        self.ask("POST", path, what=f"Make the field {label}", json=content)
        self.field_names.forget()

    def set_fields(self, contact: str, values: Mapping[str, str]) -> None:
        """By v1: the change there is documented to be of the values given only, that of v2 deletes all others."""
        content = [{"id": int(id_), "content": value} for id_, value in self.field_ids(values).items()]
        path, what = f"{self.v1}/contacts/{contact}", f"Write {', '.join(values)}"
        try:
            self.ask("PATCH", path, what=what, json={"custom_fields": content})
        except base.Refused as error:
            if answers.not_there(error):
                raise self.not_found(contact) from error
            self.field_names.forget()
            self.field_ids(values)  # says so if one of them is gone meanwhile
            raise

    # --- hooks -------------------------------------------------------------------------------------------------

    @classmethod
    def events(cls, arrived: Arrived, secrets: Sequence[str]) -> list[Event]:
        """REST hooks, up to 1,000 objects in one. Keap signs none and gives events no id: a repeat isn't known as one.

        An empty list is its question whether we are there, which the receiver answers by sending `X-Hook-Secret` back.
        """
        try:
            content = json.loads(arrived.body or b"{}")
        except (ValueError, RecursionError):
            content = None
        told = content.get("event_key") if isinstance(content, dict) else None
        if isinstance(content, dict) and isinstance(told, str):
            happened = hooks.HAPPENED.get(told)
            if happened is None and told.startswith("contact."):
                happened = Happened.CHANGED  # deleted, redacted: whoever reads the contact again finds out
            found = list(hooks.events(content, happened)) if happened else []
            if found:
                return found
        elif "x-hook-secret" in arrived.headers or (isinstance(content, dict) and "verification_key" in content):
            return []
        raise Permanent("hook-not-understood", crm=cls.label)

    def hooks(self) -> list[Hook]:
        _, answer = self.ask("GET", f"{self.v1}/hooks", what="Read the list of hooks")
        if not isinstance(answer, list):
            raise self.broken()
        return [hook for row in answer if (hook := hooks.hook(row)) is not None]

    def make_hook(self, url: str, happened: Happened, tag: str = "") -> Hook:
        """It tells of all tags, whichever is asked for. Keap asks the address at once whether we are there."""
        if (there := self._same(url, happened)) is not None:
            return there
        what, content = f"Make the hook {hooks.EVENTS[happened]}", {"eventKey": hooks.EVENTS[happened], "hookUrl": url}
        _, answer = self.ask("POST", f"{self.v1}/hooks", what=what, json=content)
        made = hooks.hook(answer) or self._same(url, happened)
        if made is None:
            raise self.broken()
        return made

    def revive_hook(self, hook: Hook) -> Hook:
        """Has Keap ask the address again whether we are there. One that is gone is made again."""
        try:
            _, answer = self.ask("POST", f"{self.v1}/hooks/{hook.id}/verify", what="Have the hook switched on again")
        except base.Refused as error:
            if not answers.not_there(error):
                raise
            return self.make_hook(hook.url, hook.happened, hook.tag)
        return hooks.hook(answer) or replace(hook, alive=False)

    def remove_hook(self, hook: Hook) -> None:
        try:
            self.ask("DELETE", f"{self.v1}/hooks/{hook.id}", what="Take the hook away")
        except base.Refused as error:
            if not answers.not_there(error):
                raise

    def _same(self, url: str, happened: Happened) -> Hook | None:
        return next((hook for hook in self.hooks() if (hook.url, hook.happened) == (url, happened)), None)

    # --- how Keap's answers differ from the usual --------------------------------------------------------------

    def said(self, headers: Mapping[str, str]) -> tuple[Said, ...]:
        """A limit of bursts may only be lower than ours, since its unit isn't published."""
        found = answers.limits(headers)
        spike = base.number(headers, "x-keap-product-spike-limit")
        return (*found, Said(1, min(spike, self.limits[0].calls))) if spike else found

    def meaning(self, response: httpx.Response) -> TagwardenError | None:
        status = response.status_code
        if status >= 400 and answers.too_many(response):
            return self.paused(response)
        if status == 401:
            used = response.request.headers.get("authorization")
            return _TokenRefused(self.label, newer=used != self.http.headers.get("authorization"))
        if status == 503 and "retry-after" in response.headers:
            after = super().paused(response).after
            return Retryable("crm-overloaded", after=after, crm=self.label, status=status)
        if 300 <= status < 400:
            return answers.redirected(self.label, response)
        return self.usual(response)

    def paused(self, response: httpx.Response) -> Retryable:
        """Until the window that is used up begins anew: for the day's calls that may be hours."""
        error = super().paused(response)
        waits = [
            timedelta(seconds=one.seconds if one.reset is None else one.reset)
            for one in self.said(response.headers)
            if one.remaining == 0
        ]
        error.after = max([error.after or self.pause, *waits])
        return error

    def again(self, error: TagwardenError, tried: int) -> bool:
        """Of all that a 401 may mean, renewing the token mends what can be mended; once."""
        if not isinstance(error, _TokenRefused) or tried > 1 or "refresh_token" not in self.credentials:
            return False
        return error.newer or self.renew(self._exchange)

    def _exchange(self, credentials: Mapping[str, str]) -> dict[str, str]:
        """As a form, the application's id and secret by Basic authentication; the refresh token is good for one use."""
        form = {"grant_type": "refresh_token", "refresh_token": credentials["refresh_token"]}
        application = (credentials["client_id"], credentials["client_secret"])
        return self.token_call(f"{str(self.http.base_url).rstrip('/')}/token", form, auth=application)

    # --- lists -------------------------------------------------------------------------------------------------

    def _get(self, path: str, *, what: str, **query: str) -> tuple[base.Call, dict[str, Any]]:
        """Keap wants %20 for a space and takes commas as they are."""
        words = "&".join(f"{name}={quote(value, safe=',')}" for name, value in query.items())
        call, answer = self.ask("GET", f"{path}?{words}" if words else path, what=what)
        if not isinstance(answer, dict):
            raise self.broken()
        return call, answer

    def _rows(self, answer: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
        rows = answer.get(key)
        if not isinstance(rows, list):
            raise self.broken()
        return [row for row in rows if isinstance(row, dict)]

    def _page(
        self, path: str, key: str, token: str, *, what: str, **query: str
    ) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
        """The moments of the read, its rows, and the token of the next page, "" after the last."""
        moments = base.began(self.bulk_lag)
        more = {"page_token": token} if token else {}
        call, answer = self._get(path, what=what, page_size=str(PAGE), **query, **more)
        rows = self._rows(answer, key)
        call.found = f"{len(rows)} found"
        following = answers.next_token(answer.get("next_page_token")) if rows else ""
        if following is None or (following and following == token):
            raise self.broken()
        return moments, rows, following

    def _pages(
        self, path: str, key: str, *, what: str, **query: str
    ) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        token, seen = "", {""}
        while True:
            moments, rows, token = self._page(path, key, token, what=what, **query)
            yield moments, rows
            if not token:
                return
            if token in seen:
                raise self.broken()
            seen.add(token)


class _TokenRefused(NeedsSetting):
    """A 401. `newer`: the token was renewed while the call was under way."""

    def __init__(self, crm: str, *, newer: bool) -> None:
        super().__init__("crm-key-refused", crm=crm)
        self.newer = newer
