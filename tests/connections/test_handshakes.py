"""Handshakes: made, rotated, revoked, imported, shown again, and handed to the door."""

import pytest

from tagwarden.accounts.models import AuditEntry
from tagwarden.connections import handshakes
from tagwarden.connections.models import Handshake
from tagwarden.core.errors import SettingsError


def test_a_new_handshake_is_strong_and_kept_only_sealed(connection):
    made, secret = handshakes.make(connection, "webhooks")

    assert len(secret) == 32  # 192 bits
    row = Handshake.objects.filter(pk=made.pk).values().get()
    assert secret not in str(row)
    assert handshakes.reveal(made) == secret


def test_two_handshakes_differ(connection):
    assert handshakes.make(connection, "a")[1] != handshakes.make(connection, "a")[1]


def test_the_door_gets_digest_scopes_and_the_crms_form_of_ids(connection, settings):
    _, secret = handshakes.make(connection, "mails", scopes=["aal_UpdateUser"], get_allowed=True)

    (entry,) = handshakes.door_entries()
    assert entry.digest == settings.KEYS.digest(secret)
    assert (entry.connection, entry.site, entry.crm) == (connection.pk, connection.site_id, "sandbox")
    assert entry.allows("updateuser")
    assert not entry.allows("batchsync")
    assert entry.get_allowed
    assert not entry.revoked
    assert entry.id_pattern == r"\d{1,18}"


def test_a_scope_that_is_no_command_is_refused(connection):
    with pytest.raises(SettingsError, match="There is no command updateusr"):
        handshakes.make(connection, "mails", scopes=["updateusr"])
    assert not handshakes.door_entries()


def test_every_change_raises_the_doors_version(connection):
    versions = [handshakes.door_version()]
    made, _ = handshakes.make(connection, "webhooks")
    versions.append(handshakes.door_version())
    handshakes.rotate(made)
    versions.append(handshakes.door_version())
    handshakes.revoke(made)
    versions.append(handshakes.door_version())
    handshakes.import_secret(connection, "old", "an-older-secret")
    versions.append(handshakes.door_version())

    assert versions == [0, 1, 2, 3, 4]


def test_rotating_leaves_the_old_one_working(connection):
    old, secret = handshakes.make(connection, "mails", scopes=["updateuser"], get_allowed=True)
    new, new_secret = handshakes.rotate(old)

    assert new_secret != secret
    assert (new.name, new.scopes, new.get_allowed) == (old.name, old.scopes, old.get_allowed)
    assert [entry.revoked for entry in handshakes.door_entries()] == [False, False]


def test_a_revoked_one_stays_known_to_the_door_as_revoked(connection):
    made, _ = handshakes.make(connection, "webhooks")

    assert handshakes.revoke(made)
    assert [entry.revoked for entry in handshakes.door_entries()] == [True]
    assert not handshakes.revoke(made)


@pytest.mark.parametrize("secret", ["short-one", "   eleven-char   ", "two words in it", "tab\tin-the-secret"])
def test_a_weak_or_broken_secret_is_not_imported(connection, secret):
    with pytest.raises(SettingsError):
        handshakes.import_secret(connection, "old", secret)


def test_an_imported_secret_works_as_it_was_but_once_only(connection, settings):
    made = handshakes.import_secret(connection, "old", " twelve-chars\n")

    assert made.imported
    assert handshakes.door_entries()[0].digest == settings.KEYS.digest("twelve-chars")
    with pytest.raises(SettingsError, match="in use"):
        handshakes.import_secret(connection, "again", "twelve-chars")


def test_changes_are_audited_without_the_secret(connection, alice):
    made, secret = handshakes.make(connection, "webhooks", account=alice)
    handshakes.revoke(made)

    entries = AuditEntry.objects.order_by("pk")
    assert [(one.action, one.account) for one in entries] == [
        ("handshake-made", alice),
        ("handshake-revoked", None),
    ]
    assert secret not in str(list(entries.values()))
