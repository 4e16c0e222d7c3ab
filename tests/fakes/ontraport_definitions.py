"""Tags, columns and what meta says of them at the fake of Ontraport, and the admin's way to change them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fakes import ontraport_query as query
from tests.fakes.ontraport_columns import Column
from tests.fakes.ontraport_query import INVALID, Refused

if TYPE_CHECKING:
    from tests.fakes.ontraport import Fake

_KINDS = (
    "text",
    "longtext",
    "numeric",
    "price",
    "check",
    "drop",
    "list",
    "fulldate",
    "timestamp",
    "phone",
    "sms",
    "email",
    "state",
    "country",
    "url",
)


class Definitions:
    """The routes about what there is, besides contacts."""

    def __init__(self, fake: Fake) -> None:
        self._fake = fake

    def routes(self) -> list[web.RouteDef]:
        found = [
            web.get("/1/Tags", self.tags),
            web.get("/1/Tag", self.tag),
            web.post("/1/Tags", self.new_tag),
            web.put("/admin/columns", self.columns),
            web.post("/admin/columns", self.columns),
            web.post("/admin/tags", self.admin_tag),
        ]
        for name in ("Contacts", "objects"):
            found.append(web.get(f"/1/{name}/meta", self.meta))
            found.append(web.post(f"/1/{name}/fieldeditor", self.fieldeditor))
        return found

    # --- columns -----------------------------------------------------------------------------------------------

    async def meta(self, request: web.Request) -> web.Response:
        """`data` by the object type's id, or its name with `format=byName`; all of them if none is asked for."""
        asked = await self._fake.asked(request)
        wanted = "0" if "Contacts" in request.path else asked.get("objectID")
        fields = {name: column.described() for name, column in self._fake.account.columns().items()}
        deal = {"f1567": Column("f1567", "Contact", "parent").described()}
        objects: dict[str, dict[str, Any]] = {
            "0": {"name": "Contact", "fields": fields},
            "146": {"name": "Order", "fields": {}},
            "10000": {"name": "Household", "fields": deal},
        }
        if wanted is not None and str(wanted) not in objects:
            raise Refused(400, INVALID)
        shown = objects if wanted is None else {str(wanted): objects[str(wanted)]}
        if asked.get("format", "byId") == "byName":
            shown = {one["name"]: one for one in shown.values()}
        return self._fake.ok(shown)

    async def fieldeditor(self, request: web.Request) -> web.Response:
        """Makes columns: `name` is the section, `fields` the three columns of its form. Aliases may repeat."""
        asked = await self._fake.asked(request)
        fields = asked.get("fields")
        about = "0" if "Contacts" in request.path else str(asked.get("objectID"))
        if not asked.get("name") or not isinstance(fields, list) or about != "0":
            raise Refused(400, INVALID)
        made: dict[str, str] = {}
        wrong: list[dict[str, Any]] = []
        for one in [one for part in fields for one in (part if isinstance(part, list) else [part])]:
            if not isinstance(one, dict) or not one.get("alias") or one.get("type") not in _KINDS:
                wrong.append({"field": one, "message": "Invalid field type"})
                continue
            made[self._made(one)] = one["alias"]
        return self._fake.ok({"success": made, "error": wrong})

    def _made(self, one: dict[str, Any]) -> str:
        account = self._fake.account
        name = f"f{account.new_field(one['alias'])}"
        labels = one.get("options", {}).get("add", []) if isinstance(one.get("options"), dict) else []
        options = {str(place): str(label) for place, label in enumerate(labels, 1)}
        initial = "0" if one["type"] in {"check", "drop", "numeric", "timestamp", "fulldate"} else ""
        account.add_own(Column(name, one["alias"], one["type"], initial, options=options))
        return name

    async def columns(self, request: web.Request) -> web.Response:
        """Admin: `columns`, each with name and as wanted alias, kind, initial, options; PUT puts them for all."""
        columns = [Column(**{"alias": one["name"]} | one) for one in (await request.json())["columns"]]
        if request.method == "PUT":
            self._fake.account.replace_own(columns)
        else:
            for column in columns:
                self._fake.account.add_own(column)
        return web.json_response({"columns": list(self._fake.account.own)})

    # --- tags --------------------------------------------------------------------------------------------------

    async def tags(self, request: web.Request) -> web.Response:
        """Those of every object type; pages as everywhere."""
        asked = await self._fake.asked(request)
        rows = [self._row(tag) for tag in sorted(self._fake.account.tags)]
        if asked.get("condition"):
            terms = query.condition(asked["condition"])
            rows = [row for row in rows if query.holds(terms, query.cells_of(row))]
        rows = query.in_order(rows, asked, lambda row, name: query.cells_of(row)(name))
        return self._fake.ok(query.cut(rows, asked, self._fake.settings.over_range), misc=[])

    async def tag(self, request: web.Request) -> web.Response:
        asked = await self._fake.asked(request)
        number = query.whole(asked.get("id"))
        if number not in self._fake.account.tags:
            raise Refused(404, "Object not found")
        return self._fake.ok(self._row(number))

    async def new_tag(self, request: web.Request) -> web.Response:
        """A name that is known already gets a second tag, or its first, as the switch says: nobody knows."""
        asked = await self._fake.asked(request)
        account, name = self._fake.account, str(asked.get("tag_name") or "")
        if not name:
            raise Refused(400, INVALID)
        known = account.tag_named(name) if self._fake.settings.same_tag_name == "first" else None
        number = known or account.new_tag(name)
        if str(asked.get("object_type_id", "0")) != "0":
            account.tag_types[number] = str(asked["object_type_id"])
        return self._fake.ok(self._row(number))

    async def admin_tag(self, request: web.Request) -> web.Response:
        """Admin: a tag by `name`, of `object_type_id` if it isn't for contacts; `id` given: made so, or renamed."""
        content, account = await request.json(), self._fake.account
        number = content.get("id") or account.new_tag(content["name"])
        account.tags[number] = content["name"]
        if "object_type_id" in content:
            account.tag_types[number] = str(content["object_type_id"])
        return web.json_response({"id": number})

    def _row(self, tag: int) -> dict[str, Any]:
        account = self._fake.account
        kind = account.tag_types.get(tag, "0")
        return {"tag_id": str(tag), "tag_name": account.tags[tag], "object_type_id": kind}
