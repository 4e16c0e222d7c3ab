"""The commands that set up and look: what people see, what scripts get."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tagwarden.accounts import staff_accounts
from tagwarden.accounts.models import Account, Site
from tagwarden.connections import handshakes, setup
from tagwarden.connections.models import Handshake
from tagwarden.core import clock
from tagwarden.core.breaker import Breaker
from tagwarden.core.errors import SettingsError
from tagwarden.core.outcome import CrmTag
from tagwarden.journal.models import Job, Lane
from tagwarden.members.models import ContactTag, Sweep, Tag
from tests.staff import story

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def documented(command: str) -> list[str]:
    """The keys that docs/cli.md names for a command's --json."""
    section = DOCS.split(f"### `tagwarden {command}`\n", 1)[1].split("\n##", 1)[0]
    return re.findall(r"`(\w+)`", re.search(r"^JSON: (.*)$", section, re.MULTILINE)[1].split(". ")[0])


# Sites.


@pytest.mark.django_db
def test_a_site_is_added_and_the_next_step_said(run):
    ran = run("site", "add", "Northlight  Studio", "--host", "Northlight.Example", "--timezone", "America/Chicago")

    site = Site.objects.get()
    assert (site.name, site.host) == ("Northlight Studio", "northlight.example")
    assert site.public_url == "https://northlight.example"
    assert "Next: tagwarden connection add northlight.example" in ran.out


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "https://a.example"], "no host name"),
        (["--host", "a.example", "--timezone", "Chicago"], "no time zone"),
        (["--host", "a.example", "--public-url", "a.example"], "no web address"),
        (["--host", "a.example", "--mail-from", "hello"], "no e-mail address"),
    ],
)
def test_a_site_with_a_bad_value_is_refused(run, arguments, sentence):
    with pytest.raises(SettingsError, match=sentence):
        run("site", "add", "Northlight", *arguments)
    assert not Site.objects.exists()


def test_a_host_has_one_site(run, site):
    with pytest.raises(SettingsError, match="already"):
        run("site", "add", "Another", "--host", site.host)


def test_a_sites_sender_is_set(run, site):
    run("site", "set", site.host, "--mail-from", "hello@northlight.example")
    assert run("site", "list", "--json").json[0]["mail_from"] == "hello@northlight.example"
    with pytest.raises(SettingsError, match="no e-mail address"):
        run("site", "set", site.host, "--mail-from", "hello")


def test_sites_are_listed(run, site):
    (row,) = run("site", "list", "--json").json
    assert list(row) == documented("site list")
    assert row["id"] == site.pk
    assert "Northlight Studio" in run("site", "list").out


# The first account.


@pytest.mark.django_db
def test_the_first_operator_is_made_once_and_gets_a_password(site):
    account, made = staff_accounts.first_operator("mara@example.com", "a-long-enough-one")
    again, made_again = staff_accounts.first_operator("Mara@example.com", "another-long-one")

    assert (made, made_again) == (True, False)
    assert account == again
    assert again.check_password("another-long-one")
    assert again.role == Account.Role.OPERATOR
    assert staff_accounts.set_up_link(site) == ""


def test_an_operator_without_password_gets_a_one_time_link(site):
    staff_accounts.first_operator()
    assert staff_accounts.set_up_link(site).startswith("http://northlight.example/sign-in/")


@pytest.mark.django_db
@pytest.mark.parametrize(("email", "password"), [("not-an-address", ""), ("a@example.com", "short")])
def test_a_bad_address_or_password_makes_no_account(email, password):
    with pytest.raises(SettingsError):
        staff_accounts.first_operator(email, password)
    assert not Account.objects.exists()


# Connections and handshakes.


def test_a_connection_is_added_with_its_address_to_paste(run, site, tmp_path):
    file = tmp_path / "key.json"
    file.write_text('{"api_key": "a-secret-key"}')
    ran = run("connection", "add", "northlight.example", "--crm", "sandbox", "--credentials-file", str(file))

    secret = handshakes.reveal(Handshake.objects.get())
    assert f"http://northlight.example/?aal_updateuser={secret}" in ran.out
    assert "a-secret-key" not in ran.out


@pytest.mark.parametrize("content", ["no json", "[]", '{"api_key": 3}'])
def test_credentials_that_are_no_object_of_texts_are_refused(run, site, tmp_path, content):
    file = tmp_path / "key.json"
    file.write_text(content)
    with pytest.raises(SettingsError, match="JSON"):
        run("connection", "add", "northlight.example", "--crm", "sandbox", "--credentials-file", str(file))


def test_connections_are_listed_and_shown_without_credentials(run, connection):
    (row,) = run("connection", "list", "--json").json
    one = run("connection", "show", str(connection.pk), "--json").json

    assert list(row) == documented("connection list")
    assert list(one) == [*documented("connection list"), *documented("connection show")]
    assert one["options"]["release_delay"] == 300
    assert "sandbox-key" not in run("connection", "show", str(connection.pk)).out


def test_options_are_set_and_a_malformed_one_is_wrong_usage(run, connection):
    assert run("connection", "set", str(connection.pk), "release_delay=4").code == 0
    assert run("connection", "set", str(connection.pk), "release_delay").code == 2
    assert run("connection", "set", str(connection.pk)).code == 2
    connection.refresh_from_db()
    assert connection.options.release_delay == 4


def test_mapped_fields_are_shown_and_made_where_missing(run, connection, crm):
    setup.change(connection, {"base_url": crm.url, "password_field": "Code word", "coupon_field": "Coupon code"})
    listed = run("connection", "fields", str(connection.pk), "--json").json
    states = {row["label"]: row["state"] for row in listed}
    assert (states["Code word"], states["Coupon code"], states["Team"]) == ("missing", "there", "missing")

    assert "--create" in run("connection", "fields", str(connection.pk)).out
    made = run("connection", "fields", str(connection.pk), "--create", "--json").json
    assert {row["state"] for row in made} == {"there", "made now"}
    assert {row["state"] for row in run("connection", "fields", str(connection.pk), "--json").json} == {"there"}


def test_a_done_tag_is_looked_up_in_the_crm(run, connection, crm):
    setup.change(connection, {"base_url": crm.url})
    tag = crm.new_tag("Password sent")
    run("connection", "set", str(connection.pk), "genpass_done_tag=Password sent")

    connection.refresh_from_db()
    assert connection.options.genpass_done_tag == CrmTag(str(tag), "Password sent")
    assert "genpass_done_tag=Password sent" in run("connection", "show", str(connection.pk)).out


def test_handshakes_are_made_listed_and_revoked(run, connection):
    ran = run("handshake", "add", str(connection.pk), "--name", "mails", "--scope", "updateuser")
    made = Handshake.objects.get()
    secret = handshakes.reveal(made)
    assert f"?aal_updateuser={secret}" in ran.out

    (row,) = run("handshake", "list", "--json").json
    assert list(row) == documented("handshake list")
    assert (row["id"], row["scopes"], row["revoked"]) == (made.pk, ["updateuser"], None)
    assert secret not in run("handshake", "list").out

    assert "is revoked" in run("handshake", "revoke", str(made.pk)).out
    assert "already" in run("handshake", "revoke", str(made.pk)).out


def test_a_rotated_handshake_says_what_to_do_with_the_old_one(run, connection):
    old, _ = handshakes.make(connection, "mails")
    assert f"tagwarden handshake revoke {old.pk}" in run("handshake", "rotate", str(old.pk)).out


def test_a_short_imported_secret_comes_with_a_warning(run, connection, tmp_path):
    file = tmp_path / "old"
    file.write_text("twelve-chars\n")
    assert "may be guessed" in run("handshake", "add", str(connection.pk), "--import-file", str(file)).out


def test_the_webhooks_address_stands_alone_on_standard_output(run, connection):
    handshakes.make(connection, "mails", scopes=["updateuser"])
    _, secret = handshakes.make(connection, "all")
    handshakes.make(connection, "mails again", scopes=["updateuser"])
    ran = run("webhook-url", str(connection.pk), "aal_batchsync", "release=Module 3")

    assert ran.out == f"http://northlight.example/?aal_batchsync={secret}&release=Module%203\n"
    assert "Sandbox CRM" in ran.error


def test_without_a_handshake_that_may_run_it_there_is_no_address(run, connection):
    handshakes.make(connection, "mails", scopes=["updateuser"])
    with pytest.raises(SettingsError, match="--scope batchsync"):
        run("webhook-url", str(connection.pk), "batchsync")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [
        ("connection", "show", "7"),
        ("connection", "show", "x"),
        ("handshake", "revoke", "7"),
        ("delivery", "show", "01890000"),
        ("member", "show", "nobody@example.com"),
        ("release", "show", "7"),
        ("sweep", "show", "7"),
        ("connection", "sweep", "7"),
        ("connection", "add", "nowhere.example", "--crm", "sandbox"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(run, arguments):
    with pytest.raises(SettingsError, match="There is no"):
        run(*arguments)


# Calls.


def test_calls_are_listed_under_the_id_that_the_sender_was_told(run, call):
    call()
    job = call("99", standing="failed", reason="contact-not-found", detail='{"crm":"Sandbox CRM","contact":"99"}')
    rows = run("delivery", "list", "--json").json

    assert list(rows[0]) == documented("delivery list")
    assert [row["contact"] for row in rows] == ["99", "526"]
    assert rows[0]["id"] == job.delivery
    assert rows[0]["title"] == "Sandbox CRM has no contact 99."
    assert [row["contact"] for row in run("delivery", "list", "--outcome", "failed", "--json").json] == ["99"]
    assert [row["contact"] for row in run("delivery", "list", "--contact", "526", "--json").json] == ["526"]
    assert len(run("delivery", "list", "--limit", "1", "--json").json) == 1
    assert "contact 99" in run("delivery", "list").out


def test_a_waiting_call_says_that_its_crm_is_down(run, call, connection):
    now = clock.now_ms()
    down = Breaker(failures=6, since=now - 60_000, looks=1, next_look=now + 60_000)
    lane = Lane.objects.create(site=connection.site_id, connection=connection.pk, breaker=down.stored())
    job = call(standing="waiting", lane=lane.pk)

    (told,) = run("delivery", "show", job.delivery, "--json").json["jobs"]

    assert (told["outcome"], told["reason"]) == ("waiting", "crm-down")
    assert told["title"].startswith("Sandbox CRM is down since ")
    assert "next look at" in run("delivery", "show", job.delivery).out


def test_a_call_is_shown_whole_by_the_beginning_of_its_id(run, call):
    job = call(standing="failed", reason="crm-key-refused", detail='{"crm":"Sandbox CRM"}')
    content = run("delivery", "show", job.delivery[:30], "--json").json

    assert list(content) == ["id", "call", "jobs"]
    assert content["call"]["body"] == "contactId=526"
    assert content["jobs"][0]["attempts"][0]["calls"][0]["found"] == "Found Bob with 6 tags"
    told = run("delivery", "show", job.delivery).out
    assert "Sandbox CRM refused our key." in told
    assert "Read the contact: Found Bob with 6 tags (21 ms)" in told
    assert "CST" in told


def test_a_beginning_that_fits_several_is_refused(run, call):
    first, second = call(), call()
    shared = next(n for n in range(36) if first.delivery[n] != second.delivery[n])
    if shared >= 4:
        with pytest.raises(SettingsError, match="Several"):
            run("delivery", "show", first.delivery[:shared])


def test_failed_calls_are_redelivered_singly_and_by_reason(run, call):
    one = call(standing="failed", reason="crm-key-refused")
    many = [call(str(n), standing="failed", reason="contact-not-found") for n in range(3)]
    done = call()

    assert "1 job put back" in run("delivery", "redeliver", one.delivery).out
    assert "3 jobs put back" in run("delivery", "redeliver", "--reason", "contact-not-found").out
    waiting = set(Job.objects.filter(state="waiting").values_list("pk", flat=True))
    assert waiting == {one.pk, *(job.pk for job in many)}
    with pytest.raises(SettingsError, match="nothing to redeliver"):
        run("delivery", "redeliver", done.delivery)


@pytest.mark.django_db
@pytest.mark.parametrize("arguments", [[], ["abcd", "--reason", "contact-not-found"], ["--reason", "no-such"]])
def test_redeliver_wants_ids_or_a_reason_that_exists(run, arguments):
    assert run("delivery", "redeliver", *arguments).code == 2


# Members and releases.


def test_members_are_listed_and_shown_with_their_tags(run, bob):
    contact = bob.contacts.get()
    tag = Tag.objects.create(connection=contact.connection, external_id="3", name="Module_3_Has_Access")
    since = datetime(2026, 11, 24, 15, 4, tzinfo=UTC)
    ContactTag.objects.create(contact=contact, tag=tag, since=since, source="first")
    (row,) = run("member", "list", "--json").json
    one = run("member", "show", "BOB@example.com", "--json").json

    assert list(row) == documented("member list")
    assert list(one) == [*documented("member list"), "tags"]
    assert row["id"] == bob.account.login
    assert row["contacts"] == [{"connection": "Sandbox CRM", "contact": "526", "state": "live"}]
    assert one["tags"][0]["name"] == "Module_3_Has_Access"
    assert one["tags"][0]["since"] == "2026-11-24T15:04:00.000Z"
    assert "24 Nov 2026, 09:04:00 CST" in run("member", "show", bob.account.login).out


def test_members_are_found_by_part_of_name_or_by_contact_id(run, bob):
    assert len(run("member", "list", "--search", "kafo", "--json").json) == 1
    assert len(run("member", "list", "--search", "526", "--json").json) == 1
    assert run("member", "list", "--search", "charlie").out == "No members fit.\n"


def test_a_releases_figures_add_up_to_its_contacts(run, call, release):
    call("1", release=release.pk)
    call("1", release=release.pk)
    call("2", release=release.pk, standing="no-op", reason="not-a-member")
    call("3", release=release.pk, standing="failed", reason="contact-not-found")
    call("4", release=release.pk, standing="waiting")
    (row,) = run("release", "list", "--json").json

    assert list(row) == documented("release list")
    assert row == run("release", "show", str(release.pk), "--json").json
    assert row["contacts"] == 4
    assert (row["synced"], row["not_members"], row["failed"], row["waiting"]) == (1, 1, 1, 1)
    assert "Module_3" in run("release", "list").out


# Drift checks.


def test_a_drift_check_is_asked_for_once_and_can_be_watched(run, connection):
    ran = run("connection", "sweep", str(connection.pk))

    sweep = Sweep.objects.get()
    assert f"Drift check {sweep.pk}" in ran.out
    assert f"http://northlight.example/staff/drift-checks/{sweep.slug}/" in ran.out
    job = Job.objects.get(command="sweep")
    assert (job.key, job.source, job.priority, job.account) == (sweep.key, "staff", 30, None)
    with pytest.raises(SettingsError, match="under way"):
        run("connection", "sweep", str(connection.pk))


def test_a_connection_that_is_off_is_not_checked(run, connection):
    run("connection", "set", str(connection.pk), "active=no")
    with pytest.raises(SettingsError, match="switched off"):
        run("connection", "sweep", str(connection.pk))


def test_drift_checks_are_listed_and_shown_with_what_they_mended(run, connection, bob):
    sweep = story.sweep(connection, gained=1, suspects=3)
    contact = bob.contacts.get()
    tag = Tag.objects.create(connection=connection, external_id="3", name="Module_3")
    sweep.findings.create(contact=contact, tag=tag, what="gained")
    (row,) = run("sweep", "list", "--json").json
    one = run("sweep", "show", str(sweep.pk), "--json").json

    assert list(row) == documented("sweep list")
    assert one == row | {"findings": [{"contact": "526", "tag": "Module_3", "what": "gained"}]}
    assert (row["state"], row["read"], row["gained"]) == ("finished", 1000, 1)
    assert "Sandbox CRM" in run("sweep", "list").out
    text = run("sweep", "show", str(sweep.pk)).out
    assert "Left out" in text
    assert "Module_3" in text


def test_one_that_cannot_go_on_has_failed(run, connection):
    story.sweep(connection, "running", standing="failed", reason="crm-key-refused")
    assert run("sweep", "list", "--json").json[0]["state"] == "failed"


@pytest.mark.django_db
def test_before_the_first_drift_check_the_list_says_when_it_comes(run):
    assert "a day after" in run("sweep", "list").out


def test_an_address_with_a_secret_is_never_broken_across_lines(run, connection):
    _, secret = handshakes.make(connection, "all")
    address = setup.webhook_url(connection, "batchsync", {"release": "x" * 150}, secret)
    assert address in run("webhook-url", str(connection.pk), "batchsync", f"release={'x' * 150}").out.splitlines()
