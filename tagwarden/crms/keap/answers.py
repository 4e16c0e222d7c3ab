"""What stands in Keap's answers: rows, refusals and limits, as plain values. No network.

v1 gives numbers for ids, v2 texts; keys may be missing or null.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tagwarden.core import clock
from tagwarden.core.outcome import Snapshot
from tagwarden.core.ratelimit import Said
from tagwarden.crms import base


def id_of(row: object) -> str:
    """Its id as text, "" if it has none."""
    return text(row.get("id")) if isinstance(row, Mapping) else ""


def by_number(id_: str) -> tuple[int, str]:
    return (int(id_) if id_.isdigit() else 0, id_)


def text(value: object) -> str:
    """A value as text. Keap's file gives the content of a field no type; several choices are joined by commas."""
    if isinstance(value, list):
        return ",".join(map(text, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else ""


def values(row: Mapping[str, Any]) -> dict[str, str]:
    """Id of a field → what it holds."""
    fields = row.get("custom_fields")
    return {id_of(one): text(one.get("content")) for one in fields if id_of(one)} if isinstance(fields, list) else {}


def tag_ids(row: Mapping[str, Any]) -> list[str] | None:
    """The tags' ids; None if the row doesn't tell, which is not the same as none. `groups` is their older form."""
    if isinstance(ids := row.get("tag_ids"), list):
        return [text(one) for one in ids if text(one)]
    if isinstance(groups := row.get("groups"), str):
        return [part.strip() for part in groups.split(",") if part.strip()]
    return None


def email(row: Mapping[str, Any]) -> str:
    """Of up to three addresses the one in the first place, else the first that is there."""
    found = row.get("email_addresses")
    rows = [one for one in found if isinstance(one, dict) and one.get("email")] if isinstance(found, list) else []
    first = [one for one in rows if one.get("field") == "EMAIL1"] or rows
    return text(first[0]["email"]) if first else ""


def next_token(value: object) -> str | None:
    """The next page's token, "" if there is none; at times it comes as an address that holds it. None: no token."""
    token = text(value)
    if "://" not in token:
        return token
    return next(iter(parse_qs(urlsplit(token).query).get("page_token", [])), None)


def in_words(snapshot: Snapshot) -> str:
    """What was found, for the record of the call."""
    if snapshot.tags is None:
        return "The answer came without tags"
    name = f"{snapshot.first_name} {snapshot.last_name}".strip() or snapshot.email
    tags = "1 tag" if len(snapshot.tags) == 1 else f"{len(snapshot.tags)} tags"
    return f"Found {name} with {tags}"


# Refusals. The gateway says {"fault": …}, the application {"code", "message", "status", "details"}.


def _fault(body: object) -> str:
    """The gateway's code, "" if it is not the gateway that speaks."""
    fault = body.get("fault") if isinstance(body, dict) else None
    if not fault:
        return ""
    detail = fault.get("detail") if isinstance(fault, dict) else None
    return text(detail.get("errorcode") if isinstance(detail, dict) else "") or "fault"


def too_many(response: httpx.Response) -> bool:
    """The gateway may answer one call too many by another status than 429, and the code in the body may be a text."""
    try:
        body = response.json()
    except ValueError:
        body = None
    code = text(body.get("code")) if isinstance(body, dict) else ""
    return response.status_code == 429 or code == "429" or _fault(body).startswith("policies.ratelimit.")


class Moved(base.Refused):
    """The contact that was asked for lives on as another one."""


def redirected(crm: str, response: httpx.Response) -> base.Refused:
    """To another contact, or anywhere else: then the connection's address is wrong."""
    asked, there = (_CONTACT.search(text) for text in (response.url.path, response.headers.get("location", "")))
    kind = Moved if asked and there and asked[1] != there[1] else base.Refused
    return kind(crm, response)


_CONTACT = re.compile(r"/contacts/(\d+)")


def not_there(error: base.Refused) -> bool:
    """What was asked for is gone. A 404 of the gateway, or of somebody who isn't Keap, is about the address."""
    is_keaps = not _fault(error.body) and (not isinstance(error.body, str) or not error.body.strip())
    return isinstance(error, Moved) or (error.status in {404, 410} and is_keaps)


def missing(error: base.Refused) -> str:
    """Which kind of thing a 404 says is missing."""
    body = error.body if isinstance(error.body, dict) else {}
    details = body.get("details")
    rows = [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    named = " ".join(text(one.get("resource")) for one in rows).strip()
    return (named or text(body.get("message"))).lower()


# Limits.

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


def limits(headers: Mapping[str, str]) -> tuple[Said, ...]:
    """What is left to the key and to the whole account, of windows of one length whichever is less.

    Names in lower case. Numbers are blank in answers to a call without a good key.
    """
    found: dict[float, Said] = {}
    for family in ("product-quota", "product-throttle", "tenant-throttle"):
        for one in _windows(headers, f"x-keap-{family}"):
            known = found.get(one.seconds)
            found[one.seconds] = _tighter(known, one) if known else one
    return tuple(found.values())


def _windows(headers: Mapping[str, str], family: str) -> Iterator[Said]:
    """The windows of one family of headers; two may stand in one header, parted by a bar. Expiry in ms since 1970."""
    names = ("limit", "time-unit", "interval", "available", "expiry-time")
    columns = {name: headers.get(f"{family}-{name}", "").split("|") for name in names}
    for n, unit in enumerate(columns["time-unit"]):
        seconds = _UNITS.get(unit.strip().lower().rstrip("s"), 0)
        cells = {name: cell[n] for name, cell in columns.items() if n < len(cell)}
        if not seconds:
            continue
        seconds *= base.number(cells, "interval") or 1
        expiry, reset = base.number(cells, "expiry-time"), None
        if expiry is not None:
            reset = min(max(0.0, (expiry - clock.now_ms()) / 1000), seconds)
        yield Said(seconds, base.number(cells, "limit"), base.number(cells, "available"), reset)


def _tighter(one: Said, other: Said) -> Said:
    """Of two windows of one length that in which less is left; the lower limit counts."""
    limit = min((said.limit for said in (one, other) if said.limit), default=None)
    fewest = min(one, other, key=lambda said: math.inf if said.remaining is None else said.remaining)
    return replace(fewest, limit=limit)
