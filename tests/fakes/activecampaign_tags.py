"""The fake ActiveCampaign's tags, custom fields, and the user whose key it is."""

from collections.abc import Callable, Iterable

from aiohttp import web

from tests.fakes.activecampaign_calls import (
    Account,
    Answer,
    Refused,
    body,
    meta,
    missing,
    not_found,
    number,
    paged,
    unprocessable,
)

_COMPARED: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda name, wanted: name == wanted,
    "neq": lambda name, wanted: name != wanted,
    "contains": lambda name, wanted: wanted in name,
    "starts_with": lambda name, wanted: name.startswith(wanted),
}


class Tags:
    """Facts: section 1.4."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._book = account.book

    def routes(self) -> Iterable[web.RouteDef]:
        api = self._account.api
        return [
            web.get("/api/3/tags", api(self.many)),
            web.post("/api/3/tags", api(self.create)),
            web.get(r"/api/3/tags/{id:\d+}", api(self.one)),
            web.put(r"/api/3/tags/{id:\d+}", api(self.update)),
            web.delete(r"/api/3/tags/{id:\d+}", api(self.delete)),
        ]

    async def many(self, request: web.Request) -> Answer:
        """Contacts' tags and templates' ones, mixed. Upper and lower case count as the same in a search."""
        found = list(self._book.tags)
        for key, wanted in request.query.items():
            how = "contains" if key == "search" else key.removeprefix("filters[search][").removesuffix("]")
            if how in _COMPARED and (key == "search" or key.startswith("filters[search][")):
                found = [tag for tag in found if _COMPARED[how](self._book.tags[tag].lower(), wanted.lower())]
        rows = self._account.rows(request)
        return {"tags": [rows.tag(tag) for tag in paged(request, found)], "meta": meta(found)}

    async def create(self, request: web.Request) -> Answer:
        given = await body(request, "tag")
        name, kind = str(given.get("tag") or ""), str(given.get("tagType") or "contact")
        if not name:
            raise missing("tag")
        same = [t for t, known in self._book.tags.items() if known == name and self._book.tag_notes[t].kind == kind]
        how = self._account.settings.duplicate_tag
        if same and how == "422":
            raise unprocessable("There is already a tag with this name", "tag", detail="", code="duplicate")
        if not (same and how == "existing"):
            same = [self._book.new_tag(name, kind, str(given.get("description") or ""))]
        row = self._account.rows(request).tag(same[0])
        order = ("tag", "description", "tagType", "cdate", "links", "id")
        return 201, {"tag": {name: row[name] for name in order}}

    async def one(self, request: web.Request) -> Answer:
        tag = self._tag(request)
        row = self._account.rows(request).tag(tag)
        count = sum(tag in one.tags for one in self._book.contacts())
        return {"tag": row | {"subscriber_count": str(count)}}

    async def update(self, request: web.Request) -> Answer:
        tag, given = self._tag(request), await body(request, "tag")
        self._book.tags[tag] = str(given.get("tag") or self._book.tags[tag])
        return {"tag": self._account.rows(request).tag(tag)}

    async def delete(self, request: web.Request) -> Answer:
        self._book.drop_tag(self._tag(request), self._account.now(), "api")
        return {}

    def _tag(self, request: web.Request) -> int:
        tag = int(request.match_info["id"])
        if tag not in self._book.tags:
            raise not_found("Tag", tag)
        return tag


class Fields:
    """Facts: section 1.4."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._book = account.book

    def routes(self) -> Iterable[web.RouteDef]:
        api = self._account.api
        return [
            web.get("/api/3/fields", api(self.many)),
            web.post("/api/3/fields", api(self.create)),
            web.get(r"/api/3/fields/{id:\d+}", api(self.one)),
            web.post("/api/3/fieldRels", api(self.relate)),
            web.get("/api/3/users/me", api(self.me)),
        ]

    async def many(self, request: web.Request) -> Answer:
        perstag, rows = request.query.get("filters[perstag]"), self._account.rows(request)
        found = [rows.field(field) for field in self._book.fields]
        found = [row for row in found if perstag is None or row["perstag"] == perstag]
        page = paged(request, found, 100)
        ids = {int(relation) for row in page for relation in row["relations"]}
        relations = [rows.relation(relation) for relation in sorted(ids)]
        return {"fieldOptions": [], "fieldRels": relations, "fields": page, "meta": meta(found)}

    async def one(self, request: web.Request) -> Answer:
        field = int(request.match_info["id"])
        if field not in self._book.fields:
            raise Refused(400, {})
        rows = self._account.rows(request)
        row = rows.field(field)
        return {"fieldOptions": [], "fieldRels": [rows.relation(int(n)) for n in row["relations"]], "field": row}

    async def create(self, request: web.Request) -> Answer:
        """A field, on no list until it is related to one."""
        given = await body(request, "field")
        title, kind = str(given.get("title") or ""), str(given.get("type") or "")
        for name, value in (("title", title), ("type", kind)):
            if not value:
                raise missing(name)
        if title.lower() in {known.lower() for known in self._book.fields.values()}:
            error = {"title": "A field with this title exists", "detail": f"“{title}” is taken", "code": "duplicate"}
            raise Refused(422, {"errors": [error]})
        made = self._book.new_field(title, kind, str(given.get("perstag") or ""), str(given.get("descript") or ""))
        rows = self._account.rows(request)
        if self._account.settings.created_field_as == "fields":
            return 201, {"fieldOptions": [], "fieldRels": [], "fields": [rows.field(made)], "meta": {"total": "1"}}
        return 201, {"field": rows.field(made)}

    async def relate(self, request: web.Request) -> Answer:
        given = await body(request, "fieldRel")
        field, to = number(given.get("field")), number(given.get("relid"))
        if field not in self._book.fields:
            raise Refused(403, {"message": "Forbidden"})
        row = self._account.rows(request).relation(self._book.relate(field, to, self._account.now()))
        del row["dorder"]
        return 201, {"fieldRel": row | {"relid": given["relid"], "field": given["field"]}}  # as they were given

    async def me(self, request: web.Request) -> Answer:
        nouns = ("lists", "userGroup", "dealGroupTotals", "dealGroupUsers", "configs")
        links = {noun: f"{request.url.origin()}/api/3/users/1/{noun}" for noun in nouns}
        user = {"username": "owner", "firstName": "Olive", "lastName": "Owner", "email": "owner@example.com"}
        return {"user": {**user, "phone": "", "signature": None, "links": links, "id": "1"}}
