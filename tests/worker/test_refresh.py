"""updateuser and batchsync, from the spool to the member's tags."""

from tagwarden.connections.models import Connection
from tagwarden.journal.models import Job, Release
from tagwarden.members.models import Contact, ContactTag
from tests.worker.conftest import Road, nothing_left_open


def test_it_works(road: Road) -> None:
    road.enrol(1)
    tag = road.crm.new_tag("Module 3")
    road.crm.tag(tag, 1)

    (delivery,) = road.call("aal_updateuser", 1)
    road.work()

    job = road.job(delivery)
    assert (job.outcome, job.standing, job.reason) == ("done", "done", "")
    assert "Module 3" in road.tags(1)
    assert '"gained":["Module 3"]' in job.detail
    assert road.crm.counters()["reads"] == 1
    road.work(nothing_left_open)


def test_a_tag_that_went_is_taken_away_and_says_why(road: Road) -> None:
    tag = road.crm.new_tag("Trial")
    road.crm.tag(tag, 1)
    road.enrol(1)
    road.crm.untag(tag, 1)

    (delivery,) = road.call("aal_updateuser", 1)
    road.work()

    assert "Trial" not in road.tags(1)
    gone = ContactTag.objects.get(tag__name="Trial", contact__external_id="1")
    assert (gone.until_source, gone.until_ref) == ("call", f"{delivery}:1")


def test_the_same_call_twice_changes_nothing_more(road: Road) -> None:
    road.enrol(1)
    road.crm.tag(road.crm.new_tag("Twice"), 1)
    road.call("aal_updateuser", 1)
    road.work()
    before = list(ContactTag.objects.values_list("pk", "since", "until"))

    (again,) = road.call("aal_updateuser", 1)
    road.work()

    assert road.job(again).outcome == "done"
    assert list(ContactTag.objects.values_list("pk", "since", "until")) == before


def test_a_contact_that_is_no_member_is_left_alone_without_a_read(road: Road) -> None:
    (delivery,) = road.call("aal_updateuser", 2)
    road.work()

    job = road.job(delivery)
    assert (job.outcome, job.reason) == ("no-op", "not-a-member")
    assert road.crm.counters()["reads"] == 0
    assert not Contact.objects.exists()


def test_a_site_may_make_members_of_whoever_is_refreshed(road: Road) -> None:
    road.site.options_json = '{"create_members_on_refresh": true}'
    road.site.save()

    (delivery,) = road.call("aal_updateuser", 3)
    road.work()

    contact = Contact.objects.get(external_id="3")
    assert road.job(delivery).outcome == "done"
    assert contact.member is not None
    assert not contact.member.account.has_usable_password()


def test_a_release_of_120_is_read_in_two_calls(road: Road) -> None:
    Connection.objects.update(options_json='{"release_delay": 1}')
    road.enrol(*range(1, 101))
    road.enrol(*range(101, 121))
    road.crm.admin.post("/admin/tag", json={"tag": "Module 4", "contacts": list(range(1, 121))})

    road.call("aal_batchsync", *range(1, 121), query="&release=Module+4")
    release = Release.objects.get()
    assert (release.name, release.calls) == ("Module 4", 120)
    road.work()

    assert Job.objects.filter(release=release.pk, outcome="done").count() == 120
    assert road.crm.counters()["reads"] == 2
    assert all("Module 4" in road.tags(contact) for contact in (1, 60, 120))
    road.work(lambda: Release.objects.exclude(closed=None).exists())


def test_a_contact_deleted_in_the_crm_keeps_its_access(road: Road) -> None:
    made = road.crm.admin.post("/admin/contacts", json={"count": 1}).json()
    contact = made["ids"][0] if "ids" in made else made["contacts"][0]["id"]
    road.crm.tag(road.crm.new_tag("Base"), contact)
    road.enrol(contact)
    road.crm.admin.delete(f"/admin/contacts/{contact}")

    (delivery,) = road.call("aal_updateuser", contact)
    road.work()

    job = road.job(delivery)
    assert (job.outcome, job.reason) == ("failed", "contact-deleted")
    assert "Base" in road.tags(contact)
    assert Contact.objects.get(external_id=str(contact)).state == "deleted"
