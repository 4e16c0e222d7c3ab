"""`tagwarden doctor`: every check with its finding, and what to do about it."""

import sqlite3
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer

from tagwarden.accounts.models import Site
from tagwarden.cli import find, show, story
from tagwarden.connections import connect, handshakes
from tagwarden.connections.models import Connection, Handshake
from tagwarden.core import clock, health, words
from tagwarden.core.env import env
from tagwarden.core.errors import SettingsError, TagwardenError
from tagwarden.core.health import Check, Vitals
from tagwarden.core.reasons import advice, title
from tagwarden.journal import diagnosis, vitals
from tagwarden.journal.models import Job
from tagwarden.spool import door
from tagwarden.spool import log as spool

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Number = Annotated[str, typer.Option(help="Look at this connection only, by its number.")]
Id = Annotated[str, typer.Option(help="Look at this delivery only: where it stands, and why.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

NEEDS_A_PERSON = {"failed", "refused", "unknown"}
LOOKED_BACK = timedelta(days=7)
SHORT_SECRET = 28  # characters: below, even random letters and digits hold less than 160 bits


@app.command()
def doctor(connection: Number = "", delivery: Id = "", json: Json = False) -> None:
    """Check everything, and say what to do."""
    if delivery:
        checks = [_standing(job) for job in find.jobs(delivery)]
    elif connection:
        checks = list(_of_connection(find.connection(connection)))
    else:
        checks = list(_all())
    if json:
        rows = [{"check": c.name, "ok": c.ok, "finding": c.sentence, "figures": dict(c.figures)} for c in checks]
        show.as_json(rows)
    else:
        lines = [{"check": c.name, "state": "ok" if c.ok else "failed", "finding": c.sentence} for c in checks]
        show.listing(lines, {"check": "Check", "state": "", "finding": "Finding"}, json=False, empty="")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _all() -> Iterator[Check]:
    folder = spool.spool_folder(env().data)
    name = spool.spool_id(folder)
    seen = vitals.look(name)
    yield _keys()
    yield health.disk(env().data)
    yield health.database(seen)
    yield _mail()
    if seen is None or not seen.fits:
        return
    if name:
        yield _intake(seen, name)
        yield _door()
    yield from health.of_work(seen)
    if not Site.objects.exists():
        yield Check("sites", False, "There is no site yet. Next: tagwarden site add NAME --host HOST")
    for link in Connection.objects.select_related("site").order_by("pk"):
        yield from _of_connection(link)


def _keys() -> Check:
    """That the key file can be read is known by now: without it no command runs."""
    mode = env().keys_file.stat().st_mode & 0o077
    if mode:
        return Check("keys", False, f"Others may read the key file: chmod 600 {env().keys_file}")
    return Check("keys", True, "The key file is there, for its owner only. Keep a copy apart from the data.")


def _mail() -> Check:
    if env().smtp_url:
        return Check("mail", True, "A mail server is set.")
    return Check("mail", True, "No mail server is set (TAGWARDEN_SMTP_URL): mails wait until there is one.")


def _intake(seen: Vitals, name: str) -> Check:
    position = spool.Position(*seen.carried) if seen.carried else None
    try:
        backlog = spool.backlog(spool.spool_folder(env().data), position)
    except (sqlite3.Error, OSError, SettingsError) as error:
        return Check("intake", False, f"The spool can't be read: {error}.")
    oldest = (clock.now_ms() - backlog.oldest) / 1000 if backlog.oldest else None
    return health.intake(seen, name, backlog.rows, oldest)


def _door() -> Check:
    """Whether the door knows the handshakes that the database has."""
    try:
        known = door.entries(door.door_path(env().data))
    except sqlite3.Error as error:
        return Check("door", False, f"The table of handshakes can't be read: {error}.")
    wanted = sorted(handshakes.door_entries(), key=lambda entry: entry.digest)
    if known != wanted:
        return Check("door", False, "The door doesn't know all handshakes as they are now: does intake run here?")
    return Check("door", True, f"The door knows {words.count(len(wanted), 'handshake')}.")


def _of_connection(link: Connection) -> Iterator[Check]:
    name = f"connection {link.pk}"
    if not link.active:
        yield Check(name, True, f"{link.name} is switched off: tagwarden connection set {link.pk} active=yes")
        return
    yield Check(name, *_credentials(link))
    live = list(link.handshakes.filter(revoked=None).order_by("pk"))
    if live:
        yield Check(f"{name}, handshakes", True, _of_handshakes(live))
    else:
        sentence = f"It has no handshake, so nothing can call: tagwarden handshake add {link.pk}"
        yield Check(f"{name}, handshakes", False, sentence)
    yield from _hooks(link, name)
    yield _calls(link, name)


def _hooks(link: Connection, name: str) -> Iterator[Check]:
    """How the hooks were when they were last looked at, which the worker does once an hour."""
    for trigger in link.triggers.order_by("pk"):
        broken = trigger.state == trigger.State.BROKEN
        said = f"The tag {trigger.tag_name} runs {trigger.command}. {trigger.finding or 'Its hook is alive.'}"
        yield Check(f"{name}, trigger {trigger.pk}", not broken, said)
    if link.hooks_finding:
        yield Check(f"{name}, hooks", True, link.hooks_finding)


def _credentials(link: Connection) -> tuple[bool, str]:
    """Asks the CRM. One call over the network, of some seconds at most."""
    try:
        crm = connect.open_crm(link)
    except SettingsError as error:
        return False, str(error)
    try:
        return True, f"{link.name} works: it reads from {crm.check()}."
    except TagwardenError as error:
        return False, _told(link, error.reason, error.detail)
    finally:
        crm.close()


def _of_handshakes(live: list[Handshake]) -> str:
    short = [str(one.pk) for one in live if len(handshakes.reveal(one)) < SHORT_SECRET]
    said = f"{words.count(len(live), 'handshake')} may call."
    if short:
        said += f" Short enough to be guessed one day: {', '.join(short)}. Replace with: tagwarden handshake rotate"
    return said


def _calls(link: Connection, name: str) -> Check:
    """When it called last, and what most of its failures share."""
    jobs = Job.objects.filter(site=link.site_id, connection=link.pk)
    called = jobs.filter(root=None, source__in=("webhook", "hook")).order_by("-received")
    last = called.values_list("received", flat=True).first()
    if last is None:
        sentence = f"It never called. The address to paste: tagwarden webhook-url {link.pk} updateuser"
        return Check(f"{name}, calls", True, sentence)
    age = (clock.now() - last).total_seconds()
    said = f"The last call came {health.span(age)} ago."
    if most := diagnosis.commonest_failure(jobs.filter(received__gte=clock.now() - LOOKED_BACK)):
        told = _told(link, most.reason, diagnosis.decoded(most.latest.detail))
        said += f" Of what failed in the last week, {most.count:,} share one reason: {told}"
    return Check(f"{name}, calls", True, said, {"last_call": age})


def _told(link: Connection, reason: str, detail: Mapping[str, Any]) -> str:
    """What happened and what to do."""
    filled = {"crm": link.name, **detail}
    return f"{title(reason, filled)} {advice(reason, filled)}"


def _standing(job: Job) -> Check:
    row = story.line(job)
    said = " ".join(part for part in (f"{row['outcome']}.".capitalize(), row["title"], row["advice"]) if part)
    return Check(row["job"], row["outcome"] not in NEEDS_A_PERSON, said)
