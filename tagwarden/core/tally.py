"""What a process counts while it runs: events by label, and how they spread. Nothing here knows who asks for it.

A worker's counts go to the journal with its heartbeat, since nobody can ask a worker over HTTP.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

Count = tuple[str, dict[str, str], int]

_lock = threading.Lock()
_counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()


def add(name: str, n: int = 1, **labels: object) -> None:
    """Counts `n` events of that name. Labels are few and never a person."""
    key = (name, tuple(sorted((label, str(value)) for label, value in labels.items())))
    with _lock:
        _counts[key] += n


def counts() -> list[Count]:
    """All counts of this process since its start: name, labels, number."""
    with _lock:
        return [(name, dict(labels), n) for (name, labels), n in sorted(_counts.items())]


class Spread:
    """How values spread over given bounds. Written by one thread only, which makes it cheap; read by any."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: upper bounds, ascending; a last one without a bound comes by itself."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def note(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
