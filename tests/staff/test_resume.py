"""The note after a restore, and its button."""

from django.test import Client

from tagwarden.accounts.models import Account, AuditEntry, Site
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.journal.models import Restore
from tests.staff.story import Journal


def restored(site: Site) -> None:
    Restore.objects.create(site=site.pk, moment=clock.now())


def test_after_a_restore_each_page_says_so_until_somebody_resumes(
    staff: Client, alice: Account, site: Site, journal: Journal, connection: Connection
) -> None:
    call = journal.call(connection, "updateuser", "1")
    held = journal.effect(call, "tag-add", "tag", outcome="held", reason="restored")
    assert "Restored from a backup" not in staff.get("/staff/deliveries/").content.decode()
    restored(site)
    for address in ("/staff/deliveries/", "/staff/members/", f"/staff/deliveries/{call.key}/"):
        assert "Restored from a backup" in staff.get(address).content.decode()

    answer = staff.post("/staff/resume/", {"back": "/staff/members/"}, follow=True)

    assert answer.redirect_chain == [("/staff/members/", 302)]
    assert "Resumed. 1 held effect goes on." in answer.content.decode()
    assert "Restored from a backup" not in answer.content.decode()
    held.refresh_from_db()
    call.refresh_from_db()
    assert (held.state, held.reason, call.standing) == ("waiting", "", "waiting")
    assert AuditEntry.objects.get(action="restore-resumed").account == alice


def test_a_mail_that_may_have_left_is_named_and_shown(
    staff: Client, site: Site, journal: Journal, connection: Connection
) -> None:
    call = journal.call(connection, "updateuser", "1")
    mail = journal.effect(call, "mail", "mail", outcome="held", reason="restored")
    restored(site)
    answer = staff.post("/staff/resume/", follow=True).content.decode()
    assert "1 mail or charge may have left before" in answer
    assert "outcome=unknown" in answer
    mail.refresh_from_db()
    assert (mail.outcome, mail.reason) == ("unknown", "restored-mail-unknown")
    assert "this mail may have left before" in staff.get(f"/staff/deliveries/{call.key}/").content.decode()


def test_another_sites_staff_let_nothing_out_here(
    site: Site, other_site: Site, charlie: Account, signed_in: object, journal: Journal, connection: Connection
) -> None:
    call = journal.call(connection, "updateuser", "1")
    held = journal.effect(call, "tag-add", "tag", outcome="held", reason="restored")
    restored(site)
    signed_in(charlie).post("/staff/resume/")  # type: ignore[operator]  # see conftest.SignedIn
    held.refresh_from_db()
    assert held.state == "held"
    assert Restore.objects.get().resumed is None
