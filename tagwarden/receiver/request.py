"""What the head of a request says, and what of it may be kept: never a secret."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from granian.rsgi import Scope

from tagwarden.core import clock, payload, wire
from tagwarden.core.proxy import Proxies
from tagwarden.core.uuid7 import uuid7
from tagwarden.spool.door import Entry
from tagwarden.spool.log import Row

HOOKS = "/hooks/"
SHORTEST_SECRET = 12
MOST_CANDIDATES = 20
LONGEST_QUERY = 8 * 1024
LARGEST_HEADERS = 32 * 1024
MASK = "***"
Headers = tuple[tuple[str, str], ...]  # names in lower case
_SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie"}
_KEPT_OF_STRANGERS = {"user-agent", "content-type", "content-length"}


def addressed(path: str, query: str) -> tuple[bool, list[str]]:
    """Whether the request is certainly meant for the receiver, and the values that may be its handshake."""
    if path.startswith(HOOKS):
        return True, [path[len(HOOKS) :].partition("/")[0].strip()]
    if not query:
        return False, []
    named: list[str] = []
    others: list[str] = []
    is_named = False
    for name, value in wire.query_pairs(query):
        if wire.is_word(name):
            is_named = True
            named.append(value.strip())
        else:
            others.append(value.strip())
    values = [value for value in named + others if len(value) >= SHORTEST_SECRET]
    return is_named, values[:MOST_CANDIDATES]


class Address:
    """Where a call was sent, and whom that makes the sender: the same for all calls of one automation.

    `secret`: the handshake's value; `entry`: the handshake, None for a stranger. `kept_path`, `kept_query`: what may
    be kept of the address.
    """

    __slots__ = ("entry", "is_hook", "is_live", "kept_path", "kept_query", "path", "query", "secret")

    def __init__(self, path: str, query: str, secret: str, entry: Entry | None) -> None:
        self.path, self.query, self.secret, self.entry = path, query, secret, entry
        self.is_live = entry is not None and not entry.revoked
        self.is_hook = path.startswith(HOOKS)  # a vendor's own event hook, and no `aal_` call
        self.kept_path = _masked_path(payload.clean(path), secret)[:LONGEST_QUERY]
        self.kept_query = _masked_query(query, secret)[:LONGEST_QUERY]


@dataclass(frozen=True, slots=True)
class Head:
    """What the headers say. `by_name`: of equal names the first counts. `kept`: what may be kept, as JSON."""

    by_name: Mapping[str, str]
    size: int
    forwarded_for: str
    kept: str


class Request:
    """One request for the receiver."""

    __slots__ = ("_head", "address", "client", "headers", "host", "id", "method", "received")

    def __init__(self, scope: Scope, address: Address, proxies: Proxies) -> None:
        self.id = uuid7()
        self.received = clock.now_ms()
        self.method = scope.method
        self.address = address
        self._head = head = _head(tuple(scope.headers.items()), address.secret)
        self.headers = head.by_name
        self.client = proxies.client(scope.client, head.forwarded_for)
        self.host = self.headers.get("host") or scope.authority or ""

    @property
    def is_hook(self) -> bool:
        """Whether it is a vendor's own event hook, and no `aal_` call."""
        return self.address.is_hook

    @property
    def is_too_long(self) -> bool:
        """Whether address or headers are longer than we take."""
        return len(self.address.query) > LONGEST_QUERY or self._head.size > LARGEST_HEADERS

    def row(self, body: bytes, word: str, status: int, reason: str) -> Row:
        """What is put on disk of it."""
        address, entry = self.address, self.address.entry
        return Row(
            id=self.id,
            received=self.received,
            kind="stranger" if entry is None else "hook" if address.is_hook else "call",
            handshake=entry.handshake if entry else None,
            site=entry.site if entry else None,
            connection=entry.connection if entry else None,
            method=self.method[:20],
            path=address.kept_path,
            query=address.kept_query,
            headers=self._head.kept,
            body=_masked(body, address.secret) if entry else b"",
            address=self.client,
            host=self.host[:255],
            word=word,
            status=status,
            reason=reason,
        )


@lru_cache(maxsize=256)
def _head(pairs: Headers, secret: str) -> Head:
    """What those headers say to the holder of that secret. Calls of one CRM have few different ones."""
    return Head(
        by_name=dict(reversed(pairs)),
        size=sum(len(name) + len(value) for name, value in pairs),
        forwarded_for=",".join(value for name, value in pairs if name == "x-forwarded-for"),
        kept=_kept_headers(pairs, secret),
    )


def _kept_headers(pairs: Headers, secret: str) -> str:
    """What is kept of the headers, as JSON; of a stranger's (no secret) hardly any."""
    if not secret:
        return json.dumps([(name, value[:200]) for name, value in pairs if name in _KEPT_OF_STRANGERS])
    kept: list[tuple[str, str]] = []
    room = LARGEST_HEADERS
    for name, value in pairs:
        room -= len(name) + len(value)
        if room < 0:
            break
        kept.append((name, MASK if name in _SECRET_HEADERS else _masked_text(value, secret)))
    return json.dumps(kept)


@lru_cache(maxsize=256)
def _spellings(secret: bytes) -> re.Pattern[bytes]:
    """The secret however percent signs spell it."""
    return re.compile(b"".join(b"(?:%s|%%(?i:%02x))" % (re.escape(b"%c" % byte), byte) for byte in secret))


def _masked(data: bytes, secret: str) -> bytes:
    """The bytes without the secret."""
    raw = secret.encode("utf-8", "replace")
    data = data.replace(raw, MASK.encode())
    return _spellings(raw).sub(MASK.encode(), data) if b"%" in data else data


def _masked_text(text: str, secret: str) -> str:
    if secret not in text and "%" not in text:
        return text
    return _masked(text.encode("utf-8", "replace"), secret).decode("utf-8", "replace")


def _masked_path(path: str, secret: str) -> str:
    """The path without the handshake; of a stranger's hook only that it was one."""
    if secret:
        return _masked_text(path, secret)
    return f"{HOOKS}{MASK}" if path.startswith(HOOKS) else path


def _masked_query(query: str, secret: str) -> str:
    """The query without the handshake; of a stranger's only the names."""
    if secret:
        return _masked_text(query, secret)
    pieces = [piece.partition("=") for piece in query.split("&")]
    return "&".join(f"{name}={MASK}" if equals else MASK for name, equals, _ in pieces) if query else ""
