"""A contact that the CRM merged into another one: the member goes on there.

No vendor tells of a merge by id: the old id is gone, and another contact has the address. So it is followed only if
exactly one does, and that one is nobody else's here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tagwarden.members import sync
from tagwarden.members.models import Contact, ContactTag
from tagwarden.members.sync import Change, Read


@dataclass(frozen=True, slots=True)
class Moved:
    """Where a member went on, and what changed by it; no change: that was done before."""

    into: str
    change: Change | None


def addresses(*, connection: int, contacts: Iterable[str]) -> dict[str, str]:
    """Contacts of members → the member's address; "" for one that was merged already."""
    found = Contact.of_members(connection, contacts).values_list("external_id", "member__account__email", "state")
    return {contact: "" if state == Contact.State.MERGED else email for contact, email, state in found}


def merged_into(*, connection: int, contacts: Sequence[str]) -> dict[str, str]:
    """Those of the contacts that were merged before → the one that they were merged into."""
    rows = Contact.objects.filter(connection=connection, external_id__in=contacts, state=Contact.State.MERGED)
    return dict(rows.values_list("external_id", "merged_into__external_id"))


def follow(*, connection: int, site: int, found: Mapping[str, Read], now: datetime) -> dict[str, Moved]:
    """Moves members on from contacts that are gone to those found under their address, in the caller's transaction.

    `found`: old contact id → read of the new one. Those whose new contact belongs to a member are left out. The old id
    stays as a row that is merged into the new one.
    """
    new = [read.snapshot.contact for read in found.values()]
    taken = sync.known_contacts(connection=connection, contacts=new)
    moved: dict[str, Read] = {}
    for old, read in found.items():
        row = Contact.objects.filter(connection=connection, external_id=old, member__isnull=False).first()
        into = read.snapshot.contact
        if row is None or row.state == Contact.State.MERGED or into in taken:
            continue
        _move(row, into, read, now)
        taken.add(into)
        moved[old] = read
    changes = sync.apply(connection=connection, site=site, reads=list(moved.values()), now=now)
    return {old: Moved(read.snapshot.contact, changes[read.snapshot.contact]) for old, read in moved.items()}


def _move(row: Contact, into: str, read: Read, now: datetime) -> None:
    """Our row keeps its tags and their story and gets the new id; the old id gets a row that says where it went."""
    old = row.external_id
    nobodys = Contact.objects.filter(connection=row.connection_id, external_id=into).first()
    if nobodys is None:
        nobodys = Contact(connection_id=row.connection_id, created=row.created)
    else:  # one that we know and that was no member's
        nobodys.external_id = f"moved:{nobodys.pk}"
        nobodys.save(update_fields=["external_id"])
        live = ContactTag.objects.filter(contact=nobodys, until__isnull=True)
        live.update(until=now, until_source=read.source, until_ref=read.ref)
    row.external_id = into
    row.save(update_fields=["external_id"])
    nobodys.external_id, nobodys.member_id, nobodys.primary = old, row.member_id, False
    nobodys.email, nobodys.first_name, nobodys.last_name = row.email, row.first_name, row.last_name
    nobodys.read_started_at, nobodys.state, nobodys.merged_into = row.read_started_at, Contact.State.MERGED, row
    nobodys.save()
