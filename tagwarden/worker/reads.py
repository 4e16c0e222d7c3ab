"""The network step before a refresh or a command: many contacts in the cheapest calls.

No database here; runs in a thread.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType

from tagwarden.core.errors import Permanent, Retryable, TagwardenError
from tagwarden.core.mapping import mapped
from tagwarden.core.options import ConnectionOptions
from tagwarden.core.outcome import Snapshot
from tagwarden.crms import base
from tagwarden.members.models import Member

FEW = 3
SINGLE_AT_MOST = 10  # contacts that a bulk read left out are asked for alone, so many a batch


@dataclass
class Fetched:
    """What a batch of reads brought: a snapshot or an error for each contact, and the calls made."""

    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    errors: dict[str, TagwardenError] = field(default_factory=dict)
    shared: list[base.Call] = field(default_factory=list)
    own: dict[str, list[base.Call]] = field(default_factory=dict)
    prepared: dict[str, object] = field(default_factory=dict)  # by contact: the slow part of a command, done
    merged: dict[str, Snapshot] = field(default_factory=dict)  # by contact that is gone: the one with its address

    def calls(self, contact: str) -> list[dict[str, object]]:
        """The calls that concerned this contact, as the journal keeps them; one list for all who had none alone."""
        own = self.own.get(contact, ())
        return [*self._shared_rows, *base.as_rows(own)] if own else self._shared_rows

    @cached_property
    def _shared_rows(self) -> list[dict[str, object]]:
        return base.as_rows(self.shared)


def calls(crm: base.Crm, contacts: Sequence[str], few: int) -> int:
    """How many calls `fetch` makes, unless the bulk read leaves contacts out."""
    return len(contacts) if _one_by_one(crm, contacts, few) else crm.calls_for(len(contacts))


def _one_by_one(crm: base.Crm, contacts: Sequence[str], few: int) -> bool:
    return len(contacts) == 1 or (len(contacts) <= few and crm.one_lag < crm.bulk_lag)


def fetch(
    crm: base.Crm,
    contacts: Sequence[str],
    options: ConnectionOptions,
    *,
    few: int = FEW,
    addresses: Mapping[str, str] | None = None,
    gone: Collection[str] = (),
) -> Fetched:
    """Reads these contacts, at most `crm.bulk_size`. Never raises a TagwardenError: each contact carries its own.

    `few`: up to so many are read one by one, where that shows the present and the bulk read lags. `addresses`: a
    contact that is gone is looked for under its member's address, in case it was merged. `gone`: those that were gone
    before aren't asked for alone, nor looked for.
    """
    fetched = Fetched()
    if _one_by_one(crm, contacts, few):
        _singly(crm, contacts, fetched)
    else:
        _together(crm, contacts, fetched, gone)
    for contact, snapshot in list(fetched.snapshots.items()):
        if snapshot.tags is None:
            del fetched.snapshots[contact]
            fetched.errors[contact] = Retryable("tags-missing", crm=crm.label)
        else:
            fetched.snapshots[contact] = mapped(snapshot, options)
    not_found = [contact for contact, error in fetched.errors.items() if error.reason == "contact-not-found"]
    for contact in not_found:
        if contact not in gone and (address := (addresses or {}).get(contact)):
            _look_for_merged(crm, contact, address, fetched, options)
    return fetched


def _look_for_merged(crm: base.Crm, contact: str, address: str, fetched: Fetched, options: ConnectionOptions) -> None:
    with base.recording() as calls:
        found = _merged(crm, contact, address)
    fetched.own.setdefault(contact, []).extend(calls)
    if found:
        fetched.merged[contact] = mapped(found, options)


def _merged(crm: base.Crm, contact: str, address: str) -> Snapshot | None:
    """The one other contact with that address; None if there are several, or if the CRM can't be asked now."""
    try:
        others = [one for one in crm.by_email(address) if _is_other(one, contact, address)]
        found = crm.contact(others[0].contact) if len(others) == 1 else None  # anew: the first answer may lag
    except TagwardenError:
        return None
    return found if found and found.tags is not None and _is_other(found, contact, address) else None


def _is_other(one: Snapshot, contact: str, address: str) -> bool:
    return one.contact != contact and one.email.strip().lower() == address.strip().lower()


def for_command(
    crm: base.Crm,
    command: ModuleType,
    contacts: Sequence[str],
    members: Mapping[str, Member],
    options: ConnectionOptions,
    *,
    few: int,
) -> Fetched:
    """Reads these contacts as freshly as `few` calls allow, and does the command's slow part with what was read."""
    fetched = fetch(crm, contacts, options, few=few)
    if prepare := getattr(command, "prepare", None):
        fetched.prepared = {
            contact: prepare(snapshot, members.get(contact)) for contact, snapshot in fetched.snapshots.items()
        }
    return fetched


def _together(crm: base.Crm, contacts: Sequence[str], fetched: Fetched, gone: Collection[str]) -> None:
    try:
        with base.recording() as fetched.shared:
            fetched.snapshots |= crm.contacts(contacts)
    except TagwardenError as error:
        fetched.errors |= dict.fromkeys(contacts, error)
        return
    left_out = [contact for contact in contacts if contact not in fetched.snapshots]
    fetched.errors |= {contact: crm.not_found(contact) for contact in left_out if contact in gone}
    left_out = [contact for contact in left_out if contact not in gone]
    _singly(crm, left_out[:SINGLE_AT_MOST], fetched)
    later = Retryable("row-missing", crm=crm.label)
    fetched.errors |= dict.fromkeys(left_out[SINGLE_AT_MOST:], later)


def _singly(crm: base.Crm, contacts: Iterable[str], fetched: Fetched) -> None:
    """One by one. Once the CRM asks for a pause or is down, the rest is not even asked for."""
    stop: TagwardenError | None = None
    for contact in contacts:
        if stop is not None:
            fetched.errors[contact] = stop
            continue
        try:
            with base.recording() as calls:
                fetched.own[contact] = calls
                fetched.snapshots[contact] = crm.contact(contact)
        except Permanent as error:
            fetched.errors[contact] = error
        except TagwardenError as error:
            fetched.errors[contact] = stop = error


def look(crm: base.Crm) -> None:
    """Asks the CRM a neutral question; the limiter is told whether it answers."""
    with suppress(TagwardenError):
        crm.check()
