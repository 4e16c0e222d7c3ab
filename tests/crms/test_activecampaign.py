"""ActiveCampaign's oddities, over HTTP at its fake. What all CRMs have in common is in test_contract.py; answers that
no fake can be made to give are in test_activecampaign_answers.py.
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tagwarden.core import clock
from tagwarden.core.errors import NeedsSetting, Permanent, Retryable
from tagwarden.core.hooks import Arrived, Event, Happened
from tagwarden.core.outcome import Snapshot
from tagwarden.crms import base
from tagwarden.crms.activecampaign import Crm
from tests.crms.places import Server, server
from tests.crms.scripted import Answer, Scripted, scripted
from tests.fakes.activecampaign import OTHER_KEY

SAMPLES = Path(__file__).parent / "samples" / "activecampaign"
USUAL = {"fault_rate": 0, "faults": [], "limits": False, "seed": 1, "duplicate_rate": 0, "hide_listless": False} | {
    "empty_sideloads": True,
    "deleted_shows": "404",
    "repeat_tag_status": 201,
    "duplicate_tag": "422",
    "created_field_as": "field",
    "unknown_field": "ignored",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server("activecampaign", tmp_path_factory.mktemp("activecampaign")) as found:
        yield found


@pytest.fixture
def ac(running: Server) -> Server:
    """The fake with its usual settings."""
    running.change(**USUAL)
    running.forget_calls()
    return running


@pytest.fixture
def crm(ac: Server) -> Iterator[base.Crm]:
    with closing(ac.adapter()) as adapter:
        yield adapter


@pytest.fixture
def ours() -> Iterator[Scripted]:
    """Our end of its webhooks."""
    with scripted() as found:
        yield found


def names(snapshot: Snapshot) -> set[str]:
    return {tag.name for tag in snapshot.tags or ()}


# --- limits and refusals ------------------------------------------------------------------------------------------


def test_a_release_of_a_thousand_takes_eleven_calls(ac: Server, crm: base.Crm) -> None:
    """Side-loading: a hundred contacts in a call with tags and fields; and once the names of fields."""
    people = ac.people(1_000, tags=["Module 1", "Member"], fields={"Town": "Kiel"})
    found: dict[str, Snapshot] = {}
    for start in range(0, len(people), crm.bulk_size):
        found |= crm.contacts(people[start : start + crm.bulk_size])

    assert set(found) == set(people)
    assert all(names(one) == {"Module 1", "Member"} and one.fields == {"Town": "Kiel"} for one in found.values())
    assert ac.calls() == 11


def test_five_calls_a_second_are_all_whatever_the_key(ac: Server, crm: base.Crm) -> None:
    """The limit is the account's, shared by every key; `Retry-After` says how long, in seconds."""
    ac.change(limits=True)
    refused: list[Retryable] = []
    with closing(ac.adapter(api_key=OTHER_KEY)) as other:
        for key in [crm, other] * 10:
            try:
                key.check()
            except Retryable as error:
                refused.append(error)
    assert len(refused) >= 10
    first = refused[0]
    assert (first.reason, first.after, first.spends_try) == ("crm-paused", timedelta(seconds=1), False)
    assert ac.fake.counters()["limited"] == len(refused)


def test_a_403_now_and_then_is_no_bad_key(ac: Server, crm: base.Crm) -> None:
    """Observed by integrations: the same 403 as for a bad key. Three in a row count as one."""
    anna = ac.person("anna@example.com")
    ac.change(fault_rate=0.2, faults=["403"], seed=4)
    for _ in range(20):
        assert crm.contact(anna).contact == anna
    assert ac.fake.counters()["faults"] > 0

    ac.change(fault_rate=1)
    ac.forget_calls()
    with pytest.raises(NeedsSetting, match="crm-key-refused"):
        crm.contact(anna)
    assert ac.calls() == 3


def test_an_unpaid_account_is_said_to_be_one(ac: Server, crm: base.Crm) -> None:
    ac.change(fault_rate=1, faults=["402"])
    with pytest.raises(NeedsSetting, match="crm-unpaid"):
        crm.check()


@pytest.mark.parametrize("fault", ["empty", "short"])
def test_a_write_whose_answer_is_no_json_is_made_again_and_changes_nothing(
    ac: Server, crm: base.Crm, fault: str
) -> None:
    """Empty answers with status 200, and JSON cut short, have been met by integrations."""
    ben = ac.person("ben@example.com", fields={"Losung": ""})
    tag = crm.tag("Done").external_id
    ac.change(fault_rate=1, faults=[fault])
    with pytest.raises(Retryable, match="crm-answer-broken"):
        crm.add_tag(tag, [ben])
    with pytest.raises(Retryable, match="crm-answer-broken"):
        crm.set_fields(ben, {"Losung": "n3w"})
    ac.change(**USUAL)

    assert crm.add_tag(tag, [ben]) == {ben}
    crm.set_fields(ben, {"Losung": "n3w"})
    assert ac.truth(ben) == ({"Done"}, {"Losung": "n3w"})


# --- who is there, and who isn't ----------------------------------------------------------------------------------


def test_a_deleted_contact_may_stay_under_an_address_of_its_own(ac: Server, crm: base.Crm) -> None:
    """`deleted+<id>@…` means gone, wherever it shows; its missing tags mean nothing."""
    ac.change(deleted_shows="address")
    here, gone = ac.people(2, tags=["Module 2"], fields={"Losung": "x"})
    ac.delete(gone)

    assert set(crm.contacts([here, gone])) == {here}
    assert gone not in {one.contact for page in crm.everybody() for one in page}
    assert crm.by_email(f"deleted+{gone}@example.com") == []
    for ask in (lambda: crm.contact(gone), lambda: crm.set_fields(gone, {"Losung": "y"})):
        with pytest.raises(Permanent, match="contact-not-found"):
            ask()
    tag = crm.tag("Module 2").external_id
    assert crm.add_tag(tag, [gone]) == crm.remove_tag(tag, [gone]) == set()


def test_whom_the_lists_hide_is_still_there(ac: Server, crm: base.Crm) -> None:
    """Unsettled: whether lists show contacts that are on no mailing list. To be left out is not to be deleted."""
    ac.change(hide_listless=True)
    cleo = ac.person("cleo@example.com", tags=["Module 3"], lists=[])
    assert crm.contacts([cleo]) == {}
    assert names(crm.contact(cleo)) == {"Module 3"}


def test_lists_with_rows_missing_or_twice_are_read_to_their_end(ac: Server, crm: base.Crm) -> None:
    people = ac.people(130)
    ac.change(fault_rate=1, faults=["duplicate-rows"])
    assert set(crm.contacts(people[:100])) == set(people[:100])
    seen = [one.contact for page in crm.everybody() for one in page]
    assert set(people) <= set(seen)
    assert len(seen) == len(set(seen))

    ac.change(fault_rate=1, faults=["missing-rows"])
    some = {one.contact for page in crm.everybody() for one in page}
    assert people[-1] in some or people[-2] in some
    assert len(some) < len(seen)


def test_tags_that_arent_loaded_beside_a_contact_are_asked_for_alone(ac: Server, crm: base.Crm) -> None:
    """Unsettled: whether somebody without tags or values comes with empty lists of them, or with none."""
    ac.change(empty_sideloads=False)
    bare, dora = ac.person("bare@example.com"), ac.person("dora@example.com", tags=["Gold"], fields={"Town": "Kiel"})
    assert crm.contact(bare).tags == frozenset()
    found = crm.contacts([bare, dora])
    assert (found[bare].tags, found[bare].fields) == (frozenset(), {})
    assert (names(found[dora]), found[dora].fields) == ({"Gold"}, {"Town": "Kiel"})


def test_who_changed_is_told_by_fields_alone(ac: Server, crm: base.Crm) -> None:
    """Unsettled: whether a tag moves `udate`. No more is promised than that fields do."""
    emil = ac.person("emil@example.com", fields={"Losung": ""})
    ac.fake.post("/admin/clock", seconds=3_600)
    since = clock.now() + timedelta(seconds=1_800)
    assert emil not in {one.contact for page in crm.changed(since) for one in page}
    crm.set_fields(emil, {"Losung": "x"})
    assert emil in {one.contact for page in crm.changed(since) for one in page}


def test_more_people_have_a_tag_than_a_page_holds(ac: Server, crm: base.Crm) -> None:
    people = ac.people(205, tags=["Module 7"])
    pages = list(crm.tagged(crm.tag("Module 7").external_id))
    assert sorted(one for page in pages for one in page) == sorted(people)


# --- tags and fields ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 422])
def test_a_tag_that_is_on_already_is_on(ac: Server, crm: base.Crm, status: int) -> None:
    """Unsettled: what is answered to a tag that the contact has."""
    ac.change(repeat_tag_status=status)
    fay = ac.person("fay@example.com", tags=["Done"])
    assert crm.add_tag(crm.tag("Done").external_id, [fay]) == {fay}


@pytest.mark.parametrize("how", ["422", "existing"])
def test_a_tag_that_another_worker_made_first_is_taken(ac: Server, crm: base.Crm, how: str) -> None:
    """Unsettled: what is answered to a tag of a name that is there."""
    ac.change(duplicate_tag=how)
    name = f"Made by two {how}"
    assert crm.tag_names.id_of(name) is None
    with closing(ac.adapter()) as other:
        first = other.tag(name)
    assert crm.make_tag(name) == first.external_id


def test_there_may_be_more_tags_and_fields_than_a_page_holds(ac: Server, crm: base.Crm) -> None:
    """Lists of names go by `offset`; a list is short only if it is the last page."""
    ac.person("many@example.com", tags=[f"Many {n}" for n in range(230)], fields={f"Field {n}": "" for n in range(130)})
    assert {f"Many {n}" for n in range(230)} <= set(crm.list_tags().values())
    assert {f"Field {n}" for n in range(130)} <= set(crm.list_fields().values())
    assert "Newsletter layout" not in crm.list_tags().values(), "a template's"


@pytest.mark.parametrize("shape", ["field", "fields"])
def test_a_made_field_is_put_on_all_lists_however_it_is_answered(ac: Server, crm: base.Crm, shape: str) -> None:
    """Without a relation to 0 a field is on no list. The description shows the answer as a list of fields."""
    ac.change(created_field_as=shape)
    crm.make_field(f"Member Word {shape}")
    _, answer = crm.ask("GET", "/api/3/fields", what="Look", params={"limit": 100, "offset": 100})
    _, first = crm.ask("GET", "/api/3/fields", what="Look", params={"limit": 100})
    rows = {row["title"]: row for row in [*first["fields"], *answer["fields"]]}
    assert len(rows[f"Member Word {shape}"]["relations"]) == 1


# --- webhooks -----------------------------------------------------------------------------------------------------


def arrived(body: bytes) -> Arrived:
    return Arrived("", {"content-type": "application/x-www-form-urlencoded"}, body)


def test_a_captured_global_webhook_is_understood() -> None:
    body = (SAMPLES / "webhook-global-contact_tag_added.form").read_bytes()
    [event] = Crm.events(arrived(body), ["a secret that signs nothing"])
    assert (event.happened, event.contact, event.email) == (Happened.TAG_ADDED, "123456", "robert@example.com")
    assert (event.tag, event.tag_name) == ("", "[KRC] Registered for Challenge")
    assert event.at == datetime(2026, 7, 18, 3, 1, 25, tzinfo=UTC)
    [again] = Crm.events(arrived(body), [])
    [other] = Crm.events(arrived(body.replace(b"22%3A01%3A25", b"22%3A01%3A26")), [])
    assert event.ref == again.ref != other.ref


def test_a_captured_webhook_of_an_automation_is_a_change_without_a_name_or_a_time() -> None:
    [event] = Crm.events(arrived((SAMPLES / "webhook-automation.form").read_bytes()), [])
    assert (event.happened, event.contact, event.tag_name, event.at, event.ref) == (
        Happened.CHANGED,
        "27760",
        "",
        None,
        "",
    )


@pytest.mark.parametrize(
    ("kind", "happened"),
    [
        ("contact_tag_removed", Happened.TAG_REMOVED),
        ("update", Happened.CHANGED),
        ("subscribe", Happened.CREATED),
        ("unsubscribe", Happened.CHANGED),
    ],
)
def test_events_have_names_of_their_own(kind: str, happened: Happened) -> None:
    assert Crm.events(arrived(f"type={kind}&contact[id]=5".encode()), [])[0].happened is happened


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"526",
        b"contact%5Bid%5D=5",
        b"type=open&contact%5Bid%5D=5",
        b"type=update",
        b"type=update&contact%5Bid%5D=five",
        b'{"type": ["update"]}',
        b"\xff\x00&=%",
    ],
)
def test_what_is_no_webhook_of_theirs_is_said_not_to_be(body: bytes) -> None:
    with pytest.raises(Permanent, match="hook-not-understood"):
        Crm.events(arrived(body), [])


def sent(ac: Server) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ac.fake.post("/admin/hooks/flush")["sent"]
    return rows


def told(crm: base.Crm, row: dict[str, Any]) -> Event:
    [event] = crm.events(arrived(row["body"].encode()), [])
    return event


def test_a_hook_tells_of_what_others_do_and_not_of_what_we_do(ac: Server, crm: base.Crm, ours: Scripted) -> None:
    """The source `api` is left out, or we would be told of our own writes; there is no hook for one tag alone."""
    ours.on("POST /hooks/secret", {})
    gil = ac.person("gil@example.com")
    crm.make_hook(f"{ours.url}/hooks/secret", Happened.TAG_ADDED, "1")
    sent(ac)

    ac.tag("Gold, with a comma", gil)
    [row] = sent(ac)
    event = told(crm, row)
    assert (event.happened, event.contact, event.email) == (Happened.TAG_ADDED, gil, "gil@example.com")
    assert event.tag_name == "Gold, with a comma"
    assert event.at is not None
    crm.add_tag(crm.tag("Done").external_id, [gil])
    assert sent(ac) == []
    for hook in crm.hooks():
        crm.remove_hook(hook)


def test_the_same_event_told_twice_has_the_same_name(ac: Server, crm: base.Crm, ours: Scripted) -> None:
    """At least once, without an id: kind, contact, second and tag are all there is."""
    ours.on("POST /hooks/secret", {})
    ac.change(duplicate_rate=1)
    hal = ac.person("hal@example.com")
    hook = crm.make_hook(f"{ours.url}/hooks/secret", Happened.TAG_ADDED)
    sent(ac)
    ac.tag("Module 8", hal)
    first, again = (told(crm, row) for row in sent(ac))
    assert first.ref == again.ref != ""
    ac.tag("Module 9", hal)
    assert told(crm, sent(ac)[0]).ref != first.ref
    crm.remove_hook(hook)


def test_a_hook_that_a_410_ended_is_made_anew_and_tells_again(ac: Server, crm: base.Crm, ours: Scripted) -> None:
    """It stays listed and looks as before; only a new one tells anything."""
    ours.on("POST /hooks/secret", Answer({}, 410), {})
    ida = ac.person("ida@example.com")
    hook = crm.make_hook(f"{ours.url}/hooks/secret", Happened.TAG_ADDED)
    sent(ac)
    ac.tag("First", ida)
    assert [row["outcome"] for row in sent(ac)] == ["410"]
    ac.tag("Second", ida)
    assert sent(ac) == []

    revived = crm.revive_hook(hook)
    assert revived.id != hook.id
    assert [one.id for one in crm.hooks()] == [revived.id]
    ac.tag("Third", ida)
    assert [told(crm, row).tag_name for row in sent(ac)] == ["Third"]
    crm.remove_hook(revived)


def test_an_automation_names_no_event(ac: Server, crm: base.Crm, ours: Scripted) -> None:
    """Its body has no type and no time: it says that something became of this contact."""
    ours.on("POST /hooks/secret", {})
    jan = ac.person("jan@example.com")
    ac.fake.post("/admin/automations", tag="Start", url=f"{ours.url}/hooks/secret")
    ac.tag("Start", jan)
    [row] = sent(ac)
    assert b"seriesid=" in ours.asked[0].body
    event = told(crm, row)
    assert (event.happened, event.contact, event.ref) == (Happened.CHANGED, jan, "")
