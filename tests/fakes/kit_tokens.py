"""The fake Kit's credentials: one key, OAuth tokens that expire, refresh tokens that work once."""

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from tests.fakes.kit_rows import answer
from tests.fakes.kit_settings import ACCESS_TOKEN, API_KEY, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, Settings

EXPIRED = "The access token expired"
INVALID = "The access token is invalid"
INVALID_KEY = "The API key is invalid"
NOBODY = "Authentication Failed"
_GRANT = "The provided authorization grant is invalid, expired, revoked, or was issued to another client."


@dataclass(slots=True)
class Access:
    """An access token, and the refresh token that ends when it is first used."""

    until: float
    revoked: bool = False
    replaces: str = ""


def refusal(sentence: str) -> web.Response:
    """The 401 with this sentence."""
    refused = answer({"errors": [sentence]}, 401)
    if sentence in {EXPIRED, INVALID}:
        realm = f'Bearer realm="ConvertKit API", error="invalid_token", error_description="{sentence}"'
        refused.headers["WWW-Authenticate"] = realm
    return refused


def credential(request: web.Request) -> tuple[str, str]:
    """Kind (key, token, or nothing) and value of what a call brings. A key as a bearer is a bad token."""
    if key := request.headers.get("X-Kit-Api-Key"):
        return "key", key
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return ("token", token.strip()) if scheme.lower() == "bearer" and token.strip() else ("", "")


class Tokens:
    """All credentials of the account."""

    def __init__(self, now: Callable[[], float], settings: Callable[[], Settings]) -> None:
        self._now, self._settings = now, settings
        self.key_works = True
        self._access = {ACCESS_TOKEN: Access(now() + settings().token_seconds)}
        self._refresh = {REFRESH_TOKEN: True}  # True while it can be used
        self._codes: dict[str, Mapping[str, str]] = {}

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/v4/oauth/authorize", self.authorize),
            web.post("/v4/oauth/token", self.token),
            web.post("/oauth/token", self.token),
            web.post("/admin/tokens/{act}", self.steer),
        ]

    def refused(self, request: web.Request) -> web.Response | None:
        """The 401 that a call gets, if any. Seen before the path is looked at."""
        kind, value = credential(request)
        if not kind:
            return refusal(NOBODY)
        if kind == "key":
            return None if value == API_KEY and self.key_works else refusal(INVALID_KEY)
        token = self._access.get(value)
        if token is None or token.revoked:
            return refusal(INVALID)
        if token.until <= self._now():
            return refusal(EXPIRED)
        if token.replaces:
            self._refresh[token.replaces] = False
        return None

    # --- OAuth -------------------------------------------------------------------------------------------------

    async def authorize(self, request: web.Request) -> web.Response:
        """Consents at once: back to redirect_uri with a code, or with the error."""
        asked = request.query
        if asked.get("client_id") != CLIENT_ID or "redirect_uri" not in asked:
            return _wrong("invalid_client", "Client authentication failed", 401)
        code = secrets.token_urlsafe(16)
        self._codes[code] = dict(asked)
        back = {"code": code} | ({"state": asked["state"]} if "state" in asked else {})
        joint = "&" if "?" in asked["redirect_uri"] else "?"
        return web.Response(status=302, headers={"Location": asked["redirect_uri"] + joint + urlencode(back)})

    async def token(self, request: web.Request) -> web.Response:
        sent = await (request.json() if request.content_type == "application/json" else request.post())
        given = {name: str(value) for name, value in sent.items()}
        if given.get("client_id") != CLIENT_ID or given.get("client_secret", CLIENT_SECRET) != CLIENT_SECRET:
            return _wrong("invalid_client", "Client authentication failed", 401)
        if given.get("grant_type") == "authorization_code":
            return self._exchange(given)
        if given.get("grant_type") == "refresh_token":
            return self._refreshed(given.get("refresh_token", ""))
        return _wrong("unsupported_grant_type", "The authorization grant type is not supported.")

    def _exchange(self, given: Mapping[str, str]) -> web.Response:
        asked = self._codes.pop(given.get("code", ""), None)
        if asked is None or asked["redirect_uri"] != given.get("redirect_uri"):
            return _wrong("invalid_grant", _GRANT)
        if challenge := asked.get("code_challenge"):
            digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
            if base64.urlsafe_b64encode(digest).decode().rstrip("=") != challenge.rstrip("="):
                return _wrong("invalid_grant", _GRANT)
        elif "client_secret" not in given:
            return _wrong("invalid_client", "Client authentication failed", 401)
        return answer(self.issue())

    def _refreshed(self, old: str) -> web.Response:
        if not self._refresh.get(old, False):
            if old in self._refresh and self._settings().reuse_revokes:
                self._end_all()
            return _wrong("invalid_grant", _GRANT)
        grace = self._settings().refresh_grace
        self._refresh[old] = grace
        if self._settings().refresh_ends_access:
            for token in self._access.values():
                token.revoked = True
        return answer(self.issue(replaces=old if grace else ""))

    def issue(self, replaces: str = "") -> dict[str, Any]:
        """A new pair of tokens."""
        access, fresh = f"kit_at_{secrets.token_urlsafe(24)}", f"kit_rt_{secrets.token_urlsafe(24)}"
        seconds = self._settings().token_seconds
        self._access[access] = Access(self._now() + seconds, replaces=replaces)
        self._refresh[fresh] = True
        made = {"access_token": access, "token_type": "Bearer", "expires_in": int(seconds), "refresh_token": fresh}
        return made | {"scope": "read write", "created_at": int(self._now())}

    # --- steering ----------------------------------------------------------------------------------------------

    async def steer(self, request: web.Request) -> web.Response:
        """expire, revoke (access and refresh tokens); rotate: as if somebody else had refreshed; take-key, give-key."""
        act = request.match_info["act"]
        if act == "expire":
            for token in self._access.values():
                token.until = self._now()
        elif act == "revoke":
            self._end_all()
        elif act == "rotate":
            self._refresh = dict.fromkeys(self._refresh, False)
            return answer(self.issue())
        elif act in {"take-key", "give-key"}:
            self.key_works = act == "give-key"
        else:
            raise web.HTTPNotFound
        return answer({"done": act})

    def _end_all(self) -> None:
        for token in self._access.values():
            token.revoked = True
        self._refresh = dict.fromkeys(self._refresh, False)


def _wrong(error: str, description: str, status: int = 400) -> web.Response:
    return answer({"error": error, "error_description": description}, status)
