"""Staff who are signed in, and the journal of their site."""

from collections.abc import Callable

import pytest
from django.test import Client

from tagwarden.accounts.models import Account, Site
from tagwarden.staff import upgrading
from tests.staff.story import Journal

BACKEND = "tagwarden.accounts.sign_in.EmailOnSite"

SignedIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def _fresh_look() -> None:
    upgrading.last_look.forget()


@pytest.fixture
def signed_in() -> SignedIn:
    """A browser in which that account is signed in, on the host of its site or of another."""

    def sign_in(account: Account, host: str = "") -> Client:
        client = Client(headers={"host": host or account.site.host})
        client.force_login(account, backend=BACKEND)
        return client

    return sign_in


@pytest.fixture
def staff(alice: Account, signed_in: SignedIn) -> Client:
    """Alice's browser."""
    return signed_in(alice)


@pytest.fixture
def journal(site: Site) -> Journal:
    return Journal(site)
