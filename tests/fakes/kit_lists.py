"""The fake Kit's lists: eventually consistent, by pages, active subscribers only unless asked otherwise."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web

from tests.fakes.book import Book, Contact
from tests.fakes.kit_rows import CUT, Refused, Rows, answer, body_of, iso_us, moment, page

_STATES = ("active", "inactive", "bounced", "complained", "cancelled", "all")


class Account(Protocol):
    """What lists ask of the fake they belong to."""

    book: Book
    rows: Rows
    settings: Any

    def now(self) -> float: ...
    def seen(self) -> float: ...
    def tag_id(self, request: web.Request) -> int: ...


class Lists:
    """Every list but those of webhooks."""

    def __init__(self, account: Account) -> None:
        self._account = account

    # --- subscribers -------------------------------------------------------------------------------------------

    def _visible(self) -> list[Contact]:
        """All subscribers as lists see them: some time ago, and some of them longer ago (facts 2.3, 0.8)."""
        account, settings = self._account, self._account.settings
        found = {one.id: one for one in account.book.contacts(account.seen())}
        if settings.lag_tail_seconds > settings.lag_seconds:
            old = {one.id: one for one in account.book.contacts(account.now() - settings.lag_tail_seconds)}
            late = {one for one in found.keys() | old.keys() if self._is_late(one)}
            found = {one: row for one, row in found.items() if one not in late}
            found |= {one: row for one, row in old.items() if one in late}
        return [found[number] for number in sorted(found)]

    def _is_late(self, contact: int) -> bool:
        settings = self._account.settings
        return bool(random.Random(f"{settings.seed} {contact}").random() < settings.lag_tail_share)

    async def subscribers(self, request: web.Request) -> web.Response:
        """The list by which everybody is read; tags only with include=tags."""
        wanted = request.query
        include = set(filter(None, wanted.get("include", "").split(",")))
        sort = wanted.get("sort_field", "created_at")
        if sort == "cancelled_at" and wanted.get("status") != "cancelled":
            raise Refused(422, "The status param must be `cancelled` if sort_field is `cancelled_at`")
        if "canceled_at" in include and wanted.get("status") != "cancelled":
            raise Refused(422, "The status param must be `cancelled` if include contains `canceled_at`")
        found = self._between(self._addressed(self._in_state(self._visible(), wanted), wanted), wanted)
        rows = [([self._sort_key(one, sort), one.id], one) for one in found]
        slim = wanted.get("slim") == "true"
        rows_of = self._account.rows
        order = wanted.get("sort_order", "desc" if self._account.settings.newest_first else "asc")
        return self._paged(
            request, "subscribers", rows, lambda one: rows_of.listed(one, include, slim), newest_first=order == "desc"
        )

    def _sort_key(self, contact: Contact, sort: str) -> str:
        rows = self._account.rows
        moments = {"updated_at": contact.updated, "cancelled_at": rows.state_since.get(contact.id, 0), "id": 0.0}
        return iso_us(moments.get(sort, contact.created))

    def _in_state(self, found: list[Contact], wanted: Mapping[str, str]) -> list[Contact]:
        status = wanted.get("status") or "active"
        if status not in _STATES:
            raise Refused(422, "The status param is invalid")
        return [one for one in found if status in {"all", one.state}]

    def _addressed(self, found: list[Contact], wanted: Mapping[str, str]) -> list[Contact]:
        if not (text := wanted.get("email_address", "").lower()):
            return found
        asked = {one.strip() for one in text.split(",")} if self._account.settings.many_addresses else {text}
        return [one for one in found if one.email.lower() in asked]

    @staticmethod
    def _between(found: list[Contact], wanted: Mapping[str, str]) -> list[Contact]:
        for name in ("created", "updated"):
            if after := wanted.get(f"{name}_after"):
                mark = moment(after, f"{name}_after")
                found = [one for one in found if getattr(one, name) > mark]
            if before := wanted.get(f"{name}_before"):
                mark = moment(before, f"{name}_before")
                found = [one for one in found if getattr(one, name) < mark]
        return found

    async def tagged(self, request: web.Request) -> web.Response:
        """Who has a tag, the latest first."""
        tag, wanted = self._account.tag_id(request), request.query
        found = self._between(self._in_state(self._visible(), wanted), wanted)
        found = [one for one in found if tag in one.tags]
        if after := wanted.get("tagged_after"):
            found = [one for one in found if one.tags[tag] > moment(after, "tagged_after")]
        if before := wanted.get("tagged_before"):
            found = [one for one in found if one.tags[tag] < moment(before, "tagged_before")]
        rows = [([iso_us(one.tags[tag]), one.id], one) for one in found]
        slim = wanted.get("slim") == "true"
        rows_of = self._account.rows
        return self._paged(
            request, "subscribers", rows, lambda one: rows_of.tagged(one, tag, slim=slim), newest_first=True
        )

    # --- the filter --------------------------------------------------------------------------------------------

    async def filter(self, request: web.Request) -> web.Response:
        """By rules that must all be met. Rules on what was opened or clicked are unknown here, and refused."""
        content = await body_of(request)
        found = self._visible()
        for rule in content.get("all", []):
            fits = self._rule(rule)
            found = [one for one in found if fits(one)]
        include = {one["type"] for one in content.get("include", [])}
        rows = [([iso_us(one.created), one.id], one) for one in found]
        rows_of = self._account.rows
        return self._paged(request, "subscribers", rows, lambda one: rows_of.filtered(one, include), wanted=content)

    def _rule(self, rule: Mapping[str, Any]) -> Callable[[Contact], bool]:
        kind, parts = rule.get("type"), rule.get("any", [])
        if kind == "tags":
            asked = {int(tag) for part in parts if part.get("type") == "ids" for tag in part["matching"]}
            return lambda one: bool(asked & one.tags.keys())
        if kind == "subscriber_state":
            states = {state for part in parts for state in part.get("states", part.get("matching", []))}
            return lambda one: one.state in states
        if kind == "custom_field" and rule.get("comparison", "is") == "is":
            return lambda one: one.fields.get(rule["subscriber_custom_field_id"]) == rule.get("value")
        raise Refused(422, f"The fake knows no filter of type {kind}")

    # --- tags and fields ---------------------------------------------------------------------------------------

    async def tags(self, request: web.Request) -> web.Response:
        account = self._account
        counts = Counter(tag for one in account.book.contacts() if one.state == "active" for tag in one.tags)
        rows = [([tag], tag) for tag in account.book.tags]

        def shown(tag: int) -> dict[str, Any]:
            return account.rows.tag(tag, account.now()) | {"subscriber_count": counts[tag]}

        return self._paged(request, "tags", rows, shown, newest_first=True, padded=False)

    async def tags_of(self, request: web.Request) -> web.Response:
        """The tags of one subscriber: what /subscribers/{id} leaves out. Fresh, unless the settings say otherwise."""
        account = self._account
        seen = account.seen() if account.settings.tag_lists_lag else None
        found = account.book.contact(int(request.match_info["id"]), seen)
        if found is None:
            raise Refused(404, "Not Found")
        rows = [([tag], tag) for tag in found.tags]
        shown = account.rows.tag_of
        return self._paged(request, "tags", rows, lambda tag: shown(found, tag), padded=False)

    async def fields(self, request: web.Request) -> web.Response:
        rows = [([field], field) for field in self._account.book.fields]
        return self._paged(request, "custom_fields", rows, self._account.rows.field, padded=False)

    def _paged(
        self,
        request: web.Request,
        name: str,
        rows: list[tuple[list[Any], Any]],
        shown: Callable[[Any], dict[str, Any]],
        *,
        wanted: Mapping[str, Any] | None = None,
        newest_first: bool = False,
        padded: bool = True,
    ) -> web.Response:
        content = page(
            name, rows, request.query if wanted is None else wanted, shown, newest_first=newest_first, padded=padded
        )
        if CUT in request and name == "subscribers":  # half of the page, as if it were all there is
            content[name] = content[name][: len(content[name]) // 2]
            content["pagination"]["has_next_page"] = False
        return answer(content)
