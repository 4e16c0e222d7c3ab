"""Passwords that genpass makes: hashed for the account at once, and sealed until the CRM has them.

The readable form exists in three places only: here for a moment, sealed in `MadePassword`, and in the CRM's field.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import CommonPasswordValidator, MinimumLengthValidator
from django.core.exceptions import ValidationError

from tagwarden.accounts.models import Account
from tagwarden.members.models import MadePassword, Member

# No look-alikes (0 O, 1 l I), no vowels that make words, nothing that a CRM, a mail or a URL changes.
LETTERS = "bcdfghjkmnpqrstvwxyzBCDFGHJKLMNPQRSTVWXYZ"
ALPHABET = LETTERS + "23456789"
LENGTH = 12
LONGEST = 128
KEPT_FOR = timedelta(days=7)  # a sealed password that can't be handed over; then it is given up

_VALIDATORS = (MinimumLengthValidator(8), CommonPasswordValidator())


@dataclass(frozen=True, slots=True)
class Prepared:
    """A password ready to be stored: its hash for the account, and sealed for the CRM. `taken`: it was there."""

    hashed: str
    sealed: str
    taken: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """A member's password that the CRM doesn't have yet."""

    made: datetime
    sealed: str
    username: str

    def opened(self) -> str:
        return str(settings.KEYS.decrypt(self.sealed))


def generate() -> str:
    """A new password: it begins with a letter, so that no CRM takes it for a number."""
    return secrets.choice(LETTERS) + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH - 1))


def is_strong(password: str) -> bool:
    """Whether a password found in the CRM is good enough to be used."""
    if len(password) > LONGEST or password != password.strip() or not password.isprintable():
        return False
    try:
        for validator in _VALIDATORS:
            validator.validate(password)
    except ValidationError:
        return False
    return True


def prepare(found: str) -> Prepared:
    """The password `found` in the CRM's field if it is strong, else a new one. Slow (argon2): not in a transaction."""
    taken = is_strong(found)
    password = found if taken else generate()
    return Prepared(make_password(password), settings.KEYS.encrypt(password), taken)


def is_wanted(member: Member) -> bool:
    """Whether genpass makes a password for that member: there is none yet, or it has neither reached the CRM nor been
    used. Staff choose their own.
    """
    account = member.account
    if account.role != Account.Role.MEMBER:
        return False
    if not account.has_usable_password():
        return True
    made = getattr(member, "made_password", None)
    if made is None or made.reached is not None:
        return False
    return account.last_login is None or account.last_login < made.made


def store(member: Member, prepared: Prepared, now: datetime) -> None:
    """Gives the account that password and puts it up for the CRM, in place of one that still waits."""
    member.account.password = prepared.hashed
    member.account.save(update_fields=["password"])
    MadePassword.objects.update_or_create(
        member=member, defaults={"made": now, "sealed": prepared.sealed, "reached": None}
    )


def waiting(*, connection: int, contacts: Iterable[str]) -> dict[str, Waiting]:
    """Contact id → its member's password that the CRM doesn't have yet."""
    found = MadePassword.objects.filter(
        reached__isnull=True,
        member__contacts__connection=connection,
        member__contacts__external_id__in=list(contacts),
    ).exclude(sealed="")
    rows = found.values_list("member__contacts__external_id", "made", "sealed", "member__account__email")
    return {contact: Waiting(made, sealed, email) for contact, made, sealed, email in rows}


def reached(*, connection: int, written: Mapping[str, datetime], now: datetime) -> set[str]:
    """The CRM has these passwords (contact id → when made). Returns the contacts whose newest that is."""
    current = waiting(connection=connection, contacts=written)
    newest = {contact for contact, one in current.items() if one.made == written[contact]}
    MadePassword.objects.filter(
        member__contacts__connection=connection, member__contacts__external_id__in=newest
    ).update(reached=now, sealed="")
    return newest


def give_up(now: datetime) -> int:
    """Erases what could not be handed over for seven days. Returns how many."""
    return MadePassword.objects.filter(made__lt=now - KEPT_FOR).exclude(sealed="").update(sealed="")


def given_up(*, connection: int, contacts: Iterable[str]) -> set[str]:
    """Those of these contacts whose member's password was erased before the CRM had it."""
    found = MadePassword.objects.filter(
        reached__isnull=True,
        sealed="",
        member__contacts__connection=connection,
        member__contacts__external_id__in=list(contacts),
    )
    return set(found.values_list("member__contacts__external_id", flat=True))
