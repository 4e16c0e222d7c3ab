"""How fast webhooks are taken, what holds them up, and how fast they get into the journal, in one run.

The server is pinned to one core, the load to another. Beside each figure stands a yard-stick, the milliseconds of a
fixed Python loop on the server's core: compare figures of one run whose yard-sticks are alike. `cpu µs` is the server's
processor time for a call, which others on the machine disturb less than the rate.

    python -m benchmarks.receiver [--only hello,parse,door,…] [--seconds 3] [--json FILE]

Everything is made in temporary folders on loopback, and stopped and removed at the end. A PostgreSQL of its own is
started if its programs are there, else the parts about it are left out, and that is said.
"""

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from benchmarks.place import Place, load, move_postgres, pinned, result, until
from benchmarks.yardstick import yardstick
from tests.outage.cluster import Cluster, binaries

CONNECTIONS = (1, 64, 256)
PAGE = "/staff/sign-in/"
PAGES_A_SECOND = 5
ARRIVALS_A_SECOND = 5_000
STALLED = 300
TO_DRAIN = 30_000  # deliveries in the spool when the drain is timed
TARGETS = {
    "durable acks / parse only, 256 connections": "≥ 0.6",
    "the same by processor time": "≥ 0.6",
    "durable acks / hello, 256 connections": "≥ 0.3",
    "that by processor time": "≥ 0.3",
    "p99 ms, 64 connections, pages beside": "≤ 50",
    "added ms, 300 stalled bodies": "≤ 50",
    "drained/s, SQLite": "≥ 4,000",
    "drained/s, PostgreSQL on the other core": "≥ 3,500",
    "p99 ms at 5,000 arrivals/s, SQLite": "≤ 50",
    "p99 ms at 5,000 arrivals/s, PostgreSQL": "≤ 50",
}


class Bench:
    """The run: cores, options and what was measured, by part."""

    def __init__(self, seconds: float, stack: ExitStack, only: set[str]) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.core, self.load_core = cores[0], cores[-1]
        self.seconds = seconds
        self.figures: dict[str, dict[str, Any]] = {}
        self._stack, self._only = stack, only
        self._server_url: str | None = None

    def wants(self, part: str) -> bool:
        return not self._only or part in self._only

    def place(self, database: str = "SQLite") -> Place | None:
        """A fresh place; None if it can't be had."""
        if database == "SQLite":
            url = ""
        elif not (url := self.postgres()):
            return None
        place = Place(self.core, url)
        self._stack.callback(place.remove)
        return place

    def postgres(self) -> str:
        """The URL of a server on the server's core; "" if PostgreSQL isn't installed."""
        if self._server_url is None and binaries():
            with pinned(self.core):
                cluster = Cluster()
            self._stack.callback(cluster.remove)
            self._server_url = cluster.url
        return self._server_url or ""

    def fire(self, place: Place, *options: str, path: str = "") -> Callable[[], dict[str, Any]]:
        """Starts a load; the answer waits for what it measured."""
        options = ("--seconds", str(self.seconds), *options)
        running = load(self.load_core, place.port, path or place.path, *options)
        return lambda: result(running)

    def note(self, part: str, **figures: Any) -> None:
        with pinned(self.core):
            stick = min(yardstick() for _ in range(3))
        self.figures[part] = figures | {"yard-stick": stick}
        shown = "  ".join(f"{name} {_plain(value)}" for name, value in figures.items())
        print(f"{part:44} {shown}  [{stick:.0f}]", flush=True)


def _plain(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


# The parts.


def widths(bench: Bench, place: Place, name: str, path: str = "", *options: str) -> None:
    """Requests as fast as they are answered, at each number of connections."""
    for connections in CONNECTIONS:
        before = place.cpu_seconds()
        measured = bench.fire(place, "--connections", str(connections), *options, path=path)()
        spent = (place.cpu_seconds() - before) * 1e6 / sum(measured["statuses"].values())
        bench.note(f"{name}, {connections}", **measured, **{"cpu µs": spent})


def hello(bench: Bench) -> None:
    if place := bench.place():
        place.door("hello")
        widths(bench, place, "hello", "/", "--get")
        place.stop()


def parse(bench: Bench) -> None:
    if place := bench.place():
        place.door("parse_only")
        widths(bench, place, "parse only")
        place.stop()


def door(bench: Bench) -> None:
    """Durable acks with intake stopped, and the bytes that they take."""
    if place := bench.place():
        place.web()
        widths(bench, place, "durable acks")
        place.stop()
        bench.note("bytes a delivery, spool", bytes=place.bytes_each()["spool"])


def both(bench: Bench) -> None:
    """Durable acks with intake on the same core; PostgreSQL is there, too."""
    for database in ("SQLite", "PostgreSQL"):
        if place := bench.place(database):
            place.web()
            place.intake()
            widths(bench, place, f"acks beside intake, {database}")
            place.stop()


def pages(bench: Bench) -> None:
    if place := bench.place():
        place.web()
        looking = bench.fire(place, "--get", "--connections", "1", "--rate", str(PAGES_A_SECOND), path=PAGE)
        calling = bench.fire(place, "--connections", "64")
        bench.note("acks, 64 connections, pages beside", **calling())
        bench.note("pages, 5/s, beside 64 connections", **looking())
        place.stop()


def stalled(bench: Bench) -> None:
    """Other calls and pages, first alone, then while half-bodies hang."""
    place = bench.place()
    if place is None:
        return
    place.web()
    quiet = _calls_and_pages(bench, place, "nothing stalled")
    head = f"POST {place.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 400\r\n\r\ncontactId=".encode()
    with ExitStack() as hanging:
        for _ in range(STALLED):
            connection = hanging.enter_context(closing(socket.create_connection(("127.0.0.1", place.port), 10)))
            connection.sendall(head)
        held_up = _calls_and_pages(bench, place, f"{STALLED} half-bodies")
    bench.note("added by 300 half-bodies", **{name: held_up[name] - quiet[name] for name in quiet})
    place.stop()


def _calls_and_pages(bench: Bench, place: Place, beside: str) -> dict[str, float]:
    looking = bench.fire(place, "--get", "--connections", "1", "--rate", str(PAGES_A_SECOND), path=PAGE)
    measured = bench.fire(place, "--connections", "8", "--rate", "200")()
    page = looking()
    bench.note(f"200 calls/s, {beside}", **measured)
    bench.note(f"pages, 5/s, {beside}", **page)
    return {"calls p99": measured["p99"], "pages p50": page["p50"]}


def drain(bench: Bench) -> None:
    """A full spool into an empty journal, from intake's first batch on."""
    for database in ("SQLite", "PostgreSQL on the other core", "PostgreSQL on the same core"):
        if place := bench.place(database):
            if place.url:
                move_postgres(place.url, bench.load_core if "other" in database else bench.core)
            place.web()
            while place.waiting < TO_DRAIN:
                bench.fire(place, "--connections", "256", "--seconds", "1")()
            place.stop()
            bench.note(f"drained, {database}", **_drained(place))
            place.stop()
            bench.note(f"bytes a delivery, {database}", bytes=place.bytes_each()["database"])


def _drained(place: Place) -> dict[str, float]:
    total = place.waiting
    place.intake()
    first, began = place.carried, time.perf_counter()
    until(lambda: place.carried >= total, 60, "the spool is empty")
    return {"rate": (total - first) / (time.perf_counter() - began), "deliveries": float(total - first)}


def arrivals(bench: Bench) -> None:
    """Calls at a fixed pace, intake on the receiver's core."""
    for database in ("SQLite", "PostgreSQL"):
        if place := bench.place(database):
            place.web()
            place.intake()
            measured = bench.fire(place, "--connections", "256", "--rate", str(ARRIVALS_A_SECOND))()
            bench.note(f"5,000 arrivals/s, {database}", **measured, waiting=place.waiting)
            place.stop()


PARTS: dict[str, Callable[[Bench], None]] = {
    part.__name__: part for part in (hello, parse, door, both, pages, stalled, drain, arrivals)
}


# What it comes to.


def reached(figures: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The figures that have targets, as far as their parts were run."""

    def of(part: str, figure: str) -> float:
        return float(figures.get(part, {}).get(figure, 0))

    acks, cpu = of("durable acks, 256", "rate"), of("durable acks, 256", "cpu µs") or 1e9
    found = {
        "durable acks / parse only, 256 connections": acks / (of("parse only, 256", "rate") or 1e9),
        "the same by processor time": of("parse only, 256", "cpu µs") / cpu,
        "durable acks / hello, 256 connections": acks / (of("hello, 256", "rate") or 1e9),
        "that by processor time": of("hello, 256", "cpu µs") / cpu,
        "p99 ms, 64 connections, pages beside": of("acks, 64 connections, pages beside", "p99"),
        "added ms, 300 stalled bodies": max(figures.get("added by 300 half-bodies", {"none": 0.0}).values()),
        "drained/s, SQLite": of("drained, SQLite", "rate"),
        "drained/s, PostgreSQL on the other core": of("drained, PostgreSQL on the other core", "rate"),
        "p99 ms at 5,000 arrivals/s, SQLite": of("5,000 arrivals/s, SQLite", "p99"),
        "p99 ms at 5,000 arrivals/s, PostgreSQL": of("5,000 arrivals/s, PostgreSQL", "p99"),
    }
    return {name: value for name, value in found.items() if value > 1e-3}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help=f"parts, parted by commas, of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=3, help="how long each load counts")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args(argv)
    only = set(filter(None, options.only.split(",")))
    if unknown := only - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    with ExitStack() as stack:
        bench = Bench(options.seconds, stack, only)
        print(f"server on core {bench.core}, load on core {bench.load_core}; times in ms; [yard-stick ms]")
        if not binaries():
            print("PostgreSQL isn't installed: the parts about it are left out")
        for name, part in PARTS.items():
            if bench.wants(name):
                part(bench)
    found = reached(bench.figures)
    for name, value in found.items():
        print(f"{name:44} {_plain(value):>8}  wanted {TARGETS[name]}")
    if options.json:
        options.json.write_text(json.dumps({"figures": bench.figures, "reached": found}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
