"""Members sign in on their site by e-mail and password, and get no further than their own pages."""

import pytest
from django.test import Client

from tagwarden.accounts.models import Account, Site
from tagwarden.members.models import Member
from tagwarden.staff import upgrading

PASSWORD = "kTm4WpxRn9dV"


@pytest.fixture(autouse=True)
def _fresh_look() -> None:
    upgrading.last_look.forget()


@pytest.fixture
def door(bob: Member) -> Client:
    """A browser on Bob's site; his password is set."""
    bob.account.set_password(PASSWORD)
    bob.account.save()
    return Client(headers={"host": bob.site.host})


def _try(door: Client, email: str = "Bob@Example.com", password: str = PASSWORD) -> object:
    return door.post("/sign-in/", {"email": email, "password": password})


def test_the_sites_address_leads_to_the_sign_in_and_then_to_a_welcome(door: Client, bob: Member) -> None:
    assert door.get("/")["Location"] == "/sign-in/"
    assert "Sign in to Northlight Studio" in door.get("/sign-in/").content.decode()

    assert _try(door)["Location"] == "/"
    page = door.get("/").content.decode()
    assert "Bob Okafor" in page
    assert "bob@example.com" in page
    bob.account.refresh_from_db()
    assert bob.account.last_login is not None


def test_a_wrong_password_says_so_and_keeps_the_email(door: Client) -> None:
    answer = _try(door, password="wrong")
    assert answer.status_code == 422
    assert "don’t fit together" in answer.content.decode()
    assert "Bob@Example.com" in answer.content.decode()


def test_ten_wrong_passwords_shut_the_door_for_a_while(door: Client) -> None:
    for _ in range(10):
        _try(door, password="wrong")
    assert _try(door).status_code == 429


def test_the_same_address_on_another_site_is_somebody_else(door: Client, other_site: Site) -> None:
    elsewhere = Client(headers={"host": other_site.host})
    assert _try(elsewhere).status_code == 422


def test_a_session_of_one_site_shows_nothing_on_another(door: Client, bob: Member, other_site: Site) -> None:
    _try(door)
    answer = door.get("/", headers={"host": other_site.host})
    assert answer["Location"] == "/sign-in/"


def test_members_see_no_page_of_staff(door: Client) -> None:
    _try(door)
    assert door.get("/staff/deliveries/").status_code == 403


def test_staff_who_sign_in_here_are_led_to_their_pages(alice: Account) -> None:
    alice.set_password(PASSWORD)
    alice.save()
    browser = Client(headers={"host": alice.site.host})
    assert _try(browser, alice.email)["Location"] == "/staff/"
    assert browser.get("/")["Location"] == "/staff/"


def test_signing_out_ends_it(door: Client) -> None:
    _try(door)
    assert door.post("/sign-out/")["Location"] == "/sign-in/"
    assert door.get("/")["Location"] == "/sign-in/"
