"""A load of HTTP requests on kept connections, from one process; prints what came back as one line of JSON.

As fast as the answers come (each connection sends its next request when it was answered), or, with `--rate`, at a
fixed pace whatever the server does. Then an answer's time counts from the moment when its request was due, so that a
server that stands still is seen.

    python -m benchmarks.load PORT '/?aal_updateuser=…' [--connections 64] [--seconds 3] [--rate 5000]
"""

import argparse
import json
import select
import socket
import sys
import time
from array import array
from collections import Counter, deque

WARM_UP = 0.5  # seconds that do not count
LAST_ANSWERS = 5.0  # seconds to wait for what is under way at the end
KINDS = 997  # different bodies, so that no cache of a body helps


def request(path: str, body: bytes = b"") -> bytes:
    """A request as a CRM sends it; without a body a GET."""
    head = (
        f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n"
        "User-Agent: Apache-HttpClient/4.5.13 (Java/11.0.20)\r\nAccept-Encoding: gzip,deflate\r\n"
    )
    form = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
    return (head + (form if body else "") + "\r\n").encode() + body


def calls(path: str) -> list[bytes]:
    """Calls for many contacts."""
    return [request(path, b"contactId=%d&email=member%d%%40example.com" % (n, n)) for n in range(1, KINDS + 1)]


class Connection:
    """One kept connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.since = 0.0
        self._half = b""

    def answer(self) -> int:
        """The status of the answer that is complete now; 0 if there is more to come. Raises OSError if it was cut."""
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionResetError
        self._half += data
        head, end, body = self._half.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return 0
        self._half = b""
        return int(head[9:12])


class Load:
    """Connections that all send the same kinds of requests."""

    def __init__(self, port: int, requests: list[bytes], connections: int, rate: float) -> None:
        self._requests, self._rate = requests, rate
        self._poll = select.epoll()
        self._by_number = {each.socket.fileno(): each for each in (Connection(port) for _ in range(connections))}
        for number in self._by_number:
            self._poll.register(number, select.EPOLLIN)
        self._idle = deque(self._by_number.values())
        self._sent = 0
        self._times = array("d")
        self._statuses: Counter[int] = Counter()

    def run(self, seconds: float) -> dict[str, object]:
        """What came back in that time, after the warm-up."""
        began = time.perf_counter()
        counts_from, until = began + WARM_UP, began + WARM_UP + seconds
        while (now := time.perf_counter()) < until:
            self._send(now, began)
            self._receive(counts_from, until, 0.001 if self._rate else 1.0)
        told = self._told(seconds)
        while len(self._idle) < len(self._by_number) and time.perf_counter() < until + LAST_ANSWERS:
            self._receive(counts_from, until, 0.1)
        return told | {"statuses": dict(self._statuses), "unanswered": len(self._by_number) - len(self._idle)}

    def _send(self, now: float, began: float) -> None:
        while self._idle:
            due = began + self._sent / self._rate if self._rate else now
            if due > now:
                return
            connection = self._idle.popleft()
            connection.since = due
            connection.socket.send(self._requests[self._sent % len(self._requests)])
            self._sent += 1

    def _receive(self, counts_from: float, until: float, patience: float) -> None:
        for number, _ in self._poll.poll(patience):
            connection = self._by_number[number]
            if status := connection.answer():
                now = time.perf_counter()
                self._statuses[status] += 1
                if counts_from <= now < until:
                    self._times.append(now - connection.since)
                self._idle.append(connection)

    def _told(self, seconds: float) -> dict[str, object]:
        ordered = sorted(self._times)
        if not ordered:
            return {"rate": 0.0}
        at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        slowest = {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 for name, share in at.items()}
        return {"rate": len(ordered) / seconds} | slowest


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--get", action="store_true", help="a GET without body, as a browser sends")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rate", type=float, default=0, help="requests a second; 0: as fast as the answers come")
    options = parser.parse_args(argv)
    requests = [request(options.path)] if options.get else calls(options.path)
    print(json.dumps(Load(options.port, requests, options.connections, options.rate).run(options.seconds)))


if __name__ == "__main__":
    main(sys.argv[1:])
