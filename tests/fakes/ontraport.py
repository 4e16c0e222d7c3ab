"""A fake of Ontraport's API 1: two headers, pages of 50, texts for numbers and for errors, tags that come later.

The admin API has besides what all fakes have: PUT or POST /admin/columns (the owner's own, all or more),
/admin/tags (with an id, a name, an object type), /admin/others (calls that other tools made just now),
/admin/hooks/flush. /admin/fire takes the kinds of `Hooks.automation`, and "subscription".
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.fakes import base
from tests.fakes.base import Handler, Window, half, main
from tests.fakes.ontraport_account import Account
from tests.fakes.ontraport_contacts import Contacts
from tests.fakes.ontraport_definitions import Definitions
from tests.fakes.ontraport_hooks import FORM, Hooks, compact, sent
from tests.fakes.ontraport_query import INVALID, Refused
from tests.fakes.ontraport_webhooks import Webhooks

APP_ID = "2_FakeApp_1"
API_KEY = "fake-ontraport-key"
CALLS, SECONDS = 180, 60  # in any minute, for the whole account
# Those of 400 and 404 were seen; the others are ours, so nothing may depend on their words.
TEXTS = {
    400: INVALID,
    401: "Your App ID and API key do not authenticate.",
    403: "You do not have permission to access this resource.",
    404: "Object not found",
    429: "Rate limit exceeded",
    500: "Internal Server Error",
}


@dataclass(frozen=True, slots=True)
class Settings(base.Settings):
    """Ontraport's switches: what accounts do differently, and what nobody could find out."""

    account_id: int = 100001
    key: str = "good"  # revoked: 401. restricted: 403 but for meta
    hidden: tuple[int, ...] = ()  # contacts that the key's owner may not see
    no_tags: str = "stars"  # contact_cat of nobody's tags: stars, blank, null, or mixed by id
    settle_seconds: float = 3  # until then contact_cat of a new contact is ""
    drift_seconds: float = 1  # after that dlm of what was written moves on by itself
    tags_move_dlm: bool = True
    tag_delay_least: float = 1  # tagging and background_request are done this much later, in the order of the calls
    tag_delay_most: float = 60
    tag_ids_most: int = 0  # the rest of a tagging call's ids is passed over; 0: as many as you like
    same_tag_name: str = "second"  # POST /Tags of a known name makes a second one, or gives the first
    miss: str = "404"  # getByEmail of nobody: 404, 400 or empty
    over_range: str = "cut"  # range over 50: cut, refused or obeyed
    unknown_column: str = "ignored"  # in listFields: ignored or refused
    gone: str = "Object not found"  # the text of a 404 about one contact; "Invalid Contact ID" was met too
    merged: str = "404"  # a merged contact: 404 or survivor
    errors: str = "text"  # or json
    error_type: str = "text/html"
    retry_after: bool = False
    told_reset: int = 0  # seconds that X-Rate-Limit-Reset tells, so that no test waits a minute; 0: the truth
    reply_least: float = 0  # seconds that an answer takes, by the fake's clock; 1 to 3 were captured
    reply_most: float = 0
    slow_rate: float = 0  # the share of answers that take slow_seconds
    slow_seconds: float = 60
    hook_type: str = FORM  # Content-Type of what an automation posts
    hook_delay_seconds: float = 0
    hook_timeout_seconds: float = 10  # by the real clock
    hook_tries: int = 1  # of a subscription
    hook_retry_seconds: float = 60
    subscription_form: str = "json"  # or pairs, as PHP writes them
    subscription_columns: tuple[str, ...] = ("id", "owner", "firstname", "lastname", "email", "contact_cat", "dlm")
    timestamp_number: bool = False


class Fake(base.Fake):
    """One Ontraport account."""

    settings_class = Settings
    vendor_faults = ("401", "403", "500", "html", "empty")
    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self.account = self.book = Account(lambda: self.settings)
        self.hooks = Hooks(self.account, lambda: self.settings, self.now)
        self.account.listeners.append(self.hooks.heard)
        self._window = Window(CALLS, SECONDS)
        self._later: deque[tuple[float, Callable[[float], None]]] = deque()
        self._contacts, self._definitions = Contacts(self), Definitions(self)

    def routes(self) -> Iterable[web.RouteDef]:
        yield from self._contacts.routes()
        yield from self._definitions.routes()
        yield from Webhooks(self).routes()
        yield web.post("/admin/others", self.others)
        for method in ("GET", "POST", "PUT", "DELETE"):
            yield web.route(method, "/1/objects", self.objects)

    def app(self) -> web.Application:
        app = super().app()
        app.middlewares.append(self._paced)
        app.cleanup_ctx.append(self._clockwork)
        return app

    async def objects(self, request: web.Request) -> web.StreamResponse:
        """The same calls for any object type: contacts, or tags."""
        contacts, tags = self._contacts, self._definitions
        if str((await self.asked(request)).get("objectID")) == "14":
            handlers: dict[str, Handler] = {"GET": tags.tags, "POST": tags.new_tag}
        else:
            handlers = {"GET": contacts.many, "POST": contacts.create}
            handlers |= {"PUT": contacts.update, "DELETE": contacts.delete_many}
        if request.method not in handlers:
            raise Refused(400, INVALID)
        return await handlers[request.method](request)

    # --- who may call, and how often ---------------------------------------------------------------------------

    def admit(self, request: web.Request) -> web.Response | None:
        """Both headers or 401; nothing but meta for a restricted key; 180 calls a minute."""
        if not self._known(request):
            return self.refusal(401)
        if not self._window.take(self.now()) and self.settings.limits:
            return self.limited(request)
        if self.settings.key == "restricted" and not request.path.endswith("/meta"):
            return self.refusal(403)
        return None

    def _known(self, request: web.Request) -> bool:
        given = request.headers.get("Api-Appid"), request.headers.get("Api-Key")
        return given == (APP_ID, API_KEY) and self.settings.key != "revoked"

    def headers(self, request: web.Request) -> Mapping[str, str]:
        if not self._known(request):
            return {}
        left = self._window.left(self.now())
        reset = self.settings.told_reset or math.ceil(self._window.reset(self.now()))
        limits = {"X-Rate-Limit-Limit": str(CALLS), "X-Rate-Limit-Remaining": str(left)}
        return limits | {"X-Rate-Limit-Reset": str(reset)}

    def limited(self, request: web.Request) -> web.Response:
        answer = self.refusal(429)
        if self.settings.retry_after:
            answer.headers["Retry-After"] = str(math.ceil(self._window.reset(self.now())))
        return answer

    def vendor_fault(self, fault: str, request: web.Request) -> web.Response | None:
        """Keys that are refused now and then, a page for people with a 200, a 200 with nothing in it."""
        if fault in {"401", "403", "500"}:
            return self.refusal(int(fault))
        if fault == "html":
            page = "<html><body>We'll be right back.</body></html>"
            return web.Response(text=page, content_type="text/html")
        return web.Response() if fault == "empty" else None

    def spoil(self, fault: str, content: Any) -> Any:
        """Of contacts only: half of the rows gone, half of them twice, or half without contact_cat."""
        data = content.get("data") if isinstance(content, dict) else None
        rows: list[Any] = data if isinstance(data, list) else [data]
        if not rows or not all(isinstance(row, dict) and "id" in row for row in rows):
            return content
        hit = half(rows, self.chance)
        if fault == "missing-tags":
            for at in hit:
                rows[at].pop("contact_cat", None)
        elif isinstance(data, list):
            times = 0 if fault == "missing-rows" else 2
            content["data"] = [row for at, row in enumerate(rows) for _ in range(times if at in hit else 1)]
        return content

    async def others(self, request: web.Request) -> web.Response:
        """Admin: so many `calls` of the owner's other tools, which share the limit."""
        calls = (await request.json())["calls"]
        return web.json_response({"taken": sum(self._window.take(self.now()) for _ in range(calls))})

    # --- answers -----------------------------------------------------------------------------------------------

    def ok(self, data: object = None, misc: list[object] | None = None) -> web.Response:
        """The envelope of a success; `misc` only in lists, no `data` if a single one was deleted."""
        content: dict[str, Any] = {"code": 0} if data is None else {"code": 0, "data": data}
        content["account_id"] = self.settings.account_id
        if misc is not None:
            content["misc"] = misc
        return web.Response(body=compact(content), content_type="application/json")

    def refusal(self, status: int, text: str = "") -> web.Response:
        """A plain text without a newline; a JSON envelope if the switch says so."""
        text = text or TEXTS[status]
        if self.settings.errors == "json":
            content = {"code": status, "data": text, "account_id": self.settings.account_id}
            return web.Response(status=status, body=compact(content), content_type="application/json")
        return web.Response(status=status, text=text, content_type=self.settings.error_type)

    async def asked(self, request: web.Request) -> dict[str, Any]:
        """Query and body together, JSON or form, also of a DELETE. Refused with 400 if the body is neither."""
        try:
            return {**request.query, **sent(await request.read())}
        except ValueError as error:
            raise Refused(400, INVALID) from error

    def hook(self, contact: int, event: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        """An automation's call by `event["kind"]`, or with kind "subscription" a subscription's."""
        if event.get("kind") == "subscription":
            return self.hooks.native(contact, event)
        return self.hooks.automation(contact, event)

    # --- time --------------------------------------------------------------------------------------------------

    def later(self, work: Callable[[float], None]) -> None:
        """Does it when its time has come by the fake's clock, never before what was asked for earlier."""
        wait = self.chance.uniform(self.settings.tag_delay_least, self.settings.tag_delay_most)
        due = max(self.now() + wait, self._later[-1][0] if self._later else 0)
        self._later.append((due, work))
        self.settle()

    def settle(self) -> None:
        """Does what is due."""
        while self._later and self._later[0][0] <= self.now():
            due, work = self._later.popleft()
            work(due)

    @web.middleware
    async def _paced(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Before and after each call what is due by then is done; the API thinks for a while."""
        is_admin = request.path.startswith("/admin/")
        await request.read()  # before the client can go away: then the work is done all the same
        if not is_admin and (seconds := self._thinking()):
            await asyncio.sleep(seconds / self.settings.speed)
        self.settle()
        try:
            answer = await handler(request)
        except Refused as refused:
            return self.refusal(refused.status, refused.text)
        except web.HTTPClientError as error:
            if is_admin:
                raise
            return self.refusal(404 if error.status in {404, 405} else 400)
        self.settle()
        return answer

    def _thinking(self) -> float:
        settings = self.settings
        if settings.slow_rate and self.chance.random() < settings.slow_rate:
            return settings.slow_seconds
        return self.chance.uniform(settings.reply_least, settings.reply_most) if settings.reply_most else 0

    async def _clockwork(self, app: web.Application) -> AsyncIterator[None]:
        """Sends webhooks and does late work in the background while the server runs."""

        async def tick() -> None:
            while True:
                self.settle()
                self.hooks.start()
                await asyncio.sleep(0.02)

        ticking = asyncio.create_task(tick())
        yield
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        await self.hooks.stop()


if __name__ == "__main__":
    main(Fake)
