"""How v2 is asked: the filter's grammar, order, and pages by cursor (facts 1.3)."""

import base64
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, unquote_plus

from aiohttp import web

from tests.fakes.keap_account import SHORT, Account, Refused

MOST_ROWS, USUAL_ROWS = 1000, 100  # a page without page_size: nobody says how long, so a short one
OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_TERM = re.compile(r"(\w+)(==|>=|<=|>|<)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Term:
    """`field==value`, or another comparison."""

    field: str
    sign: str
    value: str

    def like(self, text: str) -> bool:
        """Equal whatever the case; a star at the end takes any rest."""
        wanted, had = self.value.lower(), text.lower()
        return had.startswith(wanted[:-1]) if wanted.endswith("*") else had == wanted

    def compares(self, had: float, wanted: float) -> bool:
        return OPERATORS[self.sign](had, wanted)

    def set(self) -> set[str]:
        return {one.strip() for one in self.value.split(",") if one.strip()}


class Query:
    """The parameters of a call, read from the URL as it came. Unknown ones are there, and nobody looks."""

    def __init__(self, request: web.Request, account: Account) -> None:
        decode = unquote_plus if account.settings.plus_is_space else unquote
        self.values: dict[str, list[str]] = {}
        for pair in request.rel_url.raw_query_string.split("&"):
            name, _, value = pair.partition("=")
            self.values.setdefault(decode(name), []).append(decode(value))
        self.short = request.get(SHORT, False)
        self._settings = account.settings
        self._url = f"{request.scheme}://{request.host}{request.path}"

    def one(self, name: str) -> str:
        return self.values.get(name, [""])[0]

    def listed(self, name: str) -> list[str]:
        """A list joined by commas, or a repeated key."""
        return [part.strip() for value in self.values.get(name, ()) for part in value.split(",") if part.strip()]

    def terms(self, signs: Mapping[str, str]) -> list[Term]:
        """The filter. `signs`: the comparisons each field takes. Raises Refused on any other."""
        found = []
        for text in filter(None, (part.strip() for part in self.one("filter").split(";"))):
            parts = _TERM.fullmatch(text)
            if parts is None or parts[2] not in signs.get(parts[1].lower(), "").split():
                raise Refused(400, f"Invalid filter: {text}")
            found.append(Term(parts[1].lower(), parts[2], parts[3]))
        return found

    def order(self, fields: Sequence[str]) -> tuple[str, bool]:
        """The field, and whether downwards. The first of `fields` if nothing is asked for."""
        field, _, way = (self.one("order_by").strip() or fields[0]).partition(" ")
        if field not in fields or way not in {"", "asc", "desc"}:
            raise Refused(400, f"Invalid order_by: {self.one('order_by')}")
        return field, way == "desc"

    def size(self) -> int:
        text = self.one("page_size")
        if text and (not text.isdigit() or int(text) > MOST_ROWS):
            raise Refused(400, f"page_size must be between 0 and {MOST_ROWS}")
        asked = int(text or 0) or USUAL_ROWS
        return max(1, asked // 2) if self.short else asked

    # --- pages -------------------------------------------------------------------------------------------------

    def page(self, rows: Sequence[tuple[Any, int, Any]]) -> tuple[list[Any], dict[str, Any]]:
        """This page of rows of (what they are ordered by, id, row), and what leads to the next."""
        down = self.order_is_down()
        ordered = sorted(rows, key=lambda row: (row[0], row[1]), reverse=down)
        after, size = self._after(), self.size()
        if isinstance(after, int):
            ordered = ordered[after:]
        elif after is not None:
            ordered = [row for row in ordered if ((row[0], row[1]) < after if down else (row[0], row[1]) > after)]
        shown = ordered[:size]
        if len(ordered) <= size and not self._settings.token_repeats:
            return [row[2] for row in shown], self._last()
        here = (after if isinstance(after, int) else 0) + size
        token = here if self._settings.cursor == "offset" else shown[-1][:2] if shown else [0, 0]
        return [row[2] for row in shown], {"next_page_token": self._next(token)}

    def order_is_down(self) -> bool:
        return self.one("order_by").endswith(" desc")

    def _after(self) -> int | tuple[Any, Any] | None:
        text = self.one("page_token")
        if not text or self._settings.token_repeats:
            return None
        try:
            found = json.loads(base64.urlsafe_b64decode(text))
            return found if isinstance(found, int) else (found[0], found[1])
        except (ValueError, TypeError, IndexError):
            raise Refused(400, "Invalid page_token") from None

    def _next(self, place: object) -> str:
        token = base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
        return f"{self._url}?page_token={token}" if self._settings.token_as_url else token

    def _last(self) -> dict[str, Any]:
        ends: dict[str, dict[str, Any]] = {"empty": {"next_page_token": ""}, "null": {"next_page_token": None}}
        return ends.get(self._settings.last_token, {})
