"""How the sandbox CRM behaves now: its settings, its rate limit, and the faults it is told to make.

Refused before the work: 429, 503. Answer lost: cut (the work is done), reset and timeout (done or not, by
chance, as in life). Answer wrong though it says 200: missing-rows, missing-tags.
"""

import asyncio
import json
import math
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from aiohttp import web

from tagwarden.core import clock
from tagwarden.sandbox.state import FRESH, State

KINDS = ("429", "503", "timeout", "cut", "reset", "missing-rows", "missing-tags")
READS = ("by_id", "bulk", "list", "other")
HANG_SECONDS = 60
# Name → whole number or not, least, most.
_LIMITS: dict[str, tuple[bool, float, float]] = {
    "latency_ms": (True, 0, 60_000),
    "rate_limit": (True, 1, 100_000),
    "lag_seconds": (False, 0, 86_400),
    "fault_rate": (False, 0, 1),
    "seed": (True, 0, 2**31),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """`rate_limit` is in calls a second; `fault_rate` is the share of calls that get a fault."""

    latency_ms: int = 20
    rate_limit: int = 50
    lag_seconds: float = 0
    fault_rate: float = 0
    faults: tuple[str, ...] = ()
    seed: int = 1


def changed(settings: Settings, changes: Mapping[str, object]) -> Settings:
    """The settings with these changes. Raises ValueError with a sentence on an unknown name or value."""
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name == "faults":
            if not isinstance(value, list | tuple) or not set(value) <= set(KINDS):
                raise ValueError(f"“faults” must be a list of {', '.join(KINDS)}.")
            values[name] = tuple(value)
        elif name in _LIMITS:
            values[name] = _number(name, value)
        else:
            raise ValueError(f"There is no setting “{name}”. Known are {', '.join(Settings.__dataclass_fields__)}.")
    return replace(settings, **values)


def _number(name: str, value: object) -> float:
    whole, low, high = _LIMITS[name]
    kinds = {int} if whole else {int, float}
    if isinstance(value, int | float) and type(value) in kinds and low <= value <= high:
        return value
    raise ValueError(f"“{name}” must be a {'whole ' if whole else ''}number from {low:g} to {high:g}.")


class Bucket:
    """A token bucket that holds one second's worth of calls."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._tokens = float(rate)
        self._filled = time.monotonic()

    def take(self) -> bool:
        """Takes a token. False if there is none."""
        now = time.monotonic()
        self._tokens = min(self.rate, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def headers(self) -> dict[str, str]:
        """Limit, whole tokens left, and seconds until the bucket is full."""
        reset = math.ceil((self.rate - self._tokens) / self.rate)
        return {
            "X-RateLimit-Limit": str(self.rate),
            "X-RateLimit-Remaining": str(int(self._tokens)),
            "X-RateLimit-Reset": str(reset),
        }


class Behaviour:
    """Settings, rate limit, chance and counters of the running server. The settings survive a restart."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.counters: Counter[str] = Counter()
        self._apply(changed(Settings(), json.loads(state.remembered("settings") or "{}")))

    def _apply(self, settings: Settings) -> None:
        self.settings = settings
        self.bucket = Bucket(settings.rate_limit)
        self.chance = random.Random(settings.seed)

    def change(self, changes: Mapping[str, object]) -> None:
        """Takes over settings; bucket and chance start anew. Raises ValueError with a sentence."""
        self._apply(changed(self.settings, changes))
        self._state.remember("settings", json.dumps(asdict(self.settings)))

    def seen(self) -> int:
        """The moment that lists and bulk reads show."""
        lag = self.settings.lag_seconds
        return clock.now_ms() - round(lag * 1000) if lag else FRESH

    def draw(self, kind: str) -> str:
        """The fault this call gets, or nothing. `kind`: one of READS, or "write"."""
        fitting = [fault for fault in KINDS if fault in self.settings.faults and _fits(fault, kind)]
        if not fitting or self.chance.random() >= self.settings.fault_rate:
            return ""
        self.counters["faults"] += 1
        return self.chance.choice(fitting)

    def count(self, kind: str) -> None:
        """Counts work that was done: a read of a kind in READS, or a write."""
        self.counters[kind] += 1

    def counted(self) -> dict[str, Any]:
        reads = {kind: self.counters[kind] for kind in READS}
        others = {name: self.counters[name] for name in ("faults", "calls", "limited")}
        return {
            "reads": sum(reads.values()),
            "reads_by_kind": reads,
            "writes": self.counters["write"],
            **others,
        }

    def spoil(self, fault: str, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer to a read with half of its contacts, at least one, left out or without their tags."""
        rows = answer["contacts"] if "contacts" in answer else [answer["contact"]]
        hit = set(self.chance.sample(range(len(rows)), math.ceil(len(rows) / 2)))
        if fault == "missing-rows":
            return answer | {"contacts": [row for at, row in enumerate(rows) if at not in hit]}
        for at in hit:
            del rows[at]["tags"]
        return answer


def _fits(fault: str, kind: str) -> bool:
    if fault == "missing-rows":
        return kind in {"bulk", "list"}
    return fault != "missing-tags" or kind in {"by_id", "bulk", "list"}


def overloaded() -> web.Response:
    """What a CRM's load balancer says: HTML, whatever was asked for."""
    title = "503 Service Temporarily Unavailable"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return web.Response(status=503, text=page, content_type="text/html")


async def hang(request: web.Request) -> None:
    """Says nothing until the client goes, at most a minute."""
    until = time.monotonic() + HANG_SECONDS
    while time.monotonic() < until and request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(0.1)


async def cut(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Half of the body that Content-Length promises, then the end of the connection."""
    whole = answer.body if isinstance(answer.body, bytes) else b""
    headers = {"Content-Type": "application/json", "Content-Length": str(len(whole))}
    partial = web.StreamResponse(status=answer.status, headers=headers)
    await partial.prepare(request)
    await partial.write(whole[: len(whole) // 2])
    if request.transport is not None:
        request.transport.close()
    return partial


def reset(request: web.Request) -> None:
    """Ends the connection by a TCP reset instead of an answer."""
    if request.transport is None:
        return
    linger = struct.pack("ii", 1, 0)
    request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    request.transport.abort()
