"""The commands around triggers, and `connection test`."""

import json
from dataclasses import replace

import pytest

from tagwarden.connections import setup, triggers
from tagwarden.connections.models import Handshake, Trigger
from tagwarden.core.errors import Permanent, Retryable, SettingsError
from tagwarden.core.outcome import CrmTag
from tagwarden.spool import door
from tests.cli.test_commands import documented
from tests.conftest import DATA
from tests.hooking import hooked

__all__ = ["hooked"]


@pytest.fixture
def link(connection, hooked, crm):
    """A connection to a CRM that has hooks and runs, with the password's field."""
    setup.change(connection, {"base_url": crm.url, "password_field": "Coupon code", "username_field": ""})
    return connection


def test_a_trigger_is_added_listed_and_removed(run, link, hooked):
    pk = str(link.pk)
    assert "No triggers yet" in run("connection", "trigger", "list", pk).out
    ran = run("connection", "trigger", "add", pk, "--tag", "Sync", "--command", "batchsync", "release=Module 3")
    made = Trigger.objects.get()
    assert f"Trigger {made.pk}: whoever gets the tag Sync" in ran.out
    assert "comes off again" in ran.out

    (row,) = run("connection", "trigger", "list", pk, "--json").json
    assert list(row) == documented("connection trigger list")
    assert (row["command"], row["params"], row["take_off"]) == ("batchsync", {"release": "Module 3"}, True)

    assert f"Trigger {made.pk} is removed." in run("connection", "trigger", "remove", pk, str(made.pk)).out
    assert hooked.there == {}
    with pytest.raises(SettingsError, match="There is no trigger"):
        run("connection", "trigger", "remove", pk, str(made.pk))


def test_the_door_knows_the_handshake_before_the_hook_is_made(run, link, hooked, monkeypatch):
    """Keap tries the address while the hook is being made."""
    known = []

    def make_hook(self, url, happened, tag=""):
        known.append({entry.digest for entry in door.entries(door.door_path(DATA))})
        raise Permanent("crm-refused", crm="Hooked", status=422)

    monkeypatch.setattr(hooked, "make_hook", make_hook)
    with pytest.raises(Permanent):
        run("connection", "trigger", "add", str(link.pk), "--tag", "Sync", "--command", "updateuser", "--keep")

    assert known == [{Handshake.objects.get().digest}]
    assert not Trigger.objects.exists()
    assert [entry.revoked for entry in door.entries(door.door_path(DATA))] == [True]


def test_a_rotation_makes_the_hook_anew_or_says_when(run, link, hooked):
    run("connection", "trigger", "add", str(link.pk), "--tag", "Sync", "--command", "updateuser")
    made = Trigger.objects.get()
    assert "was made anew" in run("handshake", "rotate", str(made.handshake_id)).out
    made.refresh_from_db()
    assert [hook.url for hook in hooked.there.values()] == [triggers.hook_url(made.handshake)]

    hooked.refuses["make_hook"] = Retryable("crm-overloaded", crm="Hooked", status=503)
    ran = run("handshake", "rotate", str(made.handshake_id))
    assert "still calls with the old one" in ran.out
    assert "within the hour" in ran.out


# connection test


def looked(run, link):
    ran = run("connection", "test", str(link.pk), "--json")
    return ran.code, {row["check"]: row for row in json.loads(ran.out)}


def test_a_good_connection_is_good_in_every_line(run, link):
    run("connection", "trigger", "add", str(link.pk), "--tag", "Sync", "--command", "updateuser")
    setup.change(link, {"genpass_done_tag": "Login ready"})
    code, found = looked(run, link)

    assert code == 0
    assert list(found["key"]) == documented("connection test")
    assert "it reads from" in found["key"]["finding"]
    assert found["contact"]["finding"].startswith("A contact can be read")
    assert "Login ready" in found["genpass_done_tag"]["finding"]
    assert found[f"trigger {Trigger.objects.get().pk}"]["finding"] == "The hook for the tag Sync is alive."
    assert found["limits"]["finding"].startswith("It allows 50 calls in 1 s; 20 %")
    assert found["cannot: tagged"]["finding"] == "No list by tag."
    assert "Finding" in run("connection", "test", str(link.pk)).out


def test_a_key_that_is_refused_is_the_only_finding(run, link):
    setup.change(link, {}, credentials={"api_key": "wrong"})
    code, found = looked(run, link)

    assert (code, list(found), found["key"]["ok"]) == (1, ["key"], False)
    assert "new key" in found["key"]["finding"]


def test_what_is_missing_is_told_with_what_to_do(run, link, hooked, monkeypatch):
    for tag in ("Off", "Gone", "Shut"):
        run("connection", "trigger", "add", str(link.pk), "--tag", tag, "--command", "updateuser")
    off, gone, shut = Trigger.objects.order_by("pk")
    hooked.there[off.hook] = replace(hooked.there[off.hook], alive=False)
    del hooked.there[gone.hook]
    run("handshake", "revoke", str(shut.handshake_id))
    setup.change(link, {"password_field": "Secret word"})
    monkeypatch.setattr(
        type(link), "options", property(lambda self: replace(OPTIONS, genpass_done_tag=CrmTag("987654", "Lost")))
    )
    code, found = looked(run, link)

    assert code == 1
    bad = {check: row["finding"] for check, row in found.items() if not row["ok"]}
    assert set(bad) == {"fields", "genpass_done_tag", *(f"trigger {one.pk}" for one in (off, gone, shut))}
    assert "--create" in bad["fields"]
    assert "genpass_done_tag=NAME" in bad["genpass_done_tag"]
    assert "switched off" in bad[f"trigger {off.pk}"]
    assert "isn’t there" in bad[f"trigger {gone.pk}"]
    assert "trigger remove" in bad[f"trigger {shut.pk}"]


OPTIONS = replace(setup.options.ConnectionOptions(), password_field="Secret word")


def test_only_the_field_of_the_password_must_be_there(run, link):
    setup.change(link, {"points_field": "Not made yet"})
    code, found = looked(run, link)

    assert code == 0
    assert "Not made yet" in found["fields"]["finding"]


def test_a_trouble_in_the_middle_is_one_finding_among_others(run, link, hooked):
    run("connection", "trigger", "add", str(link.pk), "--tag", "Sync", "--command", "updateuser")
    hooked.refuses["hooks"] = Retryable("crm-overloaded", crm="Hooked", status=503)
    code, found = looked(run, link)

    assert code == 1
    assert [check for check, row in found.items() if not row["ok"]] == ["hooks"]
    assert "503" in found["hooks"]["finding"]


# doctor


def test_the_doctor_tells_how_the_hooks_were(run, link, hooked):
    run("connection", "trigger", "add", str(link.pk), "--tag", "Sync", "--command", "updateuser")
    made = Trigger.objects.get()
    name = f"connection {link.pk}, trigger {made.pk}"

    def told():
        ran = run("doctor", "--connection", str(link.pk), "--json")
        return {row["check"]: row for row in ran.json}

    assert told()[name]["ok"]
    Trigger.objects.update(state="broken", finding="Hooked refused the request.")
    type(link).objects.update(hooks_finding="1 hook at the CRM calls an address.")
    assert not told()[name]["ok"]
    assert "refused the request" in told()[name]["finding"]
    assert told()[f"connection {link.pk}, hooks"]["ok"]
