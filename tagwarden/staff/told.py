"""What a CRM told by a hook of its own, in words, and which trigger made a job of it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tagwarden.accounts.models import Site
from tagwarden.connections import connect, triggers
from tagwarden.connections.models import Connection, Trigger
from tagwarden.core import hooks, words
from tagwarden.core.hooks import Event, Happened
from tagwarden.journal import diagnosis
from tagwarden.journal.models import Delivery, Job

MOST = 5  # different things that are listed

_WORDS = {
    Happened.CREATED: "a contact was made",
    Happened.CHANGED: "a contact was changed",
    Happened.TAG_ADDED: "the tag {} was added",
    Happened.TAG_REMOVED: "the tag {} was taken away",
}


@dataclass(frozen=True, slots=True)
class Told:
    """`sentence`: what the hook told, of one contact or of all. `trigger`: what it set off, None: no trigger's."""

    sentence: SafeString
    trigger: Trigger | None


def of(came: Delivery, site: Site, job: Job | None = None) -> Told | None:
    """What that hook told, of all contacts or of the job's; None: it is no hook. Its signature isn't judged again."""
    connection = site.connections.filter(pk=came.connection).first()
    if came.kind != "hook" or connection is None:
        return None
    events = _events(came, connection)
    if job and job.contact:
        events = [event for event in events if event.contact in {job.contact, ""}]
    return Told(_sentence(connection, events), _trigger(connection, job) if job else None)


def _events(came: Delivery, connection: Connection) -> list[Event]:
    """As the adapter of today reads it; none if it can't."""
    headers = {str(name).lower(): str(value) for name, value in json.loads(came.headers or "[]")}
    arrived = hooks.Arrived(came.query, headers, bytes(came.body), came.received)
    try:
        return connect.adapter_class(connection.crm).events(arrived, ())
    except Exception:  # whatever it is: the delivery's job says what is wrong with the hook
        return []


def _trigger(connection: Connection, job: Job) -> Trigger | None:
    number = diagnosis.decoded(job.params).get(triggers.PARAM)
    return connection.triggers.filter(pk=number).first() if number else None


def _sentence(connection: Connection, events: Sequence[Event]) -> SafeString:
    """ActiveCampaign told that the tag Gold was added (2 contacts) and a contact was changed."""
    if not events:
        return format_html("{} called by a hook of its own.", connection.name)
    tags = {event.tag for event in events if event.tag}
    names = dict(connection.tags.filter(external_id__in=tags).values_list("external_id", "name"))
    counted = Counter(_one(event, names) for event in events)
    parts = [
        format_html("{}{}", what, f" ({words.count(number, 'time')})" if number > 1 else "")
        for what, number in counted.most_common(MOST)
    ]
    more = format_html(", and {} more", len(counted) - MOST) if len(counted) > MOST else ""
    return format_html("{} told that {}{}.", connection.name, format_html_join(", ", "{}", ((p,) for p in parts)), more)


def _one(event: Event, names: dict[str, str]) -> SafeString:
    name = event.tag_name or names.get(event.tag) or (f"number {event.tag}" if event.tag else "")
    if not name and event.happened in {Happened.TAG_ADDED, Happened.TAG_REMOVED}:
        return format_html("{}", "a tag was added" if event.happened == Happened.TAG_ADDED else "a tag was taken away")
    return format_html(_WORDS[event.happened], format_html("<b>{}</b>", name))
