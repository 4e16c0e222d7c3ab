"""The API that a CRM's customers program against: key, rate limit, latency, faults, and lagging lists."""

import asyncio
import hmac
import json
import math
from typing import Any

from aiohttp import web

from tagwarden.sandbox import faults
from tagwarden.sandbox.guard import Handler, Refusal, body, ids_of, number_of, text_of
from tagwarden.sandbox.state import State

MOST = 100  # contacts a page, ids a call
_HIGHEST = 2**63 - 1


class Api:
    """The routes under /api/."""

    def __init__(self, state: State, behaviour: faults.Behaviour, key: str) -> None:
        self._state = state
        self._behaviour = behaviour
        self._key = f"Bearer {key}".encode()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._metered])
        app.add_routes(
            [
                web.get("/ping", self.ping, allow_head=False),
                web.get("/contacts/{id}", self.contact, allow_head=False, name="by_id"),
                web.get("/contacts", self.contacts, allow_head=False, name="contacts"),
                web.put("/contacts/{id}/fields", self.set_fields),
                web.get("/tags", self.tags, allow_head=False),
                web.post("/tags", self.make_tag),
                web.post("/tags/{id}/contacts", self.set_tag),
                web.delete("/tags/{id}/contacts", self.set_tag),
                web.get("/fields", self.fields, allow_head=False),
                web.post("/fields", self.make_field),
            ]
        )
        return app

    # What happens around every call.

    @web.middleware
    async def _metered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._behaviour.counters["calls"] += 1
        admitted = self._behaviour.bucket.take()
        headers = self._behaviour.bucket.headers()
        try:
            if not admitted:
                self._behaviour.counters["limited"] += 1
                raise Refusal(429, "rate_limited")
            if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), self._key):
                raise Refusal(401, "invalid_key")
            await asyncio.sleep(self._behaviour.settings.latency_ms / 1000)
            answer = await self._faulty(request, handler)
        except Refusal as refusal:
            answer = refusal.answer()
        except web.HTTPException as refused:
            answer = Refusal(refused.status, "not_found" if refused.status == 404 else "bad_request").answer()
        answer.headers.update(headers | ({"Retry-After": "1"} if answer.status == 429 else {}))
        return answer

    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        kind = _kind(request)
        fault = self._behaviour.draw(kind)
        if fault == "429":
            raise Refusal(429, "rate_limited")
        if fault == "503":
            return faults.overloaded()
        if fault in {"timeout", "reset"}:
            return await self._lost(request, handler, fault, kind)
        answer = await self._worked(request, handler, kind)
        if fault == "cut":
            return await faults.cut(request, answer)
        if fault and answer.status == 200:
            return web.json_response(self._behaviour.spoil(fault, json.loads(answer.text or "{}")))
        return answer

    async def _worked(self, request: web.Request, handler: Handler, kind: str) -> web.Response:
        self._behaviour.count(kind)
        answer = await handler(request)
        assert isinstance(answer, web.Response)
        return answer

    async def _lost(self, request: web.Request, handler: Handler, fault: str, kind: str) -> web.StreamResponse:
        if self._behaviour.chance.random() < 0.5:
            await self._worked(request, handler, kind)
        if fault == "timeout":
            await faults.hang(request)
        faults.reset(request)
        return web.Response()

    # Routes.

    async def ping(self, request: web.Request) -> web.Response:
        return web.json_response({"account": "Sandbox CRM"})

    async def contact(self, request: web.Request) -> web.Response:
        return web.json_response({"contact": self._contact(request)})

    def _contact(self, request: web.Request) -> dict[str, Any]:
        found = self._state.contacts([number_of(request.match_info["id"], "id", 0, _HIGHEST)])
        if not found:
            raise Refusal(404, "contact_not_found")
        return found[0]

    async def contacts(self, request: web.Request) -> web.Response:
        seen = self._behaviour.seen()
        if "ids" in request.query:
            ids = [number_of(one, "ids", 0, _HIGHEST) for one in request.query["ids"].split(",") if one]
            if len(ids) > MOST:
                raise Refusal(400, "too_many_ids")
            return web.json_response({"contacts": self._state.contacts(ids, seen)})
        number = number_of(request.query.get("page", "1"), "page", 1, 10**9)
        per_page = number_of(request.query.get("per_page", str(MOST)), "per_page", 1, MOST)
        rows, total = self._state.page(number, per_page, seen=seen, email=request.query.get("email", ""))
        pages = math.ceil(total / per_page)
        return web.json_response({"contacts": rows, "page": number, "pages": pages, "total": total})

    async def tags(self, request: web.Request) -> web.Response:
        return web.json_response({"tags": self._state.tags()})

    async def fields(self, request: web.Request) -> web.Response:
        return web.json_response({"fields": self._state.fields()})

    async def make_tag(self, request: web.Request) -> web.Response:
        tag, new = self._state.make_tag(text_of(await body(request), "name"), "api")
        return web.json_response({"tag": tag}, status=201 if new else 200)

    async def make_field(self, request: web.Request) -> web.Response:
        field, new = self._state.make_field(text_of(await body(request), "label"), "api")
        return web.json_response({"field": field}, status=201 if new else 200)

    async def set_tag(self, request: web.Request) -> web.Response:
        tag = self._state.tag(number_of(request.match_info["id"], "id", 0, _HIGHEST))
        if tag is None:
            raise Refusal(404, "tag_not_found")
        ids = ids_of((await body(request)).get("ids"), MOST)
        done = self._state.set_tag(tag, ids, remove=request.method == "DELETE", who="api").done
        return web.json_response({"done": done, "missing": sorted(set(ids) - set(done))})

    async def set_fields(self, request: web.Request) -> web.Response:
        contact = self._contact(request)
        values = (await body(request)).get("fields")
        if not isinstance(values, dict) or not all(isinstance(v, str | int | float) for v in values.values()):
            raise Refusal(400, "bad_request", help="“fields” must be an object: label to value.")
        try:
            self._state.set_fields(contact["id"], {label: str(v) for label, v in values.items()}, "api")
        except KeyError as error:
            raise Refusal(422, "field_not_found", label=error.args[0]) from error
        return web.json_response({"contact": self._contact(request)})


def _kind(request: web.Request) -> str:
    if request.method != "GET":
        return "write"
    name = request.match_info.route.name
    if name == "contacts":
        return "bulk" if "ids" in request.query else "list"
    return name or "other"
