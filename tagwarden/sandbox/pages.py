"""Plain web pages: see contacts, tag one or all of them, fire webhooks, see writes, make faults."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
from aiohttp import web

from tagwarden.core import clock
from tagwarden.sandbox.faults import KINDS, Behaviour
from tagwarden.sandbox.fire import SHAPES, Firings, Order
from tagwarden.sandbox.guard import Handler, Refusal, number_of, text_of
from tagwarden.sandbox.state import FRESH, State

_TEMPLATES = Path(__file__).parent / "templates"
_A_PAGE = 25
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_SENTENCES = {
    "contact_not_found": "There is no such contact.",
    "job_not_found": "There is no such firing. The last 20 are kept until the sandbox CRM stops.",
    "not_found": "There is no such page.",
    "method_not_allowed": "This address takes forms only. Go back to the page with the form.",
}


class Pages:
    """The routes for people."""

    def __init__(self, state: State, behaviour: Behaviour, firings: Firings) -> None:
        self._state = state
        self._behaviour = behaviour
        self._firings = firings
        self._note = ""  # what the last form did; shown once
        loader = jinja2.FileSystemLoader(_TEMPLATES)
        self._templates = jinja2.Environment(
            loader=loader,
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        self._templates.filters["moment"] = _moment
        self._templates.filters["thousands"] = lambda number: f"{number:,}"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.contacts),
            web.get("/style.css", self.style),
            web.get("/contacts/{id}", self.contact),
            web.post("/tag", self.tag),
            web.get("/fire", self.fire_form),
            web.post("/fire", self.fire),
            web.get("/fire/{job}", self.firing),
            web.get("/writes", self.writes),
            web.get("/settings", self.settings),
            web.post("/settings", self.change_settings),
        ]

    @web.middleware
    async def framed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Makes pages of what goes wrong on pages; the two APIs pass untouched."""
        if request.path.startswith(("/api/", "/admin/")):
            return await handler(request)
        try:
            answer = await handler(request)
        except Refusal as refusal:
            answer = self._problem(refusal)
        except web.HTTPNotFound:
            answer = self._problem(Refusal(404, "not_found"))
        except web.HTTPMethodNotAllowed:
            answer = self._problem(Refusal(405, "method_not_allowed"))
        answer.headers.update(_HEADERS)
        return answer

    def _page(self, template: str, **values: object) -> web.Response:
        values |= {"note": self._note, "settings": self._behaviour.settings}
        self._note = ""
        text = self._templates.get_template(template).render(values)
        return web.Response(text=text, content_type="text/html")

    def _problem(self, refusal: Refusal) -> web.Response:
        sentence = refusal.content.get("help") or _SENTENCES[str(refusal.content["error"])]
        page = self._page("problem.html", sentence=sentence)
        page.set_status(refusal.status)
        return page

    def _back(self, where: str, note: str = "") -> web.Response:
        self._note = note
        return web.Response(status=303, headers={"Location": where})

    async def style(self, request: web.Request) -> web.Response:
        return web.Response(text=(_TEMPLATES / "style.css").read_text(), content_type="text/css")

    # Contacts and tags.

    async def contacts(self, request: web.Request) -> web.Response:
        search = request.query.get("q", "").strip()
        number = number_of(request.query.get("page", "1"), "page", 1, 10**9)
        rows, total = self._state.page(number, _A_PAGE, search=search)
        last = max(1, math.ceil(total / _A_PAGE))
        links = {n: "?" + urlencode({"q": search, "page": n}) for n in (number - 1, number + 1) if 1 <= n <= last}
        values = {"rows": rows, "total": total, "search": search, "number": number, "links": links}
        everybody = len(self._state.ids())
        return self._page("contacts.html", **values, last=last, tags=self._state.tags(), everybody=everybody)

    async def contact(self, request: web.Request) -> web.Response:
        found = self._state.contacts([number_of(request.match_info["id"], "id", 0, FRESH)])
        if not found:
            raise Refusal(404, "contact_not_found")
        writes = self._state.writes(contact=found[0]["id"], limit=20, newest=True)
        values = {"tags": self._state.tags(), "writes": writes, "url": self._state.remembered("webhook-url")}
        return self._page("contact.html", contact=found[0], shapes=SHAPES, **values)

    async def tag(self, request: web.Request) -> web.Response:
        form = await _form(request)
        one, ids = self._who(form)
        tag, _ = self._state.make_tag(text_of(form, "tag"), "page")
        remove = form.get("act") == "remove"
        changed = self._state.set_tag(tag, ids, remove=remove, who="page").changed
        return self._back(f"/contacts/{one}" if one else "/", _tagged(tag["name"], remove, changed))

    def _who(self, form: Mapping[str, Any]) -> tuple[str, list[int]]:
        one = form.get("contact", "")
        return one, [number_of(one, "contact", 1, FRESH)] if one else self._state.ids()

    # Webhooks.

    async def fire_form(self, request: web.Request) -> web.Response:
        recent = self._firings.recent()
        values = {"url": self._state.remembered("webhook-url"), "everybody": len(self._state.ids())}
        return self._page("fire.html", shapes=SHAPES, recent=recent, **values)

    async def fire(self, request: web.Request) -> web.Response:
        form = await _form(request)
        _, ids = self._who(form)
        url, shape = text_of(form, "url"), text_of(form, "shape")
        concurrency = number_of(form.get("concurrency", "1"), "concurrency", 1, 1000)
        firing, _ = self._firings.start(Order(url, ids, concurrency, shape))
        self._state.remember("webhook-url", url)
        return self._back(f"/fire/{firing.number}")

    async def firing(self, request: web.Request) -> web.Response:
        firing = self._firings.get(request.match_info["job"])
        alone = firing.order.ids[0] if len(firing.order.ids) == 1 else 0
        return self._page("firing.html", firing=firing.figures(), alone=alone)

    # The log, and settings.

    async def writes(self, request: web.Request) -> web.Response:
        before = number_of(request.query.get("before", str(FRESH)), "before", 1, FRESH)
        rows = self._state.writes(before=before, limit=50, newest=True)
        return self._page("writes.html", rows=rows, older=len(rows) == 50)

    async def settings(self, request: web.Request) -> web.Response:
        return self._page("settings.html", kinds=KINDS, counters=self._behaviour.counted())

    async def change_settings(self, request: web.Request) -> web.Response:
        form = await request.post()
        faults = [kind for kind in KINDS if kind in form.getall("faults", [])]
        try:
            whole = {name: int(str(form.get(name))) for name in ("latency_ms", "rate_limit", "seed")}
            other = {name: float(str(form.get(name))) for name in ("lag_seconds", "fault_rate")}
            self._behaviour.change(whole | other | {"faults": faults})
        except ValueError as error:
            raise Refusal(400, "bad_setting", help=f"The settings were not saved. {error}") from error
        return self._back("/settings", "Saved the settings.")


def _tagged(name: str, remove: bool, changed: int) -> str:
    if not changed:
        return f"Nothing changed: the tag “{name}” was {'not there' if remove else 'there already'}."
    did = "Removed" if remove else "Added"
    return f"{did} the tag “{name}” for {changed:,} contact{'s' * (changed > 1)}. No webhook was fired."


async def _form(request: web.Request) -> dict[str, Any]:
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


def _moment(milliseconds: int) -> str:
    return clock.from_ms(milliseconds).strftime("%-d %b %Y, %H:%M:%S")
