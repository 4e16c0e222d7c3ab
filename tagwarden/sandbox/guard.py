"""What every route shares: refusals, reading a body, and who may speak to this server at all.

There is no log-in, so two checks keep a web page of somebody else from using the visitor's browser against
it: the Host must be a loopback name (no rebinding of names), and a write must not come from another origin.
"""

import json
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

from aiohttp import web
from yarl import URL

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(Exception):
    """An answer that is not a success: HTTP status, error code, and what else belongs into the body."""

    def __init__(self, status: int, error: str, **more: object) -> None:
        super().__init__(error)
        self.status = status
        self.content = {"error": error, **more}

    def answer(self) -> web.Response:
        return web.json_response(self.content, status=self.status)


def is_loopback(host: str | None) -> bool:
    """Whether a host of a URL is this machine: localhost, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


def _host(request: web.Request) -> str | None:
    try:
        return URL(f"http://{request.host}").host
    except ValueError:
        return None


def _from_elsewhere(request: web.Request) -> bool:
    origin = request.headers.get("Origin", f"http://{request.host}")
    site = request.headers.get("Sec-Fetch-Site", "none")
    return origin != f"http://{request.host}" or site not in {"same-origin", "none"}


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets loopback in and turns what went wrong into JSON."""
    try:
        if not is_loopback(_host(request)):
            raise Refusal(403, "not_loopback")
        if request.method not in {"GET", "HEAD"} and _from_elsewhere(request):
            raise Refusal(403, "other_origin")
        return await handler(request)
    except Refusal as refusal:
        return refusal.answer()
    except web.HTTPNotFound:
        return Refusal(404, "not_found").answer()
    except web.HTTPMethodNotAllowed:
        return Refusal(405, "method_not_allowed").answer()
    except web.HTTPRequestEntityTooLarge:
        return Refusal(413, "too_large").answer()


async def body(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body, {} if there is none. Refuses anything else with 400 bad_request."""
    try:
        content = json.loads(await request.read() or "{}")
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Refusal(400, "bad_request", help="The body must be a JSON object.")
    return content


def text_of(content: dict[str, Any], name: str) -> str:
    """A text that must be there and not be empty."""
    value = content.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Refusal(400, "bad_request", help=f"“{name}” must be a text.")
    return value.strip()


def number_of(text: str, name: str, low: int, high: int) -> int:
    """A whole number of a query or path within these bounds."""
    plain = text.isascii() and text.isdigit() and len(text) <= 19
    if not plain or not low <= int(text) <= high:
        raise Refusal(400, "bad_request", help=f"“{name}” must be a whole number from {low} to {high}.")
    return int(text)


def ids_of(value: object, most: int) -> list[int]:
    """Contact ids in a JSON list."""
    if not isinstance(value, list) or not all(type(one) is int and 0 < one < 2**63 for one in value):
        raise Refusal(400, "bad_request", help="Contact ids must be a list of whole numbers.")
    if len(value) > most:
        raise Refusal(400, "too_many_ids")
    return value
