"""Many senders at once, each on a connection of its own, posting one call after the other.

By hand, against a server that is running: `python -m tests.receiver.load PORT PATH CONNECTIONS SECONDS`.
"""

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Told:
    """What the senders were told. `acked`: ids of deliveries that were promised."""

    acked: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    broken: int = 0

    def slowest(self, share: float) -> float:
        """The time within which that share of the answers came, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def _sender(port: int, path: str, until: float, most: int, told: Told) -> None:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        told.broken += 1
        return
    body = b"contactId=526&email=ada%40example.com"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    try:
        for _ in range(most):
            if time.monotonic() > until:
                break
            started = time.monotonic()
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            content = await reader.readexactly(length)
            told.seconds.append(time.monotonic() - started)
            status = int(answer[9:12])
            told.statuses[status] += 1
            if status == 200:
                told.acked.append(content.decode().split('"delivery":"')[1][:36])
    except (OSError, asyncio.IncompleteReadError):
        told.broken += 1
    finally:
        writer.close()


async def _all(port: int, path: str, connections: int, seconds: float, most: int) -> Told:
    told = Told()
    until = time.monotonic() + seconds
    await asyncio.gather(*(_sender(port, path, until, most, told) for _ in range(connections)))
    return told


def fire(port: int, path: str, *, connections: int, seconds: float, most: int = 1_000_000) -> Told:
    """Posts for so many seconds, at most `most` calls a connection; senders stop when the server leaves."""
    return asyncio.run(_all(port, path, connections, seconds, most))


if __name__ == "__main__":
    at, where, width, length = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    result = fire(at, where, connections=width, seconds=length)
    print(f"{len(result.acked) / length:,.0f} acks/s, {dict(result.statuses)}, broken {result.broken}, ", end="")
    print(", ".join(f"p{share * 100:g} {result.slowest(share) * 1000:.1f} ms" for share in (0.5, 0.99, 1)))
