"""Ontraport's oddities, over HTTP at its fake.

What all CRMs have in common is in test_contract.py; answers that no fake can be made to give are in
test_ontraport_answers.py, test_ontraport_writes.py and test_ontraport_hooks.py.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tagwarden.core import clock
from tagwarden.core.errors import NeedsSetting, Permanent, Retryable
from tagwarden.core.hooks import Arrived, Event, Happened
from tagwarden.core.outcome import Snapshot
from tagwarden.core.wire import understand
from tagwarden.crms import base
from tagwarden.crms.ontraport import Crm
from tests.crms.places import Server, server
from tests.crms.scripted import Answer, Scripted, scripted
from tests.fakes.ontraport import API_KEY, APP_ID, Settings

MINUTE = 61


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server("ontraport", tmp_path_factory.mktemp("ontraport")) as found:
        yield found


@pytest.fixture
def ontraport(running: Server) -> Server:
    """The fake with its usual settings, and with nothing left to be done."""
    running.change(**asdict(Settings()) | {"limits": False, "told_reset": 1})
    running.settle()
    running.forget_calls()
    return running


@pytest.fixture
def crm(ontraport: Server) -> Iterator[base.Crm]:
    with closing(ontraport.adapter()) as adapter:
        yield adapter


@pytest.fixture
def ours() -> Iterator[Scripted]:
    """Our end of its webhooks."""
    with scripted() as found:
        found.on("POST /hooks/s", {})
        yield found


def names(snapshot: Snapshot) -> set[str]:
    return {tag.name for tag in snapshot.tags or ()}


def crm_now(ontraport: Server) -> datetime:
    return clock.from_ms(round(ontraport.fake.post("/admin/clock", seconds=0)["now"] * 1000))


# --- who we are, and how often -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"app_id": "2_other"}, {"api_key": "other"}, {"app_id": ""}, {"api_key": ""}])
def test_either_header_alone_is_refused(ontraport: Server, wrong: dict[str, str]) -> None:
    """ "Authentication": both, and of one account."""
    credentials = {"app_id": APP_ID, "api_key": API_KEY} | wrong
    with closing(ontraport.adapter(**credentials)) as adapter, pytest.raises(NeedsSetting) as error:
        adapter.check()
    assert error.value.reason == "crm-key-refused"


def test_the_account_is_named(crm: base.Crm) -> None:
    assert crm.check() == "Ontraport account 100001"


def test_a_key_whose_user_may_not_see_contacts_is_told(ontraport: Server, crm: base.Crm) -> None:
    """Since February 2019 a key may do what its user may."""
    anna = ontraport.person("anna@example.com")
    ontraport.change(key="restricted")
    assert crm.check()
    with pytest.raises(NeedsSetting, match="crm-key-refused"):
        crm.contact(anna)


def test_a_release_of_a_thousand_takes_twenty_calls_once_the_names_are_known(ontraport: Server, crm: base.Crm) -> None:
    """ "Pagination": fifty in a call. A call each for the names of fields and of up to fifty tags comes first."""
    people = ontraport.people(1_000, tags=["Module 1", "Member"], fields={"Town": "Kiel"})
    for calls in (22, 20):
        ontraport.forget_calls()
        found: dict[str, Snapshot] = {}
        for start in range(0, len(people), crm.bulk_size):
            found |= crm.contacts(people[start : start + crm.bulk_size])
        assert set(found) == set(people)
        assert all(names(one) == {"Module 1", "Member"} and one.fields["Town"] == "Kiel" for one in found.values())
        assert ontraport.calls() == calls


@pytest.mark.parametrize("retry_after", [False, True])
def test_other_tools_at_the_limit_make_us_pause(ontraport: Server, crm: base.Crm, retry_after: bool) -> None:
    """ "Rate limiting": 180 in a minute for the whole account; Retry-After isn't published."""
    anna = ontraport.person("anna@example.com")
    ontraport.change(limits=True, told_reset=0, retry_after=retry_after)
    ontraport.fake.post("/admin/others", calls=180)
    with pytest.raises(Retryable) as error:
        crm.contact(anna)
    assert (error.value.reason, error.value.spends_try) == ("crm-paused", False)
    assert error.value.after is not None
    assert timedelta(seconds=50) < error.value.after <= timedelta(seconds=60)

    ontraport.settle()
    assert crm.contact(anna).contact == anna


def test_what_is_left_is_read_from_each_answer(ontraport: Server, crm: base.Crm) -> None:
    ontraport.fake.post("/admin/others", calls=100)
    said = crm.said(crm.http.get("/1/objects/meta", params={"objectID": "0", "format": "byId"}).headers)[0]
    assert (said.seconds, said.limit, said.remaining, said.reset) == (60, 180, 79, 1)


def test_an_answer_that_is_waited_for_in_vain_is_asked_for_again(
    ontraport: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its support speaks of 60 s; we wait 65."""
    monkeypatch.setattr(Crm, "timeout", httpx.Timeout(0.2))
    ontraport.change(slow_rate=1, slow_seconds=60)
    with closing(ontraport.adapter()) as adapter, pytest.raises(Retryable) as error:
        adapter.check()
    assert error.value.reason == "crm-unreachable"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("html", "crm-answer-broken"), ("empty", "crm-answer-broken"), ("500", "crm-overloaded")],
)
def test_a_good_status_with_nothing_in_it_is_asked_for_again(
    ontraport: Server, crm: base.Crm, fault: str, reason: str
) -> None:
    anna = ontraport.person("anna@example.com")
    ontraport.change(fault_rate=1, faults=[fault])
    with pytest.raises(Retryable) as error:
        crm.contact(anna)
    assert error.value.reason == reason


# --- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["stars", "blank", "null", "mixed"])
def test_nobodys_tags_are_written_in_three_ways(ontraport: Server, crm: base.Crm, form: str) -> None:
    """Captured: "", "*/*" and null."""
    people = ontraport.people(3)
    ontraport.settle()
    ontraport.change(no_tags=form)
    assert [one.tags for one in crm.contacts(people).values()] == [frozenset()] * 3
    assert [crm.contact(one).tags for one in people] == [frozenset()] * 3


def test_right_after_creation_there_are_no_tags_and_the_read_says_how_old_it_may_be(
    ontraport: Server, crm: base.Crm
) -> None:
    """Captured: contact_cat is "" at first."""
    anna = ontraport.person("anna@example.com")
    found = crm.contact(anna)
    assert (found.tags, found.started - found.seen_until) == (frozenset(), timedelta(minutes=1))


@pytest.mark.parametrize("over", ["cut", "refused", "obeyed"])
def test_no_more_than_fifty_are_ever_asked_for(ontraport: Server, crm: base.Crm, over: str) -> None:
    """What becomes of a `range` over 50 isn't published, so there is none."""
    people = ontraport.people(120)
    ontraport.change(over_range=over)
    assert len(crm.contacts(people[:50])) == 50
    assert set(people) <= {one.contact for page in crm.everybody() for one in page}


def test_whom_the_keys_user_may_not_see_is_missing_and_not_gone(ontraport: Server, crm: base.Crm) -> None:
    here, hidden = ontraport.people(2)
    ontraport.change(hidden=[int(hidden)])
    assert set(crm.contacts([here, hidden])) == {here}
    with pytest.raises(NeedsSetting):
        crm.contact(hidden)


@pytest.mark.parametrize("errors", ["text", "json"])
@pytest.mark.parametrize("words", ["Object not found", "Invalid Contact ID"])
def test_who_is_gone_is_told_in_two_ways(ontraport: Server, crm: base.Crm, words: str, errors: str) -> None:
    """Both texts were met by integrations, as plain text; JSON is what the documentation promises."""
    gone = ontraport.person("gone@example.com")
    ontraport.delete(gone)
    ontraport.change(gone=words, errors=errors)
    with pytest.raises(Permanent) as error:
        crm.contact(gone)
    assert error.value.reason == "contact-not-found"
    with pytest.raises(Permanent) as error:
        crm.set_fields(gone, {"First Name": "x"})
    assert error.value.reason == "contact-not-found"


@pytest.mark.parametrize("habit", ["404", "survivor"])
def test_a_merged_contact_is_gone_whatever_is_answered(ontraport: Server, crm: base.Crm, habit: str) -> None:
    """Not published."""
    old, into = ontraport.people(2)
    ontraport.fake.post("/admin/merge", **{"from": int(old), "into": int(into)})
    ontraport.change(merged=habit)
    with pytest.raises(Permanent) as error:
        crm.contact(old)
    assert error.value.reason == "contact-not-found"
    assert set(crm.contacts([old, into])) == {into}


@pytest.mark.parametrize("miss", ["404", "400", "empty"])
def test_an_address_that_nobody_has_is_a_miss(ontraport: Server, crm: base.Crm, miss: str) -> None:
    """404 since April 2022, 400 before, and empty data was met."""
    ontraport.change(miss=miss)
    assert crm.by_email("nobody.at.all@example.com") == []


def test_an_address_finds_all_who_share_it(ontraport: Server, crm: base.Crm) -> None:
    """Ontraport lets several contacts have one address."""
    twins = [ontraport.person("twins@example.com") for _ in range(2)]
    assert [one.contact for one in crm.by_email("Twins@example.com")] == twins


def test_a_list_lets_none_slip_when_somebody_is_deleted_meanwhile(ontraport: Server, crm: base.Crm) -> None:
    """Read from the last id on. By `start`, those behind a deleted one would move up and one would be passed over."""
    people = ontraport.people(120)
    pages = crm.everybody()
    seen = {one.contact for one in next(pages)}
    for contact in sorted(seen & set(people), key=int)[:3] or people[:3]:
        ontraport.delete(contact)
    seen |= {one.contact for page in pages for one in page}
    assert set(people[3:]) <= seen


def test_a_page_that_lacks_rows_is_not_the_last(ontraport: Server, crm: base.Crm) -> None:
    people = ontraport.people(120)
    ontraport.change(fault_rate=1, faults=["missing-rows"])
    assert max(int(one.contact) for page in crm.everybody() for one in page) >= int(people[-1]) - 1


def test_a_field_that_is_deleted_while_its_name_is_known_stops_nothing(ontraport: Server, crm: base.Crm) -> None:
    """Not published: whether an unknown column in listFields is refused or passed over."""
    anna = ontraport.person("anna@example.com", fields={"Doomed": "x"})
    keep = [row for row in _own(ontraport) if row["alias"] != "Doomed"]
    for habit in ("ignored", "refused"):
        crm.field_names.forget()
        assert crm.has_field("Doomed") == (habit == "ignored")
        ontraport.change(unknown_column=habit)
        ontraport.fake.admin.put("/admin/columns", json={"columns": keep})
        assert "Doomed" not in crm.contacts([anna])[anna].fields


def _own(ontraport: Server) -> list[dict[str, Any]]:
    """The columns that the owner made, as the admin API takes them."""
    with closing(ontraport.adapter()) as adapter:
        fields = adapter.ask("GET", "/1/objects/meta", what="", params={"objectID": "0"})[1]["data"]["0"]["fields"]
    return [
        {"name": name, "alias": row["alias"], "kind": row["type"], "options": row.get("options", {})}
        for name, row in fields.items()
        if name.startswith("f") and name[1:].isdigit()
    ]


def test_a_field_that_is_gone_spoils_one_read_at_most(ontraport: Server, crm: base.Crm) -> None:
    anna = ontraport.person("anna@example.com", fields={"Doomed too": "x", "Town": "Kiel"})
    assert crm.contacts([anna])[anna].fields["Doomed too"] == "x"
    keep = [row for row in _own(ontraport) if row["alias"] != "Doomed too"]
    ontraport.fake.admin.put("/admin/columns", json={"columns": keep})
    ontraport.change(unknown_column="refused")
    fields = crm.contacts([anna])[anna].fields
    assert "Doomed too" not in fields
    assert fields["Town"] == "Kiel"


def test_dropdowns_are_read_and_written_by_their_labels(ontraport: Server, crm: base.Crm) -> None:
    """ "Field types": they hold the number of an option, a list several in stars."""
    anna = ontraport.person("anna@example.com", fields={"Level": "2", "Interests": "*/*1*/*2*/*", "Household": "7"})
    found = crm.contact(anna).fields
    assert (found["Level"], found["Interests"]) == ("Gold", "Bread, Cake")
    assert "Household" not in found

    crm.set_fields(anna, {"Level": "silver"})
    assert ontraport.truth(anna)[1]["Level"] == "1"
    assert crm.contact(anna).fields["Level"] == "Silver"


def test_a_change_is_found_by_its_date_which_drifts(ontraport: Server, crm: base.Crm) -> None:
    """Captured: dlm moves on by itself some seconds after a write."""
    anna, ben = ontraport.people(2)
    ontraport.fake.post("/admin/clock", seconds=3_600)
    crm.set_fields(anna, {"First Name": "Anna"})
    ontraport.settle()
    changed = {one.contact for page in crm.changed(crm_now(ontraport) - timedelta(minutes=5)) for one in page}
    assert anna in changed
    assert ben not in changed


def test_who_has_a_tag_is_listed_a_page_at_a_time(ontraport: Server, crm: base.Crm) -> None:
    people = ontraport.people(120, tags=["Many have it"])
    pages = list(crm.tagged(crm.tag("Many have it").external_id))
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [one for page in pages for one in page] == people


# --- tags ----------------------------------------------------------------------------------------------------------


def test_a_tag_comes_later_and_the_read_says_so(ontraport: Server, crm: base.Crm) -> None:
    """ "The tag is now being processed." It is done up to a minute later."""
    ontraport.change(tag_delay_least=30)
    people = ontraport.people(60)
    tag = crm.tag("Later").external_id
    began = crm_now(ontraport)
    assert crm.add_tag(tag, people[:50]) == set(people[:50])

    found = crm.contact(people[0])
    assert names(found) == set()
    assert found.seen_until < found.started
    ontraport.fake.post("/admin/clock", seconds=MINUTE - (crm_now(ontraport) - began).total_seconds())
    assert {contact for contact, one in crm.contacts(people[:50]).items() if names(one) == {"Later"}} == set(
        people[:50]
    )


def test_a_thousand_are_tagged_in_twenty_calls(ontraport: Server, crm: base.Crm) -> None:
    people = ontraport.people(200)
    tag = crm.tag("In bulk").external_id
    crm.tag_names.all()
    ontraport.forget_calls()
    for start in range(0, len(people), crm.tags_at_once):
        crm.add_tag(tag, people[start : start + crm.tags_at_once])
    ontraport.settle()
    assert ontraport.calls() == 4
    assert all("In bulk" in ontraport.truth(contact)[0] for contact in people)


def test_a_tag_call_of_whom_some_are_gone_is_made_for_the_others(ontraport: Server, crm: base.Crm) -> None:
    here, gone = ontraport.people(2)
    ontraport.delete(gone)
    crm.add_tag(crm.tag("Some gone").external_id, [gone, here])
    ontraport.settle()
    assert ontraport.truth(here)[0] == {"Some gone"}
    assert "tell-of-the-gone" in crm.cannot


def test_tags_of_orders_are_not_contacts(ontraport: Server, crm: base.Crm) -> None:
    """ "Tags": each is of one object type."""
    ontraport.fake.post("/admin/tags", name="Refunded", object_type_id=146)
    assert "Refunded" not in crm.list_tags().values()
    made = crm.tag("Refunded")
    assert crm.list_tags()[made.external_id] == "Refunded"


def test_the_list_of_tags_goes_on_after_fifty(ontraport: Server, crm: base.Crm) -> None:
    for n in range(60):
        ontraport.fake.post("/admin/tags", name=f"Filler {n}")
    assert {f"Filler {n}" for n in range(60)} <= set(crm.list_tags().values())


@pytest.mark.parametrize("habit", ["second", "first"])
def test_a_tag_that_is_there_is_not_made_again(ontraport: Server, crm: base.Crm, habit: str) -> None:
    """Not published: whether POST /Tags of a known name makes a second one."""
    ontraport.change(same_tag_name=habit)
    first = crm.tag(f"Once {habit}")
    assert crm.tag(f"once {habit}") == first
    assert list(crm.list_tags().values()).count(f"Once {habit}") == 1


# --- fields --------------------------------------------------------------------------------------------------------


def test_a_value_that_changes_costs_one_call_and_one_that_doesnt_is_read_back(ontraport: Server, crm: base.Crm) -> None:
    """Captured: an update's answer names only what changed."""
    anna = ontraport.person("anna@example.com", fields={"Losung": "old"})
    crm.field_names.all()
    ontraport.forget_calls()
    crm.set_fields(anna, {"Losung": "n3w"})
    assert ontraport.calls() == 1
    crm.set_fields(anna, {"Losung": "n3w"})
    assert ontraport.calls() == 3


def test_a_value_in_another_form_was_written(ontraport: Server, crm: base.Crm) -> None:
    """Captured: sent "Australia", stored "AU"."""
    anna = ontraport.person("anna@example.com")
    for _ in range(2):
        crm.set_fields(anna, {"Country": "Australia"})
    assert crm.contact(anna).fields["Country"] == "AU"


def test_a_value_that_a_field_cant_hold_is_told(ontraport: Server, crm: base.Crm) -> None:
    """Passed over without a word, as one that is unknown to a drop-down."""
    anna = ontraport.person("anna@example.com")
    with pytest.raises(Retryable) as error:
        crm.set_fields(anna, {"Level": "Platinum"})
    assert (error.value.reason, error.value.detail["field"]) == ("crm-value-not-kept", "Level")


def test_a_field_that_is_gone_is_passed_over_there_and_told_here(ontraport: Server, crm: base.Crm) -> None:
    anna = ontraport.person("anna@example.com", fields={"Vanishing": "x"})
    crm.field_names.all()
    keep = [row for row in _own(ontraport) if row["alias"] != "Vanishing"]
    ontraport.fake.admin.put("/admin/columns", json={"columns": keep})
    with pytest.raises(NeedsSetting) as error:
        crm.set_fields(anna, {"Vanishing": "secret"})
    assert (error.value.reason, error.value.detail["field"]) == ("crm-field-missing", "Vanishing")


def test_an_address_that_is_none_is_refused(ontraport: Server, crm: base.Crm) -> None:
    """422 since October 2019."""
    anna = ontraport.person("anna@example.com")
    with pytest.raises(base.Refused) as error:
        crm.set_fields(anna, {"Email": "no address"})
    assert error.value.detail["status"] == 422


def test_a_made_field_is_a_text_for_contacts(ontraport: Server, crm: base.Crm) -> None:
    crm.make_field("Member Password")
    row = next(row for row in _own(ontraport) if row["alias"] == "Member Password")
    assert row["kind"] == "text"


# --- what it tells by itself ---------------------------------------------------------------------------------------


def _told(ours: Scripted) -> list[Event]:
    return [event for asked in ours.asked for event in Crm.events(Arrived("", asked.headers, asked.body), [])]


@pytest.mark.parametrize("form", ["json", "pairs"])
@pytest.mark.parametrize("number", [False, True])
@pytest.mark.parametrize("columns", [["id"], ["id", "email", "contact_cat"], []])
def test_a_subscription_tells_of_its_tag(
    ontraport: Server, crm: base.Crm, ours: Scripted, form: str, number: bool, columns: list[str]
) -> None:
    """JSON by the documentation, PHP's pairs by the support article; the moment may be a text or a number."""
    ontraport.change(subscription_form=form, timestamp_number=number, subscription_columns=columns)
    anna, ben = ontraport.people(2)
    tag = crm.tag("Told").external_id
    hook = crm.make_hook(f"{ours.url}/hooks/s", Happened.TAG_ADDED, tag)
    since = crm_now(ontraport) - timedelta(minutes=1)
    ontraport.tag("Told", anna)
    ontraport.tag("Not told", ben)
    ontraport.fake.post("/admin/hooks/flush")
    crm.remove_hook(hook)
    (told,) = _told(ours)
    assert (told.happened, told.contact, told.tag) == (Happened.TAG_ADDED, anna, tag)
    assert told.at is not None
    assert abs(told.at - crm_now(ontraport)) < timedelta(minutes=1)
    assert told.ref
    assert told in [event for event in crm.missed(since) if event.contact == anna]


def test_a_call_that_never_arrived_stands_in_its_log(ontraport: Server, crm: base.Crm, ours: Scripted) -> None:
    """ "Webhook Log". Its columns aren't published; the calls of automations in it tell no event."""
    ours.on("POST /hooks/s", Answer(b"down", 503))
    tag = crm.tag("Missed").external_id
    hook = crm.make_hook(f"{ours.url}/hooks/s", Happened.TAG_ADDED, tag)
    since = crm_now(ontraport)
    people = ontraport.people(60, tags=["Missed"])
    ontraport.fake.post("/admin/fire", url=f"{ours.url}/?aal_updateuser=s", contacts=[int(people[0])])
    ontraport.fake.post("/admin/hooks/flush")
    crm.remove_hook(hook)
    found = crm.missed(since - timedelta(seconds=1))
    assert {event.contact for event in found if event.tag == tag} == set(people)
    assert {event.happened for event in found} == {Happened.TAG_ADDED}
    assert crm.missed(crm_now(ontraport) + timedelta(minutes=1)) == []


@pytest.mark.parametrize("kind", ["bare", "bare-newline", "bare-crlf", "pairs", "json", "get", "query"])
@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "application/json"])
def test_an_automations_call_names_its_contact(ontraport: Server, ours: Scripted, kind: str, content_type: str) -> None:
    """ "Send a Webhook": whatever is typed into its box. Which Content-Type it has isn't published."""
    anna = ontraport.person("anna@example.com")
    event = {"kind": kind, "content_type": content_type}
    ontraport.fake.post("/admin/fire", url=f"{ours.url}/?aal_updateuser=s", contacts=[int(anna)], event=event)
    (asked,) = ours.asked
    query = "&".join(f"{name}={value}" for name, value in asked.query.items())
    call = understand(query=query, headers=asked.headers, body=asked.body, words={"updateuser": {}})
    assert (call.contacts, call.finding) == ((anna,), None)


@pytest.mark.parametrize("kind", ["pairs", "json", "query", "empty"])
def test_an_automation_may_call_about_nobody(ontraport: Server, ours: Scripted, kind: str) -> None:
    """A trigger "contact is created" was met to fire before there is an id."""
    event = {"kind": kind, "empty": True}
    ontraport.fake.post("/admin/fire", url=f"{ours.url}/?aal_updateuser=s&x=", contacts=[1], event=event)
    (asked,) = ours.asked
    raw = "aal_updateuser=s&contact_id=" if kind == "query" else "aal_updateuser=s"
    call = understand(query=raw, headers=asked.headers, body=asked.body, words={"updateuser": {}})
    assert call.finding is not None
    assert call.finding.reason == "contact-id-empty"
