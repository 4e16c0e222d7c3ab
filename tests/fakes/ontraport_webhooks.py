"""The routes of webhooks at the fake of Ontraport: subscriptions, the log, and the admin's firing."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fakes import ontraport_query as query
from tests.fakes.ontraport_hooks import EVENTS, fired, options
from tests.fakes.ontraport_query import INVALID, Refused

if TYPE_CHECKING:
    from tests.fakes.ontraport import Fake


class Webhooks:
    """Who is told, and what was told to whom."""

    def __init__(self, fake: Fake) -> None:
        self._fake = fake

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/1/Webhook/subscribe", self.subscribe),
            web.delete("/1/Webhook/unsubscribe", self.unsubscribe),
            web.get("/1/Webhook", self.one),
            web.get("/1/Webhooks", self.many),
            web.get("/1/WebhookLog", self.log),
            web.get("/1/WebhookLogs", self.logs),
            web.get("/1/WebhookLogs/getInfo", self.logs_info),
            web.post("/admin/fire", self.fire),
            web.post("/admin/hooks/flush", self.flush),
        ]

    async def subscribe(self, request: web.Request) -> web.Response:
        """`event` names one tag, form or object type: sub_tag(12). The id in this answer is a number."""
        asked = await self._fake.asked(request)
        event, url = str(asked.get("event", "")), str(asked.get("url", ""))
        try:
            data = options(asked.get("data"))
        except ValueError as error:
            raise Refused(400, INVALID) from error
        if not url or not re.fullmatch(rf"({'|'.join(EVENTS)})\(\d+\)", event):
            raise Refused(400, INVALID)
        made = self._fake.hooks.subscribe(url, event, data)
        return self._fake.ok({"url": made.url, "event": made.event, "id": made.id, "owner": "1"})

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """`id` in the query or in the body."""
        number = query.whole((await self._fake.asked(request)).get("id"))
        if self._fake.hooks.subscriptions.pop(number, None) is None:
            raise Refused(404, "Object not found")
        return self._fake.ok("Deleted")

    async def one(self, request: web.Request) -> web.Response:
        number = query.whole((await self._fake.asked(request)).get("id"))
        found = self._fake.hooks.subscriptions.get(number)
        if found is None:
            raise Refused(404, "Object not found")
        return self._fake.ok(found.row())

    async def many(self, request: web.Request) -> web.Response:
        rows = [subscription.row() for subscription in self._fake.hooks.subscriptions.values()]
        return await self._page(request, rows)

    async def log(self, request: web.Request) -> web.Response:
        number = str((await self._fake.asked(request)).get("id"))
        for row in self._fake.hooks.logs():
            if row["id"] == number:
                return self._fake.ok(row)
        raise Refused(404, "Object not found")

    async def logs(self, request: web.Request) -> web.Response:
        """Automations' and subscriptions' calls. The names of its columns are our guess: no answer is public."""
        return await self._page(request, self._fake.hooks.logs())

    async def logs_info(self, request: web.Request) -> web.Response:
        return self._fake.ok({"count": str(len(self._fake.hooks.logs()))})

    async def _page(self, request: web.Request, rows: list[dict[str, Any]]) -> web.Response:
        asked = await self._fake.asked(request)
        if asked.get("condition"):
            terms = query.condition(asked["condition"])
            rows = [row for row in rows if query.holds(terms, query.cells_of(row))]
        rows = query.in_order(rows, asked, lambda row, name: query.cells_of(row)(name))
        return self._fake.ok(query.cut(rows, asked, self._fake.settings.over_range), misc=[])

    # --- admin -------------------------------------------------------------------------------------------------

    async def fire(self, request: web.Request) -> web.Response:
        """As the other fakes' `/admin/fire`, but also by GET and with the id in the URL, and kept in the log."""
        content, hooks = await request.json(), self._fake.hooks
        event, gate = content.get("event", {}), asyncio.Semaphore(content.get("concurrency", 50))

        async def one(contact: int) -> int:
            sending = fired(contact, content["url"], event, self._fake.hook(contact, event))
            sending.patience = content.get("timeout_seconds", 5)
            async with gate:
                return await hooks.send(sending)

        statuses = Counter(map(str, await asyncio.gather(*map(one, content["contacts"]))))
        return web.json_response({"statuses": dict(statuses)})

    async def flush(self, request: web.Request) -> web.Response:
        """Sends what is due by the fake's clock and waits for it; what happened since this was last asked."""
        return web.json_response({"deliveries": await self._fake.hooks.flush()})
