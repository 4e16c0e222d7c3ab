"""The fake ActiveCampaign's importer: many contacts in one call, tags by name, done some seconds later.

It has limits of its own, and says so by a 400. It only adds tags (facts, section 1.5).
"""

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.activecampaign_calls import Account, Answer, Content, Refused
from tests.fakes.base import Window

MOST_CONTACTS, MOST_BYTES = 250, 400_000
_NAMES = ("first_name", "last_name", "phone", "customer_acct_name")


@dataclass(slots=True)
class Batch:
    """An import that was queued. `due` by the fake's clock."""

    due: float
    contacts: list[dict[str, Any]]
    done: bool = False
    success: list[str] = field(default_factory=list)
    failure: list[str] = field(default_factory=list)


class Importer:
    """All imports, by their batch id."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._book = account.book
        self._batches: dict[str, Batch] = {}
        self._many, self._single = Window(100, 60), Window(20, 60)

    def routes(self) -> Iterable[web.RouteDef]:
        api = self._account.api
        return [
            web.post("/api/3/import/bulk_import", api(self.queue)),
            web.get("/api/3/import/info", api(self.info)),
        ]

    async def queue(self, request: web.Request) -> Answer:
        raw = await request.read()
        try:
            contacts = (await request.json())["contacts"]
        except (ValueError, TypeError, KeyError):
            raise _refused("The body is no JSON object with “contacts”.", ["contacts"]) from None
        self._check(contacts, len(raw))
        window = self._single if len(contacts) == 1 else self._many
        if self._account.settings.limits and not window.take(self._account.now()):
            raise _refused("Rate limit exceeded.", [f"Up to {window.calls} such imports a minute."])
        number, seconds = (
            str(uuid.UUID(int=self._account.chance.getrandbits(128))),
            self._account.settings.import_seconds,
        )
        self._batches[number] = Batch(self._account.now() + seconds, contacts)
        if speed := self._account.settings.speed:  # else the clock stands still until a test moves it
            asyncio.get_running_loop().call_later(seconds / speed, self.settle)
        queued = {"Success": 1, "queued_contacts": len(contacts), "batchId": number}
        return queued | {"message": "Contact import queued"}

    async def info(self, request: web.Request) -> Answer:
        batch = self._batches.get(request.query.get("batchId", ""))
        if batch is None:
            raise Refused(400, {"success": 0, "message": "There is no such “batchId”."})
        status = "completed" if batch.done else "waiting"
        return {"status": status, "success": batch.success, "failure": batch.failure}

    def settle(self) -> None:
        """Does the imports that are due by now."""
        for batch in self._batches.values():
            if not batch.done and batch.due <= self._account.now():
                batch.done = True
                for one in batch.contacts:
                    self._carry_out(batch, one)

    def _check(self, contacts: Any, size: int) -> None:
        reasons: list[Any] = []
        if not isinstance(contacts, list) or not 1 <= len(contacts) <= MOST_CONTACTS:
            reasons.append(f"“contacts” must be a list of 1 to {MOST_CONTACTS}.")
        elif size > MOST_BYTES:
            reasons.append(f"More than {MOST_BYTES} bytes.")
        else:
            wrong = [place for place, one in enumerate(contacts) if "@" not in str(one.get("email", "")).strip("@")]
            reasons += [{"contact": place, "failureReason": "“email” has the wrong form"} for place in wrong]
        if reasons:
            raise _refused("The import was not queued: the content is not valid.", reasons)

    def _carry_out(self, batch: Batch, given: Content) -> None:
        email, at, book = str(given["email"]), self._account.now(), self._book
        if "." not in email.rpartition("@")[2] or "'" in email:
            batch.failure.append(email)
            return
        who = "import-quiet" if given.get("exclude_automations") else "import"
        values: dict[str, Any] = {name: str(given[name]) for name in _NAMES if name in given}
        wanted = {int(one["id"]): str(one["value"]) for one in given.get("fields", ())}
        values["fields"] = {number: value for number, value in wanted.items() if number in book.fields}
        known = book.by_email(email)
        contact = known[0].id if known else book.add(at, who, email=email, **values).id
        if known:
            book.change(contact, at, who, **values)
        self._subscribe(contact, given, at, who)
        for name in given.get("tags", ()):
            book.set_tag(contact, book.tag_named(name) or book.new_tag(name), at, who)
        batch.success.append(str(contact))

    def _subscribe(self, contact: int, given: Content, at: float, who: str) -> None:
        to = {int(one["listid"]) for one in given.get("subscribe", ())}
        off = {int(one["listid"]) for one in given.get("unsubscribe", ())}
        lists = set(self._book.details[contact].lists or {})
        if (lists | to) - off != lists:
            self._book.change(contact, at, who, lists=sorted((lists | to) - off))


def _refused(message: str, reasons: list[Any]) -> Refused:
    return Refused(400, {"success": 0, "message": message, "failureReasons": reasons})
