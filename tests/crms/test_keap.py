"""Keap's adapter at the fake Keap: a release, passwords, tokens, limits and hooks, whatever of Keap's habits is true.

The fake's switches are what nobody could settle without an account at Keap. Single answers: test_keap_answers.py,
test_keap_limits.py, test_keap_hooks.py.
"""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest

from tagwarden.core import clock
from tagwarden.core.errors import NeedsSetting, Permanent, Retryable
from tagwarden.core.hooks import Arrived, Event, Happened, Hook
from tagwarden.crms import base
from tagwarden.crms.keap import Crm
from tests.crms.conftest import FakeServer, running_fake
from tests.crms.scripted import Answer, Scripted, scripted
from tests.fakes import keap

KEY = {"token": keap.SERVICE_KEY}
OAUTH = {
    "client_id": keap.CLIENT_ID,
    "client_secret": keap.CLIENT_SECRET,
    "access_token": keap.ACCESS_TOKEN,
    "refresh_token": keap.REFRESH_TOKEN,
}
USUAL = asdict(keap.Settings()) | {"limits": False}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def running() -> Iterator[FakeServer]:
    with running_fake("keap") as found:
        yield found


@pytest.fixture
def fake(running: FakeServer) -> FakeServer:
    running.set(**USUAL)
    running.admin.post("/admin/counters/reset")
    return running


@pytest.fixture
def fresh() -> Iterator[FakeServer]:
    """A fake of one's own: nobody's tokens are renewed and no call is counted yet."""
    with running_fake("keap") as found:
        found.set(**USUAL)
        yield found


@pytest.fixture
def crm(fake: FakeServer) -> Iterator[Crm]:
    with closing(Crm(base_url=fake.url, credentials=KEY)) as adapter:
        yield adapter


def people(fake: FakeServer, count: int, **more: Any) -> list[str]:
    made = [{"email": f"p{next(_numbers)}@example.com", **more} for _ in range(count)]
    return [str(id_) for id_ in fake.post("/admin/contacts", contacts=made)["ids"]]


# A release.


def test_a_release_of_a_thousand_costs_six_calls(fake: FakeServer, crm: Crm) -> None:
    """Four of 250 ids each, one for the tags' names, one for the fields'."""
    ids = people(fake, 1000, tags=["Module 3"], fields={"Town": "Kiel"})
    found: dict[str, Any] = {}
    for start in range(0, 1000, crm.bulk_size):
        found |= crm.contacts(ids[start : start + crm.bulk_size])
    assert set(found) == set(ids)
    assert all({tag.name for tag in one.tags or ()} == {"Module 3"} for one in found.values())
    assert all(one.fields == {"Town": "Kiel"} for one in found.values())
    assert fake.counters()["calls"] == 6


HABITS: list[dict[str, Any]] = [
    {"tag_ids_in_lists": False},
    {"groups_in_lists": False},
    {"empty_tags": "absent"},
    {"v2_unset_property": "absent"},
    {"v2_unset_property": "empty"},
    {"v2_unset_field": "null"},
    {"v2_unset_field": "empty"},
    {"last_token": "absent"},
    {"last_token": "null"},
    {"token_as_url": True},
    {"cursor": "offset"},
    {"longest_url": 1000},
    {"plus_is_space": True},
]


@pytest.mark.parametrize("habit", HABITS, ids=str)
def test_whatever_keaps_habits_are_contacts_are_read_alike(fake: FakeServer, crm: Crm, habit: dict[str, Any]) -> None:
    tagged, bare = people(fake, 120, tags=["Gold"], fields={"Town": "Kiel"}), people(fake, 120)
    ada = people(fake, 1)[0]
    fake.admin.patch(f"/admin/contacts/{ada}", json={"email": f"ada+{ada}@example.com"})
    fake.set(**habit)

    found = crm.contacts([*tagged, *bare])

    assert {tag.name for tag in found[tagged[0]].tags or ()} == {"Gold"}
    assert all(found[id_].tags == found[tagged[0]].tags and found[id_].fields["Town"] == "Kiel" for id_ in tagged)
    assert all(found[id_].tags == frozenset() and not found[id_].fields.get("Town") for id_ in bare)
    assert (found[bare[0]].first_name, found[bare[0]].last_name) == ("", "")
    everybody = [one.contact for rows in crm.everybody() for one in rows]
    assert len(everybody) == len(set(everybody))
    assert {*tagged, *bare} <= set(everybody)
    assert [one.contact for one in crm.by_email(f"ada+{ada}@example.com")] == [ada]


def test_without_any_word_of_tags_one_is_confirmed_and_many_are_unknown(fake: FakeServer, crm: Crm) -> None:
    with_tag, without = people(fake, 1, tags=["Gold"])[0], people(fake, 1)[0]
    fake.set(tag_ids_in_lists=False, groups_in_lists=False)
    assert [one.tags for one in crm.contacts([with_tag, without]).values()] == [None, None]
    fake.set(fault_rate=1, faults=["missing-tags"])
    assert {tag.name for tag in crm.contact(with_tag).tags or ()} == {"Gold"}
    assert crm.contact(without).tags == frozenset()


def test_short_pages_lose_nobody(fake: FakeServer, crm: Crm) -> None:
    ids = people(fake, 700)
    fake.set(fault_rate=1, faults=["short-page"])
    assert set(ids) <= {one.contact for rows in crm.everybody() for one in rows}


def test_a_list_that_names_itself_as_the_next_page_ends(fake: FakeServer, crm: Crm) -> None:
    people(fake, 3)
    fake.set(token_repeats=True)
    with pytest.raises(Retryable) as error:
        list(crm.everybody())
    assert error.value.reason == "crm-answer-broken"


@pytest.mark.parametrize("merged", ["404", "redirect", "survivor"])
def test_one_who_was_merged_is_gone_and_the_other_is_found_by_address(fake: FakeServer, crm: Crm, merged: str) -> None:
    old, into = people(fake, 2)
    fake.post("/admin/merge", **{"from": int(old), "into": int(into)})
    fake.set(merged=merged)
    with pytest.raises(Permanent) as error:
        crm.contact(old)
    assert error.value.reason == "contact-not-found"
    assert set(crm.contacts([old, into])) == {into}


def test_changes_of_fields_are_listed_and_tags_move_nothing(fake: FakeServer, crm: Crm) -> None:
    changed, tagged = people(fake, 2)
    fake.post("/admin/clock", seconds=60)
    since = clock.from_ms(round(fake.post("/admin/clock", seconds=0)["now"] * 1000))
    fake.admin.patch(f"/admin/contacts/{changed}", json={"first_name": "Ada"})
    fake.post("/admin/tag", tag="Gold", contacts=[int(tagged)])
    assert [one.contact for rows in crm.changed(since) for one in rows] == [changed]


@pytest.mark.parametrize("fault", ["401-revoked", "403", "500", "text", "429-apigee"])
def test_each_way_to_refuse_has_its_reason(fake: FakeServer, crm: Crm, fault: str) -> None:
    contact = people(fake, 1)[0]
    fake.set(fault_rate=1, faults=[fault])
    kinds = {"401-revoked": "crm-key-refused", "403": "crm-key-refused", "429-apigee": "crm-paused"}
    with pytest.raises((NeedsSetting, Retryable)) as error:
        crm.contact(contact)
    assert error.value.reason == kinds.get(fault, "crm-overloaded")


def test_the_key_of_a_restricted_user_is_good_and_yet_sees_nobody(fake: FakeServer) -> None:
    """The check of a key is the one call that no permission withholds."""
    contact = people(fake, 1)[0]
    with closing(Crm(base_url=fake.url, credentials={"token": keap.RESTRICTED_TOKEN})) as restricted:
        assert restricted.check() == keap.TENANT
        with pytest.raises(NeedsSetting) as error:
            restricted.contact(contact)
        assert error.value.reason == "crm-key-refused"


# Writing.


@pytest.mark.parametrize("v1_errors", ["message", "envelope"])
def test_a_password_leaves_other_fields_and_addresses_as_they_are(fake: FakeServer, crm: Crm, v1_errors: str) -> None:
    """v2's PATCH would remove them; v1's changes what it is given."""
    contact = people(fake, 1, fields={"Losung": "", "Town": "Kiel"}, tags=["Gold"])[0]
    second = [{"email": "second@example.com", "field": "EMAIL2"}]
    fake.post("/admin/keap", extras={contact: {"email_addresses": second}})
    before = fake.truth(contact)

    crm.set_fields(contact, {"Losung": "n3w&<Word"})

    after = fake.truth(contact)
    assert after["fields"] == {"Losung": "n3w&<Word", "Town": "Kiel"}
    assert (after["email"], after["tags"]) == (before["email"], before["tags"])
    assert crm.contact(contact).fields["Losung"] == "n3w&<Word"
    fake.set(v1_errors=v1_errors)
    with pytest.raises(Permanent) as error:
        crm.set_fields("99887766", {"Losung": "x"})
    assert error.value.reason == "contact-not-found"


@pytest.mark.parametrize("same", ["refused", "found", "second"])
def test_a_tag_that_was_made_elsewhere_a_moment_ago_is_found(fake: FakeServer, crm: Crm, same: str) -> None:
    name = f"Made twice {same}"
    crm.tag_names.all()  # read a moment ago: the tag isn't among them
    made = fake.post("/admin/tag", tag=name, contacts=[])["id"]
    fake.set(same_tag_name=same)
    found = crm.tag(name).external_id
    assert found == str(made) or same == "second"
    assert crm.list_tags()[found] == name


def test_a_batch_of_tags_with_somebody_who_is_gone(fake: FakeServer, crm: Crm) -> None:
    here, gone = people(fake, 2)
    assert fake.admin.delete(f"/admin/contacts/{gone}").is_success
    tag = crm.tag("Done").external_id
    assert crm.add_tag(tag, [here, gone]) == {here}
    assert crm.add_tag(tag, [here]) == {here}, "DUPLICATE is done"
    assert crm.remove_tag(tag, [here, gone]) == {here, gone}
    assert fake.truth(here)["tags"] == []


# Tokens.


class Kept(base.Tokens):
    """Tokens kept in memory under a lock, as connections/tokens.py keeps them in the database."""

    def __init__(self) -> None:
        self.credentials: Mapping[str, str] = OAUTH
        self.renewals = 0
        self.lock = threading.Lock()

    def renewed(self, stale: str, exchange: Callable[[Mapping[str, str]], Mapping[str, str]]) -> Mapping[str, str]:
        with self.lock:
            if self.credentials["access_token"] == stale:
                self.renewals += 1
                self.credentials = {**self.credentials, **exchange(self.credentials)}
            return self.credentials


@pytest.mark.parametrize("habit", [{}, {"refresh_ends_access": True}, {"expired_as": "invalid"}], ids=str)
def test_a_token_that_ends_in_the_middle_is_renewed_once_for_all_threads(
    fresh: FakeServer, habit: dict[str, Any]
) -> None:
    """The refresh token is good for one use: a second renewal of the same one would lose the link."""
    contact, kept = people(fresh, 1)[0], Kept()
    fresh.set(**habit)
    with closing(Crm(base_url=fresh.url, credentials=OAUTH, tokens=kept)) as crm:
        assert crm.contact(contact).contact == contact
        for round_ in (1, 2):
            fresh.post("/admin/tokens/expire")
            with ThreadPoolExecutor(4) as threads:
                assert {one.contact for one in threads.map(crm.contact, [contact] * 8)} == {contact}
            assert kept.renewals == round_
    assert kept.credentials["access_token"] != OAUTH["access_token"]


def test_a_link_that_the_owner_took_back_is_lost(fresh: FakeServer) -> None:
    contact = people(fresh, 1)[0]
    fresh.post("/admin/tokens/revoke")
    with (
        closing(Crm(base_url=fresh.url, credentials=OAUTH, tokens=Kept())) as crm,
        pytest.raises(NeedsSetting) as error,
    ):
        crm.contact(contact)
    assert error.value.reason == "crm-link-lost"
    for secret in OAUTH.values():
        assert secret not in f"{error.value!r} {error.value.detail} {error.value.__context__!r}"


# Limits.


class Heard(base.Limiter):
    """Keeps what answers said."""

    def __init__(self) -> None:
        self.said: dict[float, Any] = {}
        self.pauses: list[timedelta] = []

    def heard(self, said: Any, pause: timedelta | None) -> None:
        self.said |= {one.seconds: one for one in said}
        self.pauses += [pause] if pause else []


@pytest.mark.parametrize(("credentials", "second"), [(KEY, 10), (OAUTH, 25)])
def test_what_is_left_is_read_from_the_headers(fresh: FakeServer, credentials: dict[str, str], second: int) -> None:
    heard = Heard()
    fresh.set(limits=True, tenant_minute_used=9_995)
    with closing(Crm(base_url=fresh.url, credentials=credentials)) as crm, base.paced(heard):
        crm.check()
    calls = {limit.seconds: limit.calls for limit in crm.limits}
    assert {seconds: said.limit for seconds, said in heard.said.items()} == calls
    assert (heard.said[1].limit, heard.said[60].remaining) == (second, 4), "of key and account what has less"
    assert heard.said[86_400].remaining == calls[86_400] - 1


@pytest.mark.parametrize("body", ["quota", "apigee"])
def test_a_day_that_is_used_up_ends_at_midnight(fresh: FakeServer, body: str) -> None:
    heard = Heard()
    fresh.set(limits=True, day_used=30_000, limit_body=body)
    opened = closing(Crm(base_url=fresh.url, credentials=KEY))
    with opened as crm, base.paced(heard), pytest.raises(Retryable) as error:
        crm.check()
    assert (error.value.reason, error.value.spends_try) == ("crm-paused", False)
    assert error.value.after is not None
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert abs(midnight - clock.now() - error.value.after) < timedelta(seconds=10)
    assert heard.pauses == [error.value.after]


def test_a_burst_over_the_limit_is_a_short_pause(fresh: FakeServer) -> None:
    fresh.set(limits=True, speed=0)  # the fake's clock stands still: all calls come in one second
    with closing(Crm(base_url=fresh.url, credentials=KEY)) as crm:
        for _ in range(10):
            crm.check()
        with pytest.raises(Retryable) as error:
            crm.check()
    assert error.value.after == timedelta(seconds=2)


# Hooks.


@pytest.fixture
def receiver() -> Iterator[Scripted]:
    """Echoes X-Hook-Secret as our own receiver does, and keeps what it is told."""
    with scripted() as found:

        def answer(asked: Any) -> Answer:
            found.asked.append(asked)
            secret = asked.headers.get("x-hook-secret")
            return Answer(b"{}", 200, {"X-Hook-Secret": secret} if secret and asked.path != "/deaf" else {})

        found.answer = answer  # type: ignore[method-assign]
        yield found


def events(receiver: Scripted) -> list[Event]:
    """What all calls tell that came."""
    return [
        event
        for asked in receiver.asked
        for event in Crm.events(Arrived("", asked.headers, asked.body), ["no signature is asked for"])
    ]


@pytest.fixture
def hooked(fake: FakeServer, crm: Crm) -> Iterator[Callable[..., Hook]]:
    """Makes a hook, and takes all away afterwards."""
    yield crm.make_hook
    for hook in crm.hooks():
        crm.remove_hook(hook)


@pytest.mark.parametrize("habit", [{}, {"old_hook_key": True}, {"api_urls": "none"}, {"hook_disorder": True}], ids=str)
def test_a_hook_tells_of_all_who_were_tagged(
    fake: FakeServer, crm: Crm, hooked: Callable[..., Hook], receiver: Scripted, habit: dict[str, Any]
) -> None:
    fake.set(**habit)
    ids, tag = people(fake, 30), crm.tag("Trigger").external_id
    assert hooked(f"{receiver.url}/hooks/x", Happened.TAG_ADDED, tag).alive
    assert hooked(f"{receiver.url}/hooks/x", Happened.TAG_REMOVED, tag).alive
    assert hooked(f"{receiver.url}/hooks/x", Happened.CHANGED).alive
    assert events(receiver) == [], "so far it only asked whether we are there"

    crm.add_tag(tag, ids)
    crm.remove_tag(tag, ids[:2])
    fake.admin.patch(f"/admin/contacts/{ids[0]}", json={"first_name": "Ada"})
    fake.post("/admin/clock", seconds=900)
    fake.post("/admin/hooks/flush")

    told = [(event.happened, event.contact, event.tag) for event in events(receiver)]
    wanted = [(Happened.TAG_ADDED, id_, tag) for id_ in ids] + [(Happened.TAG_REMOVED, id_, tag) for id_ in ids[:2]]
    assert sorted(told) == sorted([*wanted, (Happened.CHANGED, ids[0], "")])


def test_a_hook_of_tags_that_names_no_contact_is_not_taken_for_a_contact(
    fake: FakeServer, crm: Crm, hooked: Callable[..., Hook], receiver: Scripted
) -> None:
    fake.set(tag_hooks="tags")
    hooked(f"{receiver.url}/hooks/x", Happened.TAG_ADDED)
    crm.add_tag(crm.tag("Trigger").external_id, people(fake, 1))
    fake.post("/admin/clock", seconds=900)
    fake.post("/admin/hooks/flush")
    with pytest.raises(Permanent) as error:
        events(receiver)
    assert error.value.reason == "hook-not-understood"


def test_a_hook_that_nobody_answered_is_dead_until_it_is_revived(
    fake: FakeServer, crm: Crm, hooked: Callable[..., Hook], receiver: Scripted
) -> None:
    """Unverified at first, Inactive after failures: either way only a verification mends it."""
    hook = hooked(f"{receiver.url}/deaf", Happened.CREATED)
    assert not hook.alive
    assert not crm.revive_hook(hook).alive

    receiver.answer = lambda asked: Answer(  # type: ignore[method-assign]
        b"", 200, {"X-Hook-Secret": asked.headers["x-hook-secret"]}
    )
    assert crm.revive_hook(hook).alive
    assert [one.alive for one in crm.hooks()] == [True]
    receiver.answer = lambda asked: Answer(b"", 410)  # type: ignore[method-assign]
    people(fake, 1)
    fake.post("/admin/clock", seconds=90)
    fake.post("/admin/hooks/flush")
    assert [one.alive for one in crm.hooks()] == [False]


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"kind": "contact.edit", "more": [5]}, [("contact-changed", "4"), ("contact-changed", "5")]),
        ({"kind": "contact.delete"}, [("contact-changed", "4")]),
        ({"kind": "contactGroup.applied", "tag": 91, "more": [5]}, [("tag-added", "4"), ("tag-added", "5")]),
        ({"kind": "verify", "secret": "5a0c"}, []),
    ],
)
def test_what_the_fake_fires_is_understood(
    fake: FakeServer, receiver: Scripted, event: dict[str, Any], told: list[tuple[str, str]]
) -> None:
    fake.post("/admin/fire", url=f"{receiver.url}/hooks/x", contacts=[4], event=event)
    assert [(str(one.happened), one.contact) for one in events(receiver)] == told
