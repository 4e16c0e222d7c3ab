"""Triggers: a tag, a command, a handshake of its own, and the hook at the CRM."""

from contextlib import closing
from typing import Any

import pytest

from tagwarden.accounts.models import AuditEntry
from tagwarden.connections import connect, handshakes, setup, triggers
from tagwarden.connections.models import Connection, Handshake, Trigger
from tagwarden.core.errors import Permanent, Retryable, SettingsError
from tagwarden.core.hooks import Happened, Hook
from tests.hooking import Crm as HookedCrm
from tests.hooking import hooked
from tests.sandbox.conftest import Crm, crm, shared_crm

__all__ = ["crm", "hooked", "shared_crm"]


@pytest.fixture
def link(connection: Connection, hooked: type[HookedCrm], crm: Crm) -> Connection:
    """A connection to a CRM that has hooks and runs."""
    setup.change(connection, {"base_url": crm.url})
    return connection


def add(link: Connection, tag: str = "Make account", command: str = "genpass", **more: Any) -> Trigger:
    made = triggers.add(link, tag=tag, command=command, params=more.pop("params", {}), **more)
    triggers.set_up(made)
    return made


def test_it_has_the_tag_a_handshake_for_its_command_only_and_a_hook(link: Connection, hooked: type[HookedCrm]) -> None:
    made = add(link)

    with closing(connect.open_crm(link)) as adapter:
        assert adapter.list_tags()[made.tag] == "Make account"
    assert (made.handshake.name, made.handshake.scopes) == ("trigger: Make account", "genpass")
    url = f"http://northlight.example/hooks/{handshakes.reveal(made.handshake)}"
    assert hooked.there == {"1": Hook("1", url, Happened.TAG_ADDED, made.tag)}
    made.refresh_from_db()
    assert (made.hook, made.state, made.take_off) == ("1", "alive", True)
    assert AuditEntry.objects.filter(action="trigger-added", subject="Make account").exists()


def test_parameters_are_kept_as_the_command_takes_them(link: Connection) -> None:
    assert add(link, "Sync", "aal_BatchSync", params={"release": " Module 3 "}).params == {"release": "Module 3"}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"command": "genpas"}, "There is no command aal_genpas"),
        ({"params": {"teamId": "3"}}, "genpass has no parameter teamId"),
    ],
)
def test_what_the_door_would_not_understand_is_refused(
    link: Connection, changed: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        add(link, **changed)
    assert not Trigger.objects.exists()
    assert not Handshake.objects.exists()


def test_a_tag_is_one_trigger_only(link: Connection) -> None:
    first = add(link)
    with pytest.raises(SettingsError, match=f"a trigger already, number {first.pk}"):
        add(link, "make ACCOUNT", "updateuser")


def test_a_crm_without_hooks_says_what_to_do_instead(connection: Connection) -> None:
    with pytest.raises(SettingsError, match=f"tagwarden webhook-url {connection.pk} genpass"):
        add(connection)
    assert not Handshake.objects.exists()


def test_a_tag_that_opens_something_stays_on(link: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "opens_something", lambda connection, tag: True)
    made = add(link)

    assert not made.take_off
    Trigger.objects.update(take_off=True)
    assert triggers.to_take_off([made.pk]) == {}


def test_removing_takes_the_hook_away_and_shuts_its_address(link: Connection, hooked: type[HookedCrm]) -> None:
    made = add(link)
    handshakes.rotate(made.handshake)
    made.refresh_from_db()

    assert triggers.remove(made)

    assert hooked.there == {}
    assert not Handshake.objects.filter(revoked=None).exists()
    assert not Trigger.objects.exists()


def test_one_whose_crm_is_down_is_removed_all_the_same(link: Connection, hooked: type[HookedCrm]) -> None:
    made = add(link)
    hooked.refuses["remove_hook"] = Retryable("crm-unreachable", crm="Hooked", why="it can't be reached")

    assert not triggers.remove(made)
    assert not Trigger.objects.exists()


def test_after_a_rotation_the_hook_calls_the_new_address_and_the_old_hook_is_gone(
    link: Connection, hooked: type[HookedCrm]
) -> None:
    hooked.signs = True
    made = add(link)
    new, secret = handshakes.rotate(made.handshake)
    made = Trigger.objects.select_related("handshake__connection__site", "connection__site").get(pk=made.pk)
    assert (made.handshake_id, made.former_id) == (new.pk, made.former_id)
    triggers.set_up(made)

    assert [hook.url for hook in hooked.there.values()] == [f"http://northlight.example/hooks/{secret}"]
    assert triggers.secrets_of(made) == ["secret-2", "secret-1"], "a call signed with the old one may be under way"
    assert handshakes.scopes_of(new) == ("genpass",)


def test_a_hook_whose_secret_nobody_told_is_not_judged_by_an_older_one(link: Connection, hooked: Any) -> None:
    hooked.signs = True
    made = add(link)
    triggers.keep_hook(made, Hook("1", "", Happened.TAG_ADDED))
    assert triggers.secrets_of(made) == ["secret-1"], "the same hook: its secret is told only once"

    triggers.keep_hook(made, Hook("2", "", Happened.TAG_ADDED))
    assert triggers.secrets_of(made) == []


def test_a_hook_that_could_not_be_made_leaves_nothing_behind(link: Connection, hooked: type[HookedCrm]) -> None:
    hooked.refuses["make_hook"] = Permanent("crm-refused", crm="Hooked", status=422)
    made = triggers.add(link, tag="Make account", command="genpass", params={})
    with pytest.raises(Permanent):
        triggers.set_up(made)
    triggers.undo(made)

    assert not Trigger.objects.exists()
    assert Handshake.objects.get().revoked is not None


@pytest.mark.parametrize("crm_name", ["sandbox", "hooked"])
def test_the_credentials_of_a_new_connection_must_be_whole(
    site: Any, hooked: type[HookedCrm], monkeypatch: pytest.MonkeyPatch, crm_name: str
) -> None:
    monkeypatch.setattr(
        connect.adapter_class(crm_name), "needed", (frozenset({"api_key"}), frozenset({"client_id", "refresh_token"}))
    )
    for given in ({}, {"api_key": " "}, {"client_id": "a"}, {"Api_Key": "b"}):
        with pytest.raises(SettingsError, match='"api_key" or "client_id", "refresh_token"'):
            setup.add_connection(site, crm_name, name="", base_url="", credentials=given)
    made = setup.add_connection(site, crm_name, name="", base_url="", credentials={"api_key": "b", "note": "mine"})
    with pytest.raises(SettingsError, match="docs/" + ("sandbox" if crm_name == "sandbox" else "crms/hooked") + ".md"):
        setup.change(made, {}, credentials={})


def test_an_address_must_be_given_where_each_account_has_its_own(
    site: Any, hooked: type[HookedCrm], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooked, "default_url", "")
    key = {"api_key": "b"}
    with pytest.raises(SettingsError, match=r"an address of its own.*docs/crms/hooked\.md"):
        setup.add_connection(site, "hooked", name="", base_url=" ", credentials=key)
    made = setup.add_connection(site, "hooked", name="", base_url="https://acme.example", credentials=key)
    with pytest.raises(SettingsError, match="an address of its own"):
        setup.change(made, {"base_url": ""})


def test_what_to_paste_where_stands_in_the_adapter(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = connect.adapter_class("sandbox")
    assert "http://x/?aal=1" in setup.hints(connection, "http://x/?aal=1")[0]
    monkeypatch.setattr(adapter, "paste", ())
    assert "send a POST" in setup.hints(connection, "http://x/?aal=1")[0]
