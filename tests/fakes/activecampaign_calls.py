"""What every call to the fake ActiveCampaign goes through: PHP-style query, paging, refusals, spoilt answers."""

import json
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from tests.fakes import base
from tests.fakes.activecampaign_ledger import Ledger, Settings
from tests.fakes.activecampaign_rows import Rows
from tests.fakes.base import Handler

PAGE, MOST = 20, 100  # rows of a page if `limit` isn't given, and at most, whatever is asked

Content = dict[str, Any]
Answer = Content | tuple[int, Content]


class Refused(Exception):
    """The call is answered with this status and content instead."""

    def __init__(self, status: int, content: Content) -> None:
        super().__init__(status)
        self.status, self.content = status, content


def not_found(noun: str, number: object) -> Refused:
    """The one shape of a 404; contactTags has the other (facts, section 1.6)."""
    return Refused(404, {"message": f"No Result found for {noun} with id {number}"})


def unprocessable(title: str, pointer: str, **more: object) -> Refused:
    source = {"pointer": f"/data/attributes/{pointer}"}
    return Refused(422, {"errors": [{"title": title, **more, "source": source}]})


def missing(name: str) -> Refused:
    return Refused(
        422,
        {"errors": [{"status": 422, "title": "Missing attribute", "source": {"pointer": f"/data/attributes/{name}"}}]},
    )


class Account(base.Fake):
    """The account that the endpoints of all nouns work on."""

    settings: Settings
    settings_class = Settings

    def __init__(self) -> None:
        super().__init__()
        self.book: Ledger = Ledger(self.now, lambda: self.settings)

    def rows(self, request: web.Request) -> Rows:
        return Rows(self.book, str(request.url.origin()))

    def moment(self) -> float | None:
        """The state that reads show: the latest unless a lag is set. ActiveCampaign publishes none."""
        return self.seen() if self.settings.lag_seconds else None

    def shuffled(self, rows: list[Any]) -> list[Any]:
        """Sideloaded rows: in no order that has to do with the contacts', yet the same each time."""
        mixed = list(rows)
        random.Random(f"{self.settings.seed} {len(rows)}").shuffle(mixed)
        return mixed

    def api(self, handler: Callable[[web.Request], Awaitable[Answer]]) -> Handler:
        """The handler with its refusals answered, and its answer spoilt where a fault says so."""

        async def called(request: web.Request) -> web.Response:
            try:
                answer = await handler(request)
            except Refused as refused:
                return web.json_response(refused.content, status=refused.status)
            status, content = answer if isinstance(answer, tuple) else (200, answer)
            return spoilt(request.get("spoilt", ""), web.json_response(content, status=status))

        return called


def spoilt(fault: str, answer: web.Response) -> web.Response:
    """The work is done, but the answer says nothing (`empty`) or breaks off in the middle (`short`)."""
    whole = answer.body if isinstance(answer.body, bytes) else b""
    if fault == "empty":
        return web.Response(status=answer.status, content_type="application/json")
    if fault == "short":
        return web.Response(status=answer.status, body=whole[: len(whole) // 2], content_type="application/json")
    return answer


async def body(request: web.Request, noun: str) -> Content:
    """What the body says under that noun. Refuses with 400 what is no JSON, with 422 what has no such noun."""
    try:
        content = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise Refused(400, {}) from None
    found = content.get(noun) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise missing(noun)
    return found


def number(value: object) -> int:
    """An id or count, given as a number or as its digits. Refuses others with 400."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    raise Refused(400, {})


def asked(query: Mapping[str, str], name: str) -> int | None:
    """A number in the query; None if it isn't there."""
    return number(query[name]) if query.get(name) else None


def many(request: web.Request, name: str) -> list[str]:
    """The values of `name[]`, `name[0]`, ... as PHP reads them; of a bare `name` only the last counts."""
    listed = [value for key, value in request.query.items() if key.startswith(f"{name}[") and key.endswith("]")]
    return listed or request.query.getall(name, [])[-1:]


def paged(request: web.Request, rows: list[Any], page: int = PAGE) -> list[Any]:
    """The rows that `limit` and `offset` ask for. Refuses with 400 what is no number."""
    limit = min(MOST, asked(request.query, "limit") or page)
    offset = asked(request.query, "offset") or 0
    return rows[offset : offset + limit]


def meta(rows: list[Any]) -> Content:
    return {"total": str(len(rows))}
