"""What all fake CRMs share: a server with a clock, faults, a log of writes, and an admin API to steer it by.

A vendor's file adds the API that the vendor publishes, its limits and its webhooks, and shares no code with the
adapter of that name. The admin API is the sandbox CRM's, so that one test can steer all of them.
"""

import argparse
import asyncio
import json
import math
import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import aiohttp
from aiohttp import web
from yarl import URL

from tagwarden.sandbox import faults as wire
from tagwarden.sandbox.guard import is_loopback
from tests.fakes.book import Book, invented

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Settings:
    """How the fake behaves. A vendor may add its own switches by a subclass."""

    latency_ms: int = 0
    lag_seconds: float = 0  # how far behind those reads run that lag at this vendor
    limits: bool = True  # whether calls over the vendor's limits are refused
    fault_rate: float = 0  # the share of calls that get one of `faults`
    faults: tuple[str, ...] = ()
    seed: int = 1
    speed: float = 1  # seconds of the fake's clock in a real one
    hang_seconds: float = 60  # how long a call that gets no answer is kept open


class Window:
    """At most so many calls in any window of that length, as vendors count: the oldest leave one by one."""

    def __init__(self, calls: int, seconds: float) -> None:
        self.calls, self.seconds = calls, seconds
        self._taken: deque[float] = deque()

    def take(self, now: float) -> bool:
        """Counts a call. False, and not counted, if there are too many."""
        self._forget(now)
        if len(self._taken) >= self.calls:
            return False
        self._taken.append(now)
        return True

    def left(self, now: float) -> int:
        self._forget(now)
        return self.calls - len(self._taken)

    def reset(self, now: float) -> float:
        """Seconds until the oldest call leaves the window."""
        self._forget(now)
        return max(0.0, self._taken[0] + self.seconds - now) if self._taken else 0.0

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0] <= now - self.seconds:
            self._taken.popleft()


class Fake(ABC):
    """One account at one vendor."""

    settings_class: ClassVar[type[Settings]] = Settings
    # Faults the vendor's own code makes besides those of `_WIRE_FAULTS`; see `vendor_fault`.
    vendor_faults: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.book = Book()
        self.counters: Counter[str] = Counter()
        self.settings = self.settings_class()
        self.chance = random.Random(self.settings.seed)
        self._clock_set = (time.time(), time.time())  # a real moment, and what the fake's clock showed then

    # --- what a vendor's file fills in -------------------------------------------------------------------------

    @abstractmethod
    def routes(self) -> Iterable[web.RouteDef]:
        """The vendor's API."""

    @abstractmethod
    def admit(self, request: web.Request) -> web.Response | None:
        """None, or the refusal of a call over the limit or without a good key. Counts it against the limits."""

    def headers(self, request: web.Request) -> Mapping[str, str]:
        """What each answer carries besides: mostly the limits."""
        return {}

    @abstractmethod
    def limited(self, request: web.Request) -> web.Response:
        """The vendor's 429."""

    def vendor_fault(self, fault: str, request: web.Request) -> web.Response | None:
        """The answer to a call that gets one of `vendor_faults`; None lets the work be done first (see `spoil`)."""
        return None

    def spoil(self, fault: str, content: Any) -> Any:
        """The decoded answer of a read as `missing-rows`, `duplicate-rows` or `missing-tags` would make it."""
        return content

    @abstractmethod
    def hook(self, contact: int, event: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        """Headers and body of the webhook about a contact, byte for byte as the vendor sends it."""

    # --- clock and lag -----------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since 1970 by the fake's clock."""
        real, shown = self._clock_set
        return shown + (time.time() - real) * self.settings.speed

    def advance(self, seconds: float) -> None:
        """Moves the clock on."""
        self._clock_set = (time.time(), self.now() + seconds)

    def seen(self) -> float:
        """The moment that lagging reads show."""
        return self.now() - self.settings.lag_seconds

    # --- the server --------------------------------------------------------------------------------------------

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._called], client_max_size=16 * 1024 * 1024)
        app.add_routes(self.routes())
        app.add_subapp("/admin/", Admin(self).app())
        return app

    def fill(self, contacts: int) -> None:
        """Makes invented contacts, a day old."""
        for person in invented(contacts):
            self.book.add(self.now() - 86_400, "first", **person)

    @web.middleware
    async def _called(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/admin/"):
            return await handler(request)
        await request.read()  # before any waiting: what was sent is here, even if the client goes meanwhile
        self.counters["calls"] += 1
        self.counters[f"{request.method} {_shape(request.path)}"] += 1
        if self.settings.latency_ms:
            await asyncio.sleep(self.settings.latency_ms / 1000)
        answer = self.admit(request) or await self._answered(request, handler)
        if answer.status == 429:
            self.counters["limited"] += 1
        if not answer.prepared:
            answer.headers.update(self.headers(request))
        return answer

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = self._draw()
        if fault == "429":
            return self.limited(request)
        if fault == "503":
            return wire.overloaded()
        if fault in {"timeout", "reset"}:
            return await self._lost(request, handler, fault)
        if (answer := self.vendor_fault(fault, request)) is not None:
            return answer
        done = await handler(request)
        if fault == "cut" and isinstance(done, web.Response):
            return await wire.cut(request, done)
        if fault in _SPOILS and isinstance(done, web.Response) and done.status == 200 and request.method == "GET":
            return web.json_response(self.spoil(fault, json.loads(done.text or "null")))
        return done

    def _draw(self) -> str:
        fitting = [fault for fault in self.settings.faults if fault in self.known_faults()]
        if not fitting or self.chance.random() >= self.settings.fault_rate:
            return ""
        self.counters["faults"] += 1
        return self.chance.choice(fitting)

    def known_faults(self) -> set[str]:
        return {*_WIRE_FAULTS, *_SPOILS, *self.vendor_faults}

    async def _lost(self, request: web.Request, handler: Handler, fault: str) -> web.StreamResponse:
        if self.chance.random() < 0.5:  # the work may have been done: nobody can tell
            await handler(request)
        if fault == "timeout":
            await asyncio.wait_for(wire.hang(request), self.settings.hang_seconds)
        wire.reset(request)
        return web.Response()

    def change(self, changes: Mapping[str, Any]) -> None:
        """Takes over settings. Raises ValueError on a name or fault that there is not."""
        unknown = set(changes.get("faults", ())) - self.known_faults()
        if unknown or not set(changes) <= set(self.settings_class.__dataclass_fields__):
            raise ValueError(f"unknown: {sorted(unknown) or sorted(changes)}")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
        self.advance(0)  # the clock goes on from here, at the new speed
        self.settings = replace(self.settings, **values)
        self.chance = random.Random(self.settings.seed)


_WIRE_FAULTS = ("429", "503", "timeout", "cut", "reset")
_SPOILS = ("missing-rows", "duplicate-rows", "missing-tags")


def _shape(path: str) -> str:
    return "/".join("{id}" if part.isdigit() else part for part in path.split("/"))


class Admin:
    """The routes under /admin/: no key, no limit, no faults."""

    def __init__(self, fake: Fake) -> None:
        self._fake = fake

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/settings", self.settings),
                web.put("/settings", self.settings),
                web.get("/counters", self.counters),
                web.post("/counters/reset", self.reset_counters),
                web.get("/writes", self.writes),
                web.post("/contacts", self.add_contacts),
                web.get("/contacts/{id}", self.contact),
                web.patch("/contacts/{id}", self.change_contact),
                web.delete("/contacts/{id}", self.delete_contact),
                web.post("/merge", self.merge),
                web.post("/tag", self.tag),
                web.post("/field", self.field),
                web.post("/clock", self.clock),
                web.post("/fire", self.fire),
            ]
        )
        return app

    async def settings(self, request: web.Request) -> web.Response:
        if request.method == "PUT":
            self._fake.change(await request.json())
        return web.json_response(asdict(self._fake.settings))

    async def counters(self, request: web.Request) -> web.Response:
        counted = {"calls": 0, "limited": 0, "faults": 0} | dict(self._fake.counters)
        return web.json_response(counted)

    async def reset_counters(self, request: web.Request) -> web.Response:
        self._fake.counters.clear()
        return await self.counters(request)

    async def writes(self, request: web.Request) -> web.Response:
        after = int(request.query.get("after", "0"))
        return web.json_response({"writes": self._fake.book.writes[after : after + 1000]})

    async def add_contacts(self, request: web.Request) -> web.Response:
        """`contacts`: each with email; as wanted id, first_name, last_name, state, fields (by label), tags (names)."""
        book, at, ids = self._fake.book, self._fake.now(), []
        for person in (await request.json())["contacts"]:
            tags = {self._tag(name): at for name in person.pop("tags", ())}
            fields = {self._field(label): value for label, value in person.pop("fields", {}).items()}
            ids.append(book.add(at, "admin", tags=tags, fields=fields, **person).id)
        return web.json_response({"ids": ids}, status=201)

    async def contact(self, request: web.Request) -> web.Response:
        """The truth: no lag, tags by name, fields by label."""
        found = self._fake.book.with_deleted(int(request.match_info["id"]))
        if found is None:
            raise web.HTTPNotFound
        book = self._fake.book
        content = asdict(found) | {
            "tags": sorted(book.tags[tag] for tag in found.tags),
            "fields": {book.fields[key]: value for key, value in found.fields.items() if key in book.fields},
        }
        return web.json_response(content)

    async def change_contact(self, request: web.Request) -> web.Response:
        """email, first_name, last_name, state, fields (by label)."""
        changes = await request.json()
        changes["fields"] = {self._field(label): value for label, value in changes.get("fields", {}).items()}
        self._fake.book.change(int(request.match_info["id"]), self._fake.now(), "admin", **changes)
        return await self.contact(request)

    async def delete_contact(self, request: web.Request) -> web.Response:
        self._fake.book.change(int(request.match_info["id"]), self._fake.now(), "admin", deleted=True)
        return await self.contact(request)

    async def merge(self, request: web.Request) -> web.Response:
        """`from` is gone from now on and lives on as `into`, which takes its tags over."""
        content, book, at = await request.json(), self._fake.book, self._fake.now()
        old, into = content["from"], content["into"]
        for tag in book.contact(old).tags:  # type: ignore[union-attr]  # a test names one that is there
            book.set_tag(into, tag, at, "merge")
        book.change(old, at, "merge", deleted=True, merged_into=into)
        return web.json_response({"merged": old})

    async def tag(self, request: web.Request) -> web.Response:
        content, book = await request.json(), self._fake.book
        tag, at, remove = self._tag(content["tag"]), self._fake.now(), content.get("remove") is True
        ids = [one.id for one in book.contacts()] if content["contacts"] == "all" else content["contacts"]
        changed = sum(book.set_tag(contact, tag, at, "admin", remove=remove) for contact in ids)
        return web.json_response({"id": tag, "changed": changed})

    async def field(self, request: web.Request) -> web.Response:
        return web.json_response({"id": self._field((await request.json())["label"])})

    async def clock(self, request: web.Request) -> web.Response:
        self._fake.advance(float((await request.json())["seconds"]))
        return web.json_response({"now": self._fake.now()})

    async def fire(self, request: web.Request) -> web.Response:
        """Webhooks to `url` about `contacts`, with `event` as the vendor's file reads it. Answers' statuses."""
        content = await request.json()
        if not is_loopback(URL(content["url"]).host):
            raise web.HTTPBadRequest(text="Fired at this machine only.")
        timeout = aiohttp.ClientTimeout(total=content.get("timeout_seconds", 5))
        statuses: Counter[str] = Counter()
        gate = asyncio.Semaphore(content.get("concurrency", 50))

        async def one(session: aiohttp.ClientSession, contact: int) -> None:
            headers, body = self._fake.hook(contact, content.get("event", {}))
            async with gate, session.post(content["url"], data=body, headers=headers) as answer:
                statuses[str(answer.status)] += 1

        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(*(one(session, contact) for contact in content["contacts"]))
        return web.json_response({"statuses": dict(statuses)})

    def _tag(self, name: str) -> int:
        book = self._fake.book
        return book.tag_named(name) or book.new_tag(name)

    def _field(self, label: str) -> int:
        book = self._fake.book
        return book.field_named(label) or book.new_field(label)


def half(rows: list[Any], chance: random.Random) -> set[int]:
    """Places of half of these rows, at least one."""
    return set(chance.sample(range(len(rows)), math.ceil(len(rows) / 2)))


def main(kind: type[Fake]) -> None:
    """Serves one by hand: `python -m tests.fakes.keap --port 9101 --contacts 1000`."""
    parser = argparse.ArgumentParser(description=kind.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--contacts", type=int, default=0)
    given, fake = parser.parse_args(), kind()
    fake.fill(given.contacts)
    web.run_app(fake.app(), host="127.0.0.1", port=given.port, access_log=None, print=None, shutdown_timeout=1)
