"""Keap's REST API, version 1: ids are integers, lists have no tags, and a PATCH leaves alone what it doesn't name."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from tests.fakes.book import Contact
from tests.fakes.keap_account import (
    FIELD_TYPES,
    SHORT,
    V1,
    Account,
    Change,
    Moved,
    Refused,
    answer,
    content_of,
    stamp,
)

MOST_ROWS, USUAL_ROWS = 1000, 100
OPTIONAL = ("custom_fields", "job_title", "lead_source_id")
# v1's name → the name we keep it by, which is v2's.
_RENAMED = {"birthday": "birth_date", "anniversary": "anniversary_date", "lead_source_id": "leadsource_id"}
_WORDS = (
    "addresses anniversary birthday company contact_type fax_numbers job_title lead_source_id middle_name notes origin "
    "owner_id phone_numbers preferred_locale preferred_name prefix social_accounts source_type spouse_name suffix "
    "time_zone website"
)
_PLAIN = _WORDS.split()
KNOWN = {*_PLAIN, "given_name", "family_name", "email_addresses", "custom_fields", "opt_in_reason"}
_ORDERS: Mapping[str, Callable[[Contact], Any]] = {
    "id": lambda one: one.id,
    "date_created": lambda one: one.created,
    "last_updated": lambda one: one.updated,
    "name": lambda one: (one.last_name, one.first_name),
    "firstName": lambda one: one.first_name,
    "email": lambda one: one.email,
}


class Version1:
    """The endpoints under /crm/rest/v1, but for hooks."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> Iterable[web.RouteDef]:
        one, tag = f"{V1}/contacts/{{id}}", f"{V1}/tags/{{tag}}"
        return [
            web.get(f"{V1}/contacts/model", self.model),
            web.post(f"{V1}/contacts/model/customFields", self.new_field),
            web.get(f"{V1}/contacts", self.contacts),
            web.get(f"{V1}/contacts/", self.contacts),  # as `next` has it
            web.post(f"{V1}/contacts", self.new_contact),
            web.put(f"{V1}/contacts", self.upsert),
            web.get(one, self.contact),
            web.patch(one, self.patch),
            web.delete(one, self.delete),
            web.get(f"{one}/tags", self.tags_of),
            web.post(f"{one}/tags", self.tag_contact),
            web.delete(f"{one}/tags", self.untag_contact),
            web.delete(f"{one}/tags/{{tag}}", self.untag_contact),
            web.get(f"{V1}/tags", self.tags),
            web.post(f"{V1}/tags", self.new_tag),
            web.get(tag, self.tag),
            web.get(f"{tag}/contacts", self.contacts_of),
            web.post(f"{tag}/contacts", self.tag_contacts),
            web.delete(f"{tag}/contacts", self.untag_contacts),
            web.delete(f"{tag}/contacts/{{id}}", self.untag_contact),
        ]

    # --- contacts ----------------------------------------------------------------------------------------------

    async def contacts(self, request: web.Request) -> web.Response:
        """Unknown parameters are ignored: then everything comes back."""
        asked, wanted = request.query, _optional(request)
        order = asked.get("order", "id")
        if order not in _ORDERS:
            raise Refused(400, f"Invalid order: {order}")
        found = [one for one in self._account.book.contacts(self._account.seen()) if _fits(one, asked)]
        found.sort(key=_ORDERS[order], reverse=asked.get("order_direction", "").upper() == "DESCENDING")
        page, links = _page(request, found, {"order": order}, always=True)
        return answer({"contacts": [self._row(one, wanted) for one in page], **links})

    def _row(self, contact: Contact, wanted: Iterable[str], *, tags: bool = False) -> dict[str, Any]:
        kept, wanted = self._account.extras(contact.id), set(wanted)
        emails = [{"email": one["email"], "field": one["field"]} for one in self._account.emails(contact)]
        marketable = any(one.get("is_opt_in") for one in kept.get("email_addresses", ()))
        row: dict[str, Any] = {
            "id": contact.id,
            "given_name": contact.first_name or None,
            "family_name": contact.last_name or None,
            "email_addresses": emails,
        }
        if tags:
            row["tag_ids"] = sorted(contact.tags)
        if "custom_fields" in wanted:
            values = self._account.values(contact, self._account.settings.v1_unset_field)
            row["custom_fields"] = [{"id": one, "content": content} for one, content in values]
        row |= {name: kept.get(_RENAMED.get(name, name)) for name in ("job_title", "lead_source_id") if name in wanted}
        return row | {
            "email_opted_in": marketable,
            "email_status": "UnengagedMarketable" if marketable else "UnengagedNonMarketable",
            "phone_numbers": kept.get("phone_numbers") or [],
            "addresses": kept.get("addresses") or [],
            "date_created": stamp(contact.created, milliseconds=True),
            "last_updated": stamp(contact.updated, milliseconds=True),
            "ScoreValue": None,
            "owner_id": int(kept.get("owner_id") or 0),
            "company": kept.get("company"),
            "relationships": [],
            "fax_numbers": kept.get("fax_numbers") or [],
            "social_accounts": [],  # not even if there are some, says the description
        }

    def _shown(self, contact: Contact, wanted: Iterable[str], status: int = 200) -> web.Response:
        return answer(self._row(contact, wanted, tags=True), status)

    async def contact(self, request: web.Request) -> web.Response:
        wanted = _optional(request)
        return self._shown(self._account.read(request.match_info["id"]), wanted)

    async def new_contact(self, request: web.Request) -> web.Response:
        change = self._change(await content_of(request))
        return self._shown(self._account.write(None, _reachable(change), replaces=False), OPTIONAL, 201)

    async def upsert(self, request: web.Request) -> web.Response:
        content = await content_of(request)
        option = content.pop("duplicate_option", "")
        if option not in {"", "Email", "EmailAndName"}:
            raise Refused(400, f"Invalid duplicate_option: {option}")
        change = _reachable(self._change(content))
        known = self._account.matching(change, option) if option else None
        return self._shown(self._account.write(known, change, replaces=False), OPTIONAL)

    async def patch(self, request: web.Request) -> web.Response:
        """Only the values provided."""
        contact, content = self._account.read(request.match_info["id"]), await content_of(request)
        mask = set(request.query.getall("update_mask", []))
        if mask - KNOWN:
            raise Refused(400, f"Invalid update_mask: {', '.join(mask - KNOWN)}")
        change = self._change(content)  # the whole body is checked, whatever the mask
        change = self._change({name: value for name, value in content.items() if name in mask}) if mask else change
        return self._shown(self._account.write(contact, change, replaces=False), OPTIONAL)

    def _change(self, content: Mapping[str, Any]) -> Change:
        for name in content:
            if name not in KNOWN:
                raise Refused(400, f"Unrecognized property: {name}")
        if content.get("owner_id") is not None and str(content["owner_id"]) not in {"0", "1", "45"}:
            raise Refused(500, "Internal Server Error")
        names = {"first_name": "given_name", "last_name": "family_name"}
        change = Change({ours: content[its] or "" for ours, its in names.items() if its in content})
        if "email_addresses" in content:
            reason = content.get("opt_in_reason")
            change.emails = [_email(one, reason) for one in content["email_addresses"]]
        if "custom_fields" in content:
            pairs = content["custom_fields"]
            change.fields = {int(one["id"]): self._account.text(one["id"], one.get("content")) for one in pairs}
        change.rest = {_RENAMED.get(name, name): content[name] for name in _PLAIN if name in content}
        return change

    async def delete(self, request: web.Request) -> web.Response:
        account = self._account
        account.book.change(account.read(request.match_info["id"]).id, account.now(), "api", deleted=True)
        return web.Response(status=204)

    # --- tags --------------------------------------------------------------------------------------------------

    async def tags(self, request: web.Request) -> web.Response:
        name = request.query.get("name")
        rows = [self._tag(one) for one in sorted(self._account.book.tags)]
        page, links = _page(request, [row for row in rows if name in {None, row["name"]}])
        return answer({"tags": page, **links})

    def _tag(self, number: int) -> dict[str, Any]:
        kind = self._account.tag_kind(number)
        category = kind.category and {
            "id": kind.category,
            "name": self._account.categories[kind.category],
            "description": None,
        }
        name = self._account.book.tags[number]
        return {"id": number, "name": name, "description": kind.description, "category": category}

    async def tag(self, request: web.Request) -> web.Response:
        return answer(self._tag(self._account.tag(request.match_info["tag"])))

    async def new_tag(self, request: web.Request) -> web.Response:
        content = await content_of(request)
        made, _ = self._account.new_tag(content.get("name"), content.get("description"), content.get("category"))
        return answer(self._tag(made))

    async def tags_of(self, request: web.Request) -> web.Response:
        contact, account = self._account.read(request.match_info["id"]), self._account
        rows = []
        for tag, at in sorted(contact.tags.items()):
            category = account.categories.get(account.tag_kind(tag).category or 0)
            short = {"id": tag, "name": account.book.tags[tag], "category": category}
            rows.append({"tag": short, "date_applied": stamp(at, milliseconds=True)})
        page, links = _page(request, rows)
        return answer({"tags": page, **links})

    async def contacts_of(self, request: web.Request) -> web.Response:
        tag, rows = self._account.tag(request.match_info["tag"]), []
        for one in self._account.book.contacts(self._account.seen()):
            if tag in one.tags:
                who = {"id": one.id, "email": one.email, "first_name": one.first_name, "last_name": one.last_name}
                rows.append({"contact": who, "date_applied": stamp(one.tags[tag], milliseconds=True)})
        page, links = _page(request, rows)
        return answer({"contacts": page, **links})

    async def tag_contact(self, request: web.Request) -> web.Response:
        """A word for each tag, in one of two shapes: the description has one, practice the other (facts 1.4)."""
        tags = (await content_of(request)).get("tagIds")
        if not isinstance(tags, list):
            raise Refused(400, "tagIds is required")
        return self._words({tag: self._put_on(request.match_info["id"], str(tag)) for tag in tags})

    async def tag_contacts(self, request: web.Request) -> web.Response:
        ids = (await content_of(request)).get("ids")
        if not isinstance(ids, list):
            raise Refused(400, "ids is required")
        return self._words({one: self._put_on(str(one), request.match_info["tag"]) for one in ids})

    def _words(self, words: dict[int, str]) -> web.Response:
        if self._account.settings.tag_results == "list":
            return answer([{"key": word} for word in words.values()])
        return answer({str(one): word for one, word in words.items()})

    def _put_on(self, contact: str, tag: str) -> str:
        try:
            found = self._account.read(contact)
        except (Refused, Moved):
            return "CONTACT_NOT_FOUND"
        if not tag.isdigit() or int(tag) not in self._account.book.tags:
            return "TAG_ID_NOT_FOUND"
        return "SUCCESS" if self._account.book.set_tag(found.id, int(tag), self._account.now(), "api") else "DUPLICATE"

    async def untag_contact(self, request: web.Request) -> web.Response:
        """One tag by its path, or several by `ids`."""
        contact, ids = self._account.read(request.match_info["id"]), request.match_info.get("tag")
        return self._take_off([contact.id], (ids or request.query.get("ids", "")).split(","))

    async def untag_contacts(self, request: web.Request) -> web.Response:
        ids = ",".join(request.query.getall("ids", [])).split(",")
        there = [int(one) for one in ids if one.isdigit() and self._account.book.contact(int(one))]
        return self._take_off(there, [str(self._account.tag(request.match_info["tag"]))])

    def _take_off(self, contacts: list[int], tags: list[str]) -> web.Response:
        if not any(tags):
            raise Refused(400, "ids is required")
        for tag in tags:
            if tag.isdigit() and int(tag) in self._account.book.tags:
                for one in contacts:
                    self._account.book.set_tag(one, int(tag), self._account.now(), "api", remove=True)
        return web.Response(status=204)

    # --- fields ------------------------------------------------------------------------------------------------

    async def model(self, request: web.Request) -> web.Response:
        fields = [self._model(one) for one in sorted(self._account.book.fields)]
        return answer({"custom_fields": fields, "optional_properties": list(OPTIONAL)})

    def _model(self, number: int) -> dict[str, Any]:
        kind = self._account.field_kind(number)
        return {
            "id": number,
            "label": self._account.book.fields[number],
            "options": list(kind.options),
            "record_type": "CONTACT",
            "field_type": kind.type,
            "field_name": kind.name,
            "default_value": None,
        }

    async def new_field(self, request: web.Request) -> web.Response:
        content = await content_of(request)
        if not content.get("label") or content.get("field_type") not in FIELD_TYPES:
            raise Refused(400, "label and field_type are required", "custom_field")
        made = self._account.book.new_field(content["label"])
        options = tuple({"id": one["label"], "label": one["label"]} for one in content.get("options", ()))
        self._account.set_field_kind(made, content["field_type"], options=options)
        return answer(self._model(made), 201)


def _optional(request: web.Request) -> list[str]:
    """Refuses unknown properties by name (facts 7)."""
    asked = ",".join(request.query.getall("optional_properties", [])).split(",")
    for name in filter(None, asked):
        if name not in KNOWN | {"relationships"}:
            raise Refused(400, f"Unrecognized optional property: {name}")
    return asked


def _fits(contact: Contact, asked: Mapping[str, str]) -> bool:
    return (
        asked.get("email", contact.email).lower() == contact.email.lower()
        and asked.get("given_name", contact.first_name).lower() == contact.first_name.lower()
        and asked.get("family_name", contact.last_name).lower() == contact.last_name.lower()
        and ("since" not in asked or contact.updated >= _moment(asked["since"]))
        and ("until" not in asked or contact.updated <= _moment(asked["until"]))
    )


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise Refused(400, f"Invalid date-time: {text}") from None


def _page(
    request: web.Request, rows: list[Any], more: Mapping[str, str] | None = None, *, always: bool = False
) -> tuple[list[Any], dict[str, Any]]:
    """This page and its links, which are whole URLs. `always`: there is a next one even after the last."""
    try:
        offset, limit = int(request.query.get("offset", "0")), int(request.query.get("limit", "0"))
    except ValueError:
        raise Refused(400, "limit and offset are numbers") from None
    limit = min(limit if limit > 0 else USUAL_ROWS, MOST_ROWS)
    url = f"{request.scheme}://{request.host}{request.path.rstrip('/')}/"
    kept = {name: value for name, value in request.query.items() if name not in {"limit", "offset", "order"}}

    def link(start: int) -> str:
        return f"{url}?{urlencode({**kept, 'limit': limit, 'offset': start, **(more or {})})}"

    shown = rows[offset : offset + (max(1, limit // 2) if request.get(SHORT) else limit)]
    after = offset + len(shown)
    following = link(max(after, offset + limit if after >= len(rows) else after)) if always or after < len(rows) else ""
    previous = link(max(0, offset - limit)) if always or offset else ""
    return shown, {"count": len(rows), "next": following, "previous": previous}


def _reachable(change: Change) -> Change:
    if not (change.emails or change.rest.get("phone_numbers")):
        raise Refused(400, "Contact must contain an email address or a phone number")
    return change


def _email(item: Any, reason: str | None) -> dict[str, Any]:
    if not isinstance(item, dict) or "@" not in str(item.get("email")):
        raise Refused(400, "Invalid email address")
    if item.get("field") not in {"EMAIL1", "EMAIL2", "EMAIL3"}:
        raise Refused(400, "Invalid email field")
    opted = {"opt_in_reason": reason, "is_opt_in": True, "email_opt_status": "SINGLE_OPT_IN"} if reason else {}
    return {"email": item["email"], "field": item["field"], **opted}
