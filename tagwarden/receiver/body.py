"""A request's body: bounded in size and time, and whole or not at all."""

import asyncio
from collections.abc import Mapping

from granian.rsgi import HTTPProtocol  # type: ignore[attr-defined]  # it has it, unsaid

LARGEST = 64 * 1024
KEPT_OF_TOO_LARGE = 4 * 1024
DRAINED = 1 << 20  # a sender that is still writing doesn't read our answer; beyond that it needn't
SECONDS = 30.0


class SenderLeft(Exception):
    """The connection ended before the body did."""


async def read_body(protocol: HTTPProtocol, headers: Mapping[str, str], largest: int = LARGEST) -> tuple[bytes, str]:
    """The body and "", or what is kept of it and the reason code of what is wrong with it.

    Raises SenderLeft, or granian's ProtocolClosed, if the sender left before the end.
    """
    declared = headers.get("content-length", "")
    if not declared and "transfer-encoding" not in headers:
        return b"", ""
    try:
        async with asyncio.timeout(SECONDS):
            if declared.isdecimal() and int(declared) <= largest:
                return await protocol(), ""
            return await _in_pieces(protocol, headers, largest)
    except TimeoutError:
        return b"", "body-stopped"


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
