"""Connections: added, changed, and the address that an owner pastes into the CRM."""

import pytest

from tagwarden.connections import handshakes, setup
from tagwarden.connections.models import Connection
from tagwarden.core.errors import SettingsError


def add(site, **changes):
    values = {"name": "", "base_url": "http://127.0.0.1:9/", "credentials": {"api_key": "a-secret-key"}}
    return setup.add_connection(site, "sandbox", **(values | changes))


def test_a_connection_has_its_credentials_sealed_and_a_first_handshake(site):
    connection = add(site)

    assert connection.name == "Sandbox CRM"
    assert connection.base_url == "http://127.0.0.1:9"
    assert "a-secret-key" not in str(Connection.objects.values().get())
    assert handshakes.scopes_of(connection.handshakes.get()) == ()


def test_an_unknown_crm_is_refused_and_nothing_is_left_behind(site):
    with pytest.raises(SettingsError, match="keep"):
        setup.add_connection(site, "keep", name="", base_url="", credentials={})
    assert not Connection.objects.exists()


@pytest.mark.parametrize("address", ["127.0.0.1:8099", "ftp://crm.example", "https://", "https://me:key@crm.example"])
def test_an_address_that_is_none_or_holds_a_password_is_refused(site, address):
    with pytest.raises(SettingsError):
        add(site, base_url=address)


def test_options_are_changed_all_or_nothing(site):
    connection = add(site)
    setup.change(connection, {"release_delay": "4", "active": "no", "name": "CRM of Mara"})
    with pytest.raises(SettingsError, match="parallel"):
        setup.change(connection, {"release_delay": "9", "parallel": "0"})

    connection.refresh_from_db()
    assert (connection.options.release_delay, connection.options.parallel) == (4, 4)
    assert (connection.active, connection.name) == (False, "CRM of Mara")


def test_new_credentials_replace_the_old_ones(site, settings):
    connection = add(site)
    setup.change(connection, {}, credentials={"api_key": "another"})
    assert settings.KEYS.decrypt(connection.credentials) == '{"api_key": "another"}'


def test_the_address_to_paste_is_the_sites_with_command_secret_and_parameters(connection):
    url = setup.webhook_url(connection, "aal_batchsync", {"release": "Module 3 & more"}, "s3cret/secret")
    assert url == "http://northlight.example/?aal_batchsync=s3cret%2Fsecret&release=Module%203%20%26%20more"


@pytest.mark.parametrize(
    ("word", "params", "sentence"),
    [
        ("updateusr", {}, "There is no command aal_updateusr. Did you mean aal_updateuser"),
        ("updateuser", {"teamId": "3"}, "updateuser has no parameter teamId. It takes none."),
        ("batchsync", {"release": "x" * 300}, "The parameter release is longer than 200 characters."),
    ],
)
def test_an_address_that_would_not_be_understood_is_refused_with_the_doors_sentence(connection, word, params, sentence):
    with pytest.raises(SettingsError, match=sentence):
        setup.webhook_url(connection, word, params, "secret-secret")
