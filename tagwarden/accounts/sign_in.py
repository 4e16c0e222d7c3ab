"""Signing in: by e-mail and password on one site, or by a single-use link."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.contrib import auth
from django.contrib.auth.hashers import make_password
from django.db.models import Q
from django.http import HttpRequest

from tagwarden.accounts.models import Account, SignInLink, Site
from tagwarden.core import clock

BACKEND = "tagwarden.accounts.sign_in.EmailOnSite"
LINK_LIVES = timedelta(minutes=30)


class EmailOnSite:
    """Authentication backend: (site of the Host, e-mail) and password. Operators may sign in on any site."""

    def authenticate(
        self, request: HttpRequest | None, email: str = "", password: str = "", site: Site | None = None
    ) -> Account | None:
        accounts = Account.objects.filter(Q(site=site) | Q(site__isnull=True), email__iexact=email, is_active=True)
        account = accounts.order_by("site_id").first()
        if account is None:
            make_password(password)  # as slow as a wrong password, so that time tells nothing
            return None
        return account if account.check_password(password) else None

    def get_user(self, user_id: int) -> Account | None:
        return Account.objects.filter(pk=user_id, is_active=True).first()


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of signing in by password: the account, or why not. `status`: of the page that says so."""

    account: Account | None
    email: str
    locked: bool

    @property
    def status(self) -> int:
        return 429 if self.locked else 422

    def shown(self) -> dict[str, object]:
        """For the form, shown again."""
        return {"email": self.email, "wrong": True, "locked": self.locked}


def by_password(request: HttpRequest, *, site: Site) -> Tried:
    """Signs in whom the posted e-mail and password belong to on that site.

    Ten wrong passwords lock the pair of e-mail and address for 15 minutes.
    """
    email, password = request.POST.get("email", "").strip(), request.POST.get("password", "")
    account = auth.authenticate(request, email=email, password=password, site=site) if email else None
    if isinstance(account, Account):
        auth.login(request, account, backend=BACKEND)
        return Tried(account, email, locked=False)
    locked = bool(getattr(request, "axes_locked_out", False))
    request.axes_locked_out = False  # type: ignore[attr-defined]  # set by axes, whose own answer is a bare line
    return Tried(None, email, locked)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def make_link(account: Account, *, site: Site, lives: timedelta = LINK_LIVES) -> str:
    """A fresh single-use link for that account, as a whole URL of that site."""
    token = secrets.token_urlsafe(24)
    SignInLink.objects.create(account=account, digest=_digest(token), expires=clock.now() + lives)
    return f"{site.public_url.rstrip('/')}/sign-in/{token}/"


def use_link(token: str, *, site: Site) -> Account | None:
    """The account of a link that is good on this site, which is used up by it; else None."""
    now = clock.now()
    links = SignInLink.objects.filter(
        Q(account__site=site) | Q(account__site__isnull=True), digest=_digest(token), account__is_active=True
    )
    if not links.filter(used__isnull=True, expires__gt=now).update(used=now):
        return None
    return links.select_related("account").get().account
