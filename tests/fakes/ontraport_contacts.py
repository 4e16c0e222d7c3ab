"""Reading, writing and tagging contacts at the fake of Ontraport."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fakes import ontraport_query as query
from tests.fakes.book import Contact
from tests.fakes.ontraport_columns import Column
from tests.fakes.ontraport_query import INVALID, Refused, numbers

if TYPE_CHECKING:
    from tests.fakes.ontraport import Fake

PROCESSED = "The tag is now being processed."
# What the answer to a create shows besides the fields sent, as captured, before the owner's columns.
_CREATED = (
    "id",
    "owner",
    "date",
    "dla",
    "dlm",
    "system_source",
    "source_location",
    "ip_addy",
    "ip_addy_display",
    "import_id",
    "contact_cat",
    "bulk_mail",
    "bulk_sms",
    "bindex",
    "profile_image",
)
_INFO_FIELDS = ["fn", "email", "office_phone", "date", "grade", "dla", "contact_id"]


class Contacts:
    """The routes of object type 0, by its own name and as /objects."""

    def __init__(self, fake: Fake) -> None:
        self._fake = fake

    def routes(self) -> list[web.RouteDef]:
        """All but the plain /objects, which serve other object types too."""
        found = [
            web.get("/1/Contact", self.one),
            web.get("/1/object", self.one),
            web.delete("/1/Contact", self.delete_one),
            web.delete("/1/object", self.delete_one),
            web.get("/1/Contacts", self.many),
            web.post("/1/Contacts", self.create),
            web.put("/1/Contacts", self.update),
            web.delete("/1/Contacts", self.delete_many),
            web.get("/1/object/getByEmail", self.by_email),
            web.get("/1/objects/tag", self.many_by_tag),
            web.put("/1/objects/tag", self.tag),
            web.delete("/1/objects/tag", self.tag),
            web.put("/1/objects/tagByName", self.tag_by_name),
            web.delete("/1/objects/tagByName", self.tag_by_name),
        ]
        for name in ("Contacts", "objects"):
            found.append(web.get(f"/1/{name}/getInfo", self.info))
            found.append(web.post(f"/1/{name}/saveorupdate", self.save_or_update))
        return found

    # --- reading -----------------------------------------------------------------------------------------------

    async def one(self, request: web.Request) -> web.Response:
        """Every column, tags included."""
        asked = await self._asked(request)
        fake = self._fake
        return fake.ok(fake.account.row(self._found(asked.get("id")), self._columns().values(), fake.now()))

    async def many(self, request: web.Request) -> web.Response:
        asked = await self._asked(request)
        return self._rows(self._picked(asked), asked)

    async def many_by_tag(self, request: web.Request) -> web.Response:
        asked = await self._asked(request)
        account = self._fake.account
        tag = account.tag_named(str(asked["tag_name"])) if "tag_name" in asked else query.whole(asked.get("tag_id"))
        return self._rows([one for one in self._picked(asked) if tag in one.tags], asked)

    async def info(self, request: web.Request) -> web.Response:
        count = str(len(self._picked(await self._asked(request))))
        empty: list[object] = []
        return self._fake.ok(
            {"listFields": _INFO_FIELDS, "listFieldSettings": empty, "cardViewSettings": empty}
            | {"viewMode": empty, "count": count}
        )

    async def by_email(self, request: web.Request) -> web.Response:
        """A miss is a 404 since 2022, was a 400 before, and may be empty data."""
        asked = await self._asked(request)
        email = str(asked.get("email", "")).lower()
        ids = [str(one.id) for one in self._visible() if email and one.email.lower() == email]
        if not ids:
            miss = self._fake.settings.miss
            if miss == "empty":
                return self._fake.ok([])
            raise Refused(int(miss), "Object not found" if miss == "404" else INVALID)
        return self._fake.ok({"ids": ids} if query.truthy(asked.get("all")) else {"id": ids[0]})

    def _rows(self, contacts: list[Contact], asked: Mapping[str, Any]) -> web.Response:
        fake, seen = self._fake, self._fake.seen()
        contacts = query.in_order(contacts, asked, self._cell)
        page = query.cut(contacts, asked, fake.settings.over_range)
        columns = self._listed(asked.get("listFields"))
        rows = [fake.account.row(contact, columns, seen) for contact in page]
        for row in rows:
            row.update({one.name: int(row[one.name]) for one in columns if one.number_in_lists})
        return fake.ok(rows, misc=[])

    def _picked(self, asked: Mapping[str, Any]) -> list[Contact]:
        """Those of `ids` and `condition`; all if neither is given. Unknown ids are left out without a word."""
        contacts = self._visible(numbers(asked["ids"]) if asked.get("ids") else None)
        if asked.get("condition"):
            terms = query.condition(asked["condition"])
            query.holds(terms, partial(self._cell, _NOBODY))  # a wrong one is refused with no rows too
            contacts = [one for one in contacts if query.holds(terms, partial(self._cell, one))]
        return contacts

    def _visible(self, ids: Iterable[int] | None = None) -> list[Contact]:
        """As lists show them, without those that the key's owner may not see."""
        account, seen, hidden = self._fake.account, self._fake.seen(), self._fake.settings.hidden
        if ids is None:
            return [one for one in account.contacts(seen) if one.id not in hidden]
        found = (account.contact(number, seen) for number in sorted(set(ids)) if number not in hidden)
        return [one for one in found if one is not None]

    def _cell(self, contact: Contact, name: str) -> str | None:
        column = self._columns().get(name)
        if column is None:
            raise Refused(400, INVALID)
        return self._fake.account.cell(contact, column, self._fake.seen())

    def _listed(self, names: object) -> list[Column]:
        """The columns of a list's rows: those asked for and no others, every one if none is asked for."""
        columns = self._columns()
        if not names:
            return list(columns.values())
        asked = [name.strip() for name in str(names).split(",")]
        if self._fake.settings.unknown_column == "refused" and not set(asked) <= set(columns):
            raise Refused(400, INVALID)
        return [columns[name] for name in asked if name in columns]

    def _found(self, number: object) -> Contact:
        """The contact of that id for a call about this one. Refused with 404, or 403 if the key may not see it."""
        fake = self._fake
        if not str(number).isdigit():
            raise Refused(404, fake.settings.gone)
        contact = int(str(number))
        if contact in fake.settings.hidden:
            raise Refused(403, "You do not have permission to access this resource.")
        found = fake.account.contact(contact)
        past = fake.account.with_deleted(contact)
        if found is None and past is not None and past.merged_into and fake.settings.merged == "survivor":
            found = fake.account.contact(past.merged_into)
        if found is None:
            raise Refused(404, fake.settings.gone)
        return found

    def _columns(self) -> dict[str, Column]:
        return self._fake.account.columns()

    async def _asked(self, request: web.Request) -> dict[str, Any]:
        """Query and body. Refused with 400 if it is about another object type, or about none."""
        asked = await self._fake.asked(request)
        if request.path.startswith("/1/object") and str(asked.get("objectID")) != "0":
            raise Refused(400, INVALID)
        return asked

    # --- writing -----------------------------------------------------------------------------------------------

    async def create(self, request: web.Request) -> web.Response:
        """Duplicates of an e-mail are allowed."""
        asked = await self._asked(request)
        return self._created(asked, {"echo": True, "use_utm_names": "false"})

    async def update(self, request: web.Request) -> web.Response:
        asked = await self._asked(request)
        return self._updated(self._found(asked.get("id")), asked)

    async def save_or_update(self, request: web.Request) -> web.Response:
        """Updates the first whose `update_by` column (the e-mail) has that value; makes one if there is none."""
        asked = await self._asked(request)
        by = str(asked.get("update_by") or "email")
        value = str(asked.get(by, "")).lower()
        found = [one for one in self._visible() if value and str(self._cell(one, by)).lower() == value]
        if found:
            return self._updated(self._found(found[0].id), asked)
        return self._created(asked, {"use_utm_names": "false", "echo": True})

    def _created(self, asked: Mapping[str, Any], order: Mapping[str, Any]) -> web.Response:
        """The fields stand straight in `data`; where `use_utm_names` stands differs between the two calls."""
        fake, columns = self._fake, self._columns()
        cells = self._cells(asked)
        made = fake.account.create(cells, fake.now(), "api")
        echo = {name: _echo(asked[name], text) for name, text in cells.items()}
        data: dict[str, Any] = {}
        for key, value in order.items():
            data |= echo if key == "echo" else {key: value}
        own = [name for name in fake.account.own if not name.startswith("page_")]
        for name in (*_CREATED, *own, "updateSequence", "updateCampaign", "unique_id"):
            data.setdefault(name, fake.account.cell(made, columns[name], fake.now()))
        return fake.ok(data)

    def _updated(self, contact: Contact, asked: Mapping[str, Any]) -> web.Response:
        """`data.attrs` has what changed, and no more: columns, dlm, what was normalised, the owner's columns, id."""
        fake, columns = self._fake, self._columns()
        cells = {
            name: text
            for name, text in self._cells(asked).items()
            if (fake.account.cell(contact, columns[name], fake.now()) or "") != text
        }
        echo = {name: _echo(asked[name], text) for name, text in cells.items()}
        same = {name for name, text in cells.items() if str(asked[name]) == text or text == ""}
        attrs = {name: echo[name] for name in echo if name in same and not columns[name].own}
        attrs["dlm"] = str(int(fake.now()))
        attrs |= {name: echo[name] for name in echo if name not in same and not columns[name].own}
        attrs |= {name: echo[name] for name in echo if columns[name].own} | {"id": str(contact.id)}
        self._do(asked, lambda at: fake.account.write(contact.id, cells, at, "api"))
        return fake.ok({"attrs": attrs})

    def _cells(self, asked: Mapping[str, Any]) -> dict[str, str]:
        """What would be stored, by column. Unknown and locked columns are passed over; blanks erase."""
        columns, cells = self._columns(), {}
        spare = query.truthy(asked.get("ignore_blanks"))
        for name, value in asked.items():
            column = columns.get(name)
            if column is None or column.locked or (text := column.stored(value)) is None or (spare and not text):
                continue
            if column.kind == "email" and text and not query.is_email(text):
                raise Refused(422, "Invalid email address")
            cells[name] = text
        return cells

    def _do(self, asked: Mapping[str, Any], work: Callable[[float], None]) -> None:
        """Now, or later if `background_request` says so."""
        if query.truthy(asked.get("background_request")):
            self._fake.later(work)
        else:
            work(self._fake.now())

    async def delete_one(self, request: web.Request) -> web.Response:
        asked = await self._asked(request)
        contact = self._found(asked.get("id"))
        self._fake.account.change(contact.id, self._fake.now(), "api", deleted=True)
        return self._fake.ok()

    async def delete_many(self, request: web.Request) -> web.Response:
        """Those of `ids`, in the query or the body, of `condition`, or the one of `id`."""
        asked = await self._asked(request)
        for contact in self._chosen({"ids": asked.get("id")} | asked):
            self._fake.account.change(contact.id, self._fake.now(), "api", deleted=True)
        return self._fake.ok("Deleted")

    # --- tagging -----------------------------------------------------------------------------------------------

    async def tag(self, request: web.Request) -> web.Response:
        """Many tags for many contacts; DELETE with a body takes them off. Answered now, done later."""
        asked, remove = await self._asked(request), request.method == "DELETE"
        tags = numbers(asked.get("remove_list" if remove else "add_list") or [])
        if not tags:
            raise Refused(400, INVALID)
        return self._tagged(asked, lambda: tags, remove=remove)

    async def tag_by_name(self, request: web.Request) -> web.Response:
        """The same by names; `ids` must be a list here. Names that aren't known become tags."""
        asked, remove = await self._asked(request), request.method == "DELETE"
        names = asked.get("remove_names" if remove else "add_names")
        if not isinstance(names, list) or not names or ("ids" in asked and not isinstance(asked["ids"], list)):
            raise Refused(400, INVALID)
        book = self._fake.account

        def tags() -> list[int]:
            known = [book.tag_named(str(name)) or (0 if remove else book.new_tag(str(name))) for name in names]
            return [tag for tag in known if tag]

        return self._tagged(asked, tags, remove=remove)

    def _tagged(self, asked: Mapping[str, Any], tags: Callable[[], list[int]], *, remove: bool) -> web.Response:
        fake = self._fake
        most = fake.settings.tag_ids_most
        ids = [one.id for one in self._chosen(asked)][: most or None]

        def work(at: float) -> None:
            for contact in ids:
                for tag in tags():
                    if tag in fake.account.tags and fake.account.contact(contact):
                        fake.account.set_tag(contact, tag, at, "api", remove=remove)

        fake.later(work)
        return fake.ok(PROCESSED)

    def _chosen(self, asked: Mapping[str, Any]) -> list[Contact]:
        """Whom a call about many is about. Refused with 400 if nothing says so: never everybody by mistake."""
        if not asked.get("ids") and not asked.get("condition"):
            raise Refused(400, INVALID)
        picked = self._picked(asked)
        if asked.get("ids") or query.truthy(asked.get("performAll")):
            return picked
        return query.cut(picked, asked, "cut")


_NOBODY = Contact(0, "")


def _echo(value: object, text: str) -> object:
    """A number that was sent comes back as a number; everything else as the text that was stored."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and str(value) == text else text
