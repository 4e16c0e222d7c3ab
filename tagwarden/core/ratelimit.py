"""How many calls a vendor allows, as arithmetic: how many may begin now, and when the next one may.

A bucket for each window that the vendor counts. It fills at our share of the limit, the rest being left to the owner's
other tools, and holds an eighth of that share, at least one call. So no stretch of time as long as the window ever
sees more calls than the vendor allows, wherever its own windows begin. Moments are in ms since 1970.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

BURST = 1 / 8  # of our share may go at once
KEPT = 1 / 4  # of that is kept for urgent work
MANY = 10_000  # calls that may begin where no limit is known
_TINY = 1e-6  # what rounding may cost
_PART = 0.99  # of a call: room to be late in, which never lets one more through


@dataclass(frozen=True, slots=True)
class Limit:
    """So many calls in so many seconds, as the vendor says."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer's headers said of the window of that length; None: nothing.

    `reset`: seconds until the vendor counts anew, or all calls are there again. Who names none is not waited for: the
    calls that are used up are mostly our own, and leave one by one.
    """

    seconds: float
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class _Bucket:
    calls: int  # the vendor's limit
    seconds: float
    reserve: int  # percent of it that is left to others
    held: float
    rest_until: int = 0  # the vendor had none left

    @property
    def share(self) -> float:
        return self.calls * (100 - self.reserve) / 100

    # In a window there are never more calls than burst and share together, and of a sum like 5.99 only 5 are calls.

    @property
    def burst(self) -> float:
        return max(1, min(self.calls - self.share + _PART, max(1 + _PART, self.share * BURST)))

    @property
    def a_ms(self) -> float:
        """Calls that come in each millisecond."""
        return min(self.share, self.calls - self.burst + _PART) / (self.seconds * 1000)

    def kept(self, urgent: bool) -> int:
        return 0 if urgent else int(self.burst * KEPT)


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be asked of one vendor's account. A value: whatever changes it gives a new one.

    `reserved` calls are taken and have not begun. While they wait for their thread the bucket fills no further than
    it would without them, so that late calls never come on top of a full bucket.
    """

    buckets: tuple[_Bucket, ...] = ()
    at: int = 0
    reserved: int = 0

    def under(self, limits: Iterable[Limit], reserve: int) -> "Budget":
        """The same under these limits of the adapter and this reserve (percent).

        A limit that the vendor's headers named stays; a window that is new begins with one full burst.
        """
        known = {bucket.seconds: bucket for bucket in self.buckets}
        return replace(self, buckets=tuple(_adopted(known.get(limit.seconds), limit, reserve) for limit in limits))

    def free(self, now: int, *, urgent: bool) -> int:
        """How many calls may begin now. Work that isn't urgent leaves a part of it."""
        there = self._filled(now)
        if any(now < bucket.rest_until for bucket in there.buckets):
            return 0
        free = min((bucket.held - bucket.kept(urgent) for bucket in there.buckets), default=MANY)
        return max(0, math.floor(free + _TINY))

    def when(self, now: int, *, urgent: bool) -> int:
        """The first moment, from now on, at which one call is free."""
        return max((_when(bucket, now, urgent) for bucket in self._filled(now).buckets), default=now)

    def take(self, now: int, calls: int) -> "Budget":
        """Reserves calls, at most as many as are free."""
        there = self._filled(now)
        buckets = tuple(replace(bucket, held=bucket.held - calls) for bucket in there.buckets)
        return replace(there, buckets=buckets, reserved=self.reserved + calls)

    def begin(self, now: int) -> "Budget":
        """A reserved call leaves now."""
        return replace(self._filled(now), reserved=self.reserved - 1)

    def give_back(self, now: int, calls: int) -> "Budget":
        """Reserved calls that turned out not to be needed."""
        there = self._filled(now)
        buckets = tuple(replace(bucket, held=bucket.held + calls) for bucket in there.buckets)
        return replace(there, buckets=buckets, reserved=self.reserved - calls)

    def heard(self, now: int, said: Sequence[Said], *, under_way: int) -> "Budget":
        """Corrected by an answer's headers. `under_way`: calls that the vendor may not have counted."""
        there, about = self._filled(now), {one.seconds: one for one in said}
        buckets = tuple(
            _corrected(bucket, about[bucket.seconds], now, under_way) if bucket.seconds in about else bucket
            for bucket in there.buckets
        )
        return replace(there, buckets=buckets)

    def _filled(self, now: int) -> "Budget":
        """As of now. A clock that was set back adds nothing."""
        passed = max(0, now - self.at)
        return replace(self, at=now, buckets=tuple(_fill(bucket, passed, self.reserved) for bucket in self.buckets))

    def stored(self) -> str:
        """As a short JSON text. Calls that were reserved count as made."""
        rows = [[b.seconds, b.calls, b.reserve, round(b.held, 3), b.rest_until] for b in self.buckets]
        return json.dumps({"at": self.at, "buckets": rows}) if rows else "{}"


def read(stored: str) -> Budget:
    """A budget from its text; an empty one knows no limits."""
    content = json.loads(stored or "{}")
    rows = content.get("buckets", [])
    buckets = [_Bucket(calls, seconds, reserve, held, rest) for seconds, calls, reserve, held, rest in rows]
    return Budget(tuple(buckets), content.get("at", 0))


def _adopted(known: _Bucket | None, limit: Limit, reserve: int) -> _Bucket:
    bucket = replace(known, reserve=reserve) if known else _Bucket(limit.calls, limit.seconds, reserve, MANY)
    return replace(bucket, held=min(bucket.held, bucket.burst))


def _fill(bucket: _Bucket, passed: int, reserved: int) -> _Bucket:
    full = max(bucket.held, bucket.burst - reserved)
    return replace(bucket, held=min(full, bucket.held + passed * bucket.a_ms))


def _when(bucket: _Bucket, now: int, urgent: bool) -> int:
    missing = 1 + bucket.kept(urgent) - bucket.held
    return max(bucket.rest_until, now + math.ceil(max(0.0, missing - _TINY) / bucket.a_ms))


def _corrected(bucket: _Bucket, said: Said, now: int, under_way: int) -> _Bucket:
    if said.limit:
        bucket = replace(bucket, calls=said.limit)
    left = bucket.burst if said.remaining is None else said.remaining - under_way
    bucket = replace(bucket, held=min(bucket.held, bucket.burst, max(0.0, left)))
    if said.remaining is None or said.reset is None or left >= 1 or under_way:
        return bucket
    return replace(bucket, rest_until=now + math.ceil(min(said.reset, bucket.seconds) * 1000))
