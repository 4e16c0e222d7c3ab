"""After a restore effects are held until somebody says *Resume*: what they do may be done already, or be wrong now.

The database is younger than the world it speaks to. What it sets (tags, fields) is safe to set again, once people
have looked; what can't be taken back (see store.MAY_HAVE_LEFT) isn't sent twice but shown as unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from tagwarden.core import clock
from tagwarden.journal import sql, store

REASON = "restored"
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Resumed:
    """What became of a site's held effects: how many go on, and how many are unknown now."""

    effects: int
    unknown: int
    was_held: bool

    @property
    def sentence(self) -> str:
        """What happened, in plain words."""
        if not (self.effects or self.unknown):
            return "Resumed. Nothing had to be held." if self.was_held else "Nothing is held."
        going = "1 held effect goes on." if self.effects == 1 else f"{self.effects:,} held effects go on."
        if not self.unknown:
            return f"Resumed. {going}"
        kept = "1 mail or charge" if self.unknown == 1 else f"{self.unknown:,} mails and charges"
        return f"Resumed. {going} {kept} may have left before: look at the unknown ones."


def marks(*, now: int, spool: str = "", segment: str = "", row: int = 0) -> list[str]:
    """What a saved database is told before it becomes the main one, as SQL for either database.

    Nothing is in hand any more, every lane is looked at, the effects of all sites are held, and no position lies
    behind the end of this machine's spool (`segment`, `row`): else the next calls in it would be passed over.
    """
    statements = [
        f"update journal_attempt set ended = {now}, result = 'given-back' where ended is null",
        f"update journal_lane set token = '', until = 0, next_due = {now}",
        (
            f"insert into journal_restore (site, moment) select id, {now} from accounts_site where true "
            "on conflict (site) do update set moment = excluded.moment, resumed = null"
        ),
    ]
    if segment:
        statements.append(
            f"update journal_spoolposition set segment = '{segment}', line = {row} "
            f"where spool = '{spool}' and (segment, line) > ('{segment}', {row})"
        )
    return statements


def hold(lane: int, site: int) -> None:
    """Puts the waiting effects of a lane on hold if its site was restored. In the transaction that takes jobs."""
    # An update, not a look: who resumes waits until this transaction is over, and then finds what it held.
    if not sql.run("update journal_restore set site = site where site = %s and resumed is null", (site,)):
        return
    waiting = "select id from journal_job where lane = %s and state = 'waiting' and stream = 'effect'"
    ids = [job for (job,) in sql.rows(waiting, (lane,))]
    if ids:
        d = sql.dialect()
        sql.run(
            f"update journal_job set state = 'held', reason = %s, detail = '{{}}' where {d.among('id')}",
            (REASON, d.values(ids)),
        )
        store.restand(ids)


def on_hold(site: int) -> bool:
    """Whether a site's effects are held since a restore."""
    return bool(sql.rows("select 1 from journal_restore where site = %s and resumed is null", (site,)))


def resume(site: int) -> Resumed:
    """Lets the effects of a site out. Safe to repeat, also after a crash in the middle."""
    unknown = 0
    for command, reason in store.MAY_HAVE_LEFT.items():
        ids = _from_before(site, command)
        for some in _batches(ids):
            _end_unknown(some, reason)
        unknown += len(ids)
    was_held = sql.run(
        "update journal_restore set resumed = %s where site = %s and resumed is null", (clock.now_ms(), site)
    )
    held = sql.rows("select id from journal_job where site = %s and state = 'held' and reason = %s", (site, REASON))
    for some in _batches([job for (job,) in held]):
        with transaction.atomic():
            store.let_out(some)
    return Resumed(len(held), unknown, bool(was_held))


def _from_before(site: int, command: str) -> list[int]:
    """Effects of a kind that were open in the backup. One that staff redelivered since is meant to go."""
    open_since = (
        "select j.id from journal_job j join journal_restore r on r.site = j.site and j.turn < r.moment "
        "where j.site = %s and j.command = %s and j.stream = 'effect' and j.state = %s order by j.id"
    )
    states = ("waiting", "held")
    return [job for state in states for (job,) in sql.rows(open_since, (site, command, state))]


def _batches(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]


def _end_unknown(ids: Sequence[int], reason: str) -> None:
    d = sql.dialect()
    with transaction.atomic():
        sql.run(
            "update journal_job set state = 'finished', outcome = 'unknown', reason = %s, detail = '{}', "
            f"finished = %s where {d.among('id')} and state <> 'finished'",
            (reason, clock.now_ms(), d.values(ids)),
        )
        store.restand(ids)
