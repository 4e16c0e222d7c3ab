"""The fake ActiveCampaign's webhooks: those made by the API or in its settings, and those of its automations.

Both bodies are forms with PHP-style keys, and unlike each other (facts, section 1.2): only the global one says which
event it is, and it keys fields by id; the automation's keys them by their tag in lower case. Neither is signed, and
neither is sent again when nobody takes it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from yarl import URL

from tagwarden.sandbox.guard import is_loopback
from tests.fakes.activecampaign_calls import Account, Answer, Content, body, meta, missing, not_found, paged
from tests.fakes.activecampaign_ledger import Event
from tests.fakes.activecampaign_rows import local

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
EVENTS = ("contact_tag_added", "contact_tag_removed", "subscribe", "unsubscribe", "update")


@dataclass(frozen=True, slots=True)
class Hook:
    """A global webhook. `live`: a 410 ends it, though it stays listed."""

    id: int
    name: str
    url: str
    events: tuple[str, ...]
    sources: tuple[str, ...]
    listid: str
    created: float
    live: bool = True


@dataclass(frozen=True, slots=True)
class Automation:
    """Posts to `url` when a contact gets the tag."""

    id: int
    tag: str
    url: str


@dataclass(slots=True)
class Delivery:
    """One POST. `outcome`: a status, or why there is none."""

    url: str
    body: bytes
    event: str
    contact: int
    hook: int = 0
    automation: int = 0
    outcome: str = ""
    number: int = 0  # in the order of the events, in which deliveries need not end

    def row(self) -> Content:
        shown = {"url": self.url, "event": self.event, "contact": self.contact, "body": self.body.decode()}
        return shown | {"hook": self.hook, "automation": self.automation, "outcome": self.outcome}


@dataclass(slots=True)
class Post:
    """What left and what is still to leave."""

    made: int = 0
    waiting: list[Delivery] = field(default_factory=list)
    done: list[Delivery] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Hooks:
    """Subscriptions, automations, and their deliveries."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._book = account.book
        self._book.listener = self.heard
        self._hooks: dict[int, Hook] = {}
        self._automations: list[Automation] = []
        self._post = Post()
        self._made = 0

    def routes(self) -> Iterable[web.RouteDef]:
        api = self._account.api
        return [
            web.get("/api/3/webhooks", api(self.many)),
            web.post("/api/3/webhooks", api(self.create)),
            web.get(r"/api/3/webhooks/{id:\d+}", api(self.one)),
            web.put(r"/api/3/webhooks/{id:\d+}", api(self.update)),
            web.delete(r"/api/3/webhooks/{id:\d+}", api(self.delete)),
            web.get("/api/3/webhook/events", api(self.events)),
            web.post("/admin/automations", self.automate),
            web.post("/admin/hooks/flush", self.flush),
        ]

    # --- the API -----------------------------------------------------------------------------------------------

    async def many(self, request: web.Request) -> Answer:
        found = [_row(hook) for hook in self._hooks.values()]
        for name in ("name", "url", "listid"):
            wanted = request.query.get(f"filters[{name}]")
            found = [row for row in found if wanted is None or row[name] == wanted]
        return {"webhooks": paged(request, found), "meta": meta(found)}

    async def create(self, request: web.Request) -> Answer:
        given = await body(request, "webhook")
        for name in ("name", "url", "events", "sources"):
            if not given.get(name):
                raise missing(name)
        self._made += 1
        blank = Hook(self._made, "", "", (), (), "0", self._account.now())
        self._hooks[self._made] = _changed(blank, given)
        return 201, {"webhook": _row(self._hooks[self._made])}

    async def one(self, request: web.Request) -> Answer:
        return {"webhook": _row(self._hook(request))}

    async def update(self, request: web.Request) -> Answer:
        """A hook that a 410 has ended stays dead: it must be deleted and made again."""
        hook = _changed(self._hook(request), await body(request, "webhook"))
        self._hooks[hook.id] = hook
        return {"webhook": _row(hook)}

    async def delete(self, request: web.Request) -> Answer:
        del self._hooks[self._hook(request).id]
        return {}

    async def events(self, request: web.Request) -> Answer:
        """Those that this fake fires; the vendor lists about twenty more. Here alone `total` is a number."""
        return {"webhookEvents": list(EVENTS), "meta": {"total": len(EVENTS)}}

    def _hook(self, request: web.Request) -> Hook:
        wanted = int(request.match_info["id"])
        if wanted not in self._hooks:
            raise not_found("Webhook", wanted)
        return self._hooks[wanted]

    # --- what fires --------------------------------------------------------------------------------------------

    async def automate(self, request: web.Request) -> web.Response:
        """`tag` (its name) and `url`: an automation that starts when a contact gets the tag and posts there."""
        content = await request.json()
        made = Automation(901 + len(self._automations), content["tag"], content["url"])
        self._automations.append(made)
        return web.json_response({"id": made.id}, status=201)

    def heard(self, event: Event) -> None:
        """Imports start automations unless told not to, and never fire a global hook."""
        for automation in self._automations:
            starts = event.kind == "contact_tag_added" and self._book.tags[event.tag] == automation.tag
            if starts and event.who != "import-quiet":
                sent = automation_body(self._account, event.contact, automation.id)
                self._send(Delivery(automation.url, sent, "automation", event.contact, automation=automation.id))
        if event.who.startswith("import"):
            return
        source = "api" if event.who == "api" else self._account.settings.admin_source
        for hook in self._hooks.values():
            if hook.live and event.kind in hook.events and source in hook.sources:
                sent = global_body(self._account, event, source)
                self._send(Delivery(hook.url, sent, event.kind, event.contact, hook=hook.id))

    def _send(self, delivery: Delivery) -> None:
        twice = self._account.chance.random() < self._account.settings.duplicate_rate
        for _ in range(2 if twice else 1):
            self._post.made += 1
            self._post.waiting.append(replace(delivery, number=self._post.made))
        try:
            task = asyncio.get_running_loop().create_task(self._deliver_all())
        except RuntimeError:  # a test changes the book by hand, before the server runs: `flush` delivers
            return
        self._post.tasks.add(task)
        task.add_done_callback(self._post.tasks.discard)

    async def flush(self, request: web.Request) -> web.Response:
        """Delivers all that is due, waits for what is on its way, and lists what was sent since the last flush."""
        await self._deliver_all()
        await asyncio.gather(*self._post.tasks)
        done, self._post.done = sorted(self._post.done, key=lambda one: one.number), []
        return web.json_response({"sent": [one.row() for one in done]})

    async def _deliver_all(self) -> None:
        waiting, self._post.waiting = self._post.waiting, []
        await asyncio.gather(*(self._deliver(one) for one in waiting))

    async def _deliver(self, delivery: Delivery) -> None:
        """One try: whatever comes of it, it is never sent again."""
        delivery.outcome = _unfit(delivery.url) or await self._posted(delivery)
        if delivery.outcome == "410" and delivery.hook in self._hooks:
            self._hooks[delivery.hook] = replace(self._hooks[delivery.hook], live=False)
        self._post.done.append(delivery)

    async def _posted(self, delivery: Delivery) -> str:
        timeout = aiohttp.ClientTimeout(total=self._account.settings.hook_timeout_seconds)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                post = session.post(delivery.url, data=delivery.body, headers=FORM, allow_redirects=False)
                async with post as answer:
                    return str(answer.status)
        except TimeoutError:
            return "timeout"
        except (aiohttp.ClientError, OSError) as error:
            return type(error).__name__


def automation_body(account: Account, contact: int, series: int) -> bytes:
    """What an automation's action "Webhook" posts. `series` is the automation's id."""
    found, details, book = account.book.with_deleted(contact), account.book.details[contact], account.book
    assert found is not None
    pairs = [
        ("contact[id]", str(contact)),
        ("contact[email]", found.email),
        ("contact[first_name]", found.first_name),
        ("contact[last_name]", found.last_name),
        ("contact[phone]", details.phone),
        ("contact[orgname]", details.orgname),
        ("contact[customer_acct_name]", details.customer_acct_name),
        ("contact[tags]", _tags(account, contact)),
        ("contact[ip4]", details.ip),
    ]
    empty = account.settings.empty_fields_in_hooks
    for number in book.fields if empty else found.fields:
        value = found.fields.get(number, "")
        if value or empty:
            pairs.append((f"contact[fields][{book.field_notes[number].perstag.lower()}]", value))
    return _form([*pairs, ("seriesid", str(series))])


def global_body(account: Account, event: Event, source: str, by: str = "") -> bytes:
    """What a global webhook posts about an event. `by` is who did it: as the source, if not given."""
    found, details, book = account.book.with_deleted(event.contact), account.book.details[event.contact], account.book
    assert found is not None
    pairs = [
        ("type", event.kind),
        ("date_time", local(event.at)),
        ("initiated_from", source),
        ("initiated_by", by or source),
        ("list", "0"),
        ("contact[id]", str(event.contact)),
        ("contact[email]", found.email),
        ("contact[first_name]", found.first_name),
        ("contact[last_name]", found.last_name),
        ("contact[phone]", details.phone),
        ("contact[ip]", details.ip),
        ("contact[tags]", _tags(account, event.contact)),
    ]
    named = (("customer_acct_name", details.customer_acct_name), ("orgname", details.orgname))
    pairs += [(f"contact[{name}]", value) for name, value in named if value]
    pairs += [(f"contact[fields][{number}]", value) for number, value in found.fields.items() if value]
    if event.tag:
        pairs.append(("tag", book.tags[event.tag]))
    return _form(pairs)


def told(account: Account, contact: int, event: Mapping[str, Any]) -> bytes:
    """The body of the hook that `event` describes: `kind` is "automation" or a global event's name."""
    kind = event.get("kind", "automation")
    if kind == "automation":
        return automation_body(account, contact, int(event.get("seriesid", 929)))
    tag = account.book.tag_named(event["tag"]) if "tag" in event else 0
    source = event.get("initiated_from", "admin")
    at = float(event.get("at", account.now()))
    return global_body(account, Event(kind, contact, source, at, tag or 0), source, event.get("initiated_by", ""))


def _tags(account: Account, contact: int) -> str:
    """Joined by a comma, so that a tag with a comma in its name looks like two."""
    found, names = account.book.with_deleted(contact), account.book.tags
    return ", ".join(names[tag] for tag in (found.tags if found else ()) if tag in names)


def _form(pairs: Iterable[tuple[str, str]]) -> bytes:
    return urlencode(list(pairs)).replace("~", "%7E").encode()  # as PHP's urlencode writes it


def _row(hook: Hook) -> Content:
    return {
        "cdate": local(hook.created),
        "listid": hook.listid,
        "name": hook.name,
        "url": hook.url,
        "events": list(hook.events),
        "sources": list(hook.sources),
        "links": [],
        "id": str(hook.id),
    }


def _changed(hook: Hook, given: Content) -> Hook:
    texts = {name: str(given[name]) for name in ("name", "url", "listid") if name in given}
    lists = {name: tuple(given[name]) for name in ("events", "sources") if name in given}
    return replace(hook, **texts, **lists)


def _unfit(url: str) -> str:
    """Why nothing is sent there: ActiveCampaign knows only port 443 for https, and the fake only this machine."""
    target = URL(url)
    if target.scheme not in {"http", "https"} or not is_loopback(target.host):
        return "not this machine"
    return "not port 443" if target.scheme == "https" and target.port != 443 else ""
