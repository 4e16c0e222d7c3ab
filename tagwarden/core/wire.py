"""From the bytes of one HTTP call to what it asks for: word, contacts, parameters, or a finding.

Receiver, intake and Redeliver all read calls here, so that they can never disagree. Pure: no clock, no disk.
The rules are those of docs/webhooks.md. They are liberal, since four CRMs, their users and old automations
are on the other side; whatever is wrong is named in a finding instead of being guessed at.
"""

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from tagwarden.core import payload
from tagwarden.core.payload import Body, Found

MOST_CONTACTS = 1_000
LONGEST_TEXT = 200
DIGITS = r"\d{1,18}"


@dataclass(frozen=True, slots=True)
class Param:
    """What a command says of one parameter. `kind` is "integer" or "text"."""

    kind: str = "integer"
    required: bool = True
    minimum: int | None = None
    maximum: int | None = None
    nonzero: bool = False


Words = Mapping[str, Mapping[str, Param]]  # wire word → {parameter's name as documented ("teamId"): Param}


@dataclass(frozen=True, slots=True)
class Finding:
    """Why it is not a good call: a code of core.reasons, what fills its sentence, the HTTP status."""

    reason: str
    detail: dict[str, object]
    status: int


class Call(NamedTuple):
    """What a call asks for. All texts are clean: no NUL, no broken Unicode, so any database takes them.

    `word`: the wire word without `aal_`, "" if it was not understood; `spelled`: the name as it came.
    `contacts`: distinct ids, in their order. `where`: where the first stood, in plain words.
    `dropped`: what was trimmed from it, "" if nothing. `request_id`: the sender's own id of this call, or "".
    """

    word: str
    spelled: str
    contacts: tuple[str, ...]
    where: str
    dropped: str
    params: dict[str, int | str]
    request_id: str
    finding: Finding | None


@lru_cache(maxsize=256)
def query_pairs(query: str) -> tuple[tuple[str, str], ...]:
    """Names and values of a query string, decoded, in order. Calls of one automation share one query."""
    return tuple(payload.form_pairs(query))


def is_word(name: str) -> bool:
    """Whether a query's name looks like a command: `aal_…`, or `all_…`, the manual's own slip."""
    return name.strip()[:4].lower() in ("aal_", "all_")


def understand(
    *,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    words: Words,
    id_pattern: str = DIGITS,
    word: str = "",
) -> Call:
    """What this call asks for.

    `query`: without the question mark; the secret in it may be masked. `headers`: names in lower case.
    `body`: as it came, packed or not. `words`: the commands there are. `id_pattern`: what a contact id looks
    like at this CRM. `word`: a command chosen by staff, in place of the one in the query. Never raises.
    """
    pairs = query_pairs(query)
    came, known, word_finding = ("", word, None) if word in words else _word(query, words)
    content = payload.read(body, headers)
    found = _filled(content.contacts) or _filled(in_query := _in_query(pairs)) or content.contacts or in_query
    contacts, contact_finding = _contacts(found, content, id_pattern)
    params, param_finding = _params(words.get(known, {}), pairs, content)
    first = found[0] if found else None
    return Call(
        word=known,
        spelled=came,
        contacts=contacts,
        where=first.where if first else "",
        dropped=_dropped(first.value) if first else "",
        params=params,
        request_id=_request_id(pairs, headers),
        finding=_unpacking(content) or word_finding or contact_finding or param_finding,
    )


def _unpacking(content: Body) -> Finding | None:
    if content.encoding:
        return Finding("encoding-not-supported", {"encoding": content.encoding}, 415)
    return None


# The word.


@lru_cache(maxsize=256)
def _names(query: str) -> Mapping[str, str]:
    """The commands' names in a query: in lower case → as they came."""
    return {name.strip().lower(): payload.shown(name) for name, _ in query_pairs(query) if is_word(name)}


def spelled(query: str) -> str:
    """The command's name in that query as it came; several are parted by commas."""
    return ", ".join(list(_names(query).values())[:5])


def _word(query: str, words: Words) -> tuple[str, str, Finding | None]:
    """The name as it came, the word if there is such a command, else a finding."""
    names = _names(query)
    came = ", ".join(list(names.values())[:5])
    if not names:
        return "", "", Finding("operation-missing", {}, 400)
    if len(names) > 1:
        return came, "", Finding("operation-ambiguous", {"words": came}, 400)
    name = next(iter(names))
    word = name[4:]
    if word not in words:
        detail: dict[str, object] = {"spelled": came, "nearest": nearest(word, words)}
        return came, "", Finding("operation-unknown", detail, 404)
    if not name.startswith("aal_"):
        detail = {"spelled": came, "nearest": f"aal_{word}"}
        return came, "", Finding("operation-misspelled", detail, 404)
    return came, word, None


def nearest(word: str, words: Iterable[str]) -> str:
    """The command most like this word, as `aal_…`; all of them if none is like it."""
    known = sorted(words)
    close = difflib.get_close_matches(word[:40], known, n=1, cutoff=0.5) or known
    return " or ".join(f"aal_{name}" for name in close)


# The contacts.

_UNRESOLVED = re.compile(r"""\[.*\]|~.*~|%.*%|\{\{?[^{}":]*\}\}?|<<.*>>|\$\{.*\}|\*\|.*\|\*""", re.DOTALL)
_AROUND = " \t\r\n\f\v\0\u00a0\u200b\u2060\ufeff"
_ADVICE = {"\r": "a line break", "\n": "a line break", "\ufeff": "a byte order mark"}


def _filled(found: tuple[Found, ...]) -> tuple[Found, ...]:
    """All of them, if one at least is more than white space."""
    return found if any(hit.value.strip(_AROUND) for hit in found) else ()


def _in_query(pairs: Iterable[tuple[str, str]]) -> tuple[Found, ...]:
    """The contact id in the query: the first that is not empty, else the first empty one."""
    hits = [
        Found(value, f"the query as `{payload.clean(name)}`")
        for name, value in pairs
        if name.lower() in ("contactid", "contact_id")
    ]
    filled = [hit for hit in hits if hit.value.strip(_AROUND)]
    return tuple((filled or hits)[:1])


def _dropped(value: str) -> str:
    trimmed = value.strip(_AROUND)
    if trimmed == value:
        return ""
    around = value.split(trimmed, 1) if trimmed else []
    kinds = {_ADVICE.get(character, "white space") for part in around for character in part}
    return " and ".join(sorted(kinds))


@lru_cache
def _pattern(id_pattern: str) -> re.Pattern[str]:
    return re.compile(id_pattern, re.ASCII)


def _contacts(found: tuple[Found, ...], content: Body, id_pattern: str) -> tuple[tuple[str, ...], Finding | None]:
    """The distinct good ids, and a finding if one is bad, there are too many or there is none."""
    if not found and content.unreadable:
        return (), Finding("body-unreadable", {"why": content.unreadable}, 400)
    if not found:
        return (), Finding("contact-id-missing", {}, 400)
    fits = _pattern(id_pattern).fullmatch
    good: dict[str, None] = {}
    finding: Finding | None = None
    for hit in found:
        value = hit.value.strip(_AROUND)
        if fits(value):
            good[payload.clean(value)] = None
        elif finding is None:
            finding = _bad_id(value, hit.where)
    if len(good) > MOST_CONTACTS:
        return tuple(good)[:MOST_CONTACTS], Finding("too-many-contacts", {"count": len(good)}, 400)
    return tuple(good), finding


def _bad_id(value: str, where: str) -> Finding:
    if not value:
        return Finding("contact-id-empty", {"where": where}, 400)
    shown = payload.shown(value)
    reason = "contact-id-unresolved" if _UNRESOLVED.fullmatch(value) else "contact-id-malformed"
    return Finding(reason, {"value": shown, "where": where}, 400)


# The parameters.

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


def _params(
    wanted: Mapping[str, Param], pairs: Iterable[tuple[str, str]], content: Body
) -> tuple[dict[str, int | str], Finding | None]:
    if not wanted:
        return {}, None
    given: dict[str, str] = {}
    for name, value in pairs:
        given[name.lower()] = given.get(name.lower(), "").strip(_AROUND) or value
    params: dict[str, int | str] = {}
    finding: Finding | None = None
    for name, param in wanted.items():
        text = (given.get(name.lower(), "").strip(_AROUND) or content.text(name)).strip(_AROUND)
        number_or_text, problem = _param(name, param, text)
        if number_or_text is not None:
            params[name] = number_or_text
        finding = finding or problem
    return params, finding


def _param(name: str, param: Param, text: str) -> tuple[int | str | None, Finding | None]:
    """The parameter's value, or why there is none."""
    if not text:
        return None, Finding("parameter-missing", {"parameter": name}, 400) if param.required else None
    detail: dict[str, object] = {"parameter": name, "value": payload.shown(text)}
    if param.kind == "text":
        if len(text) > LONGEST_TEXT:
            return None, Finding("parameter-too-long", detail, 400)
        return payload.clean(text), None
    if not _INTEGER.fullmatch(text):
        return None, Finding("parameter-not-a-number", detail, 400)
    number = int(text)
    below = param.minimum is not None and number < param.minimum
    above = param.maximum is not None and number > param.maximum
    if below or above or (param.nonzero and number == 0):
        return None, Finding("parameter-out-of-range", detail | {"range": _range(param)}, 400)
    return number, None


def _range(param: Param) -> str:
    low, high = param.minimum, param.maximum
    if low is not None and high is not None:
        text = f"{low:,} to {high:,}"
    elif low is not None:
        text = f"{low:,} and more"
    elif high is not None:
        text = f"{high:,} and less"
    else:
        text = "the whole numbers"
    without = " without 0" if param.nonzero and (low is None or low <= 0) else ""
    return text.replace("-", "−") + without


def _request_id(pairs: Iterable[tuple[str, str]], headers: Mapping[str, str]) -> str:
    """`requestId` of the query, else the header `Idempotency-Key`. A long one is replaced by its digest."""
    given = next((value for name, value in pairs if name.lower() == "requestid" and value.strip()), "")
    text = payload.clean(given or headers.get("idempotency-key", "")).strip()
    return text if len(text) <= LONGEST_TEXT else hashlib.sha256(text.encode()).hexdigest()
