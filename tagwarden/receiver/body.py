"""A request's body: bounded in size and time, and whole or not at all."""

import asyncio
from collections.abc import Mapping
from typing import Any

from granian.rsgi import HTTPProtocol  # type: ignore[attr-defined]  # it has it, unsaid

from tagwarden.core.deadlines import Deadlines

LARGEST = 64 * 1024
LARGEST_HOOK = 256 * 1024  # a vendor tells of up to a thousand contacts at once: some 115 KiB at Keap
KEPT_OF_TOO_LARGE = 4 * 1024
DRAINED = 1 << 20  # a sender that is still writing doesn't read our answer; beyond that it needn't
SECONDS = 30.0


class SenderLeft(Exception):
    """The connection ended before the body did."""


class BodyReader:
    """One per process and event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._deadlines: Deadlines[asyncio.Task[Any]] = Deadlines(loop, SECONDS, self._stop)
        self._stopped: set[asyncio.Task[Any]] = set()

    async def read(
        self, protocol: HTTPProtocol, headers: Mapping[str, str], largest: int = LARGEST
    ) -> tuple[bytes, str]:
        """The body and "", or what is kept of it and the reason code of what is wrong with it.

        Raises SenderLeft, or granian's ProtocolClosed, if the sender left before the end.
        """
        declared = headers.get("content-length", "")
        if not declared and "transfer-encoding" not in headers:
            return b"", ""
        task = asyncio.current_task()
        assert task is not None  # the server runs each request as one
        self._deadlines.start(task)
        try:
            if declared.isdecimal() and int(declared) <= largest:
                return await protocol(), ""
            return await _in_pieces(protocol, headers, largest)
        except asyncio.CancelledError:
            if task in self._stopped and not task.uncancel():
                return b"", "body-stopped"
            raise
        finally:
            self._deadlines.stop(task)
            self._stopped.discard(task)

    def _stop(self, task: asyncio.Task[Any]) -> None:
        self._stopped.add(task)
        task.cancel()


async def _in_pieces(protocol: HTTPProtocol, headers: Mapping[str, str], largest: int) -> tuple[bytes, str]:
    """Reads a body that is too large, or of unknown size.

    granian ends a broken body like a whole one, only with one empty piece more (measured with 2.8; trailers
    give such a piece, too), so the end is checked: a truncated call must never look like a good one.
    """
    body = bytearray()
    length = empty = 0
    async for piece in protocol:
        length += len(piece)
        empty += not piece
        if len(body) <= largest:
            body += piece
        if length > largest + DRAINED:
            return bytes(body[:KEPT_OF_TOO_LARGE]), "too-large"
    declared = headers.get("content-length", "")
    broken = length < int(declared) if declared.isdecimal() else empty > 1 and "trailer" not in headers
    if broken:
        raise SenderLeft
    if length > largest:
        return bytes(body[:KEPT_OF_TOO_LARGE]), "too-large"
    return bytes(body), ""
