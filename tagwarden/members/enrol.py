"""Making members of contacts: accounts, members and contact rows, set-based."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.hashers import make_password
from django.db.models.functions import Lower

from tagwarden.accounts.models import Account
from tagwarden.core.outcome import Snapshot
from tagwarden.members import sync
from tagwarden.members.models import Contact, Member


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Contact ids by what became of them: made or linked (members now), conflict (their e-mail has a contact here
    already), no_email."""

    members: tuple[str, ...]
    conflicts: tuple[str, ...]
    no_email: tuple[str, ...]


def enrol(
    *, connection: int, site: int, snapshots: Sequence[Snapshot], source: str, ref: str, now: datetime
) -> Enrolled:
    """Makes members of contacts that are none yet, with unusable passwords, and applies their snapshots.

    In the caller's transaction; safe to repeat. Somebody with an account of the same e-mail and no contact on this
    connection is linked to it. `source` and `ref` are kept with their tags.
    """
    new = _without_member(connection, snapshots)
    no_email = tuple(s.contact for s in new if not s.email)
    accounts = _accounts(site, [s for s in new if s.email])
    members = _members(site, list(accounts.values()))
    taken = set(
        Contact.objects.filter(connection=connection, member__in=list(members.values())).values_list(
            "member_id", flat=True
        )
    )
    linked, conflicts = [], []
    for snapshot in new:
        if not snapshot.email:
            continue
        member = members[accounts[snapshot.email.lower()].pk]
        if member in taken:
            conflicts.append(snapshot.contact)
            continue
        taken.add(member)
        linked.append((snapshot.contact, member))
    _link(connection, linked)
    reads = [sync.Read(s, source, ref) for s in snapshots if s.contact not in conflicts and s.tags is not None]
    sync.apply(connection=connection, site=site, reads=reads, now=now)
    return Enrolled(tuple(contact for contact, _ in linked), tuple(conflicts), no_email)


def one(*, connection: int, site: int, snapshot: Snapshot, source: str, ref: str, now: datetime) -> sync.Change:
    """As enrol, for one contact; the reason why it could not be is `email-conflict` or `email-missing`."""
    result = enrol(connection=connection, site=site, snapshots=[snapshot], source=source, ref=ref, now=now)
    if result.conflicts:
        return sync.Change(reason="email-conflict", detail={"email": snapshot.email})
    if result.no_email:
        return sync.Change(reason="email-missing")
    return sync.Change(gained=tuple(sorted(tag.name for tag in snapshot.tags or ())))


def _without_member(connection: int, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    known = sync.known_contacts(connection=connection, contacts=[s.contact for s in snapshots])
    return [s for s in snapshots if s.contact not in known]


def _accounts(site: int, snapshots: list[Snapshot]) -> dict[str, Account]:
    """E-mail in lower case → account, made where there is none."""
    found = _by_email(site, snapshots)
    missing = {s.email.lower(): s for s in snapshots if s.email.lower() not in found}
    Account.objects.bulk_create(
        Account(
            site_id=site,
            email=s.email,
            first_name=s.first_name,
            last_name=s.last_name,
            password=make_password(None),
        )
        for s in missing.values()
    )
    return _by_email(site, snapshots) if missing else found


def _by_email(site: int, snapshots: list[Snapshot]) -> dict[str, Account]:
    emails = [s.email.lower() for s in snapshots]
    rows = Account.objects.filter(site=site).annotate(lower=Lower("email")).filter(lower__in=emails)
    return {account.email.lower(): account for account in rows}


def _members(site: int, accounts: list[Account]) -> dict[int, int]:
    """Account → member, made where there is none."""
    Member.objects.bulk_create((Member(account=account, site_id=site) for account in accounts), ignore_conflicts=True)
    return dict(Member.objects.filter(account__in=accounts).values_list("account_id", "pk"))


def _link(connection: int, linked: list[tuple[str, int]]) -> None:
    """Contact rows for these members, or the member for rows that are there already."""
    rows = {
        c.external_id: c
        for c in Contact.objects.filter(connection=connection, external_id__in=[contact for contact, _ in linked])
    }
    Contact.objects.bulk_create(
        Contact(connection_id=connection, external_id=contact, member_id=member)
        for contact, member in linked
        if contact not in rows
    )
    for contact, member in linked:
        if contact in rows:
            rows[contact].member_id = member
    Contact.objects.bulk_update(rows.values(), ["member"])
