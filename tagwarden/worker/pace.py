"""The pace of a lane: what it may ask of its CRM now. Shared by the drain and the threads that speak to the CRM.

The budget, the breaker and a pause that the CRM asked for are values (core/ratelimit.py, core/breaker.py); this keeps
them under one lock while the lane is ours. The journal keeps them between two drains.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta

from tagwarden.core import breaker, clock, ratelimit
from tagwarden.core.breaker import Breaker
from tagwarden.core.errors import Retryable
from tagwarden.core.ratelimit import Limit, Said
from tagwarden.crms import base
from tagwarden.journal.limits import Kept

PATIENCE_MS = 2_000  # a call that nobody could foresee waits so long for its turn, in its thread
ASKING_MS = 1_000


class Pace:
    """What a lane may ask of its CRM. Moments in ms."""

    def __init__(self, kept: Kept) -> None:
        self._lock = threading.Lock()
        self._budget = ratelimit.read(kept.budget)
        self._breaker = breaker.read(kept.breaker)
        self._paused_until = 0 if self._breaker.suspect else kept.paused_until
        self._under_way = 0  # calls reserved or sent, and not answered yet
        self._looking = False

    def under(self, limits: Iterable[Limit], reserve: int) -> None:
        """From now on these limits of the adapter and this reserve (percent) hold."""
        with self._lock:
            self._budget = self._budget.under(limits, reserve)

    def kept(self, *, spent: int = 0) -> Kept:
        """As the journal keeps it. `spent`: calls that are about to be reserved; if we die they count as made."""
        with self._lock:
            budget = self._budget.take(clock.now_ms(), spent) if spent else self._budget
            return Kept(self._stopped_until(), budget.stored(), self._breaker.stored())

    def _stopped_until(self) -> int:
        return max(self._paused_until, self._breaker.next_look)

    def free(self, *, urgent: bool) -> int:
        """How many calls may begin now. None while the CRM asked for a pause or seems to be down."""
        with self._lock:
            return self._free(clock.now_ms(), urgent)

    def _free(self, now: int, urgent: bool) -> int:
        if self._breaker.suspect or now < self._paused_until:
            return 0
        return self._budget.free(now, urgent=urgent)

    def when(self, *, urgent: bool) -> int:
        """The first moment, from now on, at which a call, or a look whether the CRM is back, may begin."""
        with self._lock:
            return self._when(clock.now_ms(), urgent)

    def _when(self, now: int, urgent: bool) -> int:
        if self._breaker.suspect:  # while it is being asked, its answer wakes us
            return max(now + (ASKING_MS if self._looking else 0), self._breaker.next_look)
        return max(self._paused_until, self._budget.when(now, urgent=urgent))

    def reserve(self, calls: int, *, urgent: bool) -> "Permit":
        """Calls that are going to be made, at most as many as are free."""
        with self._lock:
            self._budget = self._budget.take(clock.now_ms(), calls)
            self._under_way += calls
        return Permit(self, calls, urgent)

    # --- is the CRM back? ----------------------------------------------------------------------------------------

    def begin_look(self) -> "Permit | None":
        """The permit of a neutral question, if it is time to ask one."""
        with self._lock:
            now = clock.now_ms()
            if self._looking or not self._breaker.suspect or now < self._breaker.next_look:
                return None
            self._looking = True
            self._budget = self._budget.take(now, 1)
            self._under_way += 1
        return Permit(self, 1, urgent=True, look=True)

    def looked(self, scale: float) -> Breaker:
        """The question was asked. Returns how the CRM does now; `scale` shortens the pause until the next one."""
        with self._lock:
            self._looking = False
            if self._breaker.suspect:
                self._breaker = self._breaker.looked(clock.now_ms(), scale)
            return self._breaker

    # --- what permits do ---------------------------------------------------------------------------------------------

    def _refuse_if_stopped(self, crm: str, now: int) -> None:
        if self._breaker.suspect:
            why = "several calls before this one failed"
            raise Retryable("crm-unreachable", after=timedelta(0), spends_try=False, crm=crm, why=why)
        if now < self._paused_until:
            pause = timedelta(milliseconds=self._paused_until - now)
            raise Retryable("crm-paused", after=pause, spends_try=False, crm=crm)

    def begin_reserved(self, crm: str, *, look: bool) -> None:
        """A reserved call leaves."""
        with self._lock:
            now = clock.now_ms()
            if not look:
                self._refuse_if_stopped(crm, now)
            self._budget = self._budget.begin(now)

    def begin_another(self, crm: str, *, urgent: bool) -> None:
        """A call that nobody could foresee leaves as soon as it may. Raises Retryable if that takes too long."""
        patience = PATIENCE_MS
        while wait := self._another(crm, urgent):
            patience -= wait
            if patience < 0:
                raise Retryable("crm-limit", after=timedelta(milliseconds=wait), spends_try=False, crm=crm)
            time.sleep(wait / 1000)

    def _another(self, crm: str, urgent: bool) -> int:
        """Lets it go and returns 0, or returns how long it has to wait (ms)."""
        with self._lock:
            now = clock.now_ms()
            self._refuse_if_stopped(crm, now)
            if not self._free(now, urgent):
                return max(1, self._when(now, urgent) - now)
            self._budget = self._budget.take(now, 1).begin(now)
            self._under_way += 1
            return 0

    def heard(self, said: Sequence[Said], pause: timedelta | None) -> None:
        """A call was answered: the CRM is up."""
        with self._lock:
            now = clock.now_ms()
            self._under_way -= 1
            self._breaker = Breaker()
            self._budget = self._budget.heard(now, said, under_way=self._under_way)
            if pause is not None:
                self._paused_until = max(self._paused_until, now + pause // timedelta(milliseconds=1))

    def failed(self) -> bool:
        """A call failed. Returns whether that spends a try."""
        with self._lock:
            self._under_way -= 1
            spends = not self._breaker.down
            self._breaker = self._breaker.failed(clock.now_ms())
            return spends

    def close(self, left: int, lost: int) -> None:
        """A batch is through: calls `left` were not needed, of `lost` ones nobody knows what became of them."""
        with self._lock:
            self._under_way -= left + lost
            self._budget = self._budget.give_back(clock.now_ms(), left)


class Permit(base.Limiter):
    """The calls of one batch. What a batch needs beyond its reserved calls waits a moment for its turn."""

    def __init__(self, pace: Pace, calls: int, urgent: bool, *, look: bool = False) -> None:
        self._pace, self._left, self._urgent, self._look = pace, calls, urgent, look
        self._unanswered = 0

    def begin(self, crm: str) -> None:
        if self._left:
            self._pace.begin_reserved(crm, look=self._look)
            self._left -= 1
        else:
            self._pace.begin_another(crm, urgent=self._urgent)
        self._unanswered += 1

    def heard(self, said: Sequence[Said], pause: timedelta | None) -> None:
        self._unanswered -= 1
        self._pace.heard(said, pause)

    def failed(self) -> bool:
        self._unanswered -= 1
        return self._pace.failed()

    def close(self) -> None:
        """No more calls."""
        self._pace.close(self._left, self._unanswered)
        self._left = self._unanswered = 0
