"""The admin API, for tests and demos: settings, counters, write log, contacts, tags for all, firing."""

import sqlite3
from dataclasses import asdict
from typing import Any

from aiohttp import web

from tagwarden.sandbox.faults import Behaviour
from tagwarden.sandbox.fire import TIMEOUT_SECONDS, Firings, Order
from tagwarden.sandbox.guard import Refusal, body, ids_of, number_of, text_of
from tagwarden.sandbox.state import State

MOST = 100_000  # contacts a call
_HIGHEST = 2**62 - 1


class Admin:
    """The routes under /admin/: no key, no limit, no latency, no faults."""

    def __init__(self, state: State, behaviour: Behaviour, firings: Firings) -> None:
        self._state = state
        self._behaviour = behaviour
        self._firings = firings

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/settings", self.settings),
                web.put("/settings", self.change_settings),
                web.get("/counters", self.counters),
                web.post("/counters/reset", self.reset_counters),
                web.get("/writes", self.writes),
                web.post("/contacts", self.add_contacts),
                web.delete("/contacts/{id}", self.delete_contact),
                web.post("/tag", self.tag),
                web.post("/fire", self.fire),
                web.get("/fire/{job}", self.firing),
            ]
        )
        return app

    async def settings(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self._behaviour.settings))

    async def change_settings(self, request: web.Request) -> web.Response:
        try:
            self._behaviour.change(await body(request))
        except ValueError as error:
            raise Refusal(400, "bad_setting", help=str(error)) from error
        return await self.settings(request)

    async def counters(self, request: web.Request) -> web.Response:
        return web.json_response(self._behaviour.counted())

    async def reset_counters(self, request: web.Request) -> web.Response:
        self._behaviour.counters.clear()
        return await self.counters(request)

    async def writes(self, request: web.Request) -> web.Response:
        after = number_of(request.query.get("after", "0"), "after", 0, _HIGHEST)
        limit = number_of(request.query.get("limit", "1000"), "limit", 1, 10_000)
        return web.json_response({"writes": self._state.writes(after=after, limit=limit)})

    async def add_contacts(self, request: web.Request) -> web.Response:
        content = await body(request)
        if "contacts" in content:
            ids = self._add(_people(content["contacts"]))
        else:
            ids = self._state.add_invented(_whole(content.get("count"), "count", 1, MOST), "admin")
        return web.json_response({"created": len(ids), "ids": ids}, status=201)

    def _add(self, people: list[dict[str, Any]]) -> list[int]:
        try:
            return self._state.add_contacts(people, "admin")
        except sqlite3.IntegrityError as error:
            raise Refusal(409, "id_taken") from error

    async def delete_contact(self, request: web.Request) -> web.Response:
        contact = number_of(request.match_info["id"], "id", 0, _HIGHEST)
        if not self._state.delete_contact(contact, "admin"):
            raise Refusal(404, "contact_not_found")
        return web.json_response({"deleted": contact})

    async def tag(self, request: web.Request) -> web.Response:
        content = await body(request)
        ids = self._ids(content.get("contacts"))
        tag, _ = self._state.make_tag(text_of(content, "tag"), "admin")
        change = self._state.set_tag(tag, ids, remove=content.get("remove") is True, who="admin")
        return web.json_response({"changed": change.changed})

    def _ids(self, contacts: object) -> list[int]:
        return self._state.ids() if contacts == "all" else ids_of(contacts, MOST)

    async def fire(self, request: web.Request) -> web.Response:
        content = await body(request)
        firing, task = self._firings.start(self._order(content))
        if content.get("background") is True:
            return web.json_response({"job": firing.number})
        await task
        return web.json_response(firing.figures())

    def _order(self, content: dict[str, Any]) -> Order:
        url, shape = text_of(content, "url"), content.get("shape", "form")
        concurrency = _whole(content.get("concurrency", 100), "concurrency", 1, 1000)
        timeout = _whole(content.get("timeout_seconds", int(TIMEOUT_SECONDS)), "timeout_seconds", 1, 60)
        at_once = content.get("at_once", True) is True
        return Order(url, self._ids(content.get("contacts")), concurrency if at_once else 1, shape, timeout)

    async def firing(self, request: web.Request) -> web.Response:
        return web.json_response(self._firings.get(request.match_info["job"]).figures())


def _whole(value: object, name: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise Refusal(400, "bad_request", help=f"“{name}” must be a whole number from {low} to {high}.")
    return value


def _people(contacts: object) -> list[dict[str, Any]]:
    if not isinstance(contacts, list) or len(contacts) > MOST or not all(map(_is_person, contacts)):
        help_ = "Each contact needs an email; first_name, last_name, fields, tags (names) and id may be given."
        raise Refusal(400, "bad_request", help=help_)
    return contacts


def _is_person(one: object) -> bool:
    if not isinstance(one, dict) or not set(one) <= {
        "id",
        "email",
        "first_name",
        "last_name",
        "fields",
        "tags",
    }:
        return False
    texts = [one.get("email"), one.get("first_name", ""), one.get("last_name", "")]
    fields, tags, contact = one.get("fields", {}), one.get("tags", []), one.get("id")
    if not isinstance(fields, dict) or not isinstance(tags, list):
        return False
    ids_fit = contact is None or (type(contact) is int and 0 < contact < 2**53)
    return ids_fit and all(isinstance(text, str) for text in [*texts, *fields.values(), *tags])
