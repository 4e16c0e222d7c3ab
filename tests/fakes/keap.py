"""A fake Keap: both versions of its REST API, its OAuth server and its webhooks, on one port.

Built from facts and the published descriptions alone; what nobody could tell us is a switch in `Settings`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode

from aiohttp import web

from tests.fakes.base import Handler, half, main
from tests.fakes.keap_access import (
    ACCESS_TOKEN,
    CALLER,
    CLIENT_ID,
    CLIENT_SECRET,
    PERSONAL_TOKEN,
    REFRESH_TOKEN,
    RESTRICTED_TOKEN,
    SERVICE_KEY,
    TENANT,
    USERINFO,
    Meter,
    Tokens,
    limited,
)
from tests.fakes.keap_account import SHORT, V1, V2, Account, Moved, Refused, Settings, fault, refusal
from tests.fakes.keap_hooks import EVENT_KEYS, JSON, Happening, Hooks, event_body, verification
from tests.fakes.keap_v1 import Version1
from tests.fakes.keap_v2 import Version2

__all__ = [
    "ACCESS_TOKEN",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "PERSONAL_TOKEN",
    "REFRESH_TOKEN",
    "RESTRICTED_TOKEN",
    "SERVICE_KEY",
    "TENANT",
    "V1",
    "V2",
    "Fake",
    "Settings",
]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_OPEN = ("/token", "/app/")  # the OAuth server: no key, no limit


class Fake(Account):
    """A fake Keap account."""

    vendor_faults: ClassVar[tuple[str, ...]] = (
        "401-expired",  # for this once, whatever the token
        "401-revoked",
        "403",  # a permission that comes and goes
        "429-apigee",
        "500",
        "text",  # a proxy's words instead of JSON
        "short-page",  # fewer rows than asked, though there are more
    )

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.meter, self.hooks = Tokens(self), Meter(self), Hooks(self)

    def routes(self) -> Iterable[web.RouteDef]:
        parts = (Version1(self), Version2(self), self.tokens, self.hooks)
        steering = [web.post("/admin/keap", self.set_up)]
        return [*steering, *(route for part in parts for route in part.routes())]

    def app(self) -> web.Application:
        app = super().app()
        app.cleanup_ctx.append(self.hooks.running)
        return app

    # --- calls -------------------------------------------------------------------------------------------------

    def admit(self, request: web.Request) -> web.Response | None:
        """The gateway: it looks at the key before it looks at the path."""
        if request.path.startswith(_OPEN):
            return None
        if len(request.raw_path) > self.settings.longest_url:
            sentence = f"request line size exceeding {self.settings.longest_url:,}"
            return fault(414, sentence, "protocol.http.TooBigLine")
        caller = self.tokens.caller(request)
        if isinstance(caller, web.Response):
            return caller
        request[CALLER] = caller
        if wait := self.meter.admit(caller):
            return self._limited(wait)
        if caller.restricted and request.path != USERINFO:
            return refusal(request, Refused(403, "Insufficient permissions"), self.settings)
        return None

    def headers(self, request: web.Request) -> Mapping[str, str]:
        return {} if request.path.startswith(_OPEN) else self.meter.headers(request.get(CALLER))

    def limited(self, request: web.Request) -> web.Response:
        return self._limited(1)

    def _limited(self, wait: float) -> web.Response:
        return limited(self.settings.limit_body, wait if self.settings.retry_after else None)

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What handlers raise becomes an answer, so that it carries the limits too."""
        try:
            return await super()._answered(request, handler)
        except Refused as no:
            return refusal(request, no, self.settings)
        except Moved as away:
            old, new = (f"/contacts/{one}" for one in (request.match_info["id"], away.contact))
            return web.Response(status=301, headers={"Location": str(request.rel_url).replace(old, new)})
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as no:
            return refusal(request, Refused(no.status, no.reason, "path"), self.settings)

    # --- faults ------------------------------------------------------------------------------------------------

    def vendor_fault(self, fault: str, request: web.Request) -> web.Response | None:
        if fault in {"403", "500"}:
            words = {"403": "Forbidden", "500": "Internal Server Error"}
            return refusal(request, Refused(int(fault), words[fault]), self.settings)
        if fault == "text":
            return web.Response(status=502, text="Bad Gateway\n")
        if fault == "429-apigee":
            return limited("apigee", None)
        if fault.startswith("401-"):
            return self.tokens.expired_answer() if fault == "401-expired" else self.tokens.revoked_answer()
        if fault == "short-page":
            request[SHORT] = True
        return None

    def spoil(self, fault: str, content: Any) -> Any:
        """Only contacts: a list of one contact's tags is what an adapter confirms by, so that stays true."""
        rows = content.get("contacts") if isinstance(content, dict) else None
        if rows is None:
            return _without_tags(content) if fault == "missing-tags" and isinstance(content, dict) else content
        hit = half(rows, self.chance)
        if fault == "missing-tags":
            spoiled = [_without_tags(row) if at in hit else row for at, row in enumerate(rows)]
        elif fault == "missing-rows":
            spoiled = [row for at, row in enumerate(rows) if at not in hit]
        else:
            spoiled = rows + [rows[at] for at in sorted(hit)]
        return content | {"contacts": spoiled}

    # --- webhooks, and the clock -------------------------------------------------------------------------------

    def hook(self, contact: int, event: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        """`kind`: step, the default (the automation step “Send HTTP POST”), verify, or a REST hook's event key.

        A step has `name` for the id's parameter and more `pairs`; events have `tag` and `more` contacts; verify has
        `secret`. None of them is signed.
        """
        kind = event.get("kind", "step")
        if kind == "verify":
            return verification(event["secret"])
        if kind in EVENT_KEYS:
            ids = [contact, *event.get("more", ())]
            return dict(JSON), event_body(self, kind, [Happening(event.get("tag", 0), one, self.now()) for one in ids])
        name = event.get("name", "contactId")
        pairs = {name: str(contact), **event.get("pairs", {})}
        if name == "Contact0Id" and (known := self.book.contact(contact)):  # action sets post every field
            names = {"Contact0FirstName": known.first_name, "Contact0LastName": known.last_name}
            pairs |= {"Contact0Email": known.email, **names}
        return dict(FORM), urlencode(pairs).encode()

    def told(self, event: str, tag: int, contact: int, at: float) -> None:
        self.hooks.told(event, tag, contact, at)

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self.hooks.wake()


def _without_tags(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in {"tag_ids", "groups"}}


if __name__ == "__main__":
    main(Fake)
