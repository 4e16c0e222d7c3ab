"""What every adapter promises (tagwarden/crms/base.py), asked of each over real HTTP.

A vendor's own oddities are in test_<vendor>.py; here only what all have in common.
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from tagwarden.core import catalogue, clock
from tagwarden.core.errors import NeedsSetting, Permanent, Retryable
from tagwarden.core.hooks import Happened
from tagwarden.crms import base
from tests.crms.places import Server, server

CRMS = list(catalogue.listed("tagwarden.crms"))


@pytest.fixture(scope="module", params=CRMS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(request.param, tmp_path_factory.mktemp(request.param)) as found:
        yield found


@pytest.fixture
def crm(running: Server) -> Iterator[base.Crm]:
    with closing(running.adapter()) as adapter:
        yield adapter


def test_good_credentials_name_the_account_and_bad_ones_are_told(running: Server, crm: base.Crm) -> None:
    assert crm.check()
    wrong = {name: f"wrong-{value[-4:]}" for name, value in running.place.credentials.items()}
    with closing(running.adapter(**wrong)) as refused, pytest.raises(NeedsSetting) as error:
        refused.check()
    assert error.value.reason == "crm-key-refused"


def test_a_contact_comes_with_names_tags_and_fields(running: Server, crm: base.Crm) -> None:
    anna = running.person(
        "anna@example.com",
        first_name="Anna",
        last_name="Berg",
        tags=["Module 1", "Gold, with a comma"],
        fields={"Losung": "a&b<c"},
    )
    running.settle()
    before = clock.now()

    found = crm.contact(anna)

    assert (found.contact, found.email, found.first_name, found.last_name) == (
        anna,
        "anna@example.com",
        "Anna",
        "Berg",
    )
    assert {tag.name for tag in found.tags or ()} == {"Module 1", "Gold, with a comma"}
    assert found.fields["Losung"] == "a&b<c"
    assert before <= found.started <= clock.now()
    assert found.seen_until == found.started - crm.one_lag


def test_a_contact_without_tags_has_none_which_is_not_the_same_as_unknown(running: Server, crm: base.Crm) -> None:
    nobody = running.person("bare@example.com")
    running.settle()
    assert crm.contact(nobody).tags == frozenset()
    assert crm.contacts([nobody])[nobody].tags == frozenset()


def test_many_are_read_together_with_all_they_have(running: Server, crm: base.Crm) -> None:
    people = running.people(min(crm.bulk_size, 120), tags=["Module 2"], fields={"Town": "Kiel"})
    running.settle()
    crm.tag_names.all(), crm.field_names.all()
    running.forget_calls()

    found = crm.contacts(people)

    assert set(found) == set(people)
    assert all({tag.name for tag in one.tags or ()} == {"Module 2"} for one in found.values())
    assert all(one.fields["Town"] == "Kiel" for one in found.values())
    assert running.calls() <= max(1, crm.calls_for(len(people)))


def test_those_that_are_gone_are_left_out_of_many_and_told_of_alone(running: Server, crm: base.Crm) -> None:
    here, gone = running.people(2)
    running.delete(gone)
    running.settle()

    assert set(crm.contacts([here, gone])) == {here}
    with pytest.raises(Permanent) as error:
        crm.contact(gone)
    assert error.value.reason == "contact-not-found"


def test_an_address_finds_all_who_have_it(running: Server, crm: base.Crm) -> None:
    ben = running.person("ben+kurs@example.com", tags=["Module 1"])
    running.person("ben@example.com")
    running.settle()

    assert [one.contact for one in crm.by_email("ben+kurs@example.com")] == [ben]
    assert crm.by_email("nobody@example.com") == []


def test_everybody_comes_once(running: Server, crm: base.Crm) -> None:
    people = running.people(230, tags=["Module 3"])
    running.settle()

    seen = [one.contact for page in crm.everybody() for one in page]

    assert len(seen) == len(set(seen))
    assert set(people) <= set(seen)


def test_the_list_goes_on_at_a_cursor_in_another_process(running: Server, crm: base.Crm) -> None:
    people = running.people(230, tags=["Module 3"])
    running.settle()
    seen: list[str] = []
    cursor, pages = "", 0
    while not pages or cursor:
        with closing(running.adapter()) as other:
            snapshots, cursor = other.page(cursor)
        assert isinstance(cursor, str)
        assert len(snapshots) <= crm.page_size
        assert all(one.tags is not None for one in snapshots)
        seen += [one.contact for one in snapshots]
        pages += 1

    assert len(seen) == len(set(seen))
    assert set(people) <= set(seen)


def test_who_has_a_tag_and_who_changed_is_listed_or_said_to_be_impossible(running: Server, crm: base.Crm) -> None:
    since = clock.now() - timedelta(minutes=5)
    people = running.people(3, tags=["Module 4"])
    running.settle()
    tag = crm.tag("Module 4").external_id
    if "tagged" in crm.cannot:
        with pytest.raises(Permanent, match="crm-cannot"):
            list(crm.tagged(tag))
    else:
        assert sorted(one for page in crm.tagged(tag) for one in page) == sorted(people)
    if "changed" in crm.cannot:
        with pytest.raises(Permanent, match="crm-cannot"):
            list(crm.changed(since))
    else:
        assert set(people) <= {one.contact for page in crm.changed(since) for one in page}


def test_a_tag_is_found_whatever_its_case_and_made_once(running: Server, crm: base.Crm) -> None:
    running.person("tagged@example.com", tags=["Module Five"])
    found = crm.tag("module five")
    assert found.name == "Module Five"

    made = crm.tag("Welcome & more")
    with closing(running.adapter()) as other:
        assert other.tag("Welcome & more") == made
    assert len([name for name in crm.list_tags().values() if name == "Welcome & more"]) == 1


def test_a_tag_is_put_on_and_taken_off_and_both_may_be_repeated(running: Server, crm: base.Crm) -> None:
    one, two = running.people(2)
    tag = crm.tag("Done").external_id
    for _ in range(2):
        assert crm.add_tag(tag, [one, two][: crm.tags_at_once]) == {one, two} & set([one, two][: crm.tags_at_once])
    running.settle()
    assert "Done" in running.truth(one)[0]

    for _ in range(2):
        assert crm.remove_tag(tag, [one]) == {one}
    running.settle()
    assert "Done" not in running.truth(one)[0]


def test_a_tag_that_is_gone_and_a_contact_that_is_gone_are_told_apart(running: Server, crm: base.Crm) -> None:
    here, gone = running.people(2)
    running.delete(gone)
    running.settle()
    tag = crm.tag("Done").external_id
    written = crm.add_tag(tag, [gone])
    assert gone not in written or "tell-of-the-gone" in crm.cannot
    with pytest.raises(NeedsSetting) as missing:
        crm.add_tag("99887766", [here])
    assert missing.value.reason == "crm-tag-missing"


def test_fields_are_written_by_their_label_and_nothing_else_changes(running: Server, crm: base.Crm) -> None:
    carl = running.person("carl@example.com", fields={"Losung": "old", "Town": "Kiel"}, tags=["Module 1"])
    running.settle()

    crm.set_fields(carl, {"losung": "n3w-Secret.word"})
    crm.set_fields(carl, {"losung": "n3w-Secret.word"})
    running.settle()

    tags, fields = running.truth(carl)
    assert fields == {"Losung": "n3w-Secret.word", "Town": "Kiel"} | {
        label: value for label, value in fields.items() if label not in {"Losung", "Town"}
    }
    assert tags == {"Module 1"}
    assert crm.contact(carl).email == "carl@example.com"


def test_a_field_that_is_missing_is_told_and_can_be_made_once(running: Server, crm: base.Crm) -> None:
    dora = running.person("dora@example.com")
    with pytest.raises(NeedsSetting) as error:
        crm.set_fields(dora, {"Member Word": "x"})
    assert (error.value.reason, error.value.detail["field"]) == ("crm-field-missing", "Member Word")

    crm.make_field("Member Word")
    crm.make_field("Member Word")
    crm.field_names.forget()
    assert crm.has_field("member word")
    crm.set_fields(dora, {"Member Word": "here"})
    assert running.truth(dora)[1]["Member Word"] == "here"
    assert len([label for label in crm.list_fields().values() if label == "Member Word"]) == 1


def test_writing_to_somebody_who_is_gone_is_told(running: Server, crm: base.Crm) -> None:
    gone = running.person("gone@example.com", fields={"Losung": ""})
    running.delete(gone)
    running.settle()
    with pytest.raises(Permanent) as error:
        crm.set_fields(gone, {"Losung": "x"})
    assert error.value.reason == "contact-not-found"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("429", "crm-paused"),
        ("503", "crm-overloaded"),
        ("cut", "crm-unreachable"),
        ("reset", "crm-unreachable"),
    ],
)
def test_what_passes_is_tried_again(running: Server, crm: base.Crm, fault: str, reason: str) -> None:
    eva = running.person("eva@example.com")
    running.settle()
    running.change(fault_rate=1, faults=[fault])
    try:
        with pytest.raises(Retryable) as error:
            crm.contact(eva)
    finally:
        running.change(fault_rate=0, faults=[])
    assert error.value.reason == reason
    assert crm.contact(eva).contact == eva


def test_an_answer_without_tags_is_never_taken_for_one_that_has_none(running: Server, crm: base.Crm) -> None:
    fay, gil = running.people(2, tags=["Module 1"])
    running.settle()
    running.change(fault_rate=1, faults=["missing-tags"])
    try:
        found = crm.contacts([fay, gil])
    finally:
        running.change(fault_rate=0, faults=[])
    known = [one.tags for one in found.values() if one.tags is not None]  # some ask for the tags alone
    assert all({tag.name for tag in tags} == {"Module 1"} for tags in known)


def test_no_secret_is_in_what_went_wrong(running: Server, crm: base.Crm) -> None:
    hal = running.person("hal@example.com", fields={"Losung": ""})
    running.settle()
    running.change(fault_rate=1, faults=["503"])
    try:
        with base.recording() as calls, pytest.raises(Retryable) as error:
            crm.set_fields(hal, {"Losung": "the-secret-word"})
    finally:
        running.change(fault_rate=0, faults=[])
    told = f"{error.value!r} {error.value.detail} {base.as_rows(calls)} {error.value.__cause__!r}"
    for secret in ["the-secret-word", *running.place.credentials.values()]:
        assert secret not in told


def test_hooks_are_made_once_revived_and_taken_away(running: Server, crm: base.Crm) -> None:
    if "hooks" in crm.cannot:
        with pytest.raises(Permanent, match="crm-cannot"):
            crm.make_hook("http://127.0.0.1:9/hooks/secret", Happened.TAG_ADDED, "1")
        return
    tag = crm.tag("Trigger").external_id
    made = crm.make_hook("http://127.0.0.1:9/hooks/secret", Happened.TAG_ADDED, tag)
    again = crm.make_hook("http://127.0.0.1:9/hooks/secret", Happened.TAG_ADDED, tag)
    assert made.id == again.id
    assert [hook.id for hook in crm.hooks() if hook.url == made.url] == [made.id]
    assert crm.revive_hook(made).url == made.url
    for hook in crm.hooks():
        crm.remove_hook(hook)
    crm.remove_hook(made)
    assert crm.hooks() == []


def test_what_it_cannot_do_is_said_in_sentences(crm: base.Crm) -> None:
    assert all(text.endswith(".") for text in crm.cannot.values())
