"""When a CRM counts as down, and when to look whether it is back. Arithmetic only; moments in ms since 1970.

Five failures in a row make it suspect: a neutral question is asked at once, and if that fails as well it is down. Then
it is looked at after 10 s, 30 s, 2 min, 5 min, and every 5 min. Any answer that is not a failure ends it all.
"""

import json
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

IN_A_ROW = 5
LOOKS = tuple(timedelta(seconds=seconds) for seconds in (10, 30, 120, 300))  # the last one again and again


@dataclass(frozen=True, slots=True)
class Breaker:
    """How a lane's CRM does. A value: whatever changes it gives a new one.

    `failures` in a row, `since` when; `looks`: neutral questions that failed, and `next_look` the next one's moment.
    """

    failures: int = 0
    since: int = 0
    looks: int = 0
    next_look: int = 0

    @property
    def suspect(self) -> bool:
        """Nothing but a look is asked of it."""
        return self.failures >= IN_A_ROW

    @property
    def down(self) -> bool:
        """Known to be down: failures spend no try."""
        return self.looks > 0

    def failed(self, now: int) -> "Breaker":
        """A call got no answer, or one that says the CRM is broken."""
        return replace(self, failures=self.failures + 1, since=self.since or now)

    def looked(self, now: int, scale: float) -> "Breaker":
        """The neutral question failed. `scale` shortens the pauses."""
        pause = LOOKS[min(self.looks, len(LOOKS) - 1)] * scale
        next_look = now + pause // timedelta(milliseconds=1)
        return replace(self, looks=self.looks + 1, next_look=next_look)

    def stored(self) -> str:
        """As a short JSON text."""
        return json.dumps(asdict(self)) if self.failures else "{}"


def read(stored: str) -> Breaker:
    """A breaker from its text; an empty one is closed."""
    return Breaker(**json.loads(stored or "{}"))
