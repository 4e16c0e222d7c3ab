"""What reads of the CRM change here."""

from datetime import timedelta

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from tagwarden.accounts.models import Account
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.outcome import CrmTag, Snapshot
from tagwarden.members import enrol, sync
from tagwarden.members.models import Contact, ContactTag, Member, Tag

GOLD, SILVER = CrmTag("1", "Gold"), CrmTag("2", "Silver")


def snapshot(contact: str = "526", *tags: CrmTag, **changed: object) -> Snapshot:
    now = clock.now()
    values: dict[str, object] = {"email": "bob@example.com", "first_name": "Bob", "last_name": "Okafor"}
    moments = {"started": now, "seen_until": now}
    return Snapshot(contact=contact, tags=frozenset(tags), **(moments | values | changed))  # type: ignore[arg-type]


def apply(connection: Connection, *snapshots: Snapshot, settled: bool = True) -> dict[str, sync.Change]:
    return sync.apply(
        connection=connection.pk,
        site=connection.site_id,
        reads=[sync.Read(one, "call", "job:1", settled) for one in snapshots],
        now=clock.now(),
    )


def held(contact: str = "526") -> set[str]:
    return set(ContactTag.objects.filter(contact__external_id=contact, until=None).values_list("tag__name", flat=True))


def test_it_works(connection: Connection, bob: Member) -> None:
    changes = apply(connection, snapshot("526", GOLD, SILVER))

    assert changes["526"] == sync.Change(gained=("Gold", "Silver"))
    assert held() == {"Gold", "Silver"}


def test_the_first_read_says_so_and_later_ones_name_their_call(connection: Connection, bob: Member) -> None:
    Contact.objects.update(read_started_at=None)
    apply(connection, snapshot("526", GOLD))
    apply(connection, snapshot("526", GOLD, SILVER))

    assert dict(ContactTag.objects.values_list("tag__name", "source")) == {"Gold": "first", "Silver": "call"}


def test_a_tag_that_comes_back_is_held_anew_and_the_old_time_stays(connection: Connection, bob: Member) -> None:
    for tags in ((GOLD,), (), (GOLD,)):
        apply(connection, snapshot("526", *tags))

    assert list(ContactTag.objects.order_by("pk").values_list("until_source", flat=True)) == ["call", ""]


def test_an_unsettled_read_gives_but_takes_nothing(connection: Connection, bob: Member) -> None:
    apply(connection, snapshot("526", GOLD))

    changes = apply(connection, snapshot("526", SILVER), settled=False)

    assert changes["526"] == sync.Change(gained=("Silver",))
    assert held() == {"Gold", "Silver"}


def test_an_older_read_changes_nothing(connection: Connection, bob: Member) -> None:
    old = snapshot("526", GOLD, started=clock.now() - timedelta(seconds=5))
    apply(connection, snapshot("526", SILVER))

    assert apply(connection, old)["526"] == sync.Change()
    assert held() == {"Silver"}


def test_a_renamed_tag_is_the_same_tag(connection: Connection, bob: Member) -> None:
    apply(connection, snapshot("526", GOLD))

    changes = apply(connection, snapshot("526", CrmTag("1", "Gold 2027")))

    assert changes["526"] == sync.Change()
    assert held() == {"Gold 2027"}
    assert Tag.objects.count() == 1


def test_the_login_follows_the_crms_address_and_name(connection: Connection, bob: Member) -> None:
    apply(connection, snapshot("526", email="robert@example.com", first_name="Robert"))

    account = Account.objects.get(member=bob)
    assert (account.email, account.first_name) == ("robert@example.com", "Robert")


def test_an_address_that_belongs_to_somebody_else_is_left_for_staff(
    connection: Connection, bob: Member, alice: Account
) -> None:
    changes = apply(connection, snapshot("526", GOLD, email="ALICE@northlight.example"))

    assert (changes["526"].reason, changes["526"].gained) == ("email-conflict", ("Gold",))
    assert Account.objects.get(member=bob).email == "bob@example.com"


def test_a_contact_we_have_no_row_of_is_left_out(connection: Connection, bob: Member) -> None:
    assert set(apply(connection, snapshot("526"), snapshot("527"))) == {"526"}


@pytest.mark.parametrize("text", ["\0", "x" * 1_000, "😀" * 200])
def test_odd_texts_break_nothing(connection: Connection, bob: Member, text: str) -> None:
    tag = CrmTag("9", f"odd {text}")

    apply(connection, snapshot("526", tag, first_name=text, fields={"Note": text}))

    assert len(held()) == 1
    assert Contact.objects.get().fields["Note"] == text.replace("\0", "")


def test_the_number_of_queries_does_not_grow_with_the_contacts(connection: Connection) -> None:
    def queries(contacts: int, offset: int) -> int:
        people = [snapshot(str(offset + n), GOLD, email=f"{offset + n}@example.com") for n in range(contacts)]
        enrol.enrol(
            connection=connection.pk, site=connection.site_id, snapshots=people, source="first", ref="", now=clock.now()
        )
        began = {"started": clock.now()}
        with CaptureQueriesContext(database) as captured:
            apply(connection, *[snapshot(one.contact, SILVER, email=one.email, **began) for one in people])
        return len(captured)

    few, many = queries(2, 5_000), queries(200, 1_000)
    assert many <= few


def test_enrolling_twice_is_once(connection: Connection) -> None:
    people = [snapshot(str(n), GOLD, email=f"member{n}@example.com") for n in range(5)]
    first, second = (
        enrol.enrol(
            connection=connection.pk, site=connection.site_id, snapshots=people, source="first", ref="", now=clock.now()
        )
        for _ in range(2)
    )

    assert (len(first.members), second.members) == (5, ())
    assert (Member.objects.count(), Contact.objects.count(), ContactTag.objects.count()) == (5, 5, 5)


def test_somebody_with_an_account_of_that_address_is_linked(connection: Connection, alice: Account) -> None:
    person = snapshot("77", GOLD, email="Alice@northlight.example")

    result = enrol.enrol(
        connection=connection.pk, site=connection.site_id, snapshots=[person], source="call", ref="", now=clock.now()
    )

    assert result.members == ("77",)
    assert Contact.objects.get(external_id="77").member == alice.member  # type: ignore[attr-defined]  # reverse of one-to-one


def test_a_second_contact_of_the_same_address_is_a_conflict(connection: Connection, bob: Member) -> None:
    person = snapshot("900", GOLD)

    result = enrol.enrol(
        connection=connection.pk, site=connection.site_id, snapshots=[person], source="call", ref="", now=clock.now()
    )

    assert (result.members, result.conflicts) == ((), ("900",))


def test_whom_we_know_is_told_of_any_number_of_ids(connection: Connection, bob: Member) -> None:
    apply(connection, snapshot("526", GOLD))
    ours = Contact.objects.get(external_id="526")
    assert sync.known_contacts(connection=connection.pk, contacts=[]) == set()
    assert sync.known_contacts(
        connection=connection.pk, contacts=["526", "5'26", *map(str, range(40_000, 41_000))]
    ) == {"526"}
    assert ContactTag.objects.filter(contact__among={ours.pk, -1}).count() == 1
    assert not ContactTag.objects.filter(contact__among=set()).exists()
