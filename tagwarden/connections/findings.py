"""Whether a connection is good for everything: a finding a thing, in plain words, with what to do about it."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from tagwarden.connections import connect, triggers
from tagwarden.connections.models import Connection, Trigger
from tagwarden.core import mapping, options, reasons, words
from tagwarden.core.errors import SettingsError, TagwardenError
from tagwarden.core.hooks import Hook
from tagwarden.core.outcome import CrmTag
from tagwarden.crms import base


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `ok`, and a sentence or two."""

    check: str
    ok: bool
    sentence: str


def look(connection: Connection) -> Iterator[Finding]:
    """Asks the CRM for one thing after another, some calls in all. If the key doesn't work, nothing else is tried."""
    try:
        crm = connect.open_crm(connection)
    except SettingsError as error:
        yield Finding("key", False, str(error))
        return
    with closing(crm):
        key = _tried("key", crm, lambda: f"{connection.name} works: it reads from {crm.check()}.")
        yield key
        if not key.ok:
            return
        yield _tried("contact", crm, lambda: _contact(connection, crm))
        yield _tried("tags", crm, lambda: f"Tags can be listed: there are {len(crm.list_tags()):,}.")
        yield from _fields(connection, crm)
        yield from _done_tags(connection, crm)
        yield from _hooks(connection, crm)
        yield Finding("limits", True, _limits(connection, crm))
        yield from (Finding(f"cannot: {what}", True, sentence) for what, sentence in crm.cannot.items())


def _tried(check: str, crm: base.Crm, ask: Callable[[], str]) -> Finding:
    """What asking said, or what went wrong and what to do."""
    try:
        return Finding(check, True, ask())
    except TagwardenError as error:
        return _trouble(check, crm, error)


def _trouble(check: str, crm: base.Crm, error: TagwardenError) -> Finding:
    filled = {"crm": crm.label, **error.detail}
    return Finding(check, False, f"{reasons.title(error.reason, filled)} {reasons.advice(error.reason, filled)}")


def _contact(connection: Connection, crm: base.Crm) -> str:
    """Reads one contact alone: the first of the CRM's own list."""
    first = next((snapshot.contact for page in crm.everybody() for snapshot in page), None)
    if first is None:
        return f"The list of contacts can be read. {crm.label} has none yet."
    read = crm.contact(first)
    tags = "no tag list" if read.tags is None else words.count(len(read.tags), "tag")
    return f"A contact can be read: {first}, with {tags}."


def _fields(connection: Connection, crm: base.Crm) -> Iterator[Finding]:
    """The field of the password must be there for genpass; the others may wait until they are used."""
    labels = mapping.labels(connection.options)
    try:
        missing = {name: label for name, label in labels.items() if not crm.has_field(label)}
    except TagwardenError as error:
        yield _trouble("fields", crm, error)
        return
    there = [label for name, label in labels.items() if name not in missing]
    if there:
        yield Finding("fields", True, f"These mapped fields are there: {', '.join(there)}.")
    if missing:
        make = f"Make them with: tagwarden connection fields {connection.pk} --create"
        said = f"These mapped fields are not there: {', '.join(missing.values())}. {make}"
        yield Finding("fields", "password_field" not in missing, said)


def _done_tags(connection: Connection, crm: base.Crm) -> Iterator[Finding]:
    for name in sorted(options.tag_options()):
        tag = getattr(connection.options, name)
        if isinstance(tag, CrmTag):
            yield _tag(connection, crm, name, tag)


def _tag(connection: Connection, crm: base.Crm, name: str, tag: CrmTag) -> Finding:
    try:
        known = crm.tag_names.of([tag.external_id])
    except TagwardenError as error:
        return _trouble(name, crm, error)
    if tag.external_id in known:
        return Finding(name, True, f"The tag {known[tag.external_id]} is there.")
    again = f"tagwarden connection set {connection.pk} {name}=NAME"
    return Finding(name, False, f"The tag {tag.name} is gone from {crm.label}. Choose another: {again}")


def _hooks(connection: Connection, crm: base.Crm) -> Iterator[Finding]:
    rows = list(Trigger.objects.filter(connection=connection).select_related("handshake__connection__site"))
    if not rows:
        return
    try:
        there = crm.hooks()
    except TagwardenError as error:
        yield _trouble("hooks", crm, error)
        return
    for row in rows:
        yield _hook(row, there)


def _hook(row: Trigger, there: list[Hook]) -> Finding:
    url = triggers.hook_url(row.handshake)
    ours = [hook for hook in there if hook.url.rstrip("/") == url]
    alive, name = any(hook.alive for hook in ours), f"trigger {row.pk}"
    if row.handshake.revoked:
        again = f"Remove the trigger with: tagwarden connection trigger remove {row.connection_id} {row.pk}"
        return Finding(name, False, f"The secret in the address of the hook for {row.tag_name} was revoked. {again}")
    if alive:
        return Finding(name, True, f"The hook for the tag {row.tag_name} is alive.")
    what = "was switched off there" if ours else "isn’t there"
    return Finding(name, False, f"The hook for the tag {row.tag_name} {what}. It is mended within the hour.")


def _limits(connection: Connection, crm: base.Crm) -> str:
    if not crm.limits:
        return "How many calls it allows isn’t known; a pause that it asks for is kept to."
    known = ", ".join(f"{limit.calls:,} calls in {limit.seconds:g} s" for limit in crm.limits)
    return f"It allows {known}; {connection.options.reserve} % of that is left to your other tools."
