"""Cookies never leave over plain HTTP once the site is on HTTPS."""

import pytest
from django.test import Client

from tagwarden.accounts.models import Site


@pytest.mark.parametrize("secure", [True, False])
def test_cookies_are_secure_over_https(site: Site, secure: bool) -> None:
    answer = Client(headers={"host": site.host}).get("/staff/sign-in/", secure=secure)

    assert answer.cookies
    assert all(bool(cookie["secure"]) == secure for cookie in answer.cookies.values())
    assert all(not cookie["domain"] for cookie in answer.cookies.values())
