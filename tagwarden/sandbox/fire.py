"""Fires webhooks as a CRM's automations do: one POST a contact, no retry, gone after a few seconds."""

import asyncio
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from tagwarden.sandbox.guard import Refusal, is_loopback, number_of
from tagwarden.sandbox.state import State

SHAPES = ("form", "json", "bare")
TIMEOUT_SECONDS = 5.0  # ActiveCampaign hangs up after 5 s
_THIS_MACHINE = "The sandbox CRM fires at this machine only: 127.0.0.1, ::1 or localhost."
_KEPT = 20  # firings whose figures can still be asked for


@dataclass(frozen=True, slots=True)
class Order:
    """What to fire: at `url`, for `ids`, at most `concurrency` at a time (1: one by one)."""

    url: str
    ids: list[int]
    concurrency: int = 100
    shape: str = "form"
    timeout: float = TIMEOUT_SECONDS


@dataclass(slots=True)
class Firing:
    """A firing under way or over, with its figures so far."""

    number: int
    order: Order
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    accepted: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    finished: bool = False

    def figures(self) -> dict[str, Any]:
        """Counts, and how long the calls took in milliseconds."""
        times = sorted(self.times)
        return {
            "job": self.number,
            "finished": self.finished,
            "total": len(self.order.ids),
            "sent": len(times),
            "statuses": dict(self.statuses),
            "errors": dict(self.errors),
            "p50_ms": _share(times, 0.5),
            "p99_ms": _share(times, 0.99),
            "slowest_ms": _share(times, 1),
            "accepted": self.accepted,
        }


def _share(times: list[float], share: float) -> float:
    return round(times[math.ceil(share * len(times)) - 1] * 1000, 1) if times else 0


def _is_allowed(url: str) -> bool:
    try:
        target = URL(url)
        return target.scheme in {"http", "https"} and is_loopback(target.host)
    except ValueError:
        return False


class Firings:
    """All firings of this server, numbered from 1."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: dict[int, Firing] = {}

    def recent(self) -> list[dict[str, Any]]:
        """The figures of the latest firings, newest first."""
        return [self._known[number].figures() for number in sorted(self._known, reverse=True)]

    def get(self, number: str) -> Firing:
        """The firing of that number. Refuses with 404 job_not_found."""
        firing = self._known.get(number_of(number, "job", 1, 2**62))
        if firing is None:
            raise Refusal(404, "job_not_found")
        return firing

    def start(self, order: Order) -> tuple[Firing, asyncio.Task[None]]:
        """Starts firing. The task ends when every call is answered or given up.

        Refuses with 400 url_not_loopback what is not this machine, with 400 bad_request an unknown shape.
        """
        if not _is_allowed(order.url):
            raise Refusal(400, "url_not_loopback", help=_THIS_MACHINE)
        if order.shape not in SHAPES:
            raise Refusal(400, "bad_request", help=f"“shape” must be one of {', '.join(SHAPES)}.")
        firing = Firing(next(self._numbers), order)
        self._known[firing.number] = firing
        for number in list(self._known)[:-_KEPT]:
            del self._known[number]
        task = asyncio.create_task(self._run(firing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return firing, task

    async def stop(self) -> None:
        """Drops what is still to be fired."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, firing: Firing) -> None:
        order = firing.order
        people = {one["id"]: one for one in self._state.contacts(order.ids)}
        queue = iter([people.get(contact, {"id": contact}) for contact in order.ids])
        connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a CRM comes anew with every call
        timeout = aiohttp.ClientTimeout(total=None)
        try:
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                workers = min(order.concurrency, len(order.ids))
                await asyncio.gather(*(_fire_all(session, firing, queue) for _ in range(workers)))
        finally:
            firing.finished = True


async def _fire_all(session: aiohttp.ClientSession, firing: Firing, queue: Iterator[dict[str, Any]]) -> None:
    for person in queue:
        began = time.perf_counter()
        try:
            status = await _fire(session, firing.order, person)
            firing.statuses[str(status)] += 1
            if status == 200:
                firing.accepted.append(person["id"])
        except (aiohttp.ClientError, OSError) as error:
            firing.errors[type(error).__name__] += 1
        firing.times.append(time.perf_counter() - began)


async def _fire(session: aiohttp.ClientSession, order: Order, person: dict[str, Any]) -> int:
    data, kind = _shaped(order.shape, person)
    headers = {"Content-Type": kind, "User-Agent": "Sandbox-CRM"}
    async with asyncio.timeout(order.timeout):
        async with session.post(order.url, data=data, headers=headers, allow_redirects=False) as answer:
            await answer.read()
            return answer.status


def _shaped(shape: str, person: dict[str, Any]) -> tuple[bytes, str]:
    values: dict[str, Any] = {name: person[name] for name in ("email", "first_name", "last_name") if name in person}
    if shape == "bare":
        return str(person["id"]).encode(), "text/plain"
    if shape == "json":
        return json.dumps({"contactId": person["id"], **values}).encode(), "application/json"
    return urlencode({"contactId": person["id"], **values}).encode(), "application/x-www-form-urlencoded"
