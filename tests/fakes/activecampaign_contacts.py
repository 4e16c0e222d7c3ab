"""The fake ActiveCampaign's contacts, the links between them and tags, and their fields' values."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from aiohttp import web

from tests.fakes.activecampaign_calls import (
    Account,
    Answer,
    Content,
    Refused,
    asked,
    body,
    many,
    meta,
    missing,
    not_found,
    number,
    paged,
    unprocessable,
)
from tests.fakes.activecampaign_rows import ZONE
from tests.fakes.book import Contact

_ORDERS = {
    "id": lambda one: one.id,
    "cdate": lambda one: one.created,
    "udate": lambda one: one.updated,
    "email": lambda one: one.email.lower(),
    "first_name": lambda one: one.first_name.lower(),
    "last_name": lambda one: one.last_name.lower(),
}
_NAMES = {"email": "email", "firstName": "first_name", "lastName": "last_name", "phone": "phone"}
_DATES = ("date", "datetime")


class Contacts:
    """Facts: sections 1.3 and 1.5."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._book = account.book

    def routes(self) -> Iterable[web.RouteDef]:
        api = self._account.api
        return [
            web.get("/api/3/contacts", api(self.many)),
            web.post("/api/3/contacts", api(self.create)),
            web.post("/api/3/contact/sync", api(self.sync)),
            web.get(r"/api/3/contacts/{id:\d+}", api(self.one)),
            web.put(r"/api/3/contacts/{id:\d+}", api(self.update)),
            web.delete(r"/api/3/contacts/{id:\d+}", api(self.delete)),
            web.get(r"/api/3/contacts/{id:\d+}/contactTags", api(self.its_tags)),
            web.get(r"/api/3/contacts/{id:\d+}/fieldValues", api(self.its_values)),
            web.get(r"/api/3/contacts/{id:\d+}/contactLists", api(self.its_lists)),
            web.get("/api/3/contactTags", api(self.links)),
            web.post("/api/3/contactTags", api(self.tag)),
            web.delete(r"/api/3/contactTags/{id:\d+}", api(self.untag)),
            web.get("/api/3/fieldValues", api(self.values)),
            web.post("/api/3/fieldValues", api(self.set_value)),
            web.get(r"/api/3/fieldValues/{id:\d+}", api(self.value)),
            web.put(r"/api/3/fieldValues/{id:\d+}", api(self.set_value)),
        ]

    # --- reading -----------------------------------------------------------------------------------------------

    async def many(self, request: web.Request) -> Answer:
        found = self._ordered(request, self._matching(request))
        page, rows = paged(request, found), self._account.rows(request)
        more, keys = self._sideloads(request, page)
        contacts = [rows.listed(one) | keys[one.id] for one in page]
        return {"scoreValues": [], **more, "contacts": contacts, "meta": meta(found) | {"page_input": _input(request)}}

    async def one(self, request: web.Request) -> Answer:
        contact, rows = self._contact(request), self._account.rows(request)
        more, keys = self._sideloads(request, [contact])
        lists = rows.list_rows(contact)
        whole = rows.whole(contact, [row["id"] for row in lists])
        return {
            "contactAutomations": [],
            "contactLists": lists,
            "deals": [],
            "fieldValues": rows.values(contact),
            "geoIps": [],
            "accountContacts": [],
            **more,
            "contact": whole | keys[contact.id],
        }

    async def its_tags(self, request: web.Request) -> Answer:
        contact, rows = self._contact(request), self._account.rows(request)
        return {"contactTags": [rows.link(link) for link in self._book.links_of(contact)]}

    async def its_values(self, request: web.Request) -> Answer:
        return {"fieldValues": self._account.rows(request).values(self._contact(request))}

    async def its_lists(self, request: web.Request) -> Answer:
        return {"contactLists": self._account.rows(request).list_rows(self._contact(request))}

    async def links(self, request: web.Request) -> Answer:
        shown = self._book.all_shown(self._account.moment())
        found = sorted(link for one in shown for link in self._book.links_of(one))
        rows = self._account.rows(request)
        return {"contactTags": [rows.link(link) for link in paged(request, found)], "meta": meta(found)}

    def _contact(self, request: web.Request) -> Contact:
        """The one that the path names, as it is now."""
        wanted = int(request.match_info["id"])
        contact = self._book.shown(wanted, self._account.moment())
        if contact is None:
            raise not_found("Subscriber", wanted)
        return contact

    def _matching(self, request: web.Request) -> list[Contact]:
        query, ids = request.query, {number(one) for one in many(request, "ids")}
        if 0 < self._account.settings.most_ids < len(ids):
            raise Refused(400, {})
        email = query.get("email") or query.get("filters[email]")
        like, words = query.get("email_like", "").lower(), query.get("search", "").lower()
        above, below, tag = asked(query, "id_greater"), asked(query, "id_less"), asked(query, "tagid")
        after, before = _since(query.get("filters[updated_after]")), _since(query.get("filters[updated_before]"))
        return [
            one
            for one in self._listed(asked(query, "listid"), query.get("status", "-1"))
            if (not ids or one.id in ids)
            and (email is None or one.email.lower() == email.lower())
            and like in one.email.lower()
            and words in f"{one.email} {one.first_name} {one.last_name}".lower()
            and (above is None or one.id > above)
            and (below is None or one.id < below)
            and (tag is None or tag in one.tags)
            and (after is None or one.updated > after)
            and (before is None or one.updated < before)
        ]

    def _listed(self, wanted: int | None, status: str) -> list[Contact]:
        found = []
        for one in self._book.all_shown(self._account.moment()):
            details = self._book.details[one.id]
            hidden = self._account.settings.hide_listless and not details.lists
            on_it = not wanted or wanted in (details.lists or {})
            if not hidden and on_it and status in {"-1", str(details.status)}:
                found.append(one)
        return found

    def _ordered(self, request: web.Request, found: list[Contact]) -> list[Contact]:
        """By what `orders[...]` says; else by address, as the list in the vendor's description is."""
        given = [key for key in request.query if key.startswith("orders[") and key[7:-1] in _ORDERS]
        for key in reversed(given or ["orders[email]"]):
            backwards = request.query.get(key, "ASC").upper() == "DESC"
            found = sorted(found, key=_ORDERS[key[7:-1]], reverse=backwards)
        return found

    def _sideloads(self, request: web.Request, page: list[Contact]) -> tuple[Content, dict[int, Content]]:
        """What `include` adds: collections of their own, and lists of their ids at each contact."""
        wanted = {name for chain in request.query.get("include", "").split(",") for name in _chained(chain)}
        rows, keys = self._account.rows(request), {one.id: Content() for one in page}
        more: Content = {}
        for noun, read in (
            ("contactTags", self._link_rows),
            ("fieldValues", rows.values),
            ("contactLists", rows.list_rows),
        ):
            if noun in wanted:
                by_contact = {one.id: read(one) if noun != "contactTags" else read(one, rows) for one in page}
                more[noun] = self._account.shuffled([row for found in by_contact.values() for row in found])
                for contact, found in by_contact.items():
                    keys[contact][noun] = [row["id"] for row in found]
        if "contactTags.tag" in wanted:
            tags = {int(row["tag"]) for row in more["contactTags"]}
            more["tags"] = self._account.shuffled([rows.tag(tag) for tag in sorted(tags)])
        if not self._account.settings.empty_sideloads:
            more = {noun: found for noun, found in more.items() if found}
            keys = {one: {noun: ids for noun, ids in found.items() if ids} for one, found in keys.items()}
        return more, keys

    # --- writing -----------------------------------------------------------------------------------------------

    async def create(self, request: web.Request) -> Answer:
        given = await body(request, "contact")
        self._check_email(given, None)
        return 201, self._save(request, None, given)

    async def sync(self, request: web.Request) -> Answer:
        given = await body(request, "contact")
        if not given.get("email"):
            raise Refused(400, {})
        known = self._book.by_email(str(given["email"]))
        if not known:
            self._check_email(given, None)
        content = self._save(request, known[0].id if known else None, given)
        return self._account.settings.sync_known_status if known else 201, content

    async def update(self, request: web.Request) -> Answer:
        contact, given = self._living(int(request.match_info["id"])), await body(request, "contact")
        if "email" in given:
            self._check_email(given, contact.id)
        return self._save(request, contact.id, given)

    async def delete(self, request: web.Request) -> Answer:
        wanted = int(request.match_info["id"])
        if self._book.contact(wanted) is None:
            raise Refused(404, {"message": f"No result found for contact with id {wanted}"})
        self._book.change(wanted, self._account.now(), "api", deleted=True)
        return {}

    def _save(self, request: web.Request, contact: int | None, given: Content) -> Content:
        fields = self._fields(contact, given.get("fieldValues") or [])
        values = {ours: str(given[theirs]) for theirs, ours in _NAMES.items() if theirs in given}
        at, book = self._account.now(), self._book
        if contact is None:
            contact = book.add(at, "api", fields=fields, **values).id
        else:
            book.change(contact, at, "api", fields=fields, **values)
        saved, rows = self._living(contact), self._account.rows(request)
        return {"fieldValues": rows.values(saved, set(fields)), "contact": rows.written(saved)}

    def _fields(self, contact: int | None, given: list[Content]) -> dict[int, str]:
        """The values to write. A date that is emptied stays as it was, unless the switch says otherwise."""
        fields: dict[int, str] = {}
        for one in given:
            field, value = number(one.get("field")), str(one.get("value", ""))
            if field in self._book.fields:
                fields[field] = value
            elif self._account.settings.unknown_field == "422":
                raise unprocessable("Field not found", "fieldValues", detail="")
        if self._account.settings.empty_dates:
            return fields
        dates = {field for field in fields if self._book.field_notes[field].kind in _DATES}
        return {field: value for field, value in fields.items() if value or field not in dates}

    def _check_email(self, given: Content, contact: int | None) -> None:
        email = str(given.get("email", ""))
        if "@" not in email.strip("@"):
            raise unprocessable("Contact Email Address is not valid.", "email", detail="", code="email_invalid")
        if any(one.id != contact for one in self._book.by_email(email)):
            title = "Email address already exists in the system"
            raise unprocessable(title, "email", detail="", code="duplicate")

    def _living(self, contact: int) -> Contact:
        found = self._book.contact(contact)
        if found is None:
            raise not_found("Subscriber", contact)
        return found

    # --- tags on contacts --------------------------------------------------------------------------------------

    async def tag(self, request: web.Request) -> Answer:
        given = await body(request, "contactTag")
        for name in ("contact", "tag"):
            if not given.get(name):
                raise missing(name)
        contact, tag = number(given["contact"]), number(given["tag"])
        for what, known in (("Contact", self._book.contact(contact)), ("Tag", self._book.tags.get(tag))):
            if known is None:
                detail = f"{what} not found"
                raise Refused(404, {"errors": [{"status": 404, "title": "Not Found", "detail": detail}]})
        changed = self._book.set_tag(contact, tag, self._account.now(), "api")
        status = 201 if changed else self._account.settings.repeat_tag_status
        if status == 422:
            raise unprocessable("The contact has this tag already", "tag", detail="", code="duplicate")
        links = self._book.links_of(self._living(contact))
        link = next(one for one in links if self._book.links[one][1] == tag)
        return status, {"contactTag": self._account.rows(request).new_link(link)}

    async def untag(self, request: web.Request) -> Answer:
        link = int(request.match_info["id"])
        if not self._book.is_on(link):
            raise not_found("SubscriberTag", link)
        contact, tag, _ = self._book.links[link]
        self._book.set_tag(contact, tag, self._account.now(), "api", remove=True)
        return {}

    def _link_rows(self, contact: Contact, rows: Any) -> list[Content]:
        return [rows.link(link) for link in self._book.links_of(contact)]

    # --- single values -----------------------------------------------------------------------------------------

    async def values(self, request: web.Request) -> Answer:
        field, value = asked(request.query, "filters[fieldid]"), request.query.get("filters[val]")
        rows = self._account.rows(request)
        found = [
            row
            for one in self._book.all_shown(self._account.moment())
            for row in rows.values(one)
            if field in {None, int(row["field"])} and value in {None, row["value"]}
        ]
        return {"fieldValues": paged(request, found), "meta": meta(found)}

    async def value(self, request: web.Request) -> Answer:
        contact, field = self._owner(request)
        return {"fieldValue": self._account.rows(request).values(self._living(contact), [field])[0]}

    async def set_value(self, request: web.Request) -> Answer:
        """Creates or updates. The answer repeats contact and field as they were given: numbers or strings."""
        given = await body(request, "fieldValue")
        if request.method == "PUT":
            contact, field = self._owner(request)
        else:
            contact, field = number(given.get("contact")), number(given.get("field"))
        if self._book.contact(contact) is None or field not in self._book.fields:
            raise Refused(403, {"message": "Forbidden"})
        self._book.change(contact, self._account.now(), "api", fields=self._fields(contact, [given | {"field": field}]))
        saved, rows = self._living(contact), self._account.rows(request)
        echo = {name: given[name] for name in ("contact", "field") if name in given}
        row = (rows.values(saved, [field]) or [{"value": ""}])[0]
        return {
            "contacts": [rows.listed(saved)],
            "fieldValue": row | echo | {"owner": echo.get("contact", str(contact))},
        }

    def _owner(self, request: web.Request) -> tuple[int, int]:
        wanted = int(request.match_info["id"])
        for (contact, field), row in self._book.values.items():
            if row.id == wanted and self._book.contact(contact) is not None:
                return contact, field
        raise Refused(403, {"message": f"No Result found for FieldValue with id {wanted}"})


def _chained(chain: str) -> set[str]:
    """`contactTags.tag` brings the links as well as the tags."""
    parts = chain.strip().split(".")
    return {".".join(parts[: end + 1]) for end in range(len(parts))}


def _since(given: str | None) -> float | None:
    """A date, or a time with or without an offset, in the account's zone."""
    if not given:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise Refused(400, {}) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZONE)).timestamp()


def _input(request: web.Request) -> Content:
    """How the vendor understood the query: of use only to see whether it did."""
    names = ("segmentid", "formid", "listid", "tagid", "limit", "offset")
    query = request.query
    defaults: dict[str, int] = {"limit": 20}
    numbers = {name: asked(query, name) or defaults.get(name, 0) for name in names}
    rest = {"seriesid": 0, "waitid": 0, "status": -1, "forceQuery": 0, "cacheid": "0" * 32}
    return {**numbers, "search": query.get("search"), "sort": None, **rest}
