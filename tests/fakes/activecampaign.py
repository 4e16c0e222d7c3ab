"""A fake ActiveCampaign, for tests: API v3 under /api/3, its limit, its importer, its webhooks.

By hand: `python -m tests.fakes.activecampaign --port 9101 --contacts 1000`.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from tests.fakes.activecampaign_calls import Account, Refused
from tests.fakes.activecampaign_contacts import Contacts
from tests.fakes.activecampaign_hooks import FORM, Hooks, told
from tests.fakes.activecampaign_import import Importer
from tests.fakes.activecampaign_tags import Fields, Tags
from tests.fakes.base import Handler, Window, half, main

API_KEY = "fake-ac-key"
OTHER_KEY = "fake-ac-key-2"  # another user's, of the same account, and so under the same limit


class Fake(Account):
    """One ActiveCampaign account."""

    vendor_faults = ("403", "402", "empty", "short")

    def __init__(self) -> None:
        super().__init__()
        self._keys = {API_KEY, OTHER_KEY}
        self._window = Window(5, 1)
        self._importer = Importer(self)
        self._nouns = (Contacts(self), Tags(self), Fields(self), Hooks(self), self._importer)

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            *(route for noun in self._nouns for route in noun.routes()),
            web.put("/admin/keys", self.keys),
            web.route("*", "/api/3/{rest:.*}", self.api(self.nowhere)),
        ]

    def app(self) -> web.Application:
        app = super().app()
        app.middlewares.append(self._settled)
        return app

    @web.middleware
    async def _settled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._importer.settle()  # the clock may have been moved on
        return await handler(request)

    async def nowhere(self, request: web.Request) -> dict[str, Any]:
        raise Refused(404, {"message": "No route found"})

    async def keys(self, request: web.Request) -> web.Response:
        """`keys`: those that are good from now on."""
        self._keys = set((await request.json())["keys"])
        return web.json_response({"keys": sorted(self._keys)})

    # --- the door ----------------------------------------------------------------------------------------------

    def admit(self, request: web.Request) -> web.Response | None:
        """The limit is the account's: calls by all keys count, and those with a bad one too."""
        if self.settings.limits and not self._window.take(self.now()):
            return self.limited(request)
        return None if request.headers.get("Api-Token") in self._keys else _forbidden()

    def headers(self, request: web.Request) -> Mapping[str, str]:
        return {"RateLimit-Limit": "5", "RateLimit-Remaining": str(self._window.left(self.now()))}

    def limited(self, request: web.Request) -> web.Response:
        """Nobody has published a body."""
        seconds = max(1, math.ceil(self._window.reset(self.now())))
        return web.Response(status=429, headers={"Retry-After": str(seconds)})

    # --- faults and hooks --------------------------------------------------------------------------------------

    def vendor_fault(self, fault: str, request: web.Request) -> web.Response | None:
        """A 403 for a good key, as it happens now and then; the 402 of an unpaid account; see also `spoilt`."""
        if fault == "403":
            return _forbidden()
        if fault == "402":
            return web.Response(status=402)
        request["spoilt"] = fault
        return None

    def spoil(self, fault: str, content: Any) -> Any:
        if fault == "missing-tags":
            return self._without_tags(content)
        rows = content.get("contacts", [])
        hit = half(rows, self.chance) if rows else set()
        if fault == "missing-rows":
            content["contacts"] = [row for place, row in enumerate(rows) if place not in hit]
        else:
            content["contacts"] = [row for place, row in enumerate(rows) for _ in range(2 if place in hit else 1)]
        return content

    def _without_tags(self, content: dict[str, Any]) -> dict[str, Any]:
        """Half of the contacts without their key and rows. One that was asked for alone loses them surely."""
        rows = content.get("contacts") or ([content["contact"]] if isinstance(content.get("contact"), dict) else [])
        if not rows:
            content.pop("contactTags", None)
            return content
        hit = {rows[place]["id"] for place in half(rows, self.chance)}
        for row in rows:
            if row["id"] in hit:
                row.pop("contactTags", None)
        if "contactTags" in content:
            content["contactTags"] = [link for link in content["contactTags"] if link["contact"] not in hit]
        return content

    def hook(self, contact: int, event: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        """`kind`: "automation" (with `seriesid`), or a global event (with `tag`, `initiated_from`, `at`)."""
        return dict(FORM), told(self, contact, event)


def _forbidden() -> web.Response:
    return web.json_response({"message": "Forbidden"}, status=403)


if __name__ == "__main__":
    main(Fake)
