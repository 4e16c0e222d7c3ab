"""The calls by which others subscribe to the fake Kit's webhooks: /v4/webhooks and /v4/webhook_endpoints."""

import secrets
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from aiohttp import web
from yarl import URL

from tagwarden.sandbox.guard import is_loopback
from tests.fakes.kit_hooks import LEGACY, Account, Endpoint, Hooks, Legacy
from tests.fakes.kit_rows import Refused, answer, body_of, iso, page
from tests.fakes.kit_settings import EVENTS, Settings
from tests.fakes.kit_tokens import INVALID, credential

_STATUSES = ("pending", "retrying", "delivered", "failed")


class Subscriptions:
    """The two generations of subscriptions, side by side."""

    def __init__(self, account: Account, hooks: Hooks) -> None:
        self._account, self._hooks = account, hooks

    def routes(self) -> Iterable[web.RouteDef]:
        one = r"/v4/webhook_endpoints/{id:\d+}"
        return [
            web.get("/v4/webhooks", self.list_legacy),
            web.post("/v4/webhooks", self.add_legacy),
            web.delete(r"/v4/webhooks/{id:\d+}", self.drop_legacy),
            web.get("/v4/webhook_endpoints", self.list_endpoints),
            web.post("/v4/webhook_endpoints", self.add_endpoint),
            web.get(one, self.show_endpoint),
            web.patch(one, self.change_endpoint),
            web.delete(one, self.drop_endpoint),
            web.post(f"{one}/rotate_secret", self.rotate),
            web.post(f"{one}/revoke_previous_secret", self.revoke),
            web.get(f"{one}/deliveries", self.deliveries),
        ]

    # --- legacy ------------------------------------------------------------------------------------------------

    async def list_legacy(self, request: web.Request) -> web.Response:
        rows = [([hook.number], hook) for hook in self._hooks.legacy.values()]
        return answer(page("webhooks", rows, request.query, Legacy.row, newest_first=True))

    async def add_legacy(self, request: web.Request) -> web.Response:
        content = await body_of(request)
        event, url = content.get("event"), content.get("target_url")
        if not isinstance(event, dict) or not event.get("name") or not url:
            raise Refused(422, "`event` and `target` parameters must be provided")
        name = event["name"]
        if name not in LEGACY:
            raise Refused(422, f"`{name}` is not an event")
        parameter = LEGACY[name]
        value = event.get(parameter) if parameter else None
        if parameter and value in (None, ""):
            raise Refused(422, f"`{parameter}` must be provided for this event")
        if parameter and parameter != "initiator_value":
            value = int(str(value))
        hook = Legacy(self._hooks.number(), str(url), name, value)
        self._hooks.legacy[hook.number] = hook
        return answer({"webhook": hook.row()}, 201)

    async def drop_legacy(self, request: web.Request) -> web.Response:
        if self._hooks.legacy.pop(int(request.match_info["id"]), None) is None:
            raise Refused(404, "Not Found")
        return web.Response(status=204)

    # --- endpoints ---------------------------------------------------------------------------------------------

    def _check_credential(self, request: web.Request) -> bool:
        """Whether an app asks (a token), and not the owner's key. Some keys were refused here (facts 2.2)."""
        by_app = credential(request)[0] == "token"
        if not by_app and self._account.settings.endpoints_need_oauth:
            raise Refused(401, INVALID)
        return by_app

    def _endpoint(self, request: web.Request) -> Endpoint:
        by_app = self._check_credential(request)
        found = self._hooks.endpoints.get(int(request.match_info["id"]))
        if found is None:
            raise Refused(404, "Not Found")
        if found.by_app and not by_app:
            status = self._account.settings.foreign_endpoint_status
            raise Refused(status, "Not Found" if status == 404 else "Forbidden")
        return found

    def _shown(self, endpoint: Endpoint, status: int = 200, *, secret: bool = False) -> web.Response:
        return answer({"webhook_endpoint": endpoint.row(self._account.now(), secret=secret)}, status)

    async def list_endpoints(self, request: web.Request) -> web.Response:
        by_app, wanted = self._check_credential(request), request.query.get("status")
        rows = [
            ([one.number], one)
            for one in self._hooks.endpoints.values()
            if (by_app or not one.by_app) and wanted in {None, one.status}
        ]
        now = self._account.now()
        return answer(page("webhook_endpoints", rows, request.query, lambda one: one.row(now), newest_first=True))

    async def add_endpoint(self, request: web.Request) -> web.Response:
        by_app, content = self._check_credential(request), await body_of(request)
        url = self._url(content.get("url"))
        made = Endpoint(
            number=self._hooks.number(),
            url=url,
            events=self._events(content.get("events")),
            name=content.get("name") or URL(url).host or "",
            description=content.get("description"),
            by_app=by_app,
            made=self._account.now(),
            secret=_new_secret(),
        )
        self._hooks.endpoints[made.number] = made
        return self._shown(made, 201, secret=True)

    def _url(self, url: object) -> str:
        try:
            host = URL(str(url)).host if url else None
        except ValueError:
            host = None
        if host is None or not str(url).startswith(("http://", "https://")):
            raise Refused(422, "Url is invalid")
        if _is_private(host) and not (is_loopback(host) and self._account.settings.loopback_hooks):
            raise Refused(422, "Url must not be a private address")
        return str(url)

    def _events(self, events: object) -> list[str]:
        if not isinstance(events, list) or not events:
            raise Refused(422, "Events can't be blank")
        settings: Settings = self._account.settings
        if bad := [name for name in events if name not in EVENTS or name in settings.planned_events]:
            raise Refused(422, f"Events contains unsupported types: {', '.join(map(str, bad))}")
        return [str(name) for name in events]

    async def show_endpoint(self, request: web.Request) -> web.Response:
        return self._shown(self._endpoint(request))

    async def change_endpoint(self, request: web.Request) -> web.Response:
        """`events` replaces the whole list."""
        endpoint, content = self._endpoint(request), await body_of(request)
        url = self._url(content["url"]) if "url" in content else endpoint.url
        events = self._events(content["events"]) if "events" in content else endpoint.events
        status = content.get("status", endpoint.status)
        if status not in {"active", "disabled"}:
            raise Refused(422, "Status is not included in the list")
        endpoint.url, endpoint.events, endpoint.status = url, events, status
        endpoint.name = content.get("name", endpoint.name)
        endpoint.description = content.get("description", endpoint.description)
        return self._shown(endpoint)

    async def drop_endpoint(self, request: web.Request) -> web.Response:
        del self._hooks.endpoints[self._endpoint(request).number]
        return web.Response(status=204)

    async def rotate(self, request: web.Request) -> web.Response:
        """Both secrets sign until the old one expires or is revoked."""
        endpoint = self._endpoint(request)
        endpoint.previous, endpoint.secret = endpoint.secret, _new_secret()
        endpoint.previous_until = self._account.now() + self._account.settings.previous_secret_seconds
        return self._shown(endpoint, secret=True)

    async def revoke(self, request: web.Request) -> web.Response:
        endpoint = self._endpoint(request)
        endpoint.previous = None
        return self._shown(endpoint)

    async def deliveries(self, request: web.Request) -> web.Response:
        """The history, newest first. An unknown status or event_type is refused."""
        endpoint, wanted = self._endpoint(request), request.query
        status, kind = wanted.get("status"), wanted.get("event_type")
        if status not in {None, *_STATUSES} or kind not in {None, *EVENTS}:
            raise Refused(422, f"Unknown filter: {status if status not in {None, *_STATUSES} else kind}")
        rows = [
            ([one.number], one)
            for one in self._account.post.deliveries
            if one.endpoint == endpoint.number and status in {None, one.status} and kind in {None, one.type}
        ]
        return answer(page("deliveries", rows, wanted, _history, newest_first=True))


def _is_private(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host  # localhost, and what only a network of one's own knows


def _history(one: Any) -> dict[str, Any]:
    row = {"id": one.number, "event_type": one.type, "status": one.status, "attempt_count": len(one.attempts)}
    return row | {"created_at": iso(one.made), "completed_at": iso(one.completed) if one.completed else None}


def _new_secret() -> str:
    return f"whsec_{secrets.token_hex(24)}"
