"""Kit's subscribers, tags and fields."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import ClassVar

from tagwarden.core.errors import NeedsSetting, Permanent, TagwardenError
from tagwarden.core.outcome import CrmTag, Snapshot
from tagwarden.crms import base
from tagwarden.crms.kit.hooks import WithHooks
from tagwarden.crms.kit.road import PAGE
from tagwarden.crms.kit.rows import Row, dicts, found_in_words, numbered, part, same, says_gone, text

A_FEW = 10  # fields in one write: more are stored later, and answered 202 (developers.kit.com, Update a subscriber)
BARE_AT_MOST = 10  # contacts that a list shows without tags whose own list of them is asked for, so many a batch
TOGETHER = 100  # entries in a bulk call that is answered with what came of each (Bulk and async processing)
FOR_ONE = 2  # calls that a contact read alone takes: itself, and its tags


class Crm(WithHooks):
    """Credentials: {"api_key": "…"} or {"client_id": "…", "client_secret": "…", "access_token": "…",
    "refresh_token": "…"}.

    With a key Kit takes 120 calls a minute and one tag for one subscriber in a call; with tokens 600, and 100 tags.
    """

    cannot: ClassVar = {
        "webhook-step": "Kit’s automations can’t call an address; a tag stands in for that step, as a trigger.",
        "tags-together": "With an API key Kit takes one tag for one subscriber in a call; with OAuth a hundred.",
        "read-by-ids": "Kit reads no list of ids: all subscribers are read, a thousand in a call.",
        "hooks-for-changes": "Where Kit gives no webhook endpoints, its older webhooks tell of a tag or a new person.",
        "second-delivery": "Kit promises no second try of its older webhooks; what got lost is found by reading.",
    }
    paste = (
        "Kit’s automations have no webhook step, so there is nothing to paste into one: a tag stands in for it.",
        "Make a trigger: tagwarden connection trigger add CONNECTION --tag NAME --command COMMAND.",
        "Then let the automation or rule in Kit add that tag. It is taken off again when the command is done.",
        "A tool beside Kit that can call an address calls {url} with the subscriber’s id as contactId.",
    )
    bulk_size = page_size = PAGE
    one_lag = timedelta(0)  # by id reads show the present (developers.kit.com, Eventual consistency)
    bulk_lag = timedelta(minutes=5)  # lists lag, mostly 30 s, at most 5 minutes (the same page)

    _field_numbers: Mapping[str, int] = MappingProxyType({})  # key → id of the fields, as last listed
    _pages: int | None = None  # of the list of all, when it was last read to its end

    # --- contacts -----------------------------------------------------------------------------------------------

    def check(self) -> str:
        _, answer = self.call("GET", "/account", "Try the key")
        account = part(answer, "account")
        if not account:
            raise self.broken()
        return text(account.get("name") or account.get("primary_email_address")) or self.label

    def contact(self, contact: str) -> Snapshot:
        """Two calls: what is read by id has no tags. Whether the list of one's tags lags isn't documented; a list
        that doesn't know yet who was just read is not taken for an empty one.
        """
        moments = base.began(self.one_lag)
        call, row = self._read(contact)
        try:
            tags = self.all(f"/subscribers/{contact}/tags", "tags", "Read the contact's tags")
        except base.Refused as error:
            if not says_gone(error):
                raise
            return self._snapshot(row, moments)
        snapshot = self._snapshot({**row, "tags": tags}, moments)
        call.found = found_in_words(snapshot)
        return snapshot

    def _read(self, contact: str) -> tuple[base.Call, Row]:
        """The subscriber as of now, in any state, without tags."""
        try:
            call, answer = self.call("GET", f"/subscribers/{contact}", "Read the contact")
        except base.Refused as error:
            raise self.not_found(contact) if says_gone(error) else error from error
        row = part(answer, "subscriber")
        if text(row.get("id")) != contact or not isinstance(row.get("fields"), dict):
            raise self.broken()
        return call, row

    def contacts(self, contacts: Sequence[str]) -> dict[str, Snapshot]:
        """From the list of all, page by page until all are found; those that are left one by one, where that is less.

        A list of ids can't be asked for.
        """
        missing, found = set(contacts), dict[str, Snapshot]()
        if not self._list_is_less(missing, 0):
            return self._one_by_one(missing)
        for pages, (snapshots, is_last) in enumerate(self._through("Read the list of contacts"), 1):
            found |= {one.contact: one for one in snapshots if one.contact in missing}
            missing -= found.keys()
            if is_last:
                self._pages = pages
            elif not self._list_is_less(missing, pages):
                found |= self._one_by_one(missing)
                break
        return self._with_own_tags(found)

    def _with_own_tags(self, found: dict[str, Snapshot]) -> dict[str, Snapshot]:
        """Those that the list shows without tags, with their own list of them, as far as that can be had."""
        bare = [contact for contact, snapshot in found.items() if snapshot.tags is None][:BARE_AT_MOST]
        with suppress(TagwardenError):  # their tags stay unknown
            for contact in bare:
                tags = self._named(self.all(f"/subscribers/{contact}/tags", "tags", "Read the contact's tags"))
                found[contact] = replace(found[contact], tags=tags)
        return found

    def _list_is_less(self, missing: set[str], pages: int) -> bool:
        """Whether the rest of the list is fewer calls than those that are missing. While its length isn't known, it is
        read for as many calls as they would take: so in all never more than twice what would have been enough.
        """
        left = pages if self._pages is None else max(self._pages - pages, 1)
        return FOR_ONE * len(missing) > left

    def _one_by_one(self, contacts: set[str]) -> dict[str, Snapshot]:
        found: dict[str, Snapshot] = {}
        for contact in sorted(contacts):
            try:
                found[contact] = self.contact(contact)
            except Permanent as error:
                if error.reason != "contact-not-found":
                    raise
        return found

    def calls_for(self, contacts: int) -> int:
        """As many as go at once, at most: of a long list each further page waits for its turn."""
        return max(1, min(self._pages or 1, FOR_ONE * contacts, self.limits[0].calls // 10))

    def by_email(self, email: str) -> list[Snapshot]:
        plain = email.strip()
        snapshots, _ = self._list("Look for the address", {"email_address": plain})
        fitting = [one for one in snapshots if one.email.casefold() == plain.casefold()]
        return sorted(fitting, key=lambda one: int(one.contact))

    def page(self, cursor: str) -> tuple[list[Snapshot], str]:
        """The cursor is Kit's own."""
        return self._list("Read the list of contacts", {"after": cursor} if cursor else {})

    def tagged(self, tag: str) -> Iterator[list[str]]:
        path, what = f"/tags/{tag}/subscribers", "Read who has the tag"
        try:
            for rows in self.pages_of(path, "subscribers", what, {"status": "all"}):
                yield [str(row["id"]) for row in rows]
        except base.Refused as error:
            raise self._tag_missing(tag) if says_gone(error) else error from error

    def changed(self, since: datetime) -> Iterator[list[Snapshot]]:
        """By a filter that is documented for whole days, but not in which time zone: two more days are asked for."""
        day = (since - timedelta(days=2)).date().isoformat()
        for snapshots, _ in self._through("Read who changed", {"updated_after": day}):
            yield snapshots

    def _through(self, what: str, filters: Row | None = None) -> Iterator[tuple[list[Snapshot], bool]]:
        """The pages of a list of subscribers, each with whether it is the last one."""
        cursor, seen = "", {""}
        while True:
            snapshots, cursor = self._list(what, {**(filters or {}), **({"after": cursor} if cursor else {})})
            yield snapshots, not cursor
            if not cursor:
                return
            if cursor in seen:
                raise self.broken()
            seen.add(cursor)

    def _list(self, what: str, filters: Row) -> tuple[list[Snapshot], str]:
        """A page of subscribers and the cursor of the next. Without `status` only active ones come, without
        `include` none has tags (developers.kit.com, List subscribers).
        """
        moments = base.began(self.bulk_lag)
        asked = {"status": "all", "include": "tags", "per_page": PAGE, **filters}
        call, answer = self.call("GET", "/subscribers", what, params=asked)
        rows, cursor = self.rows(answer, "subscribers"), self.next_of(answer)
        if cursor and cursor == filters.get("after"):
            raise self.broken()
        # One without fields isn't whole: to take it for one whose fields are empty would be wrong.
        found = {str(row["id"]): self._snapshot(row, moments) for row in rows if isinstance(row.get("fields"), dict)}
        call.found = f"{len(found)} found"
        return list(found.values()), cursor

    def _snapshot(self, row: Row, moments: Row) -> Snapshot:
        labels = self.field_names.of(row["fields"])
        return Snapshot(
            contact=str(row["id"]),
            email=text(row.get("email_address")).strip(),
            first_name=text(row.get("first_name")),
            last_name=text(row["fields"].get("last_name")),  # a field like any other, by custom
            fields={labels.get(key, key): text(value) for key, value in row["fields"].items()},
            tags=self._named(row.get("tags")),
            **moments,
        )

    def _named(self, tags: object) -> frozenset[CrmTag] | None:
        """Tags with their names; None if that is no list of tags."""
        if not isinstance(tags, list) or not all(numbered(tag) for tag in tags):
            return None
        known = {str(tag["id"]): text(tag.get("name")) for tag in tags}
        came = frozenset(CrmTag(tag, name) for tag, name in known.items() if name)
        return came | self.tags_of(tag for tag, name in known.items() if not name)

    # --- tags ---------------------------------------------------------------------------------------------------

    def list_tags(self) -> dict[str, str]:
        return {str(row["id"]): text(row.get("name")) for row in self.all("/tags", "tags", "Read the list of tags")}

    def make_tag(self, name: str) -> str:
        """One of that name that is there is given back by Kit itself."""
        _, answer = self.call("POST", "/tags", f"Make the tag {name}", json={"name": name})
        return self.id_of(answer, "tag")

    def add_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        added = self._together("POST", tag, contacts, "Add the tag") if len(contacts) > 1 else set()
        return added | {one for one in contacts if one not in added and self._put_on(tag, one)}

    def remove_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        gone = self._together("DELETE", tag, contacts, "Take the tag off") if len(contacts) > 1 else set()
        return gone | {one for one in contacts if one not in gone and self._take_off(tag, one)}

    def _together(self, method: str, tag: str, contacts: Sequence[str], what: str) -> set[str]:
        """Those for whom the bulk call surely did it. A failure names nobody where the contact or the tag is gone,
        so whoever isn't sure to be done is then asked about alone. It is 200 even if all of it failed.
        """
        if not self.by_token:
            return set()
        content = {"taggings": [{"tag_id": int(tag), "subscriber_id": int(one)} for one in contacts]}
        _, answer = self.call(method, "/bulk/tags/subscribers", f"{what} for {len(contacts)}", json=content)
        failures = answer.get("failures")
        if not isinstance(failures, list):
            raise self.broken()
        failed = {text(part(failure, "tagging").get("subscriber_id")) for failure in dicts(failures)}
        if len(dicts(failures)) < len(failures):
            failed.add("")
        if method == "POST":
            sure = {str(row["id"]) for row in self.rows(answer, "subscribers")}
        else:
            sure = set() if "" in failed else set(contacts)
        return (sure & set(contacts)) - failed

    def _put_on(self, tag: str, contact: str) -> bool:
        """Whether the contact has it now."""
        try:
            self.call("POST", f"/tags/{tag}/subscribers/{contact}", "Add the tag", json={})
        except base.Refused as error:
            if not says_gone(error):
                raise
            if self._is_there(contact):
                raise self._tag_missing(tag) from error
            return False
        return True

    def _take_off(self, tag: str, contact: str) -> bool:
        """Whether the contact is without it now. What is answered if it was without it before isn't documented."""
        try:
            self.call("DELETE", f"/tags/{tag}/subscribers/{contact}", "Take the tag off")
        except base.Refused as error:
            if not says_gone(error):
                raise
            return self._is_there(contact)
        return True

    def _is_there(self, contact: str) -> bool:
        try:
            self._read(contact)
        except Permanent as error:
            if error.reason != "contact-not-found":
                raise
            return False
        return True

    def _tag_missing(self, tag: str) -> NeedsSetting:
        self.tag_names.forget()
        return NeedsSetting("crm-tag-missing", crm=self.label, tag=tag)

    # --- fields -------------------------------------------------------------------------------------------------

    def list_fields(self) -> dict[str, str]:
        """By their key, which is what subscribers have them under."""
        rows = [row for row in self.all("/custom_fields", "custom_fields", "Read the list of fields") if row.get("key")]
        self._field_numbers = {text(row["key"]): int(row["id"]) for row in rows}
        return {text(row["key"]): text(row.get("label")) for row in rows}

    def make_field(self, label: str) -> None:
        self.field_names.forget()
        if self.has_field(label):
            return
        try:
            self.call("POST", "/custom_fields", f"Make the field {label}", json={"label": label})
        except base.Refused as error:
            self.field_names.forget()
            if error.status != 422 or not self.has_field(label):  # somebody was quicker than we
                raise
        self.field_names.forget()

    def set_fields(self, contact: str, values: Mapping[str, str]) -> None:
        """By a key, Kit wants the address along, and the name too lest it be emptied: both go back as they were just
        read. The bulk call, for tokens only, touches nothing but the fields.
        """
        keys = list(self.field_ids(values).items())
        if self.by_token:
            for start in range(0, len(keys), TOGETHER):
                self._write_together(contact, dict(keys[start : start + TOGETHER]), values)
            return
        _, row = self._read(contact)
        kept = {name: row[name] for name in ("email_address", "first_name") if row.get(name)}
        for start in range(0, len(keys), A_FEW):
            self._write(contact, kept, dict(keys[start : start + A_FEW]), values)

    def _write_together(self, contact: str, fields: Mapping[str, str], values: Mapping[str, str]) -> None:
        """Whatever fails is in a list of failures, of which nobody says whether contact or field is gone: so both are
        looked for.
        """
        ids = self._field_numbers
        numbers = {ids[key]: value for key, value in fields.items() if key in ids}
        if len(numbers) < len(fields):  # the list was read anew a moment ago, and one is gone
            raise self.broken()
        entries = [
            {"subscriber_id": int(contact), "subscriber_custom_field_id": number, "value": value}
            for number, value in numbers.items()
        ]
        path, what = "/bulk/custom_fields/subscribers", f"Write {', '.join(values)}"
        _, answer = self.call("POST", path, what, json={"custom_field_values": entries})
        rows = dicts(answer.get("custom_field_values"))
        shown = {text(row.get("subscriber_custom_field_id")): row.get("value") for row in rows}
        if answer.get("failures") == [] and all(same(shown.get(str(one)), value) for one, value in numbers.items()):
            return
        self._still_there(values)
        self._read(contact)
        raise self.broken()

    def _write(self, contact: str, kept: Row, fields: Mapping[str, str], values: Mapping[str, str]) -> None:
        """Kit drops a value of a field that is gone and says 200, or warns, or answers 422: the answer is looked at."""
        content = {**kept, "fields": fields}
        try:
            call, answer = self.call("PUT", f"/subscribers/{contact}", f"Write {', '.join(values)}", json=content)
        except base.Refused as error:
            if says_gone(error):
                raise self.not_found(contact) from error
            if error.status == 422:
                self._still_there(values)
            raise
        shown = part(part(answer, "subscriber"), "fields")
        if all(same(shown.get(key), value) for key, value in fields.items()):
            return
        self._still_there(values)
        if call.status != 202:  # stored later
            raise self.broken()

    def _still_there(self, values: Mapping[str, str]) -> None:
        """A write was refused or isn't shown: raises NeedsSetting if a field is gone."""
        self.field_names.forget()
        self.field_ids(values)
