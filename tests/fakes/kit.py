"""An honest fake of Kit's API v4: subscribers, tags, fields, tokens, bulk calls, both kinds of webhooks.

From the published pages and answers only: see tests/crms/samples/kit/README.md. What is fake by need: it fires at this
machine only, and its clock can be moved. Its admin API has besides: POST /admin/hooks/flush, POST /admin/names (ids of
tags and fields: {"tags": {"11": "Gold"}}), POST /admin/tokens/{expire,revoke,rotate,take-key,give-key}.
"""

import heapq
import itertools
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from tests.fakes import base
from tests.fakes.book import Contact, invented
from tests.fakes.kit_bulk import Bulk
from tests.fakes.kit_hooks import Hooks
from tests.fakes.kit_lists import Lists
from tests.fakes.kit_post import Post
from tests.fakes.kit_rows import CUT, Refused, Rows, answer, body_of, key_of
from tests.fakes.kit_settings import (
    ACCESS_TOKEN,
    API_KEY,
    CLIENT_ID,
    CLIENT_SECRET,
    HOOK_SECRET,
    REFRESH_TOKEN,
    Settings,
)
from tests.fakes.kit_subscriptions import Subscriptions
from tests.fakes.kit_tokens import EXPIRED, INVALID, INVALID_KEY, Tokens, credential, refusal

__all__ = ["ACCESS_TOKEN", "API_KEY", "CLIENT_ID", "CLIENT_SECRET", "HOOK_SECRET", "REFRESH_TOKEN", "Fake", "Settings"]

_STATES = ("active", "cancelled", "bounced", "complained", "inactive")
_EMAIL = re.compile(r"[^@\s,]+@[^@\s,]+\.[^@\s,.]+")
_AT_ONCE = 10  # fields; more are stored later
_MOST_FIELDS = 140
_LIMITED = web.RequestKey("limited", bool)
_V3 = {"error": "Authorization Failed", "message": ""}


class Fake(base.Fake):
    """One Kit account."""

    settings_class = Settings
    settings: Settings
    # 401s by turns with good answers; a gateway's page; a 200 without a body; a page that says it is the last.
    vendor_faults = ("401-expired", "401-invalid", "403", "502-html", "empty-body", "text-body", "cut-page")

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows(self.book, lambda: self.settings)
        self.tokens = Tokens(self.now, lambda: self.settings)
        self.post = Post(self)
        self.hooks = Hooks(self)
        self._windows: dict[tuple[str, str], base.Window] = {}
        self._work: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def fill(self, contacts: int) -> None:
        """Invented subscribers, a day old; their last names are in a field, as Kit has none."""
        label = "Last name"
        number = self.book.field_named(label) or self.book.new_field(label)
        for person in invented(contacts):
            fields = {number: person["last_name"]}
            self.book.add(self.now() - 86_400, "first", fields=fields, **person)

    # --- the server --------------------------------------------------------------------------------------------

    def app(self) -> web.Application:
        app = super().app()
        app.middlewares.insert(0, self._around)
        app.cleanup_ctx.append(self.post.run)
        return app

    @web.middleware
    async def _around(self, request: web.Request, handler: base.Handler) -> web.StreamResponse:
        """Does what has become due before a call, and tells of what the call changed after it."""
        self.catch_up()
        try:
            return await handler(request)
        finally:
            self.catch_up()
            self.post.wake()

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Does that when the fake's clock has gone on so far; at once if not at all."""
        heapq.heappush(self._work, (self.now() + seconds, next(self._numbers), work))

    def next_due(self) -> float | None:
        return self._work[0][0] if self._work else None

    def catch_up(self) -> None:
        """Does all work that is due, and makes webhooks of what that and others changed."""
        self.hooks.collect()
        while self._work and self._work[0][0] <= self.now():
            _, _, work = heapq.heappop(self._work)
            work()
            self.hooks.collect()

    def routes(self) -> Iterable[web.RouteDef]:
        lists = Lists(self)
        one, tag, field = r"/v4/subscribers/{id:\d+}", r"/v4/tags/{tag:\d+}", r"/v4/custom_fields/{field:\d+}"
        calls = [
            web.get("/v4/account", self.account),
            web.get("/v4/subscribers", lists.subscribers),
            web.post("/v4/subscribers", self.upsert_subscriber),
            web.post("/v4/subscribers/filter", lists.filter),
            web.get(one, self.subscriber),
            web.put(one, self.update_subscriber),
            web.post(f"{one}/unsubscribe", self.unsubscribe),
            web.get(f"{one}/tags", lists.tags_of),
            web.get("/v4/tags", lists.tags),
            web.post("/v4/tags", self.add_tag),
            web.put(tag, self.rename_tag),
            web.get(f"{tag}/subscribers", lists.tagged),
            web.post(f"{tag}/subscribers", self.tag_subscriber),
            web.delete(f"{tag}/subscribers", self.untag_subscriber),
            web.post(tag + r"/subscribers/{id:\d+}", self.tag_subscriber),
            web.delete(tag + r"/subscribers/{id:\d+}", self.untag_subscriber),
            web.get("/v4/custom_fields", lists.fields),
            web.post("/v4/custom_fields", self.add_field),
            web.put(field, self.rename_field),
            web.delete(field, self.drop_field),
            *Bulk(self).routes(),
            *Subscriptions(self, self.hooks).routes(),
            *self.tokens.routes(),
            web.route("*", "/v3/{rest:.*}", self.old_api),
            web.route("*", "/v4/{rest:.*}", self.nowhere),
            web.post("/admin/hooks/flush", self.post.flush),
            web.post("/admin/names", self.name),
        ]
        return [web.route(call.method, call.path, _refusing(call.handler)) for call in calls]

    def admit(self, request: web.Request) -> web.Response | None:
        """First the limit, which counts whatever credential is sent, then the credential, then the path."""
        if not request.path.startswith("/v4/") or request.path.startswith("/v4/oauth/"):
            return None
        if credential(request)[0] and self.settings.limits and not self._window(credential(request)).take(self.now()):
            return self.limited(request)
        return self.tokens.refused(request)

    def _window(self, who: tuple[str, str]) -> base.Window:
        calls = self.settings.key_limit if who[0] == "key" else self.settings.token_limit
        found = self._windows.get(who)
        if found is None or (found.calls, found.seconds) != (calls, self.settings.limit_seconds):
            found = self._windows[who] = base.Window(calls, self.settings.limit_seconds)
        return found

    def limited(self, request: web.Request) -> web.Response:
        """Plain text, and nothing that says when (facts 2.5)."""
        request[_LIMITED] = True
        return web.Response(status=429, text="Retry later", content_type="text/plain")

    def headers(self, request: web.Request) -> Mapping[str, str]:
        """No limits are told, ever."""
        return {} if _LIMITED in request else {"X-Request-Id": str(uuid.uuid4()), "X-Runtime": "0.012345"}

    # --- faults ------------------------------------------------------------------------------------------------

    def vendor_fault(self, fault: str, request: web.Request) -> web.Response | None:
        by_key = credential(request)[0] == "key"
        if fault == "401-expired" and not by_key:
            return refusal(EXPIRED)
        if fault in {"401-expired", "401-invalid"}:
            return refusal(INVALID_KEY if by_key else INVALID)
        if fault == "403":
            return answer({"errors": ["Forbidden"]}, 403)
        if fault == "502-html":
            return web.Response(status=502, text="<html><body>Bad gateway</body></html>", content_type="text/html")
        if request.method != "GET":  # a write that says it is done is done
            return None
        if fault == "empty-body":
            return web.Response(status=200, content_type="application/json")
        if fault == "text-body":
            return web.Response(status=200, text="<!DOCTYPE html><title>Kit</title>", content_type="text/html")
        if fault == "cut-page":
            request[CUT] = True  # made by the list itself
        return None

    def spoil(self, fault: str, content: Any) -> Any:
        """Rows are subscribers: that half of somebody's tags are missing could be seen by nobody."""
        rows = content.get("subscribers") if isinstance(content, dict) else None
        if isinstance(rows, list) and rows:
            hit = base.half(rows, self.chance)
            if fault == "missing-rows":
                return content | {"subscribers": [row for at, row in enumerate(rows) if at not in hit]}
            if fault == "duplicate-rows":
                return content | {"subscribers": rows + [rows[at] for at in sorted(hit)]}
            for at in hit:
                rows[at].pop("tags", None)
        elif fault == "missing-tags" and isinstance(content, dict) and "tags" in content:
            del content["tags"]
        return content

    # --- subscribers -------------------------------------------------------------------------------------------

    async def account(self, _request: web.Request) -> web.Response:
        """The credential check: whose account this is."""
        return answer(_ACCOUNT)

    async def subscriber(self, request: web.Request) -> web.Response:
        """Fresh, in any state, without tags."""
        found = self._contact(request)
        return answer({"subscriber": self.rows.single(found, canceled_at=self.rows.ended(found))})

    async def upsert_subscriber(self, request: web.Request) -> web.Response:
        """201 new, 200 known, 202 if more than 10 fields are to be stored later."""
        content = await body_of(request)
        values, warnings = self._values(content.get("fields"))
        contact, is_new = self.upsert(content)
        return self._stored(contact, content, values, warnings, 201 if is_new else 200)

    async def update_subscriber(self, request: web.Request) -> web.Response:
        content, found = await body_of(request), self._contact(request)
        email = content.get("email_address")
        if email is None and not self.settings.put_needs_email:
            email = found.email
        self._check_email(email)
        if any(other.id != found.id for other in self.book.by_email(str(email))):
            raise Refused(422, "Email address has already been taken")
        values, warnings = self._values(content.get("fields"))
        names = {"first_name": content["first_name"] or ""} if "first_name" in content else {}
        self.book.change(found.id, self.now(), "api", email=email, **names)
        return self._stored(found.id, content, values, warnings, 200)

    def _stored(
        self, contact: int, content: Mapping[str, Any], values: dict[int, str], warnings: list[str], status: int
    ) -> web.Response:
        """Sets fields, now or later, and shows the subscriber as he is then."""
        if len(content.get("fields") or {}) > _AT_ONCE:
            self.later(self.settings.fields_seconds, lambda: self.set_fields(contact, values))
            status = 202
        else:
            self.set_fields(contact, values)
        found = self.book.contact(contact)
        assert found is not None
        return answer({"subscriber": self.rows.single(found)} | ({"warnings": warnings} if warnings else {}), status)

    def upsert(self, given: Mapping[str, Any]) -> tuple[int, bool]:
        """Makes a subscriber, or changes the name of the one with that address (the state is ignored then)."""
        email = given.get("email_address")
        self._check_email(email)
        state = given.get("state") or "active"
        if state not in _STATES:
            raise Refused(422, "State is invalid")
        if known := self.book.by_email(str(email)):
            if "first_name" in given:
                self.book.change(known[0].id, self.now(), "api", first_name=given["first_name"] or "")
            return known[0].id, False
        first = given.get("first_name") or ""
        return self.book.add(self.now(), "api", email=email, first_name=first, state=state).id, True

    def _check_email(self, email: object) -> None:
        if not isinstance(email, str) or not _EMAIL.fullmatch(email):
            raise Refused(422, "Email address is invalid")

    def _values(self, fields: Any) -> tuple[dict[int, str], list[str]]:
        """Values by field, and warnings of keys there are not; or their refusal, as the settings say."""
        given = fields if isinstance(fields, dict) else {}
        if len(given) > _MOST_FIELDS:
            raise Refused(422, f"A maximum of {_MOST_FIELDS} custom fields can be updated at a time")
        known = {key_of(label): number for number, label in self.book.fields.items()}
        unknown = [key for key in given if key not in known]
        sentences = [f"Custom field `{key}` does not exist" for key in unknown]
        if unknown and self.settings.unknown_fields == "refuse":
            raise Refused(422, *sentences)
        values = {known[key]: "" if value is None else str(value) for key, value in given.items() if key in known}
        return values, sentences if self.settings.unknown_fields == "warn" else []

    def set_fields(self, contact: int, values: Mapping[int, str]) -> None:
        """Sets those that are still there."""
        kept = {number: value for number, value in values.items() if number in self.book.fields}
        if kept and self.book.contact(contact) is not None:
            named = {key_of(self.book.fields[number]): value for number, value in kept.items()}
            names = {"last_name": named["last_name"]} if "last_name" in named else {}
            self.book.change(contact, self.now(), "api", fields=kept, **names)

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """Keeps record and tags; nothing makes it active again."""
        self.book.change(self._contact(request).id, self.now(), "api", state="cancelled")
        return web.Response(status=204)

    def _contact(self, request: web.Request) -> Contact:
        found = self.book.contact(int(request.match_info["id"]))
        if found is None:
            raise Refused(404, "Not Found")
        return found

    # --- tags --------------------------------------------------------------------------------------------------

    def tag_id(self, request: web.Request) -> int:
        tag = int(request.match_info["tag"])
        if tag not in self.book.tags:
            raise Refused(404, "Not Found")
        return tag

    async def add_tag(self, request: web.Request) -> web.Response:
        tag, is_new = self.tag_by_name(str((await body_of(request)).get("name") or ""))
        return answer({"tag": self.rows.tag(tag, self.now())}, 201 if is_new else 200)

    def tag_by_name(self, name: str) -> tuple[int, bool]:
        """The tag of that name, made if there is none, and whether it was made."""
        if not name.strip():
            raise Refused(422, "Name can't be blank")
        known = self.book.tag_named(name)
        tag = known or self.book.new_tag(name)
        self.rows.made.setdefault(tag, self.now())
        return tag, known is None

    async def rename_tag(self, request: web.Request) -> web.Response:
        tag, name = self.tag_id(request), str((await body_of(request)).get("name") or "")
        if not name.strip():
            raise Refused(422, "Name can't be blank")
        if self.book.tag_named(name) not in {None, tag}:
            raise Refused(422, "Name has already been taken")
        self.book.tags[tag] = name
        return answer({"tag": self.rows.tag(tag, self.now())})

    async def tag_subscriber(self, request: web.Request) -> web.Response:
        """By id or e-mail address. 201, or 200 if the tag was there."""
        tag = self.tag_id(request)
        contact = await self._named(request, "tag subscriber")
        changed = self.tag(contact, tag)
        found = self.book.contact(contact)
        assert found is not None
        return answer({"subscriber": self.rows.tagged(found, tag)}, 201 if changed else 200)

    async def untag_subscriber(self, request: web.Request) -> web.Response:
        tag = self.tag_id(request)
        changed = self.tag(await self._named(request, "remove tag from subscriber"), tag, remove=True)
        status = 204 if changed else self.settings.untag_missing_status
        if status != 204:
            raise Refused(status, "Not Found")
        return web.Response(status=status)

    async def _named(self, request: web.Request, act: str) -> int:
        if "id" in request.match_info:
            return self._contact(request).id
        email = (await body_of(request)).get("email_address")
        if not email:
            raise Refused(422, f"Either subscriber id or email address is required to {act}")
        found = self.book.by_email(str(email))
        if not found:
            raise Refused(404, "Not Found")
        return found[0].id

    def tag(self, contact: int, tag: int, *, remove: bool = False) -> bool:
        """Puts it on or takes it off; whether that changed anything."""
        changed = self.book.set_tag(contact, tag, self.now(), "api", remove=remove)
        if changed and self.settings.tag_moves_updated:
            self.book.change(contact, self.now(), "api")
        return changed

    def drop_tag(self, tag: int) -> None:
        """Ends a tag, and takes it off everybody."""
        for contact in self.book.contacts():
            if tag in contact.tags:
                self.book.set_tag(contact.id, tag, self.now(), "api", remove=True)
        del self.book.tags[tag]

    # --- fields ------------------------------------------------------------------------------------------------

    async def add_field(self, request: web.Request) -> web.Response:
        field, is_new = self.field_by_label(str((await body_of(request)).get("label") or ""))
        return answer({"custom_field": self.rows.field(field)}, 201 if is_new else 200)

    def field_by_label(self, label: str) -> tuple[int, bool]:
        """The field of that label, made if there is none, and whether it was made."""
        label = label.strip()
        if not label:
            raise Refused(422, "Label can't be blank")
        known = self.book.field_named(label)
        if known is None and key_of(label) in map(key_of, self.book.fields.values()):
            raise Refused(422, "Key has already been taken")
        return known or self.book.new_field(label), known is None

    async def rename_field(self, request: web.Request) -> web.Response:
        """The key changes, the name stays."""
        field, label = self._field(request), str((await body_of(request)).get("label") or "").strip()
        if not label:
            raise Refused(422, "Label can't be blank")
        self.rows.field(field)  # fixes the name
        self.book.fields[field] = label
        return answer({"custom_field": self.rows.field(field)})

    async def drop_field(self, request: web.Request) -> web.Response:
        """Its values are gone with it."""
        del self.book.fields[self._field(request)]
        return web.Response(status=204)

    def _field(self, request: web.Request) -> int:
        field = int(request.match_info["field"])
        if field not in self.book.fields:
            raise Refused(404, "Not Found")
        return field

    # --- webhooks ----------------------------------------------------------------------------------------------

    def hook(self, contact: int, event: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        """`kind` legacy (if none is given) or events; see Hooks.one_event for what else that one takes."""
        found = self.book.with_deleted(contact)
        if found is None:
            raise web.HTTPNotFound
        return self.hooks.one_event(found, event) if event.get("kind") == "events" else self.hooks.legacy_request(found)

    def call_back(self, url: str, content: bytes) -> None:
        """Tells the result of bulk work; unsigned, and once."""
        headers = {"Content-Type": "application/json"}
        self.post.add("callback", url, lambda _number: (headers, content), type="bulk")

    # --- the rest ----------------------------------------------------------------------------------------------

    async def old_api(self, request: web.Request) -> web.Response:
        """v3 takes none of v4's credentials, and this account has no others."""
        sent = dict(request.query)
        if request.can_read_body:
            sent |= await body_of(request)
        present = "api_key" in sent or "api_secret" in sent
        return answer(_V3 | {"message": f"API Key not {'valid' if present else 'present'}"}, 401)

    async def nowhere(self, _request: web.Request) -> web.Response:
        raise Refused(404, "Not Found")

    async def name(self, request: web.Request) -> web.Response:
        """Sets tags and fields with ids of one's own."""
        content = await request.json()
        self.book.tags |= {int(number): name for number, name in content.get("tags", {}).items()}
        self.book.fields |= {int(number): label for number, label in content.get("fields", {}).items()}
        for tag in self.book.tags:
            self.rows.made.setdefault(tag, self.now())
        return answer({"tags": len(self.book.tags), "fields": len(self.book.fields)})


def _refusing(handler: Any) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Makes the answer of a Refused."""

    async def call(request: web.Request) -> web.StreamResponse:
        try:
            answered: web.StreamResponse = await handler(request)
        except Refused as refused:
            return refused.answer()
        return answered

    return call


_ACCOUNT: dict[str, Any] = {
    "user": {"email": "test@kit.dev", "id": 27},
    "account": {
        "id": 27,
        "name": "Kit Greetings",
        "plan_type": "creator",
        "primary_email_address": "test@kit.dev",
        "created_at": "2023-02-17T11:43:55Z",
        "timezone": {
            "name": "America/New_York",
            "friendly_name": "Eastern Time (US & Canada)",
            "utc_offset": "-05:00",
        },
        "sending_addresses": [
            {
                "email_address": "joe27@ck.lol",
                "from_name": "Joe",
                "status": "pending",
                "is_default": True,
                "is_verified": False,
                "is_dmarc_configured": False,
            }
        ],
    },
}


if __name__ == "__main__":
    base.main(Fake)
