"""The receiver: puts every call with a known handshake on disk and answers it. Knows no Django.

The answers are those of docs/webhooks.md. A call is answered 200 only when it is on disk; a wrong one is
kept, too, with the reason of its refusal.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope  # type: ignore[attr-defined]  # has them unsaid

from tagwarden.core import logs, payload, reasons, wire
from tagwarden.core.proxy import Proxies
from tagwarden.core.tally import Spread
from tagwarden.core.uuid7 import uuid7
from tagwarden.receiver.body import LARGEST, LARGEST_HOOK, BodyReader, SenderLeft
from tagwarden.receiver.request import Address, Request, addressed
from tagwarden.spool.door import DoorTable, Entry
from tagwarden.spool.group_commit import GroupCommit, NotCommitted

DOOR_EVERY = 0.5  # seconds between two looks at the door table's version
DOOR_AT_MOST_EVERY = 0.05  # seconds; also with a flood of wrong handshakes
REFUSED_AFTER = 0.1  # seconds: the same for all 403, so that time tells nothing of why
STRANGERS_A_SECOND = 10
MOST_ADDRESSES = 1_000  # remembered; an automation always posts to the same one

ANSWERED_IN = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 4)  # seconds, to see how answers spread

_STATUS = {"too-large": 413, "body-stopped": 408}
_ECHOED = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to answer: the status, and for all but 200 the reason and what fills its sentence."""

    status: int
    reason: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)


GOOD = Verdict(200)
WRONG = Verdict(403, "handshake-wrong")
NOT_STORED = Verdict(503, "not-stored")


class Receiver:
    """One per process and event loop."""

    def __init__(
        self,
        *,
        door: DoorTable,
        commit: GroupCommit,
        words: wire.Words | None,
        proxies: Proxies,
        bodies: BodyReader,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`words`: the commands and their parameters. None: unknown; then what calls say is not judged."""
        self._door = door
        self._commit = commit
        self._words = words
        self._proxies = proxies
        self._bodies = bodies
        self._loop = loop
        self._addresses: dict[tuple[str, str], Address] = {}  # path and query → live ones, as the door is now
        self._door_read = 0.0
        self.answered: Counter[tuple[int, str]] = Counter()  # (status, reason) → calls
        self.seconds = Spread(ANSWERED_IN)
        self._strangers = (0, 0)  # second, how many in it
        self._keep_door_fresh()

    def close(self) -> None:
        """Ends the watch over the door table. The group commit is its owner's to stop."""
        self._timer.cancel()

    async def handle(self, scope: Scope, protocol: HTTPProtocol) -> bool:
        """Answers the request if it is a webhook; False, with nothing read of it, if it is not."""
        address = self._addresses.get((scope.path, scope.query_string)) or self._address(scope)
        if address is None:
            return False
        if scope.method in ("HEAD", "OPTIONS"):
            protocol.response_empty(204, [("allow", "POST"), ("x-request-id", uuid7())])
            return True
        started = self._loop.time()
        if not address.is_live:
            await self._door_as_of(started)
            address = self._address(scope) or address
        request = Request(scope, address, self._proxies)
        try:
            verdict = await self._receive(request, protocol)
            self.answered[verdict.status, verdict.reason] += 1
            self.seconds.note(self._loop.time() - started)
            if verdict.status == 403:
                await asyncio.sleep(started + REFUSED_AFTER - self._loop.time())
            protocol.response_bytes(verdict.status, _headers(request, verdict), _body(request, verdict))
        except (ProtocolClosed, SenderLeft):
            pass  # nobody is there to be answered, and nothing was promised
        return True

    async def _receive(self, request: Request, protocol: HTTPProtocol) -> Verdict:
        """Reads the body, keeps the call and says what to answer."""
        logs.from_now_on(request.id)
        largest = LARGEST_HOOK if request.is_hook else LARGEST
        body, problem = await self._bodies.read(protocol, request.headers, largest)
        entry = request.address.entry
        if entry is None:
            if not self._may_keep_stranger():
                return WRONG
            verdict, word = WRONG, wire.spelled(request.address.query)
        else:
            verdict, word = self._judge(request, entry, body, problem)
        try:
            await self._commit.append(request.row(body, word, verdict.status, verdict.reason))
        except NotCommitted:
            return verdict if verdict is WRONG else NOT_STORED
        return verdict

    def _judge(self, request: Request, entry: Entry, body: bytes, problem: str) -> tuple[Verdict, str]:
        """The answer to a call with that handshake, and the command's name as it was spelled."""
        if request.is_hook or self._words is None:
            return self._formal_fault(request, entry, problem) or GOOD, wire.spelled(request.address.query)
        call = wire.understand(
            query=request.address.query,
            headers=request.headers,
            body=body,
            words=self._words,
            id_pattern=entry.id_pattern,
        )
        if call.word and not entry.allows(call.word):
            return WRONG, call.spelled
        verdict = self._formal_fault(request, entry, problem)
        if verdict is None and call.finding:
            verdict = Verdict(call.finding.status, call.finding.reason, call.finding.detail)
        return verdict or GOOD, call.spelled

    def _formal_fault(self, request: Request, entry: Entry, problem: str) -> Verdict | None:
        """What is wrong with the call whatever it says, if anything."""
        if entry.revoked:
            return WRONG
        if request.method != "POST" and not (request.method == "GET" and entry.get_allowed):
            return Verdict(405, "method-not-allowed", {"method": request.method})
        if request.is_too_long:
            return Verdict(413, "head-too-large")
        if problem:
            return Verdict(_STATUS[problem], problem)
        if encoding := payload.unknown_encoding(request.headers):
            return Verdict(415, "encoding-not-supported", {"encoding": encoding})
        return None

    def _address(self, scope: Scope) -> Address | None:
        """What that address means now; None if it isn't meant for the receiver. A live one is remembered."""
        is_named, values = addressed(scope.path, scope.query_string)
        secret, entry = self._known(values)
        if entry is None and not is_named:
            return None
        address = Address(scope.path, scope.query_string, secret, entry)
        if address.is_live and len(self._addresses) < MOST_ADDRESSES:
            self._addresses[address.path, address.query] = address
        return address

    def _known(self, values: list[str]) -> tuple[str, Entry | None]:
        for value in values:
            if entry := self._door.find(value):
                return value, entry
        return "", None

    # The door table and the strangers.

    def _keep_door_fresh(self) -> None:
        self._read_door()
        self._timer = self._loop.call_later(DOOR_EVERY, self._keep_door_fresh)

    async def _door_as_of(self, moment: float) -> None:
        """The door table is as it was at that moment or later: nobody is refused by an old one."""
        pause = self._door_read + DOOR_AT_MOST_EVERY - self._loop.time()
        if pause > 0:
            await asyncio.sleep(pause)
        if self._door_read < moment:
            self._read_door()

    def _read_door(self) -> None:
        self._door_read = self._loop.time()
        if self._door.refresh() or len(self._addresses) == MOST_ADDRESSES:
            self._addresses.clear()

    def _may_keep_stranger(self) -> bool:
        second, count = self._strangers
        now = int(self._loop.time())
        self._strangers = (now, count + 1 if now == second else 1)
        return self._strangers[1] <= STRANGERS_A_SECOND


def _headers(request: Request, verdict: Verdict) -> list[tuple[str, str]]:
    headers = [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-request-id", request.id),
    ]
    if verdict.status in (408, 413):
        headers.append(("connection", "close"))  # what is left of the body is not read
    elif verdict.status == 405:
        headers.append(("allow", "POST"))
    elif verdict.status == 503:
        headers.append(("retry-after", "2"))
    elif verdict.status == 200 and request.is_hook:
        secret = request.headers.get("x-hook-secret", "")
        if _ECHOED.fullmatch(secret):
            headers.append(("x-hook-secret", secret))
    return headers


def _body(request: Request, verdict: Verdict) -> bytes:
    if verdict.status == 200:
        return b'{"ok":true,"delivery":"%s"}' % request.id.encode()
    content = {"ok": False, "reason": verdict.reason, "help": reasons.advice(verdict.reason, verdict.detail)}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
