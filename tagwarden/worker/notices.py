"""Mails of the clock to those who run a site: what was given up, what must be decided, which CRM has been down.

One mail tells of many failures. A reason is told once a day, a site's readers get at most one such mail an hour;
each outage of a CRM and each drift check that stopped is told once. The mails' keys say so: the journal takes a key
once.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from django.db import transaction

from tagwarden.accounts import staff_accounts
from tagwarden.accounts.models import Account, Site
from tagwarden.connections.models import Connection
from tagwarden.core import breaker, clock, reasons
from tagwarden.core.env import env
from tagwarden.journal import sql, store
from tagwarden.members.models import Sweep

HOUR_MS = store.HOUR_MS
DAY_HOURS = 24
DOWN_MS = HOUR_MS  # how long a CRM must be down before it is told
# About one person, not about the business: the page shows them, and nobody gets a mail for each.
OF_ONE_PERSON = (
    *("not-a-member", "contact-not-found", "contact-deleted", "email-conflict", "email-missing"),
    *("mail-refused", "mail-address-unusable"),
)
PAGE = "/staff/deliveries/"


def look() -> int:
    """Adds the mails that are due now. Safe to repeat. Without a mail server there are none; returns how many."""
    if env().smtp_url is None:
        return 0
    now = clock.now_ms()
    mails = [*_of_dead_letters(now), *_of_crms_down(now), *_of_sweeps_stopped()]
    with transaction.atomic():
        store.add(mails)
    return len(mails)


def _mail(what: str, site: Site, reader: Account, moment: int, subject: str, text: str, **more: object) -> store.NewJob:
    return store.NewJob(
        key=_key(what, site, reader, moment),
        site=site.pk,
        connection=0,
        command="mail",
        stream="effect",
        priority=store.EFFECT,
        params={"to": reader.email, "subject": f"{site.name}: {subject}", "text": text, **more},
        received=clock.now_ms(),
        source="clock",
    )


def _key(what: str, site: Site, reader: Account, moment: int) -> str:
    return f"clock:{what}:{sha256(f'{site.pk} {reader.login}'.encode()).hexdigest()[:32]}:{moment}"


# --- what was given up -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Given:
    """How many of a site's jobs were given up for one reason, and its sentences."""

    reason: str
    count: int
    title: str
    advice: str


def _of_dead_letters(now: int) -> Iterator[store.NewJob]:
    hour = now // HOUR_MS
    for site_key, given in _given_up(now - DAY_HOURS * HOUR_MS).items():
        site = Site.objects.get(pk=site_key)
        for reader in staff_accounts.who_runs(site):
            if {one.reason for one in given} - _told(site, reader, hour):
                told = sorted(one.reason for one in given)
                yield _mail("dead-letters", site, reader, hour, _failures(given), _letter(site, given), reasons=told)


def _given_up(since: int) -> dict[int, list[Given]]:
    """Site → what was given up since that moment (ms), the commonest reason first.

    Calls that were not understood have no command yet: what is wrong with one call is for its page.
    """
    d = sql.dialect()
    rows = sql.rows(
        "select site, reason, count(*), max(id) from journal_job where outcome = 'failed' and finished >= %s "
        f"and command <> '' and not (command = 'mail' and source = 'clock') and not ({d.among('reason')}) "
        "group by site, reason order by count(*) desc, reason",
        (since, d.values(OF_ONE_PERSON)),
    )
    latest = _details(job for *_, job in rows)
    found: dict[int, list[Given]] = {}
    for site, reason, count, job in rows:
        if reason in reasons.REASONS:
            detail = latest[job]
            one = Given(reason, count, reasons.title(reason, detail), reasons.advice(reason, detail))
            found.setdefault(site, []).append(one)
    return found


def _details(jobs: Iterable[int]) -> dict[int, dict[str, object]]:
    """Job → what fills its reason's sentences."""
    d = sql.dialect()
    rows = sql.rows(f"select id, connection, detail from journal_job where {d.among('id')}", (d.values(jobs),))
    names = dict(Connection.objects.filter(pk__in={of for _, of, _ in rows}).values_list("pk", "name"))
    return {job: {"crm": names.get(of, "the CRM"), **json.loads(detail)} for job, of, detail in rows}


def _told(site: Site, reader: Account, hour: int) -> set[str]:
    """The reasons that this reader was told of in the last day."""
    d = sql.dialect()
    # Keys name the hour in which a mail was made: one more, so that a whole day lies behind.
    keys = [_key("dead-letters", site, reader, hour - ago) for ago in range(DAY_HOURS + 1)]
    rows = sql.rows(f"select params from journal_job where {d.among('key')}", (d.values(keys),))
    return {reason for (params,) in rows for reason in json.loads(params).get("reasons", [])}


def _failures(given: Sequence[Given]) -> str:
    count = sum(one.count for one in given)
    return f"{count:,} failure{'' if count == 1 else 's'} to mend"


def _letter(site: Site, given: Sequence[Given]) -> str:
    parts = [
        f"This failed at {site.name} in the last 24 hours and won’t go on by itself:",
        *(f"{_times(one.count)}: {one.title}\nWhat to do: {one.advice}" for one in given),
        "Nothing is lost: each call is kept, and goes on when you redeliver it.",
        f"See them, and redeliver them together:\n{site.public_url}{PAGE}?outcome=failed&span=7d",
        "This mail comes at most once an hour, and once a day for the same reason.",
    ]
    return "\n\n".join(parts)


def _times(count: int) -> str:
    return "Once" if count == 1 else f"{count:,} times"


# --- a CRM that is down ------------------------------------------------------------------------------------------


def _of_crms_down(now: int) -> Iterator[store.NewJob]:
    down = _down(before=now - DOWN_MS)
    for connection in Connection.objects.select_related("site").filter(pk__in=down):
        site, since = connection.site, down[connection.pk]
        text = _down_letter(connection, since)
        for reader in staff_accounts.who_runs(site):
            yield _mail("crm-down", site, reader, since, f"{connection.name} is down", text)


def _down(*, before: int) -> dict[int, int]:
    """Connection → since when (ms) its CRM is down, if that is longer than `before`. As its lane's breaker says."""
    rows = sql.rows("select connection, breaker from journal_lane where breaker <> '{}'")
    states = {connection: breaker.read(text) for connection, text in rows}
    return {connection: state.since for connection, state in states.items() if state.down and 0 < state.since <= before}


def _down_letter(connection: Connection, since: int) -> str:
    site = connection.site
    moment = clock.from_ms(since).astimezone(site.zone)
    parts = [
        f"{connection.name} doesn’t answer since {moment:%a} {moment.day} {moment:%b %Y, %H:%M %Z}.",
        "Calls are still taken and kept. No try is lost, and they go on by themselves when it is back.",
        f"What to do: nothing, unless {connection.name} works in your browser. Then look at the connection’s address.",
        f"See what waits:\n{site.public_url}{PAGE}?outcome=waiting",
        "This mail comes once for each time it is down for more than an hour.",
    ]
    return "\n\n".join(parts)


# --- a drift check that stopped ----------------------------------------------------------------------------------


def _of_sweeps_stopped() -> Iterator[store.NewJob]:
    for sweep in Sweep.objects.select_related("connection__site").filter(state=Sweep.State.STOPPED):
        name, site = sweep.connection.name, sweep.connection.site
        parts = [
            f"{sweep.would_lose:,} members of {site.name} would have lost a tag by the drift check of {name}.",
            "So many at once may be a mistake, so nothing was taken away.",
            "What to do: look at the drift check. If the CRM is right, take the tags away there; if not, dismiss it.",
            f"{site.public_url}/staff/drift-checks/{sweep.slug}/",
            "This mail comes once for each drift check that stops.",
        ]
        what, moment = f"sweep-{sweep.connection_id}", clock.to_ms(sweep.asked)
        for reader in staff_accounts.who_runs(site):
            yield _mail(what, site, reader, moment, f"a drift check of {name} stopped", "\n\n".join(parts))
