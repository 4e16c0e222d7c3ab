"""Ontraport's webhooks: what an automation sends, subscriptions that fire by themselves, and the log of both."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

import aiohttp
from yarl import URL

from tagwarden.sandbox.guard import is_loopback
from tests.fakes.ontraport_account import Account, Event

FORM = "application/x-www-form-urlencoded"
KEPT, KEPT_GOOD_SECONDS, KEPT_BAD_SECONDS = 10_000, 2 * 86_400, 7 * 86_400
EVENTS = ("object_create", "object_submits_form", "sub_tag", "unsub_tag")


class Habits(Protocol):
    """The switches of webhooks; see `tests.fakes.ontraport.Settings`."""

    @property
    def hook_type(self) -> str: ...
    @property
    def hook_delay_seconds(self) -> float: ...
    @property
    def hook_timeout_seconds(self) -> float: ...
    @property
    def hook_tries(self) -> int: ...
    @property
    def hook_retry_seconds(self) -> float: ...
    @property
    def subscription_form(self) -> str: ...
    @property
    def subscription_columns(self) -> tuple[str, ...]: ...
    @property
    def timestamp_number(self) -> bool: ...


@dataclass(slots=True)
class Subscription:
    """One of `POST /Webhook/subscribe`, as `GET /Webhooks` shows it."""

    id: int
    event: str
    url: str
    data: str = ""
    last_hook: str | None = None
    last_code: str = "0"
    last_payload: str = ""

    def row(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "event": self.event,
            "data": self.data,
            "url": self.url,
            "last_hook": self.last_hook,
            "last_code": self.last_code,
            "last_payload": self.last_payload,
        }


@dataclass(slots=True)
class Sending:
    """One call to make. `due` by the fake's clock."""

    due: float
    url: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"
    contact: int = 0
    event: str = ""
    subscription: int = 0
    tried: int = 0
    patience: float = 0  # real seconds that an answer may take; 0: the account's habit


@dataclass(slots=True)
class Hooks:
    """Subscriptions, what is still to be sent, and what was."""

    account: Account
    habits: Callable[[], Habits]
    now: Callable[[], float]
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    made: int = 0
    logged: int = 0
    happened: list[dict[str, Any]] = field(default_factory=list)  # since it was last asked for
    waiting: list[Sending] = field(default_factory=list)
    running: set[asyncio.Task[int]] = field(default_factory=set)

    # --- subscriptions -----------------------------------------------------------------------------------------

    def subscribe(self, url: str, event: str, data: str) -> Subscription:
        self.made += 1
        self.subscriptions[self.made] = Subscription(self.made, event, url, data)
        return self.subscriptions[self.made]

    def heard(self, event: Event) -> None:
        """Something happened: whoever subscribed to it will be told, of the contact as it is now."""
        about = event.tag if event.tag else 0
        for subscription in self.subscriptions.values():
            if subscription.event != f"{event.kind}({about})":
                continue
            form = json.loads(subscription.data or "{}").get("format", "")
            asked = {"type": event.kind, "tag_id": event.tag, "webhook_id": subscription.id, "format": form}
            headers, body = self.native(event.contact, asked)
            due = event.at + self.habits().hook_delay_seconds
            sending = Sending(due, subscription.url, headers, body, contact=event.contact, event=subscription.event)
            sending.subscription = subscription.id
            self.waiting.append(sending)

    # --- bodies ------------------------------------------------------------------------------------------------

    def automation(self, contact: int, event: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        """What the element "Send a Webhook" posts, by `event["kind"]`; nothing signs it.

        bare (the manual of the seed), bare-newline, bare-crlf, pairs, json, get and query (the id stands in the
        URL), empty (a contact that isn't there yet). `event["empty"]` makes any of them about nobody.
        """
        kind = event.get("kind", "bare")
        nobody = kind == "empty" or event.get("empty", False)
        found = None if nobody else self.account.with_deleted(contact)
        number, email = "" if nobody else str(contact), found.email if found else ""
        if kind in {"get", "query"}:
            return {}, b""
        form = event.get("content_type", self.habits().hook_type)
        if kind in {"pairs", "empty"}:
            return {"Content-Type": form}, urlencode({"contact_id": number, "email": email}).encode()
        if kind == "json":
            content = {"contact_id": number, "email": email}
            return {"Content-Type": "application/json"}, compact(content)
        end = {"bare": "", "bare-newline": "\n", "bare-crlf": "\r\n"}[kind]
        return {"Content-Type": form}, (number + end).encode()

    def native(self, contact: int, event: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        """What a subscription posts. `event`: type, tag_id or form_id, webhook_id, format, timestamp."""
        kind = event.get("type", "sub_tag")
        told: dict[str, Any] = {"type": kind}
        told |= {key: str(event[key]) for key in ("tag_id", "form_id") if event.get(key)}
        at = int(event.get("timestamp", self.now()))
        content: dict[str, Any] = {"webhook_id": str(event.get("webhook_id", 1)), "object_type_id": "0", "event": told}
        if event.get("format") != "notify":
            content["data"] = self._record(contact, event.get("format", ""))
        content["timestamp"] = at if self.habits().timestamp_number else str(at)
        if event.get("form", self.habits().subscription_form) == "pairs":
            return {"Content-Type": FORM}, urlencode(list(_php_pairs(content))).encode()
        return {"Content-Type": "application/json"}, compact(content)

    def _record(self, contact: int, form: str) -> dict[str, Any]:
        found = self.account.with_deleted(contact)
        if found is None:
            return {}
        columns = self.account.columns()
        shown = ("id",) if form == "lightweight" else self.habits().subscription_columns or tuple(columns)
        return self.account.row(found, [columns[name] for name in shown], self.now())

    # --- sending -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Sends what is due, in the background."""
        now, due = self.now(), []
        for sending in self.waiting[:]:
            if sending.due <= now:
                self.waiting.remove(sending)
                due.append(sending)
        for sending in due:
            task = asyncio.create_task(self.send(sending))
            self.running.add(task)
            task.add_done_callback(self.running.discard)

    async def flush(self) -> list[dict[str, Any]]:
        """Sends what is due and waits for it. What happened since this was last asked."""
        self.start()
        while self.running:
            await asyncio.gather(*self.running)
        told, self.happened = self.happened, []
        return told

    async def stop(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    async def send(self, sending: Sending) -> int:
        """One try. The status, 0 if there was no answer; tried again later if the account's habit is so."""
        sending.tried += 1
        outcome, code, answer = "refused: not this machine", 0, ""
        if _on_this_machine(sending.url):
            code, answer = await self._call(sending)
            outcome = "delivered" if 200 <= code < 300 else "failed"
            if outcome == "failed" and sending.subscription and sending.tried < self.habits().hook_tries:
                sending.due, outcome = self.now() + self.habits().hook_retry_seconds, "will be tried again"
                self.waiting.append(sending)
        self._note(sending, code, answer, outcome)
        return code

    async def _call(self, sending: Sending) -> tuple[int, str]:
        timeout = aiohttp.ClientTimeout(total=sending.patience or self.habits().hook_timeout_seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(
                    sending.method,
                    URL(sending.url, encoded=True),
                    data=sending.body,
                    headers=sending.headers,
                    allow_redirects=False,
                ) as answer,
            ):
                return answer.status, await answer.text(errors="replace")
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, ""

    def _note(self, sending: Sending, code: int, answer: str, outcome: str) -> None:
        now, payload = self.now(), sending.body.decode()
        self.logged += 1
        row = {"id": str(self.logged), "webhook_id": str(sending.subscription), "event": sending.event}
        row |= {"url": sending.url, "payload": payload, "code": str(code), "response": answer, "date": str(int(now))}
        self.log.append(row)
        self.happened.append(
            {"at": now, "url": sending.url, "event": sending.event, "contact": sending.contact}
            | {"try": sending.tried, "code": code, "outcome": outcome}
        )
        if known := self.subscriptions.get(sending.subscription):
            known.last_hook, known.last_code, known.last_payload = str(int(now)), str(code), payload

    def logs(self) -> list[dict[str, Any]]:
        """The log as it is kept: 10,000 entries, successes for 2 days, failures for 7."""
        now = self.now()
        self.log = [row for row in self.log if now - int(row["date"]) < _kept_seconds(row)][-KEPT:]
        return self.log


def fired(contact: int, url: str, event: Mapping[str, Any], made: tuple[dict[str, str], bytes]) -> Sending:
    """The call of an automation's element: its method, and the contact id in its URL where that is its kind."""
    kind, (headers, body) = event.get("kind", "bare"), made
    method = event.get("method", "GET" if kind == "get" else "POST")
    if kind in {"get", "query"}:
        nobody = event.get("empty", False)
        url += ("&" if "?" in url else "?") + f"contact_id={'' if nobody else contact}"
    return Sending(0, url, headers, body, method, contact, "automation")


def compact(content: object) -> bytes:
    """JSON as the captured answers are written."""
    return json.dumps(content, separators=(",", ":")).encode()


def options(data: object) -> str:
    """The `data` of a subscription as text. ValueError if it isn't a JSON object or nothing."""
    text = data if isinstance(data, str) else compact(data).decode() if data else ""
    if text and not isinstance(json.loads(text), dict):
        raise ValueError(text)
    return text


def _kept_seconds(row: Mapping[str, Any]) -> int:
    return KEPT_GOOD_SECONDS if row["code"].startswith("2") else KEPT_BAD_SECONDS


def _on_this_machine(url: str) -> bool:
    try:
        return URL(url).scheme in {"http", "https"} and is_loopback(URL(url).host)
    except ValueError:
        return False


def _php_pairs(content: Mapping[str, Any], within: str = "") -> list[tuple[str, str]]:
    """As PHP writes nested values into a form: data[id]=526. Nulls are left out."""
    pairs: list[tuple[str, str]] = []
    for key, value in content.items():
        name = f"{within}[{key}]" if within else key
        if isinstance(value, Mapping):
            pairs += _php_pairs(value, name)
        elif value is not None:
            pairs.append((name, str(value)))
    return pairs


def sent(raw: bytes) -> dict[str, Any]:
    """The body of a call: a JSON object or a form, `ids[]` of a form as a list. ValueError if it is neither."""
    text = raw.decode()
    if text.lstrip()[:1] in {"{", "["}:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError(text)
        return found
    content: dict[str, Any] = {}
    for name, value in parse_qsl(text.strip(), keep_blank_values=True, strict_parsing=bool(text.strip())):
        if name.endswith("[]"):
            content.setdefault(name[:-2], []).append(value)
        else:
            content[name] = value
    return content
