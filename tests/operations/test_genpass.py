"""aal_genpass: members are made, and what stands in the CRM's password field signs them in."""

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tagwarden.accounts.models import Account
from tagwarden.connections import setup
from tagwarden.core import clock
from tagwarden.crms.sandbox import Crm as Adapter
from tagwarden.journal import store
from tagwarden.journal.models import Attempt, Delivery, Job
from tagwarden.members import passwords
from tagwarden.members.models import Contact, MadePassword, Member
from tests.sandbox.conftest import names
from tests.worker.conftest import Road

DONE_TAG = "Password sent"


@pytest.fixture
def road(road: Road) -> Road:
    setup.change(road.connection, {"genpass_done_tag": DONE_TAG})
    return road


class Person:
    """A contact of one's own at the CRM."""

    def __init__(self, road: Road, **content: object) -> None:
        self.road = road
        email = f"{id(self)}-{clock.now_ms()}@example.com"
        answer = road.crm.admin.post("/admin/contacts", json={"contacts": [{"email": email} | content]})
        (self.id,) = answer.json()["ids"]

    @property
    def there(self) -> dict[str, Any]:
        return self.road.crm.contact(self.id)

    @property
    def password(self) -> str:
        """What stands in the CRM's field."""
        return str(self.there["fields"]["Password"])

    @property
    def account(self) -> Account:
        return Member.objects.get(contacts__external_id=str(self.id)).account

    def signs_in(self, password: str = "") -> bool:
        return self.account.check_password(password or self.password)

    def writes(self) -> list[tuple[str, str]]:
        """What we wrote at the CRM, in order."""
        rows = [row for row in self.road.crm.writes() if row["contact"] == self.id and row["who"] == "api"]
        return [(row["what"], row["detail"]) for row in rows]

    def genpass(self, **changed: object) -> Job:
        (delivery,) = self.road.call("aal_genpass", self.id, **changed)
        self.road.work()
        return self.road.job(delivery)


def test_it_works(road: Road) -> None:
    anna = Person(road, first_name="Anna", last_name="Berg", tags=["Course_Access"])

    job = anna.genpass()

    assert (job.outcome, job.standing) == ("done", "done")
    assert json.loads(job.detail)["password"] == "made"
    assert anna.signs_in()
    assert anna.account.name == "Anna Berg"
    assert "Course_Access" in road.tags(anna.id)
    assert anna.there["fields"]["Username"] == anna.account.email
    assert DONE_TAG in names(anna.there) & road.tags(anna.id)


def test_the_tag_comes_after_the_password(road: Road) -> None:
    anna = Person(road)
    anna.genpass()
    assert [what for what, _ in anna.writes()] == ["field-set", "field-set", "tag-add"]


def test_twice_is_once(road: Road) -> None:
    anna = Person(road)
    anna.genpass()
    password, writes = anna.password, anna.writes()

    again = anna.genpass()

    assert (again.outcome, json.loads(again.detail)["password"]) == ("done", "kept")
    assert (anna.password, anna.writes()) == (password, writes)
    assert Account.objects.filter(role="member").count() == 1


def test_somebody_who_is_a_member_is_refreshed_and_keeps_the_password(road: Road) -> None:
    anna = Person(road)
    anna.genpass()
    anna.account.set_password("my-own-choice-77")
    road.crm.tag(road.crm.new_tag("VIP"), anna.id)

    anna.genpass()

    assert "VIP" in road.tags(anna.id)
    assert anna.signs_in()


def test_a_strong_password_that_the_crm_has_is_taken(road: Road) -> None:
    anna = Person(road, fields={"Password": "correct-horse-battery"})

    job = anna.genpass()

    assert json.loads(job.detail)["password"] == "taken"
    assert anna.password == "correct-horse-battery"
    assert anna.signs_in()


@pytest.mark.parametrize("weak", ["1234", "password", "password1", "x" * 129, " spaced-out-9 "])
def test_a_weak_one_is_replaced(road: Road, weak: str) -> None:
    anna = Person(road, fields={"Password": weak})
    anna.genpass()
    assert anna.password != weak
    assert anna.signs_in()


def test_passwords_are_easy_to_read_and_hard_to_guess() -> None:
    made = {passwords.generate() for _ in range(500)}
    assert len(made) == 500
    assert all(len(one) == 12 and one.isalnum() and one[0].isalpha() and passwords.is_strong(one) for one in made)
    assert not set("".join(made)) & set("0Oo1lIiaeiouAEIOU")


def test_a_password_that_never_arrived_is_replaced_by_a_new_one(road: Road, settings: Any) -> None:
    setup.change(road.connection, {"password_field": "Kennwort"})  # the CRM has none of that name
    anna = Person(road)
    first = anna.genpass()
    before = settings.KEYS.decrypt(MadePassword.objects.get().sealed)
    assert (first.standing, first.outcome) == ("failed", "done")
    assert anna.signs_in(before)

    second = anna.genpass()
    after = settings.KEYS.decrypt(MadePassword.objects.get().sealed)
    assert (json.loads(second.detail)["password"], after != before) == ("made", True)
    assert anna.signs_in(after)

    road.crm.api.post("/api/fields", json={"label": "Kennwort"})
    store.redeliver([first.pk, second.pk], account=None)
    road.work()

    assert anna.there["fields"]["Kennwort"] == after
    assert [what for what, _ in anna.writes()].count("tag-add") == 1
    assert dict(Job.objects.values_list("key", "standing")) == {
        **{f"{first.key}{step}": "done" for step in ("", ":password", ":done-tag")},
        second.key: "done",
        f"{second.key}:password": "no-op",
        f"{second.key}:done-tag": "no-op",
    }


def test_one_that_somebody_signed_in_with_stays(road: Road) -> None:
    setup.change(road.connection, {"password_field": "Losung"})
    anna = Person(road)
    anna.genpass()
    Account.objects.filter(pk=anna.account.pk).update(last_login=clock.now())
    hashed = anna.account.password

    assert json.loads(anna.genpass().detail)["password"] == "kept"
    assert anna.account.password == hashed


def test_the_newest_password_counts_when_an_older_one_is_on_its_way(road: Road) -> None:
    anna = Person(road)
    road.crm.set(latency_ms=1_500)
    (delivery,) = road.call("aal_genpass", anna.id)
    road.work(lambda: Attempt.objects.filter(sent=True, ended=None).exists())
    passwords.store(Member.objects.get(account=anna.account), passwords.prepare(""), clock.now())
    road.crm.set(latency_ms=0)
    road.work()

    written = [detail for what, detail in anna.writes() if what == "field-set"]
    assert written == ["Password", "Username"] * 2
    assert anna.signs_in()
    assert road.job(delivery).standing == "done"
    assert [what for what, _ in anna.writes()].count("tag-add") == 1
    assert anna.writes()[-1][0] == "tag-add"


def test_an_account_of_the_same_address_without_a_password_is_linked_and_gets_one(road: Road) -> None:
    anna = Person(road, email="anna@example.com")
    Account.objects.create(site=road.site, email="Anna@Example.com")

    anna.genpass()

    assert anna.signs_in()
    assert Account.objects.filter(email__iexact="anna@example.com").count() == 1


@pytest.mark.parametrize("role", ["member", "owner"])
def test_a_password_is_never_reset_by_linking(road: Road, role: str) -> None:
    anna = Person(road, email="anna@example.com")
    account = Account.objects.create(site=road.site, email="anna@example.com", role=role)
    if role == "member":
        account.set_password("my-own-choice-77")
        account.save()

    job = anna.genpass()

    assert (job.outcome, json.loads(job.detail)["password"]) == ("done", "kept")
    account.refresh_from_db()
    assert account.check_password("my-own-choice-77") == (role == "member")
    assert anna.writes() == []


def test_two_contacts_of_one_address_are_for_staff_to_settle(road: Road) -> None:
    anna, other = Person(road, email="anna@example.com"), Person(road, email="anna@example.com")
    anna.genpass()
    password = anna.password

    job = other.genpass()

    assert (job.outcome, job.reason) == ("failed", "email-conflict")
    assert anna.signs_in(password)
    assert other.writes() == []


def test_a_contact_without_an_address_fails_visibly(road: Road) -> None:
    job = Person(road, email="").genpass()
    assert (job.outcome, job.reason) == ("failed", "email-missing")


def test_a_contact_that_is_not_there_yet_is_looked_for_again(road: Road) -> None:
    unborn = 880_000 + clock.now_ms() % 100_000
    (delivery,) = road.call("aal_genpass", unborn)
    road.work(lambda: Attempt.objects.filter(reason="contact-not-yet-there", result="paused").count() > 1)
    assert road.job(delivery).tries == 0

    road.crm.admin.post("/admin/contacts", json={"contacts": [{"id": unborn, "email": "late@example.com"}]})
    road.work()

    assert road.job(delivery).standing == "done"


def test_a_contact_that_never_comes_fails_after_ten_minutes(road: Road) -> None:
    job = Person.genpass(
        SimpleNamespace(road=road, id=999_999),  # type: ignore[arg-type]  # nobody
        received=clock.now_ms() - 600_000,
    )
    assert (job.outcome, job.reason) == ("failed", "contact-not-found")
    assert Account.objects.filter(role="member").count() == 0


def test_the_read_may_lag_then_the_member_is_refreshed_once_the_crm_has_settled(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Adapter, "one_lag", timedelta(seconds=2))
    anna = Person(road)

    (delivery,) = road.call("aal_genpass", anna.id)
    road.work()

    steps = dict(Job.objects.filter(delivery=delivery).values_list("command", "outcome"))
    assert steps["updateuser"] == "done"
    assert anna.signs_in()


def test_a_password_stands_readable_nowhere_here(road: Road) -> None:
    field = "contact%5Bfields%5D%5Bpassword%5D"
    anna = Person(road, fields={"Password": "correct-horse-battery"})
    anna.genpass(body=f"contactId={anna.id}&{field}=correct-horse-battery".encode())
    anna.road.call("aal_updateuser", anna.id)
    road.work()

    assert Contact.objects.get(external_id=str(anna.id)).fields.keys() >= {"Points"}
    assert MadePassword.objects.get().sealed == ""
    everything = "\n".join(
        str(list(model.objects.values())) for model in (Contact, Job, Attempt, Delivery, Account, MadePassword)
    )
    assert "correct-horse-battery" not in everything


def test_a_sealed_password_is_erased_after_seven_days(road: Road) -> None:
    setup.change(road.connection, {"password_field": "Losung"})
    anna = Person(road)
    job = anna.genpass()
    assert passwords.give_up(clock.now()) == 0
    assert passwords.give_up(clock.now() + timedelta(days=8)) == 1

    store.redeliver([job.pk], account=None)
    road.work()

    step = Job.objects.get(step="password")
    assert (step.outcome, step.reason) == ("failed", "password-erased")


def test_without_a_mapped_field_the_tag_comes_alone(road: Road) -> None:
    setup.change(road.connection, {"password_field": ""})
    anna = Person(road)
    anna.genpass()
    assert [what for what, _ in anna.writes()] == ["tag-add"]


def test_many_at_once_take_a_few_calls_each(road: Road) -> None:
    people = [Person(road) for _ in range(12)]
    road.crm.admin.post("/admin/counters/reset")

    road.call("aal_genpass", *(one.id for one in people))
    road.work()

    assert all(one.signs_in() for one in people)
    most = 12 + 2 + 1 + 12 + 12 + 3  # reads, fields, writes, tags; and the first batches are small
    assert road.crm.counters()["calls"] <= most


def test_what_is_begun_is_finished_before_more_is_begun(road: Road) -> None:
    """Else nobody of many could sign in before all of them are members."""
    setup.change(road.connection, {"parallel": "1"})
    first = clock.now_ms() - 25
    people = [Person(road) for _ in range(25)]

    road.carry(*[road.row("aal_genpass", one.id, received=first + n) for n, one in enumerate(people)])
    road.work()

    steps = Job.objects.in_bulk(Attempt.objects.values_list("job", flat=True))
    order = [steps[job].command for job in Attempt.objects.order_by("pk").values_list("job", flat=True)]
    last_made = len(order) - 1 - order[::-1].index("genpass")
    assert order.index("tag-add") < last_made


def test_the_crm_failing_now_and_then_changes_nothing(road: Road) -> None:
    people = [Person(road) for _ in range(6)]
    road.crm.set(fault_rate=0.3, faults=["503", "429", "cut", "reset", "missing-rows", "missing-tags"], seed=7)
    road.call("aal_genpass", *(one.id for one in people))
    road.work()
    road.crm.set(fault_rate=0)

    assert all(one.signs_in() for one in people)
    assert all(one.writes()[-1] == ("tag-add", DONE_TAG) for one in people)
