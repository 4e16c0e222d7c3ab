"""The first account: an operator, who may sign in on every site of this server. And who runs a site."""

from datetime import timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from tagwarden.accounts import audit, sign_in
from tagwarden.accounts.models import Account, Site
from tagwarden.core.errors import SettingsError

SET_UP_LINK_LIVES = timedelta(hours=24)
NAMELESS = "operator@localhost"  # until somebody gives an address


def first_operator(email: str = "", password: str = "") -> tuple[Account, bool]:
    """The operator with that e-mail, made if need be, and whether it was made.

    Without an e-mail: the first operator there is. A password, if given, becomes theirs; so `init` also lets
    back in who lost it. Raises SettingsError with a sentence if e-mail or password is not good enough.
    """
    operators = Account.objects.filter(site__isnull=True).order_by("pk")
    found = operators.filter(email__iexact=email).first() if email else operators.first()
    address = email or NAMELESS
    _check(address if email else "", password)
    with transaction.atomic():
        account = found or Account.objects.create(email=address, role=Account.Role.OPERATOR)
        if password and not account.check_password(password):
            account.set_password(password)
            account.save(update_fields=["password"])
            audit.note("password-set", account.email, site=None)
        if not found:
            audit.note("operator-added", account.email, site=None)
    return account, found is None


def who_runs(site: Site) -> list[Account]:
    """Who gets mail about the site: its owners; where it has none, the operators with an address."""
    owners = site.accounts.filter(role=Account.Role.OWNER, is_active=True).order_by("pk")
    operators = Account.objects.filter(site__isnull=True, is_active=True).exclude(email=NAMELESS).order_by("pk")
    return list(owners) or list(operators)


def set_up_link(site: Site) -> str:
    """A one-time link to `site` for an operator who can't sign in otherwise yet; "" if there is none."""
    for account in Account.objects.filter(site__isnull=True, is_active=True).order_by("pk"):
        if not account.has_usable_password() and account.last_login is None:
            return sign_in.make_link(account, site=site, lives=SET_UP_LINK_LIVES)
    return ""


def _check(email: str, password: str) -> None:
    try:
        if email:
            validate_email(email)
        if password:
            validate_password(password)
    except ValidationError as error:
        raise SettingsError(" ".join(error.messages)) from error
