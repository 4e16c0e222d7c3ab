"""How the fake Kit delivers webhooks: in the background, with Kit's retries, to this machine only."""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from aiohttp import web
from yarl import URL

from tagwarden.sandbox.guard import is_loopback

# Waits before the second to the eighth attempt: 30 s, 2 min, 15 min, 1 h, 4 h, 12 h, 24 h.
WAITS = (30.0, 120.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0)
_AT_A_TIME = 20
_KEPT_SECONDS = 30 * 86_400


class Sender(Protocol):
    """What delivering asks of the fake it belongs to."""

    settings: Any
    chance: random.Random

    def now(self) -> float: ...
    def catch_up(self) -> None: ...
    def next_due(self) -> float | None: ...


@dataclass(slots=True)
class Delivery:
    """One POST to come, or its history. `build` gives headers and body of an attempt, at the moment it is made."""

    number: int
    kind: str  # events, legacy or callback
    url: str
    type: str
    contacts: list[int]
    build: Callable[[], tuple[dict[str, str], bytes]]
    made: float
    due: float
    waits: tuple[float, ...] = ()
    endpoint: int | None = None
    alive: Callable[[], bool] = lambda: True
    gone: Callable[[], None] = lambda: None  # told of a 410
    status: str = "pending"
    completed: float | None = None
    attempts: list[str] = field(default_factory=list)  # what came of each

    def end(self, status: str, at: float) -> None:
        self.status, self.completed = status, at


class Post:
    """All deliveries: those to come and those that were."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._numbers = itertools.count(123_456)
        self.deliveries: list[Delivery] = []
        self._happened: list[dict[str, Any]] = []
        self._one_at_a_time = asyncio.Lock()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, kind: str, url: str, build: Callable[[int], tuple[dict[str, str], bytes]], **more: Any) -> None:
        """Takes a delivery on. `build` gets the delivery's number."""
        number, now = next(self._numbers), self._sender.now()
        built: dict[str, Any] = {"made": now, "due": now, "build": lambda: build(number)}
        self.deliveries.append(Delivery(number, kind, url, **{"type": "", "contacts": []} | built | more))

    # --- the loop ----------------------------------------------------------------------------------------------

    async def run(self, _app: web.Application) -> Any:
        """A cleanup context: delivers while the server runs."""
        self._task = asyncio.create_task(self._forever())
        yield
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def wake(self) -> None:
        """Something may have become due: a change, or the clock was moved."""
        self._woken.set()

    async def _forever(self) -> None:
        while True:
            self._woken.clear()
            await self.deliver()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._rest())

    def _rest(self) -> float | None:
        """Real seconds until something is due; None if nothing will be."""
        dues = [one.due for one in self._open()]
        if (later := self._sender.next_due()) is not None:
            dues.append(later)
        speed = self._sender.settings.speed
        return max(0.0, min(dues) - self._sender.now()) / speed if dues and speed else None

    def _open(self) -> list[Delivery]:
        return [one for one in self.deliveries if one.completed is None]

    # --- delivering --------------------------------------------------------------------------------------------

    async def deliver(self) -> None:
        """Sends all that is due."""
        async with self._one_at_a_time:
            self._sender.catch_up()
            self._forget()
            timeout = aiohttp.ClientTimeout(total=self._sender.settings.hook_timeout_seconds)
            connector = aiohttp.TCPConnector(limit=_AT_A_TIME, force_close=True)
            async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
                while due := [one for one in self._open() if one.due <= self._sender.now()]:
                    if self._sender.settings.out_of_order:
                        self._sender.chance.shuffle(due)
                    await asyncio.gather(*(self._attempt(session, one) for one in due))

    def _forget(self) -> None:
        oldest = self._sender.now() - _KEPT_SECONDS
        self.deliveries = [one for one in self.deliveries if one.completed is None or one.completed > oldest]

    async def _attempt(self, session: aiohttp.ClientSession, one: Delivery) -> None:
        if not one.alive():
            one.end("failed", self._sender.now())
            return self._tell(one, "dropped", 0)
        began, wait = time.perf_counter(), None
        if not is_loopback(URL(one.url).host):
            outcome = "not this machine"
        else:
            outcome, wait = "", None
            for _ in range(self._sender.settings.hook_copies):
                outcome, wait = await self._send(session, one)
        one.attempts.append(outcome)
        self._settle(one, outcome, wait)
        return self._tell(one, outcome, time.perf_counter() - began)

    async def _send(self, session: aiohttp.ClientSession, one: Delivery) -> tuple[str, float | None]:
        """Status or error, and the seconds that Retry-After asks for."""
        headers, body = one.build()
        try:
            async with session.post(one.url, data=body, headers=headers, allow_redirects=False) as answered:
                await answered.read()
                return str(answered.status), _asked_for(answered.status, answered.headers)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return type(error).__name__, None

    def _settle(self, one: Delivery, outcome: str, wait: float | None) -> None:
        """2xx is done, 410 and the last try are the end, all else is tried again."""
        now, tries = self._sender.now(), len(one.attempts)
        if outcome.startswith("2"):
            one.end("delivered", now)
        elif outcome in {"410", "not this machine"} or tries > len(one.waits):
            one.end("failed", now)
            if outcome == "410":
                one.gone()
        else:
            one.status, one.due = "retrying", now + (wait or one.waits[tries - 1])

    def _tell(self, one: Delivery, outcome: str, seconds: float) -> None:
        row = {"delivery_id": one.number, "kind": one.kind, "url": one.url, "type": one.type, "contacts": one.contacts}
        row |= {"attempt": len(one.attempts), "outcome": outcome, "status": one.status, "seconds": round(seconds, 3)}
        self._happened.append(row | {"next_in": None if one.completed else round(one.due - self._sender.now(), 3)})

    async def flush(self, _request: web.Request) -> web.Response:
        """Sends all that is due and lists what happened since the last flush, in the background too."""
        await self.deliver()
        happened, self._happened = self._happened, []
        return web.json_response({"happened": happened, "waiting": len(self._open())})


def _asked_for(status: int, headers: Mapping[str, str]) -> float | None:
    """Retry-After of a 429 or 503, from 1 s to 24 h."""
    text = headers.get("Retry-After", "")
    return min(max(float(text), 1.0), 86_400.0) if status in {429, 503} and text.isdigit() else None
