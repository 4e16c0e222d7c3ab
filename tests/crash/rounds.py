"""Rounds of crashes under load, and what they leave behind.

By hand: `CRASH_ROUNDS=50 CRASH_HITS=10 CRASH_SEED=7 pytest tests/crash`; see docs/testing-crashes.md.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tagwarden.core import failpoints
from tests.crash.load import Senders
from tests.crash.place import Place, until
from tests.sandbox.conftest import QUIET

FAULTS = ("429", "503", "cut", "reset", "missing-rows", "missing-tags")
FAULT_RATE = 0.1
ROUNDS_WITH_TIMEOUT = 0.1  # each holds a call for as long as the adapter waits, 10 s
RATE = 200  # the CRM's calls a second
# Where the process dies → how often it does when it comes by, so that it lives for a second or so.
POINTS = {
    failpoints.COMMIT_AND_ANSWER: 0.03,
    failpoints.COPY_AND_COMMIT: 0.1,
    failpoints.NETWORK_AND_TRANSACTION: 0.2,
    failpoints.AFTER_TRANSACTION: 0.2,
    failpoints.SENT_AND_RESULT: 0.2,
    failpoints.RESULT_AND_TRANSACTION: 0.2,
}
STUCK_AFTER = 60  # seconds without anything finished


@dataclass
class Story:
    """What happened, for the table at the end."""

    database: str
    seed: int
    rounds: int = 0
    in_start: int = 0  # rounds that ended before the port was open
    hits: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    redelivered: Counter[str] = field(default_factory=Counter)
    figures: dict[str, object] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def lines(self) -> Iterator[str]:
        table: dict[str, object] = {"database": self.database, "CRASH_SEED": self.seed}
        table["random rounds"] = f"{self.rounds}, {self.in_start} of them ended while starting"
        table |= {f"deaths {point}": self.hits[point] for point in POINTS}
        table |= self.figures
        table["answers to calls"] = _counted(self.statuses)
        table["redelivered at the end"] = _counted(self.redelivered) or "none"
        table["seconds"] = round(time.monotonic() - self.began)
        yield from (f"{name:46}{value}" for name, value in table.items())


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))


class Rounds:
    """A server that dies again and again while calls come in."""

    def __init__(self, place: Place, story: Story) -> None:
        self.place, self.story = place, story
        self._chance = random.Random(story.seed)
        self.senders = Senders(place, story.seed)

    def run(self, rounds: int, hits: int) -> None:
        """So many rounds, and so many deaths at each named place. Ends with the server running and all settled."""
        self.senders.start()
        try:
            for _ in range(rounds):
                self._random_round()
            for point in POINTS:
                while self.story.hits[point] < hits:
                    self._round_at(point)
            self._last_crash()
        finally:
            self.senders.stop()
            self.story.statuses = self.senders.statuses
        self.place.until_settled(STUCK_AFTER)
        self._redeliver()

    def _random_round(self) -> None:
        """Runs for a moment and dies: while it starts, soon after its port has opened, or with work in hand."""
        self._start()
        self.story.rounds += 1
        kind = self._chance.random()
        if kind < 0.2:
            time.sleep(self._chance.uniform(0, 2.5))
            self.story.in_start += not self.place.is_open()
        elif kind < 0.5:
            self.place.until_open()
            time.sleep(self._chance.uniform(0.3, 4))
        else:
            self._until_in_hand()
            time.sleep(self._chance.uniform(0, 1))
        self.place.kill()

    def _round_at(self, point: str) -> None:
        """Runs until it has died at that place; then all the rest dies too, or brings it back first."""
        marks = self.place.data / "hits"
        marks.unlink(missing_ok=True)
        self._start(TAGWARDEN_FAILPOINT=f"{point}:{POINTS[point]}:{marks}")
        until(marks.exists, 60, f"a death {point}")
        if self._chance.random() < 0.5:
            time.sleep(self._chance.uniform(1, 3))
        self.place.kill()
        self.story.hits.update(marks.read_text().split())

    def _start(self, **environ: str) -> None:
        faults = [*FAULTS, "timeout"] if self._chance.random() < ROUNDS_WITH_TIMEOUT else [*FAULTS]
        seed = self._chance.randrange(2**31)
        self.place.crm.set(**QUIET | {"rate_limit": RATE, "fault_rate": FAULT_RATE, "faults": faults, "seed": seed})
        self.place.start(**environ)

    def _last_crash(self) -> None:
        """Work in hand, and whoever comes next has nothing but that to do."""
        self._start()
        self._until_in_hand()
        self.place.kill()
        self.place.crm.set(**QUIET | {"rate_limit": RATE})
        self.place.start()
        self.place.until_open()
        time.sleep(1)

    def _until_in_hand(self) -> None:
        """Waits until the new worker has taken a job."""
        newest = "select coalesce(max(id), 0) from journal_attempt"
        before = self.place.database.one(newest)
        until(lambda: self.place.database.one(newest) > before, 60, f"a job is in hand, see {self.place.log}")

    def _redeliver(self) -> None:
        """What ended as a dead letter goes once more, as an operator would do it."""
        query = (
            "select reason, count(*) from journal_job where outcome in ('failed', 'refused', 'unknown') group by reason"
        )
        for reason, n in self.place.database.rows(query):
            self.story.redelivered[reason] += n
            self.place.tagwarden("delivery", "redeliver", "--reason", reason)
        self.place.until_settled(STUCK_AFTER)

    def refresh_all(self) -> None:
        """One last call for everybody, so that also those follow of whose change the server never heard."""
        senders = Senders(self.place, 0, how_many=1)
        senders.tell_all()
        senders.each[0].welcome(self.senders.joined)
        assert set(senders.statuses) == {"200"}, senders.statuses
        self.story.statuses += senders.statuses
        self.senders.each += senders.each
        self.place.until_settled(STUCK_AFTER)


def wanted(name: str, small: int) -> int:
    return int(os.environ.get(name, "") or small)
