"""Keap's REST hooks: subscribed by the API, verified by a secret, late, in batches, off after four failures.

Facts 1.2(b). Posts go to this machine only.
"""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from tagwarden.sandbox.guard import is_loopback
from tests.fakes.keap_account import V1, Account, Refused, answer, compact, content_of, stamp

_WORDS = (
    "contact.add contact.delete contact.edit contact.redact contactGroup.add contactGroup.applied contactGroup.delete "
    "contactGroup.edit contactGroup.removed invoice.add invoice.delete invoice.edit order.add order.delete order.edit "
    "subscription.add subscription.delete subscription.edit"
)
EVENT_KEYS = _WORDS.split()
_SLOW = {"contactGroup.applied", "contactGroup.delete"}
MOST_OBJECTS = 1000
ATTEMPTS = 4
JSON = {"Content-Type": "application/json"}
API = "https://api.infusionsoft.com"


@dataclass(slots=True)
class Hook:
    """One subscription to one event."""

    key: str
    event: str
    url: str
    status: str = "Unverified"
    secret: str = ""

    def shown(self) -> dict[str, str]:
        return {"eventKey": self.event, "hookUrl": self.url, "key": self.key, "status": self.status}


@dataclass(frozen=True, slots=True)
class Happening:
    """What an event is about, and its moment."""

    tag: int
    contact: int
    at: float


@dataclass(slots=True)
class Batch:
    """A post to make: what happened until it was due."""

    hook: Hook
    due: float
    happenings: list[Happening] = field(default_factory=list)
    failures: int = 0


def event_body(account: Account, event: str, happenings: list[Happening]) -> bytes:
    """The bytes of an event's post."""
    objects = _of_tags(account, happenings) if event.startswith("contactGroup.") else _of_contacts(account, happenings)
    content: dict[str, Any] = {"event_key": event, "object_type": event.partition(".")[0]}
    if account.settings.old_hook_key:
        content["object_key"] = objects[0] if len(objects) == 1 else objects
    else:
        content["object_keys"] = objects
    return compact(content).encode()


def _of_contacts(account: Account, happenings: list[Happening]) -> list[dict[str, Any]]:
    return [
        {"id": one.contact, **_url(account, at, f"contacts/{one.contact}"), **_when(one)}
        for at, one in enumerate(happenings)
    ]


def _of_tags(account: Account, happenings: list[Happening]) -> list[dict[str, Any]]:
    """By tag, with its contacts; or only the tag, which is all that the description promises."""
    by_tag: dict[int, list[Happening]] = {}
    for one in happenings:
        by_tag.setdefault(one.tag, []).append(one)
    if account.settings.tag_hooks == "tags" or not all(one.contact for one in happenings):
        return [
            {"id": tag, **_url(account, at, f"tags/{tag}"), **_when(all_[-1])}
            for at, (tag, all_) in enumerate(by_tag.items())
        ]
    return [{"tag_id": tag, "contact_details": [{"id": one.contact} for one in all_]} for tag, all_ in by_tag.items()]


def _url(account: Account, at: int, path: str) -> dict[str, str]:
    """Receivers met objects with an empty `apiUrl` and without one."""
    kind = {"all": 0, "none": 2}.get(account.settings.api_urls, at % 3)
    return ({"apiUrl": f"{API}{V1}/{path}"}, {"apiUrl": ""}, {})[kind]


def _when(one: Happening) -> dict[str, str]:
    return {"timestamp": stamp(one.at, milliseconds=False)}


class Hooks:
    """The subscriptions, and what is on its way to them."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._hooks: dict[str, Hook] = {}
        self._batches: list[Batch] = []
        self._log: list[dict[str, Any]] = []
        self._keys = count(1)
        self._chance = random.Random(1)  # of its own: faults of calls stay the same whatever hooks do
        self._sending = asyncio.Lock()
        self._woken = asyncio.Event()
        self._later: set[asyncio.Task[object]] = set()

    def routes(self) -> Iterable[web.RouteDef]:
        one = f"{V1}/hooks/{{key}}"
        return [
            web.get(f"{V1}/hooks", self.listed),
            web.post(f"{V1}/hooks", self.new),
            web.get(f"{V1}/hooks/event_keys", self.event_keys),
            web.get(one, self.one),
            web.put(one, self.put),
            web.delete(one, self.delete),
            web.post(f"{one}/verify", self.verify),
            web.post(f"{one}/delayedVerify", self.delayed_verify),
            web.get("/admin/hooks", self.steered),
            web.post("/admin/hooks/flush", self.flush),
        ]

    # --- subscriptions -----------------------------------------------------------------------------------------

    async def listed(self, request: web.Request) -> web.Response:
        return answer([hook.shown() for hook in self._hooks.values()])

    async def event_keys(self, request: web.Request) -> web.Response:
        return answer(EVENT_KEYS)

    async def new(self, request: web.Request) -> web.Response:
        event, url = await self._asked(request)
        taken = any(hook.event == event for hook in self._hooks.values())
        if taken and self._account.settings.second_hook == "refused":
            raise Refused(409, f"A hook for {event} already exists", "hook")
        hook = Hook(str(next(self._keys)), event, url)
        self._hooks[hook.key] = hook
        return await self._begun(hook)

    async def put(self, request: web.Request) -> web.Response:
        hook = self._hook(request)
        hook.event, hook.url = await self._asked(request)
        hook.status = "Unverified"
        return await self._begun(hook)

    async def _begun(self, hook: Hook) -> web.Response:
        """Creating a hook tries to verify it; a hook stays Unverified if that fails."""
        if self._account.settings.verifies == "during":
            await self._verify(hook)
        else:
            task = asyncio.create_task(self._verify(hook))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
        return answer(hook.shown())

    async def _asked(self, request: web.Request) -> tuple[str, str]:
        content = await content_of(request)
        event, url = content.get("eventKey"), content.get("hookUrl")
        if event not in EVENT_KEYS:
            raise Refused(400, f"Unknown event key: {event}", "hook")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise Refused(400, "hookUrl must be a URL", "hook")
        return event, url

    def _hook(self, request: web.Request) -> Hook:
        if (hook := self._hooks.get(request.match_info["key"])) is None:
            raise Refused(404, "Hook not found", "hook")
        return hook

    async def one(self, request: web.Request) -> web.Response:
        return answer(self._hook(request).shown())

    async def delete(self, request: web.Request) -> web.Response:
        del self._hooks[self._hook(request).key]
        return web.Response(status=204)

    async def verify(self, request: web.Request) -> web.Response:
        hook = self._hook(request)
        await self._verify(hook)
        return answer(hook.shown())

    async def delayed_verify(self, request: web.Request) -> web.Response:
        """The receiver brings the secret it got before."""
        hook, given = self._hook(request), request.headers.get("X-Hook-Secret")
        if given is None:
            raise Refused(400, "X-Hook-Secret is required", "hook")
        if given and given == hook.secret:
            hook.status = "Verified"
        return answer(hook.shown())

    async def _verify(self, hook: Hook) -> None:
        """Verified if the receiver answers 200 and sends the same header back."""
        hook.secret = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        headers, body = verification(hook.secret)
        status, echoed = await self._post(hook.url, headers, body)
        if status == 200 and echoed == hook.secret:
            hook.status = "Verified"

    # --- events ------------------------------------------------------------------------------------------------

    def told(self, event: str, tag: int, contact: int, at: float) -> None:
        """Joins what is on its way to each verified hook for that event, or begins a new batch."""
        for hook in self._hooks.values():
            if hook.event == event and hook.status == "Verified":
                self._batch(hook).happenings.append(Happening(tag, contact, at))
                self.wake()

    def _batch(self, hook: Hook) -> Batch:
        now = self._account.now()
        for batch in self._batches:
            is_open = batch.hook is hook and not batch.failures and batch.due > now
            if is_open and len(batch.happenings) < MOST_OBJECTS:
                return batch
        wait = self._chance.uniform(300, 600) if hook.event in _SLOW else self._chance.uniform(30, 60)
        self._batches.append(Batch(hook, now + wait))
        return self._batches[-1]

    def wake(self) -> None:
        """The clock moved, or something is on its way."""
        self._woken.set()

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """Sends what is due as long as the server runs."""
        task = asyncio.create_task(self._send_for_ever())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _send_for_ever(self) -> None:
        while True:
            self._woken.clear()
            await self._send_due()
            next_due = min((batch.due for batch in self._batches), default=None)
            speed = self._account.settings.speed
            wait = None if next_due is None or not speed else max(0.0, next_due - self._account.now()) / speed
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), wait)

    async def flush(self, request: web.Request) -> web.Response:
        """Sends what is due by the fake's clock, and tells of all posts since the last time."""
        await self._send_due()
        log, self._log = self._log, []
        return answer({"posts": log, "waiting": [self._shown(batch) for batch in self._batches]})

    async def steered(self, request: web.Request) -> web.Response:
        return answer({"waiting": [self._shown(batch) for batch in self._batches]})

    def _shown(self, batch: Batch) -> dict[str, Any]:
        due = round(batch.due - self._account.now(), 3)
        shape = {"hook": batch.hook.key, "event": batch.hook.event, "objects": len(batch.happenings)}
        return shape | {"failures": batch.failures, "due_in": due}

    async def _send_due(self) -> None:
        async with self._sending:
            now = self._account.now()
            due = sorted((one for one in self._batches if one.due <= now), key=lambda one: one.due)
            if self._account.settings.hook_disorder:
                due.reverse()
            for hook in {id(one.hook): one.hook for one in due}.values():
                for batch in [one for one in due if one.hook is hook]:
                    await self._send(batch)

    async def _send(self, batch: Batch) -> None:
        hook, settings = batch.hook, self._account.settings
        if hook.status != "Verified" or hook.key not in self._hooks:
            self._batches.remove(batch)
            return
        if settings.hook_disorder:
            self._chance.shuffle(batch.happenings)
        body = event_body(self._account, hook.event, batch.happenings)
        for _ in range(2 if self._chance.random() < settings.hook_duplicates else 1):
            status, _ = await self._post(hook.url, JSON, body)
        outcome = self._settle(batch, status)
        shape = {"hook": hook.key, "event": hook.event, "objects": len(batch.happenings)}
        self._log.append(shape | {"status": status, "outcome": outcome})

    def _settle(self, batch: Batch, status: int) -> str:
        """Again after 30 to 60 s, 5 min and 30 min; then the hook is Inactive. A 410 ends it at once."""
        if 200 <= status < 400:
            self._batches.remove(batch)
            return "delivered"
        batch.failures += 1
        if status == 410 or batch.failures == ATTEMPTS:
            batch.hook.status = "Inactive"
            self._batches.remove(batch)
            return "inactive"
        waits = (self._chance.uniform(30, 60), 300, 1800)
        batch.due = self._account.now() + waits[batch.failures - 1]
        return "again"

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """The status, 0 if there was no answer in time, and the secret sent back."""
        if not is_loopback(URL(url).host):
            return 0, ""
        timeout = aiohttp.ClientTimeout(total=self._account.settings.hook_timeout_seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as reply,
            ):
                return reply.status, reply.headers.get("X-Hook-Secret", "")
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""


def verification(secret: str) -> tuple[dict[str, str], bytes]:
    """The post that asks a receiver whether it wants the hook."""
    return {**JSON, "X-Hook-Secret": secret}, compact({"verification_key": secret}).encode()
