"""Signing in and out, and what pages say while the schema is another one."""

import pytest
from django.db import connection as database
from django.test import Client

from tagwarden.accounts import sign_in
from tagwarden.accounts.models import Account, Site
from tagwarden.staff import upgrading

PASSWORD = "light and shadow"


@pytest.fixture
def door(alice: Account) -> Client:
    """A browser on Alice's site; her password is set."""
    alice.set_password(PASSWORD)
    alice.save()
    return Client(headers={"host": alice.site.host})


def _try(door: Client, password: str, **more: str) -> object:
    return door.post("/staff/sign-in/", {"email": "Alice@Northlight.example", "password": password, **more})


def test_the_right_password_leads_where_one_wanted_to_go(door: Client) -> None:
    assert _try(door, PASSWORD, next="/staff/members/")["Location"] == "/staff/members/"


def test_it_never_leads_to_another_host(door: Client) -> None:
    assert _try(door, PASSWORD, next="https://evil.example/")["Location"] == "/staff/"


def test_a_wrong_password_says_so_beside_the_fields_and_keeps_the_email(door: Client) -> None:
    answer = _try(door, "wrong")
    assert answer.status_code == 422
    assert "don’t fit together" in answer.content.decode()
    assert "Alice@Northlight.example" in answer.content.decode()


def test_ten_wrong_passwords_shut_the_door_for_a_while(door: Client) -> None:
    for _ in range(10):
        _try(door, "wrong")
    answer = _try(door, PASSWORD)
    assert answer.status_code == 429
    assert "Wait 15" in answer.content.decode()


def test_a_link_is_used_up_by_its_button_and_not_by_looking(door: Client, alice: Account, site: Site) -> None:
    path = sign_in.make_link(alice, site=site).removeprefix(site.public_url)
    assert door.get(path).status_code == 200
    assert door.get(path).status_code == 200
    assert door.post(path)["Location"] == "/staff/"
    assert door.get("/staff/members/").status_code == 200
    assert Client(headers={"host": site.host}).post(path).status_code == 410


def test_a_link_of_one_site_does_not_open_another(door: Client, charlie: Account, other_site: Site) -> None:
    path = sign_in.make_link(charlie, site=other_site).removeprefix(other_site.public_url)
    assert door.post(path).status_code == 410


def test_signing_out_ends_it(door: Client) -> None:
    _try(door, PASSWORD)
    door.post("/staff/sign-out/")
    assert door.get("/staff/members/").status_code == 302


def test_with_a_migration_missing_every_page_says_being_upgraded(door: Client) -> None:
    with database.cursor() as cursor:
        cursor.execute("update django_migrations set name = '0001_other' where app = 'journal'")
    upgrading.last_look.forget()
    answer = door.get("/staff/sign-in/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "being upgraded" in answer.content.decode()


def test_with_the_tables_gone_in_the_middle_it_says_the_same(door: Client) -> None:
    door.get("/staff/sign-in/")
    door.raise_request_exception = False
    with database.cursor() as cursor:
        cursor.execute("alter table django_migrations rename to elsewhere")
        cursor.execute("alter table accounts_site rename to no_site")
    assert door.get("/staff/sign-in/").status_code == 503
    assert not upgrading.last_look()
