"""Handshakes: the secrets in the URLs of webhooks. Made, rotated, revoked, imported and shown again.

Every change raises the door's version in the same transaction, so that every machine's door table follows.
"""

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import F

from tagwarden.accounts import audit
from tagwarden.accounts.models import Account
from tagwarden.connections import connect
from tagwarden.connections.models import Connection, Door, Handshake, HandshakeUse, Trigger
from tagwarden.core import catalogue, clock, wire
from tagwarden.core.errors import SettingsError
from tagwarden.spool import door

SHORTEST_IMPORT = 12  # the shortest secret of an older system that is taken over
SHORTEST_STRONG = 27  # characters of URL-safe base64 that hold 160 bits


def make(
    connection: Connection,
    name: str,
    *,
    scopes: Iterable[str] = (),
    get_allowed: bool = False,
    account: Account | None = None,
) -> tuple[Handshake, str]:
    """A new handshake of 192 bits, and its secret.

    `scopes`: the commands it may run, none = all. `account`: who asked for it, None = the command line.
    Raises SettingsError with a sentence if a scope is no command.
    """
    secret = secrets.token_urlsafe(24)
    return _store(connection, name, secret, scopes, get_allowed, account=account), secret


def import_secret(
    connection: Connection,
    name: str,
    secret: str,
    *,
    scopes: Iterable[str] = (),
    get_allowed: bool = False,
    account: Account | None = None,
) -> Handshake:
    """Takes over the secret of an older system, so that automations keep their URL.

    Raises SettingsError with a sentence if it is shorter than 12 characters, holds blanks, or is in use here.
    """
    secret = secret.strip()
    if len(secret) < SHORTEST_IMPORT:
        raise SettingsError(f"The secret is shorter than {SHORTEST_IMPORT} characters. Make a new one instead.")
    if len(secret) > 200 or not secret.isprintable() or " " in secret:
        raise SettingsError("The secret must be one line of at most 200 characters without blanks.")
    return _store(connection, name, secret, scopes, get_allowed, imported=True, account=account)


def rotate(handshake: Handshake, *, account: Account | None = None) -> tuple[Handshake, str]:
    """A new handshake beside this one, with its name and scopes, and its secret. The old one works on.

    A trigger moves to the new one; its hook at the CRM is made anew by triggers.set_up, or by the next look at the
    hooks. Calls of the old hook are taken as the trigger's until the old handshake is revoked.
    """
    words = scopes_of(handshake)
    with transaction.atomic():
        made, secret = make(
            handshake.connection, handshake.name, scopes=words, get_allowed=handshake.get_allowed, account=account
        )
        Trigger.objects.filter(handshake=handshake).update(handshake=made, former=handshake)
    return made, secret


def revoke(handshake: Handshake, *, account: Account | None = None) -> bool:
    """Shuts the door to this secret, within a second. False if it was shut already."""
    with transaction.atomic():
        live = Handshake.objects.filter(pk=handshake.pk, revoked__isnull=True)
        if not live.update(revoked=clock.now()):
            return False
        _raise_door_version()
        _note("handshake-revoked", handshake, account)
    handshake.refresh_from_db(fields=["revoked"])
    return True


def reveal(handshake: Handshake) -> str:
    """Its secret. Raises SettingsError if the keys it was stored under are gone."""
    return settings.KEYS.decrypt(handshake.sealed)


def scopes_of(handshake: Handshake) -> tuple[str, ...]:
    """The commands it may run; empty = all."""
    return tuple(word for word in handshake.scopes.split(",") if word)


def door_entries() -> list[door.Entry]:
    """All handshakes, revoked ones too, as the receiver's door table holds them."""
    rows = Handshake.objects.select_related("connection").order_by("pk")
    return [_entry(handshake, handshake.connection) for handshake in rows]


def door_version() -> int:
    """A number that grows with every change of a handshake; 0 before the first."""
    return Door.objects.filter(pk=1).values_list("version", flat=True).first() or 0


def _entry(handshake: Handshake, connection: Connection) -> door.Entry:
    return door.Entry(
        digest=handshake.digest,
        handshake=handshake.pk,
        site=connection.site_id,
        connection=connection.pk,
        crm=connection.crm,
        scopes=scopes_of(handshake),
        get_allowed=handshake.get_allowed,
        revoked=handshake.revoked is not None,
        id_pattern=_id_pattern(connection.crm),
    )


def _id_pattern(crm: str) -> str:
    """What that CRM's contact ids look like. One whose adapter is gone (a downgrade) keeps its door open."""
    known = catalogue.listed("tagwarden.crms")
    return connect.adapter_class(crm).id_pattern if crm in known else wire.DIGITS


def _store(
    connection: Connection,
    name: str,
    secret: str,
    scopes: Iterable[str],
    get_allowed: bool,
    *,
    imported: bool = False,
    account: Account | None,
) -> Handshake:
    digest = settings.KEYS.digest(secret)
    words = _checked(scopes)
    with transaction.atomic():
        if Handshake.objects.filter(digest=digest).exists():
            raise SettingsError("This secret is in use here already.")
        handshake = Handshake.objects.create(
            connection=connection,
            name=name.strip()[:120] or "webhooks",
            digest=digest,
            sealed=settings.KEYS.encrypt(secret),
            scopes=",".join(words),
            get_allowed=get_allowed,
            imported=imported,
        )
        _raise_door_version()
        _note("handshake-imported" if imported else "handshake-made", handshake, account)
    return handshake


def _checked(scopes: Iterable[str]) -> list[str]:
    """The words in order, each once. A word may come as the URL spells it, with aal_ before it."""
    words = sorted({word.strip().lower().removeprefix("aal_") for word in scopes} - {""})
    known = catalogue.listed("tagwarden.operations")
    for word in words:
        if word not in known:
            raise SettingsError(f"There is no command {word}. Known are {', '.join(known)}.")
    return words


def _raise_door_version() -> None:
    if not Door.objects.filter(pk=1).update(version=F("version") + 1):
        Door.objects.create(pk=1)


def _note(action: str, handshake: Handshake, account: Account | None) -> None:
    connection = handshake.connection
    audit.note(
        action,
        handshake.name,
        site=connection.site,
        account=account,
        handshake=handshake.pk,
        connection=connection.name,
    )


def note_used(used: Mapping[tuple[int, str], datetime]) -> None:
    """(handshake, command) → when it was last used. One whose handshake is gone is passed over."""
    known = set(Handshake.objects.filter(pk__in={key for key, _ in used}).values_list("pk", flat=True))
    HandshakeUse.objects.bulk_create(
        [
            HandshakeUse(handshake_id=key, word=word, last_used=moment)
            for (key, word), moment in sorted(used.items())
            if key in known
        ],
        update_conflicts=True,
        unique_fields=["handshake", "word"],
        update_fields=["last_used"],
    )
