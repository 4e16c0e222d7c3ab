"""How the server is, as checks with a sentence each. Arithmetic only: others measure and hand the figures in.

`/health` and `tagwarden doctor` say the same of the same figures, since both say it from here.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tagwarden.core import words
from tagwarden.core.tally import Count

SILENT_AFTER = 30.0  # seconds without a sign of life, which comes every 5
STUCK_AFTER = 60.0  # seconds in which calls wait in the spool and none is carried
LATE_AFTER = 15 * 60.0  # seconds; a contact's order may hold a job back for a few minutes
LOW_DISK = 500 << 20  # bytes
OF_WORK = ("worker", "work", "failures")
OUR_MISTAKES = {"internal-error", "worker-died"}  # reasons that are never the CRM's or its owner's doing


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `figures`: numbers for programs, ages in seconds; never a secret, never a person."""

    name: str
    ok: bool
    sentence: str
    figures: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A process that works: `kind` is "worker" or "intake". `age`: seconds since its last sign of life.

    `started`: ms. `counts`: what it counted since its start, as core/tally.py gives it.
    """

    name: str
    kind: str
    host: str
    pid: int
    started: int
    age: float
    counts: Sequence[Count] = ()


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the main database says at one moment. Ages in seconds; None where there is nothing to be old.

    `fits`: whether it has this version's schema; if not, the rest is empty. `carried`: how far this machine's spool
    was carried (segment, row), `moved`: when last. `oldest_due`: of the work that is due. `failed`: reason → jobs
    that ended so in the last hour.
    """

    fits: bool
    heartbeats: Sequence[Heartbeat] = ()
    carried: tuple[str, int] | None = None
    moved: float | None = None
    oldest_due: float | None = None
    failed: Mapping[str, int] = field(default_factory=dict)


def intake_name(spool: str) -> str:
    """Under which name the intake of that spool gives signs of life."""
    return f"intake:{spool}"


def span(seconds: float) -> str:
    """A length of time in words: 40 s, 12 min, 3 h, 2 days."""
    for size, word in ((2 * 86_400, "days"), (2 * 3_600, "h"), (2 * 60, "min")):
        if seconds >= size:
            return f"{seconds * 2 / size:.0f} {word}"
    return f"{seconds:.0f} s"


def unanswered(name: str, sentence: str) -> Check:
    """A check that couldn't be made."""
    return Check(name, False, sentence)


def spool(knows_handshakes: bool, *, last_commit: float | None, queued_bytes: int, trouble: str) -> Check:
    """Whether this process takes calls. `last_commit`: seconds since calls were last put on disk."""
    figures = {"last_commit": last_commit, "queued_bytes": queued_bytes}
    if not knows_handshakes:
        return Check("spool", False, "The table of handshakes was never filled, so no call can be told.", figures)
    if trouble:
        return Check("spool", False, f"Calls can't be put on disk: {trouble}.", figures)
    since = "none came yet" if last_commit is None else f"the last {span(last_commit)} ago"
    return Check("spool", True, f"Calls are taken and put on disk, {since}.", figures)


def database(vitals: Vitals | None) -> Check:
    """`vitals`: None if the database didn't answer."""
    if vitals is None:
        said = "The main database doesn't answer. Webhooks are taken and wait in the spool."
    elif not vitals.fits:
        said = "The main database hasn't this version's schema (yet). Webhooks are taken and wait in the spool."
    else:
        return Check("database", True, "The main database answers and has this version's schema.")
    return Check("database", False, said)


def intake(vitals: Vitals, spool: str, backlog: int, oldest: float | None) -> Check:
    """Of this machine's spool. `backlog`: calls that wait in it, the `oldest` for so many seconds."""
    name = intake_name(spool)
    beat = next((beat for beat in vitals.heartbeats if beat.name == name), None)
    figures = {"backlog": backlog, "oldest": oldest, "last_progress": vitals.moved, "seen": beat.age if beat else None}
    waits = f"{words.count(backlog, 'call')} on disk and not listed yet, the oldest for {span(oldest or 0)}."
    if beat is None or beat.age > SILENT_AFTER:
        sentence = f"Intake gives no sign of life; it runs beside `serve` and `web`. {waits if backlog else ''}"
        return Check("intake", False, sentence.strip(), figures)
    if backlog and (oldest or 0) > STUCK_AFTER and (vitals.moved is None or vitals.moved > STUCK_AFTER):
        return Check("intake", False, f"Intake runs but carries nothing: {waits}", figures)
    return Check("intake", True, waits if backlog else "All calls on disk are listed.", figures)


def worker(vitals: Vitals) -> Check:
    """Whether anybody works, on whatever machine."""
    workers = [beat for beat in vitals.heartbeats if beat.kind == "worker"]
    alive = [beat for beat in workers if beat.age <= SILENT_AFTER]
    last = min((beat.age for beat in workers), default=None)
    figures = {"alive": len(alive), "silent": len(workers) - len(alive), "seen": last}
    if alive:
        verb = "works" if len(alive) == 1 else "work"
        return Check("worker", True, f"{words.count(len(alive), 'worker')} {verb}.", figures)
    since = f"The last was seen {span(last)} ago." if last is not None else "None was seen in the last day."
    return Check("worker", False, f"No worker works, so nothing that came in is done. {since}", figures)


def work(vitals: Vitals) -> Check:
    """Whether what is due is done in time."""
    age = vitals.oldest_due
    figures = {"oldest_due": age}
    if age is None:
        return Check("work", True, "No work is due.", figures)
    return Check("work", age <= LATE_AFTER, f"The oldest work that is due waits for {span(age)}.", figures)


def failures(vitals: Vitals) -> Check:
    """Jobs that ended as failed in the last hour. Only mistakes of ours make it a finding: the others are for staff."""
    total, ours = sum(vitals.failed.values()), sum(n for code, n in vitals.failed.items() if code in OUR_MISTAKES)
    sentence = f"{words.count(total, 'job')} failed in the last hour." if total else "No job failed in the last hour."
    if ours:
        sentence += f" {ours:,} by a mistake of Tagwarden: the log says more."
    return Check("failures", not ours, sentence, {"last_hour": total, "our_mistakes": ours})


def of_work(vitals: Vitals) -> list[Check]:
    """The checks named in OF_WORK, on a database that fits."""
    return [worker(vitals), work(vitals), failures(vitals)]


def disk(folder: Path) -> Check:
    """Room in the data folder. An OSError is a finding, too."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return Check("disk", False, f"The data folder can't be looked at: {error.strerror}.", {"free_bytes": None})
    figures = {"free_bytes": usage.free, "total_bytes": usage.total}
    sentence = f"{usage.free / (1 << 30):.1f} GiB are free in the data folder."
    if usage.free < LOW_DISK:
        sentence += " Make room: a call that can't be put on disk is refused."
    return Check("disk", usage.free >= LOW_DISK, sentence, figures)
