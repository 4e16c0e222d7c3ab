"""What is counted and logged of attempts once their end is committed."""

import logging
from collections.abc import Iterable

from tagwarden.core import logs, tally

log = logging.getLogger(__name__)

End = tuple[str, str, str, str]  # result, command, reason, what log lines call the job


def ends(attempts: Iterable[End]) -> None:
    """Those that ended alike are one line: what failed loudly, all else for those who look closely."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for result, command, reason, called in attempts:
        alike.setdefault((result, command, reason), []).append(called)
    for (result, command, reason), all_called in alike.items():
        tally.add("attempts", len(all_called), result=result)
        level, why = logging.WARNING if result == "failed" else logging.DEBUG, f" ({reason})" if reason else ""
        with logs.concerning(all_called):
            log.log(level, "%s: %s%s, jobs: %d", command, result, why, len(all_called))


def crashes(n: int) -> None:
    """Attempts that a dead worker left open."""
    tally.add("attempts", n, result="crash")
    log.warning("attempts that a worker left open when it died: %d", n)
