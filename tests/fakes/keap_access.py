"""Who may call a fake Keap, and how often: keys, OAuth tokens that rotate, and four limits."""

import base64
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote

from aiohttp import web

from tests.fakes.base import Window
from tests.fakes.keap_account import V2, Account, answer, fault

SERVICE_KEY = "KeapAK-fake-service-account-key"
PERSONAL_TOKEN = "fake-keap-personal-token"
RESTRICTED_TOKEN = "fake-keap-restricted-token"  # of a user who may see no contacts
CLIENT_ID, CLIENT_SECRET = "fake-keap-client", "fake-keap-secret"
ACCESS_TOKEN, REFRESH_TOKEN = "fake-keap-access-1", "fake-keap-refresh-1"
TENANT = "example"

DAY = 86_400
USERINFO = f"{V2}/oauth/connect/userinfo"
_OAUTH_LIMITS = (25, 1_500, 150_000)  # a second, a minute, a day
_KEY_LIMITS = (10, 240, 30_000)
_TENANT_LIMITS = (0, 10_000, 250_000)  # no limit a second


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose call it is. `name` is what its limits are counted by."""

    name: str
    oauth: bool = False
    restricted: bool = False


CALLER = web.RequestKey("CALLER", Caller)


class Tokens:
    """The keys and tokens that are good, and the OAuth server."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._keys = {
            SERVICE_KEY: Caller("service"),
            PERSONAL_TOKEN: Caller("personal"),
            RESTRICTED_TOKEN: Caller("restricted", restricted=True),
        }
        self._access: dict[str, float] = {}  # token → its end
        self._refresh: dict[str, float] = {}
        self._codes: dict[str, str] = {}  # code → the redirect_uri it was given to
        self._numbers = count(1)
        self._issue()

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.post("/token", self.token),
            web.get("/app/oauth/authorize", self.authorize),
            web.get("/admin/tokens", self.shown),
            web.post("/admin/tokens", self.issued),
            web.post("/admin/tokens/expire", self.expired),
            web.post("/admin/tokens/revoke", self.revoked),
        ]

    def caller(self, request: web.Request) -> Caller | web.Response:
        """Whose key or token came, or the gateway's 401, which has four meanings (facts 1.5)."""
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else ""
        key = given or request.headers.get("X-Keap-API-Key", "")
        if not key:
            return fault(401, "Invalid access token", "oauth.v2.InvalidAccessToken")
        if key in self._keys:
            return self._keys[key]
        if given not in self._access:
            return self.revoked_answer()
        if self._access[given] > self._account.now():
            return Caller("client", oauth=True)
        return self.expired_answer() if self._account.settings.expired_as == "expired" else self.revoked_answer()

    def expired_answer(self) -> web.Response:
        return fault(401, "Access Token expired", "keymanagement.service.access_token_expired")

    def revoked_answer(self) -> web.Response:
        return fault(401, "Invalid Access Token", "keymanagement.service.invalid_access_token")

    # --- the OAuth server --------------------------------------------------------------------------------------

    async def authorize(self, request: web.Request) -> web.Response:
        """The owner's consent, given at once: back to `redirect_uri` with a code."""
        asked = request.query
        if asked.get("client_id") != CLIENT_ID or asked.get("response_type") != "code" or "redirect_uri" not in asked:
            return answer({"error": "invalid_request", "error_description": "Invalid client or redirect"}, 400)
        code = f"fake-keap-code-{next(self._numbers)}"
        self._codes[code] = asked["redirect_uri"]
        state = f"&state={quote(asked['state'])}" if "state" in asked else ""
        target = asked["redirect_uri"]
        raise web.HTTPFound(f"{target}{'&' if '?' in target else '?'}code={code}&scope=full%7C{TENANT}{state}")

    async def token(self, request: web.Request) -> web.Response:
        """A code, or a refresh token that works once, for a pair (facts 1.1; errors facts 7)."""
        form = await request.post()
        given = {name: str(value) for name, value in form.items()}
        if given.get("grant_type") == "authorization_code":
            return self._exchange(given)
        if given.get("grant_type") == "refresh_token":
            return self._refreshed(request, given.get("refresh_token", ""))
        return _refused("invalid_request", "response_type or grant_type is required")

    def _exchange(self, given: Mapping[str, str]) -> web.Response:
        if (given.get("client_id"), given.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return _refused("invalid_client", "Client credentials are invalid", 401)
        code = given.get("code", "")
        if code not in self._codes or self._codes.pop(code) != given.get("redirect_uri"):
            return _refused("invalid_grant", "Invalid Authorization Code")
        return answer(self._issue())

    def _refreshed(self, request: web.Request, old: str) -> web.Response:
        """The old token is dead before the new one is on its way."""
        pair = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {pair}":
            return _refused("invalid_client", "Client credentials are invalid", 401)
        if self._refresh.pop(old, 0) <= self._account.now():
            return _refused("invalid_request", "Invalid Refresh Token")
        if self._account.settings.refresh_ends_access:
            self._access.clear()
        return answer(self._issue())

    def _issue(self) -> dict[str, Any]:
        number, now, settings = next(self._numbers), self._account.now(), self._account.settings
        access, refresh = f"fake-keap-access-{number}", f"fake-keap-refresh-{number}"
        self._access[access] = now + settings.token_seconds
        self._refresh[refresh] = now + settings.refresh_days * DAY
        return {
            "access_token": access,
            "token_type": "bearer",
            "expires_in": settings.token_seconds - 1,
            "refresh_token": refresh,
            "scope": f"full|{TENANT}.infusionsoft.com",
        }

    # --- steering ----------------------------------------------------------------------------------------------

    async def shown(self, request: web.Request) -> web.Response:
        """Which tokens are good now."""
        now = self._account.now()
        good = {"access": self._access, "refresh": self._refresh}
        return answer({kind: [one for one, end in tokens.items() if end > now] for kind, tokens in good.items()})

    async def issued(self, request: web.Request) -> web.Response:
        return answer(self._issue())

    async def expired(self, request: web.Request) -> web.Response:
        """All access tokens are past their time."""
        self._access = dict.fromkeys(self._access, self._account.now())
        return await self.shown(request)

    async def revoked(self, request: web.Request) -> web.Response:
        """The owner takes back `token`, a key or a token of OAuth; without one, all that OAuth gave."""
        one = (await request.json()).get("token") if request.can_read_body else None
        for good in (self._access, self._refresh, self._keys if one else {}):
            for token in [one] if one else list(good):
                good.pop(token, None)  # type: ignore[attr-defined]  # three kinds of values
        return await self.shown(request)


def _refused(error: str, sentence: str, status: int = 400) -> web.Response:
    return answer({"error": error, "error_description": sentence}, status)


class Today:
    """At most so many calls a day of UTC."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self._day, self._taken = 0, 0

    def left(self, now: float) -> int:
        if self._day != int(now // DAY):
            self._day, self._taken = int(now // DAY), 0
        return self.calls - self._taken

    def take(self, now: float) -> None:
        self.left(now)
        self._taken += 1

    def reset(self, now: float) -> float:
        return DAY - now % DAY


class Limits:
    """Of one key or client, or of the tenant."""

    def __init__(self, second: int, minute: int, day: int) -> None:
        self.second = Window(second, 1) if second else None
        self.minute, self.day = Window(minute, 60), Today(day)

    def wait(self, now: float, minute_used: int, day_used: int) -> float:
        """Seconds until a call is let in, 0 for at once. `…_used`: calls made elsewhere."""
        if self.day.left(now) - day_used <= 0:
            return self.day.reset(now)
        if self.minute.left(now) - minute_used <= 0:
            return self.minute.reset(now) or 60
        return self.second.reset(now) if self.second and self.second.left(now) <= 0 else 0

    def take(self, now: float) -> None:
        for window in (self.second, self.minute, self.day):
            if window is not None:
                window.take(now)


class Meter:
    """Counts calls against the caller's limits and the tenant's, and says so in headers (facts 1.5)."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._tenant = Limits(*_TENANT_LIMITS)
        self._callers: dict[str, Limits] = {}

    def admit(self, caller: Caller) -> float:
        """0 and counted, or the seconds to wait."""
        now, settings, own = self._account.now(), self._account.settings, self._limits(caller)
        tenant = self._tenant.wait(now, settings.tenant_minute_used, settings.tenant_day_used)
        wait = max(own.wait(now, 0, settings.day_used), tenant) if settings.limits else 0
        if not wait:
            own.take(now)
            self._tenant.take(now)
        return wait

    def _limits(self, caller: Caller) -> Limits:
        fresh = _OAUTH_LIMITS if caller.oauth else _KEY_LIMITS
        return self._callers.setdefault(caller.name, Limits(*fresh))

    def headers(self, caller: Caller | None) -> dict[str, str]:
        """Numbers are blank when nobody knows whose call it is; the tenant's two windows are joined by a bar."""
        return {name: "" if caller is None else value for name, value in self._figures(caller or _NOBODY).items()}

    def _figures(self, caller: Caller) -> dict[str, str]:
        now, settings, own = self._account.now(), self._account.settings, self._limits(caller)
        day = max(0, own.day.left(now) - settings.day_used)
        minute = own.minute.left(now)
        shared = max(0, self._tenant.minute.left(now) - settings.tenant_minute_used)
        shared_day = max(0, self._tenant.day.left(now) - settings.tenant_day_used)
        _, per_minute, per_day = _TENANT_LIMITS
        return {
            **_window("x-keap-product-quota", own.day.calls, "day", day),
            "x-keap-product-quota-expiry-time": str(math.ceil(now + own.day.reset(now)) * 1000),
            **_window("x-keap-product-throttle", own.minute.calls, "minute", minute),
            "x-keap-product-spike-limit": str(own.second.calls if own.second else 0),
            "x-keap-tenant-id": TENANT,
            "x-keap-tenant-throttle-limit": f"{per_minute}|{per_day}",
            "x-keap-tenant-throttle-time-unit": "minute|day",
            "x-keap-tenant-throttle-interval": "1|1",
            "x-keap-tenant-throttle-available": f"{shared}|{shared_day}",
            "x-keap-tenant-throttle-used": f"{per_minute - shared}|{per_day - shared_day}",
        }


_NOBODY = Caller("nobody")


def _window(name: str, limit: int, unit: str, left: int) -> dict[str, str]:
    return {
        f"{name}-limit": str(limit),
        f"{name}-time-unit": unit,
        f"{name}-interval": "1",
        f"{name}-available": str(left),
        f"{name}-used": str(limit - left),
    }


def limited(body: str, wait: float | None) -> web.Response:
    """The 429 that a developer quoted, whose code is a string, or the gateway's own."""
    if body == "apigee":
        sentence = "Rate limit quota violation. Quota limit  exceeded. Identifier : example"
        refused = fault(429, sentence, "policies.ratelimit.QuotaViolation")
    else:
        refused = answer(
            {"code": "429", "message": "Quota Exceeded", "status": "Request Throttled", "details": None}, 429
        )
    if wait is not None:
        refused.headers["Retry-After"] = str(max(1, math.ceil(wait)))
    return refused
