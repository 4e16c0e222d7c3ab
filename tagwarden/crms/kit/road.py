"""The road to Kit: who we are, what its refusals mean, and lists that go by cursor."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import httpx

from tagwarden.core.errors import NeedsSetting, Retryable, TagwardenError
from tagwarden.core.ratelimit import Limit
from tagwarden.crms import base
from tagwarden.crms.kit.rows import Row, numbered, part, plain, text

PAGE = 1000  # the most that a list gives; 500 unless it is asked for more (developers.kit.com, Pagination)


class TokenRefused(NeedsSetting):
    """The access token ran out, or somebody else has renewed it meanwhile."""


class Road(base.Crm):
    """Calls to Kit, by key or by token."""

    label = "Kit"
    default_url = "https://api.kit.com"
    needed = (
        frozenset({"api_key"}),
        frozenset({"client_id", "client_secret", "access_token", "refresh_token"}),
    )
    tags_at_once = 1  # the bulk calls answer 401 to a key (developers.kit.com, Bulk and async processing)
    limits = (Limit(120, seconds=60),)  # of a key, in any minute (developers.kit.com, Rate limits)
    pause = timedelta(seconds=2)  # a 429 says nothing of it; Kit’s own plugin waits so long

    def __init__(self, *, base_url: str, credentials: Mapping[str, str], tokens: base.Tokens | None = None) -> None:
        address = base_url.strip().rstrip("/").removesuffix("/v4")
        super().__init__(base_url=address, credentials=credentials, tokens=tokens)
        self.by_token = "api_key" not in credentials
        if self.by_token:  # of a token; and a hundred in a call is what is answered with what came of it
            self.limits, self.tags_at_once = (Limit(600, seconds=60),), 100

    def headers(self, credentials: Mapping[str, str]) -> dict[str, str]:
        if "api_key" in credentials:
            return {"X-Kit-Api-Key": plain(credentials["api_key"]), "Accept": "application/json"}
        return {"Authorization": f"Bearer {plain(credentials.get('access_token', ''))}", "Accept": "application/json"}

    # --- refusals -----------------------------------------------------------------------------------------------

    def meaning(self, response: httpx.Response) -> TagwardenError | None:
        if response.status_code == 401 and self.by_token and _of_token(response):
            return TokenRefused("crm-key-refused", crm=self.label)
        if response.status_code == 413:  # too many bulk calls wait to be worked on (Bulk and async processing)
            return Retryable("crm-paused", after=timedelta(minutes=1), spends_try=False, crm=self.label)
        return self.usual(response)

    def again(self, error: TagwardenError, tried: int) -> bool:
        return isinstance(error, TokenRefused) and tried == 1 and self.renew(self._exchange)

    def _exchange(self, credentials: Mapping[str, str]) -> dict[str, str]:
        """A new pair of tokens. A refresh token is good for one use (Kit's changelog, May 2026).

        The address has moved: where the newer one isn't known, the older is.
        """
        form = {name: plain(credentials.get(name, "")) for name in ("client_id", "client_secret", "refresh_token")}
        form["grant_type"] = "refresh_token"
        try:
            return self.token_call(str(self.http.base_url.join("v4/oauth/token")), form)
        except Retryable as error:
            if error.detail.get("status") != 404:
                raise
            return self.token_call(str(self.http.base_url.join("oauth/token")), form)

    # --- calls --------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, what: str, **request: Any) -> tuple[base.Call, dict[str, Any]]:
        """One call. What is no object is as good as an empty one: whoever needs something in it asks."""
        call, answer = self.ask(method, f"/v4{path}", what=what, **request)
        return call, answer if isinstance(answer, dict) else {}

    def pages_of(self, path: str, key: str, what: str, filters: Row | None = None) -> Iterator[list[Row]]:
        """A list, a page at a time. Raises Retryable `crm-answer-broken` if it goes in circles."""
        cursor, seen = "", {""}
        while True:
            asked = {**(filters or {}), "per_page": PAGE, **({"after": cursor} if cursor else {})}
            _, answer = self.call("GET", path, what, params=asked)
            yield self.rows(answer, key)
            cursor = self.next_of(answer)
            if not cursor:
                return
            if cursor in seen:
                raise self.broken()
            seen.add(cursor)

    def all(self, path: str, key: str, what: str) -> list[Row]:
        return [row for rows in self.pages_of(path, key, what) for row in rows]

    def rows(self, answer: Row, key: str) -> list[Row]:
        """The rows under that key. An answer without the key, or with a row without an id, is no answer."""
        found = answer.get(key)
        if not isinstance(found, list) or not all(numbered(row) for row in found):
            raise self.broken()
        return found

    def next_of(self, answer: Row) -> str:
        """The cursor of the next page, "" after the last. It is base64 with `=` at its end, which must be escaped
        in an address (developers.kit.com, Pagination), as our client does.
        """
        pages = part(answer, "pagination")
        if not isinstance(pages.get("has_next_page"), bool):
            raise self.broken()
        cursor = text(pages.get("end_cursor")) if pages["has_next_page"] else ""
        if pages["has_next_page"] and not cursor:
            raise self.broken()
        return cursor

    def id_of(self, answer: Row, key: str) -> str:
        row = part(answer, key)
        if not numbered(row):
            raise self.broken()
        return str(row["id"])


def _of_token(response: httpx.Response) -> bool:
    """Whether a 401 speaks of the token: “The access token expired”, “… is invalid”. Others are of the account."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    errors = body.get("errors") if isinstance(body, dict) else None
    words = [text(one) for one in errors] if isinstance(errors, list) else []
    told = " ".join([*words, response.headers.get("www-authenticate", "")]).casefold()
    return "token" in told or not told.strip()
