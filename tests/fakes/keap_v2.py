"""Keap's REST API, version 2: ids are strings, rows are sparse, and lists replace lists."""

from collections.abc import Iterable
from html import escape
from typing import Any

from aiohttp import web

from tests.fakes.book import Contact
from tests.fakes.keap_access import CALLER, TENANT, USERINFO
from tests.fakes.keap_account import (
    DATES,
    FIELD_TYPES,
    NUMBERS,
    V2,
    Account,
    Change,
    Moved,
    Refused,
    answer,
    content_of,
    moment,
    stamp,
)
from tests.fakes.keap_query import Query, Term

# The order of the list that we have a sample of, then that of the published schema.
_WORDS = (
    "id given_name family_name email_addresses custom_fields tag_ids update_time groups links addresses company origin "
    "prefix suffix website create_time score_value anniversary_date birth_date contact_type fax_numbers job_title "
    "leadsource_id middle_name notes owner_id phone_numbers preferred_locale preferred_name referral_code "
    "social_accounts source_type spouse_name time_zone utm_parameters account_id assistant_name assistant_phone "
    "billing_information created_by last_updated_by"
)
PROPERTIES = _WORDS.split()
UNASKED = ("id", "given_name", "family_name", "email_addresses")
LISTS = {"email_addresses", "custom_fields", "addresses", "fax_numbers", "phone_numbers", "social_accounts"}
_READ_ONLY = {"id", "tag_ids", "groups", "update_time", "create_time", "score_value", "links", "created_by"}
WRITABLE = (set(PROPERTIES) - _READ_ONLY - {"notes", "account_id", "last_updated_by"}) | {"utm_parameters"}
OWNERS = {"0", "1", "45"}  # users of the account; another owner_id is a 500, as one integration met it
_ANY = "== > < >= <="
_FILTERS = {
    **dict.fromkeys(("email", "given_name", "family_name", "contact_ids", "ids"), "=="),
    **dict.fromkeys(("start_update_time", "end_update_time"), "=="),
    "contact_id": _ANY,
}
_V2_TYPES = {"".join(f"_{c}" if c.isupper() else c for c in one).lstrip("_").upper(): one for one in FIELD_TYPES}
_V2_NAMES = {name: shown for shown, name in _V2_TYPES.items()}


class Version2:
    """The endpoints under /crm/rest/v2."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> Iterable[web.RouteDef]:
        one, tag = f"{V2}/contacts/{{id}}", f"{V2}/tags/{{id}}"
        return [
            web.get(USERINFO, self.userinfo),
            web.get(f"{V2}/contacts/model", self.model),
            web.post(f"{V2}/contacts/model/customFields", self.new_field),
            web.get(f"{V2}/contacts", self.contacts),
            web.post(f"{V2}/contacts", self.new_contact),
            web.post(f"{V2}/contacts:merge", self.merge),
            web.get(one, self.contact),
            web.patch(one, self.patch),
            web.delete(one, self.delete),
            web.get(f"{one}/tags", self.tags_of),
            web.get(f"{V2}/tags", self.tags),
            web.post(f"{V2}/tags", self.new_tag),
            web.get(f"{V2}/tags/categories", self.categories),
            web.get(tag, self.tag),
            web.get(f"{tag}/contacts", self.contacts_of),
            web.post(f"{tag}/contacts:applyTags", self.apply),
            web.post(f"{tag}/contacts:removeTags", self.remove),
        ]

    # --- contacts ----------------------------------------------------------------------------------------------

    async def contacts(self, request: web.Request) -> web.Response:
        account, query = self._account, Query(request, self._account)
        terms = query.terms(_FILTERS | self._custom_filters())
        field, _ = query.order(("id", "create_time", "email", "update_time"))
        query.size()
        found = [one for one in self._candidates(terms) if all(self._fits(one, term) for term in terms)]
        keys = {"id": lambda one: one.id, "create_time": lambda one: one.created}
        keys |= {"email": lambda one: one.email, "update_time": lambda one: one.updated}
        page, end = query.page([(keys[field](one), one.id, one) for one in found])
        wanted = query.listed("fields") or list(UNASKED)
        hidden = (("tag_ids", account.settings.tag_ids_in_lists), ("groups", account.settings.groups_in_lists))
        wanted = [name for name in wanted if (name, False) not in hidden]
        return answer({"contacts": [self.row(one, wanted) for one in page], **end})

    def _candidates(self, terms: list[Term]) -> list[Contact]:
        """Looks only at the contacts that are named, if any are."""
        seen, book = self._account.seen(), self._account.book
        named = next((term for term in terms if term.field in {"contact_ids", "ids"}), None)
        if named is None:
            return book.contacts(seen)
        found = (book.contact(int(one), seen) for one in named.set() if one.isdigit())
        return [one for one in found if one is not None]

    def _custom_filters(self) -> dict[str, str]:
        kinds = [self._account.field_kind(one) for one in self._account.book.fields]
        return {kind.name.lower(): _ANY if kind.type in NUMBERS | DATES else "==" for kind in kinds}

    def _fits(self, contact: Contact, term: Term) -> bool:
        if term.field in {"contact_ids", "ids"}:
            return str(contact.id) in term.set()
        if term.field == "contact_id":
            return term.value.isdigit() and term.compares(contact.id, int(term.value))
        if term.field == "start_update_time":
            return contact.updated >= moment(term.value)
        if term.field == "end_update_time":
            return contact.updated <= moment(term.value)
        if term.field == "email":
            return any(term.like(one["email"]) for one in self._account.emails(contact))
        if term.field in {"given_name", "family_name"}:
            return term.like(contact.first_name if term.field == "given_name" else contact.last_name)
        return self._custom_fits(contact, term)

    def _custom_fits(self, contact: Contact, term: Term) -> bool:
        number = self._account.field_by_name(term.field) or 0
        text, type_ = contact.fields.get(number, ""), self._account.field_kind(number).type
        if type_ in NUMBERS:
            return text != "" and term.compares(float(text), _number(term.value))
        if type_ in DATES:
            wanted = moment(term.value)
            return text != "" and term.compares(moment(text), wanted)
        return term.like(text)

    def row(self, contact: Contact, wanted: Iterable[str]) -> dict[str, Any]:
        """The contact with just these properties, in the vendor's order."""
        account, settings = self._account, self._account.settings
        tags = [str(tag) for tag in sorted(contact.tags)]
        extras = account.extras(contact.id)
        known: dict[str, Any] = extras | {
            "id": str(contact.id),
            "given_name": contact.first_name or None,
            "family_name": contact.last_name or None,
            "email_addresses": account.emails(contact),
            "custom_fields": [
                {"id": str(one), "content": content}
                for one, content in account.values(contact, settings.v2_unset_field)
            ],
            "groups": ",".join(tags),
            "update_time": stamp(contact.updated, milliseconds=settings.milliseconds),
            "create_time": stamp(contact.created, milliseconds=settings.milliseconds),
        }
        if tags or settings.empty_tags == "list":
            known["tag_ids"] = tags
        asked = set(wanted)
        shown = {name: known.get(name) for name in PROPERTIES if name in asked and (name != "tag_ids" or name in known)}
        return self._with_blanks(shown)

    def _with_blanks(self, row: dict[str, Any]) -> dict[str, Any]:
        blank = self._account.settings.v2_unset_property
        if blank == "absent":
            return {name: value for name, value in row.items() if value is not None}
        return {
            name: ([] if name in LISTS else "") if value is None and blank == "empty" else value
            for name, value in row.items()
        }

    def _shown(self, request: web.Request, contact: Contact, status: int = 200) -> web.Response:
        return answer(self.row(contact, Query(request, self._account).listed("fields") or UNASKED), status)

    async def contact(self, request: web.Request) -> web.Response:
        return self._shown(request, self._account.read(request.match_info["id"]))

    async def new_contact(self, request: web.Request) -> web.Response:
        change = self._change(await content_of(request), set())
        if not (change.emails or change.rest.get("phone_numbers") or change.rest.get("addresses")):
            raise Refused(400, "Contact must contain an email address, a phone number or an address")
        option, account = Query(request, self._account).one("duplicate_option"), self._account
        if option not in {"", "Email", "EmailAndName", "EmailAndNameAndCompany"}:
            raise Refused(400, f"Invalid duplicate_option: {option}")
        known = account.matching(change, option) if option else None
        made = account.write(known, change, replaces=account.settings.v2_patch == "replaces")
        return self._shown(request, made, 200 if known else 201)

    async def patch(self, request: web.Request) -> web.Response:
        """Items not listed are removed: the documentation's words, and the default."""
        mask = Query(request, self._account).values.get("update_mask", [])
        if any(name not in PROPERTIES for name in mask):
            raise Refused(400, "Invalid update_mask")  # joined by commas, too: it is a repeated key
        contact = self._account.read(request.match_info["id"])
        change = self._change(await content_of(request), set(mask))
        changed = self._account.write(contact, change, replaces=self._account.settings.v2_patch == "replaces")
        return self._shown(request, changed)

    def _change(self, content: dict[str, Any], mask: set[str]) -> Change:
        for name in content:
            if name not in WRITABLE:
                raise Refused(400, f"Unrecognized property: {name}")
        if content.get("owner_id") is not None and str(content["owner_id"]) not in OWNERS:
            raise Refused(500, "Internal Server Error")
        given = {name: value for name, value in content.items() if not mask or name in mask}
        names = {"given_name": "first_name", "family_name": "last_name"}
        change = Change({names[name]: given.pop(name) or "" for name in tuple(names) if name in given})
        if "email_addresses" in given:
            change.emails = [_email(one) for one in given.pop("email_addresses")]
        if "custom_fields" in given:
            change.fields = dict(self._field(one) for one in given.pop("custom_fields"))
        change.rest = given
        return change

    def _field(self, item: dict[str, Any]) -> tuple[int, str]:
        if not isinstance(item.get("id"), str):
            raise Refused(400, "Custom field ids are strings", "custom_field")
        text = self._account.text(item["id"], item.get("content"))
        return int(item["id"]), escape(text, quote=False) if self._account.settings.escapes else text

    async def delete(self, request: web.Request) -> web.Response:
        account = self._account
        account.book.change(account.read(request.match_info["id"]).id, account.now(), "api", deleted=True)
        return web.Response(status=204)

    async def merge(self, request: web.Request) -> web.Response:
        content, account = await content_of(request), self._account
        into, old = (account.read(str(content.get(name, ""))) for name in ("contact_id", "duplicate_contact_id"))
        if into.id == old.id:
            raise Refused(400, "A contact can't be merged into itself")
        return self._shown(request, account.merge(into, old))

    # --- tags --------------------------------------------------------------------------------------------------

    def _tag(self, number: int) -> dict[str, Any]:
        kind, exact = self._account.tag_kind(number), self._account.settings.milliseconds
        return {
            "id": str(number),
            "name": self._account.book.tags[number],
            "description": kind.description,
            "category": None if kind.category is None else {"id": str(kind.category)},
            "create_time": stamp(kind.created, milliseconds=exact),
            "update_time": stamp(kind.updated, milliseconds=exact),
        }

    async def tags(self, request: web.Request) -> web.Response:
        query, account = Query(request, self._account), self._account
        terms = query.terms(dict.fromkeys(("name", "description", "category_id", "tag_ids"), "=="))
        field, _ = query.order(("name", "create_time", "update_time"))
        rows = [(self._tag(one), one) for one in account.book.tags]
        found = [(row[field], one, row) for row, one in rows if all(_tag_fits(row, term) for term in terms)]
        page, end = query.page(found)
        return answer({"tags": page, **end})

    async def tag(self, request: web.Request) -> web.Response:
        return answer(self._tag(self._account.tag(request.match_info["id"])))

    async def new_tag(self, request: web.Request) -> web.Response:
        content = await content_of(request)
        made, fresh = self._account.new_tag(content.get("name"), content.get("description"), content.get("category"))
        return answer(self._tag(made), 201 if fresh else 200)

    async def categories(self, request: web.Request) -> web.Response:
        query = Query(request, self._account)
        rows = [(name, one, {"id": str(one), "name": name}) for one, name in self._account.categories.items()]
        page, end = query.page(rows)
        return answer({"tag_categories": page, **end})

    async def tags_of(self, request: web.Request) -> web.Response:
        query, contact = Query(request, self._account), self._account.read(request.match_info["id"])
        terms = query.terms(dict.fromkeys(("name", "category_id", "since_applied_time", "until_applied_time"), "=="))
        exact = self._account.settings.milliseconds
        rows = []
        for tag, at in contact.tags.items():
            row = self._tag(tag)
            if all(_applied_fits(at, term) if "applied" in term.field else _tag_fits(row, term) for term in terms):
                rows.append((row["name"], tag, {"tag": row, "applied_time": stamp(at, milliseconds=exact)}))
        page, end = query.page(rows)
        return answer({"tags": page, **end})

    async def contacts_of(self, request: web.Request) -> web.Response:
        """The one true feed of “tag added since” (facts 1.3)."""
        account, query = self._account, Query(request, self._account)
        tag = account.tag(request.match_info["id"])
        names = ("email", "given_name", "family_name", "since_applied_time", "until_applied_time")
        terms = query.terms(dict.fromkeys(names, "=="))
        field, _ = query.order(("applied_time", "given_name", "family_name", "email"))
        rows = []
        for one in account.book.contacts(account.seen()):
            if tag not in one.tags:
                continue
            row, at = self._tagged(one, tag), one.tags[tag]
            if all(_applied_fits(at, term) if "applied" in term.field else _named(row, term) for term in terms):
                rows.append((at if field == "applied_time" else row[field], one.id, row))
        page, end = query.page(rows)
        return answer({"contacts": page, **end})

    def _tagged(self, contact: Contact, tag: int) -> dict[str, Any]:
        return {
            "id": str(contact.id),
            "email": contact.email,
            "given_name": contact.first_name,
            "family_name": contact.last_name,
            "applied_time": stamp(contact.tags[tag], milliseconds=self._account.settings.milliseconds),
        }

    async def apply(self, request: web.Request) -> web.Response:
        """200 even if none succeeded; a word for each."""
        tag = self._account.tag(request.match_info["id"])
        results = {one: self._applied(one, tag) for one in await self._ids(request)}
        return answer({"results": results})

    def _applied(self, contact: str, tag: int) -> str:
        try:
            found = self._account.read(contact)
        except (Refused, Moved):
            return "CONTACT_NOT_FOUND"
        return "SUCCESS" if self._account.book.set_tag(found.id, tag, self._account.now(), "api") else "DUPLICATE"

    async def remove(self, request: web.Request) -> web.Response:
        account, tag = self._account, self._account.tag(request.match_info["id"])
        for one in await self._ids(request):
            if one.isdigit() and account.book.contact(int(one)) is not None:
                account.book.set_tag(int(one), tag, account.now(), "api", remove=True)
        return web.Response(status=204)

    async def _ids(self, request: web.Request) -> list[str]:
        ids = (await content_of(request)).get("contact_ids")
        if not isinstance(ids, list) or not ids or not all(isinstance(one, str) for one in ids):
            raise Refused(400, "contact_ids must be a list of strings", "tag")
        most = self._account.settings.most_tagged
        if most and len(ids) > most:
            raise Refused(400, f"contact_ids must have at most {most} items", "tag")
        return ids

    # --- fields, and who asks ----------------------------------------------------------------------------------

    async def model(self, request: web.Request) -> web.Response:
        fields = [self._model(one) for one in sorted(self._account.book.fields)]
        return answer({"custom_fields": fields, "optional_properties": ["custom_fields", "job_title"]})

    def _model(self, number: int) -> dict[str, Any]:
        kind = self._account.field_kind(number)
        return {
            "id": str(number),
            "label": self._account.book.fields[number],
            "field_name": kind.name,
            "field_type": _V2_NAMES[kind.type],
            "record_type": "CONTACT",
            "options": list(kind.options),
        }

    async def new_field(self, request: web.Request) -> web.Response:
        content = await content_of(request)
        if not content.get("label") or content.get("field_type") not in _V2_TYPES:
            raise Refused(400, "label and field_type are required", "custom_field")
        made = self._account.book.new_field(content["label"])
        options = tuple({"id": one["label"], "label": one["label"]} for one in content.get("options", ()))
        self._account.set_field_kind(made, _V2_TYPES[content["field_type"]], options=options)
        return answer(self._model(made), 201)

    async def userinfo(self, request: web.Request) -> web.Response:
        """The check of a key: no permission can withhold it."""
        caller = request[CALLER]
        person = {"family_name": "Owner", "given_name": "Olive", "middle_name": "", "preferred_name": "Olive"}
        ids = {"email": "olive@example.com", "sub": "12345", "id": "123456", "keap_id": "olive@example.com"}
        return answer(ids | person | {"is_admin": not caller.restricted, "tenant_id": TENANT})


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Refused(400, f"Not a number: {text}") from None


def _email(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict) or "@" not in str(item.get("email")) or len(item["email"]) > 75:
        raise Refused(400, "Invalid email address")
    if item.get("field") not in {"EMAIL1", "EMAIL2", "EMAIL3"}:
        raise Refused(400, "Invalid email field")
    kept = {"email": item["email"], "field": item["field"]}
    if not item.get("opt_in_reason"):
        return kept
    return kept | {
        "opt_in_reason": item["opt_in_reason"],
        "is_opt_in": True,
        "email_opt_status": "SINGLE_OPT_IN",
    }


def _tag_fits(row: dict[str, Any], term: Term) -> bool:
    if term.field == "tag_ids":
        return row["id"] in term.set()
    if term.field == "category_id":
        had = row["category"]["id"] if row["category"] else "NONE"
        return bool(had == term.value)
    had = row[term.field]
    return had == "" if term.value == "NONE" else term.like(had)


def _applied_fits(at: float, term: Term) -> bool:
    return at >= moment(term.value) if term.field.startswith("since") else at <= moment(term.value)


def _named(row: dict[str, Any], term: Term) -> bool:
    return bool(row[term.field] == "") if term.value == "NONE" else term.like(row[term.field])
