"""What the head of a request says, and what of it may be kept: never a secret."""

import json
import re
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


class Request:
    """One request for the receiver. `entry`: its handshake, None for a stranger; `secret`: the handshake's
    value.
    """

    __slots__ = ("_pairs", "address", "entry", "headers", "host", "id", "method", "path", "query", "received",
                 "secret")  # fmt: skip

    def __init__(self, scope: Scope, proxies: Proxies) -> None:
        self.id = uuid7()
        self.received = clock.now_ms()
        self.method = scope.method
        self.path = scope.path
        self.query = scope.query_string
        self._pairs = scope.headers.items()
        self.headers = dict(reversed(self._pairs))  # of equal names the first counts
        self.address = proxies.client(scope.client, self._joined("x-forwarded-for"))
        self.host = self.headers.get("host") or scope.authority or ""
        self.entry: Entry | None = None
        self.secret = ""

    @property
    def is_hook(self) -> bool:
        """Whether it is a vendor's own event hook, and no `aal_` call."""
        return self.path.startswith(HOOKS)

    @property
    def is_too_long(self) -> bool:
        """Whether address or headers are longer than we take."""
        return len(self.query) > LONGEST_QUERY or _size(self._pairs) > LARGEST_HEADERS

    def row(self, body: bytes, word: str, status: int, reason: str) -> Row:
        """What is put on disk of it."""
        entry = self.entry
        known = entry is not None
        return Row(
            id=self.id,
            received=self.received,
            kind=("hook" if self.is_hook else "call") if known else "stranger",
            handshake=entry.handshake if entry else None,
            site=entry.site if entry else None,
            connection=entry.connection if entry else None,
            method=self.method[:20],
            path=_masked_path(payload.clean(self.path), self.secret if known else "")[:LONGEST_QUERY],
            query=_masked_query(self.query, self.secret if known else "")[:LONGEST_QUERY],
            headers=json.dumps(self._kept_headers(known)),
            body=_masked(body, self.secret) if known else b"",
            address=self.address,
            host=self.host[:255],
            word=word,
            status=status,
            reason=reason,
        )

    def _joined(self, name: str) -> str:
        return ",".join(value for key, value in self._pairs if key == name) if name in self.headers else ""

    def _kept_headers(self, known: bool) -> list[tuple[str, str]]:
        if not known:
            return [(name, value[:200]) for name, value in self._pairs if name in _KEPT_OF_STRANGERS]
        kept: list[tuple[str, str]] = []
        room = LARGEST_HEADERS
        for name, value in self._pairs:
            room -= len(name) + len(value)
            if room < 0:
                break
            kept.append((name, MASK if name in _SECRET_HEADERS else _masked_text(value, self.secret)))
        return kept


def _size(pairs: list[tuple[str, str]]) -> int:
    return sum(len(name) + len(value) for name, value in pairs)


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
