"""What Keap's answers may look like, each by an answer that shows it. Against the fake Keap: test_keap_fake.py.

Samples: tests/crms/samples/keap, with their origins. "Not published" marks what nobody could settle without an account
at Keap: there both answers are tried.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tagwarden.core import clock
from tagwarden.core.errors import NeedsSetting, Permanent, Retryable
from tagwarden.core.outcome import CrmTag
from tagwarden.crms import base
from tagwarden.crms.keap import Crm
from tests.crms.keap_script import CONTACTS, MODEL, TAGS, V1, V2, crm, page, row, sample, server
from tests.crms.scripted import Answer, Scripted

__all__ = ["crm", "server"]


def tags(names: Mapping[str, str]) -> frozenset[CrmTag]:
    return frozenset(CrmTag(id_, name) for id_, name in names.items())


# Reading.


def test_many_are_read_by_one_filter_of_ids_and_only_what_is_needed_is_asked_for(server: Scripted, crm: Crm) -> None:
    """One `filter`, %3D%3D for ==, commas as they are; what `fields` doesn't name isn't sent (keap-v2.yaml)."""
    server.on(CONTACTS, sample("v2-contacts-list-200.composed.json"))

    found = crm.contacts(["1001", "1002"])

    asked = server.asked[0]
    assert "filter=contact_ids%3D%3D1001,1002&" in asked.raw_query
    assert {"tag_ids", "custom_fields"} <= set(asked.query["fields"].split(","))
    assert (asked.query["page_size"], asked.headers["authorization"]) == ("1000", "Bearer KeapAK-1")
    assert found["1001"].tags == tags({"91": "Gold", "105": "Module 3"})
    assert (found["1001"].email, found["1001"].fields) == ("john.smith@example.com", {"Favorite Color": "blue"})
    assert found["1002"].tags == frozenset()


def test_a_single_contact_has_names_tags_and_fields(server: Scripted, crm: Crm) -> None:
    server.on(f"GET {V2}/contacts/1001", sample("v2-contact-full-200.from-spec.json"))
    with base.recording() as calls:
        found = crm.contact("1001")
    assert (found.first_name, found.last_name, found.email) == ("John", "Smith", "john.smith@example.com")
    assert found.fields == {"Favorite Color": "blue", "Member Password": ""}
    assert calls[0].found == "Found John Smith with 2 tags"


def test_a_thousand_cost_four_calls_and_two_for_the_names(server: Scripted, crm: Crm) -> None:
    everybody = {str(n): row(n, tag_ids=["91"], custom_fields=[{"id": "45", "content": "x"}]) for n in range(1, 1001)}
    server.answer = lambda asked: (  # type: ignore[method-assign]  # each gets the ids it asks for
        server.asked.append(asked)
        or Answer(page(*(everybody[id_] for id_ in asked.query["filter"].partition("==")[2].split(","))))
        if asked.path == f"{V2}/contacts"
        else Scripted.answer(server, asked)
    )
    ids = list(everybody)
    for start in range(0, 1000, crm.bulk_size):
        assert len(crm.contacts(ids[start : start + crm.bulk_size])) == crm.bulk_size
    assert len(server.asked) == 6
    assert max(len(asked.raw_query) for asked in server.asked) < 4000


def test_rows_that_were_not_asked_for_are_dropped(server: Scripted, crm: Crm) -> None:
    """A filter that Keap doesn't know is ignored and everything comes back (measured)."""
    server.on(CONTACTS, page(row(7, tag_ids=["91"]), row(1001, tag_ids=[]), token="more"))
    assert set(crm.contacts(["1001", "1002"])) == {"1001"}
    assert server.calls().count(CONTACTS) == 1, "all contacts of the account aren't paged through"


def test_rows_of_no_use_are_left_out(server: Scripted, crm: Crm) -> None:
    """Sparse rows: any key may be missing or null."""
    bare = {"id": 1001, "given_name": None, "email_addresses": None, "custom_fields": None, "tag_ids": [91]}
    server.on(CONTACTS, page({}, None, "x", bare))
    found = crm.contacts(["1001"])
    assert found["1001"].tags == tags({"91": "Gold"})
    assert (found["1001"].email, found["1001"].first_name, found["1001"].fields) == ("", "", {})


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("x", "x"),
        ("", ""),
        (None, ""),
        (5, "5"),
        (5.0, "5"),
        (2.5, "2.5"),
        (["a", "b"], "a,b"),
        (True, "true"),
        ({}, ""),
    ],
)
def test_a_fields_content_may_be_of_any_type(server: Scripted, crm: Crm, content: object, value: str) -> None:
    """The official file gives it no type; integrations join several choices by commas."""
    server.on(CONTACTS, page(row(1, tag_ids=[], custom_fields=[{"id": 45, "content": content}, {"content": "no id"}])))
    assert crm.contacts(["1"])["1"].fields == {"Favorite Color": value}


def test_the_first_of_three_addresses_counts(server: Scripted, crm: Crm) -> None:
    three = [{"email": "b@x.de", "field": "EMAIL2"}, {"field": "EMAIL3"}, {"email": "a@x.de", "field": "EMAIL1"}]
    server.on(CONTACTS, page(row(1, tag_ids=[], email_addresses=three), row(2, tag_ids=[], email_addresses=three[:2])))
    found = crm.contacts(["1", "2"])
    assert (found["1"].email, found["2"].email) == ("a@x.de", "b@x.de")


def test_of_two_fields_of_one_label_the_first_is_read_and_written(server: Scripted, crm: Crm) -> None:
    twice = [{"id": id_, "label": "Losung", "field_type": "TEXT"} for id_ in ("112", "46")]
    other = {"id": "9", "label": "Losung", "record_type": "ORDER"}
    server.on(MODEL, {"custom_fields": [*twice, other]})
    values = [{"id": "46", "content": "first"}, {"id": "112", "content": "second"}]
    server.on(CONTACTS, page(row(1, tag_ids=[], custom_fields=values)))
    server.on(f"PATCH {V1}/contacts/1", {"id": 1})

    assert crm.contacts(["1"])["1"].fields == {"Losung": "first"}
    crm.set_fields("1", {"Losung": "new"})
    assert server.asked[-1].json == {"custom_fields": [{"id": 46, "content": "new"}]}


# Tags that are not told.


def test_groups_are_the_tags_where_tag_ids_are_absent(server: Scripted, crm: Crm) -> None:
    """The older form, "91,105", stands in the official file's rows as well."""
    server.on(CONTACTS, page(row(1, groups="91,105"), row(2, groups=""), row(3, groups="105", tag_ids=["91"])))
    found = crm.contacts(["1", "2", "3"])
    assert found["1"].tags == tags({"91": "Gold", "105": "Module 3"})
    assert found["2"].tags == frozenset()
    assert found["3"].tags == tags({"91": "Gold"})


@pytest.mark.parametrize("missing", [{}, {"tag_ids": None}, {"groups": None}])
def test_one_whose_row_has_no_tags_is_asked_for_them_and_among_many_they_are_unknown(
    server: Scripted, crm: Crm, missing: dict[str, Any]
) -> None:
    """Not published: whether a contact without tags has an empty list or none. Missing is not empty."""
    server.on(CONTACTS, page(row(1, **missing), row(2, tag_ids=[])))
    assert {id_: one.tags for id_, one in crm.contacts(["1", "2"]).items()} == {"1": None, "2": frozenset()}

    server.on(f"GET {V2}/contacts/1", row(1, **missing))
    rows = {"tags": [{"tag": {"id": "91", "name": "Gold"}}], "next_page_token": ""}
    server.on(f"GET {V2}/contacts/1/tags", rows, {"tags": []})
    assert crm.contact("1").tags == tags({"91": "Gold"})
    assert crm.contact("1").tags == frozenset()


@pytest.mark.parametrize("answer", [{}, {"tags": None}, {"tags": [{"tag": None}]}, Answer({"code": 404}, 404)])
def test_tags_that_nobody_tells_stay_unknown(server: Scripted, crm: Crm, answer: Any) -> None:
    server.on(f"GET {V2}/contacts/1", row(1))
    server.on(f"GET {V2}/contacts/1/tags", answer)
    assert crm.contact("1").tags is None


# Who is gone.


def test_one_who_is_gone_is_told_by_the_application(server: Scripted, crm: Crm) -> None:
    server.on(f"GET {V2}/contacts/1001", Answer(sample("error-404-app.composed.json"), 404))
    with pytest.raises(Permanent) as error:
        crm.contact("1001")
    assert (error.value.reason, error.value.detail["contact"]) == ("contact-not-found", "1001")


@pytest.mark.parametrize("answer", [Answer(b"", 301, {"location": f"{V2}/contacts/2002"}), row(2002, tag_ids=[])])
def test_one_who_was_merged_is_not_found_under_the_old_id(server: Scripted, crm: Crm, answer: Any) -> None:
    """Not published: 404, an address elsewhere, or the contact that is left."""
    server.on(f"GET {V2}/contacts/1001", answer)
    with pytest.raises(Permanent) as error:
        crm.contact("1001")
    assert error.value.reason == "contact-not-found"


NO_ROUTE = {"fault": {"faultstring": "Not Found", "detail": {"errorcode": "messaging.adaptors.http.NotFound"}}}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(NO_ROUTE, 404),
        Answer(b"<html>no such page</html>", 404),
        Answer(b"", 301, {"location": f"https://api.example{V2}/contacts/1001"}),
        Answer(b"", 302, {"location": "/login"}),
        Answer(b"", 304),
    ],
)
def test_an_address_that_is_wrong_makes_nobody_vanish(server: Scripted, crm: Crm, answer: Answer) -> None:
    """A gateway or a web page that isn't Keap's application knows nothing of contacts."""
    server.on(f"GET {V2}/contacts/1001", answer)
    with pytest.raises(base.Refused) as error:
        crm.contact("1001")
    assert error.value.reason == "crm-refused"


# Lists.


@pytest.mark.parametrize("end", ["", None])
def test_a_list_ends_with_an_empty_token_or_none_or_no_row(server: Scripted, crm: Crm, end: object) -> None:
    server.on(CONTACTS, page(row(1, tag_ids=[]), token="t1"), page(row(2, tag_ids=[]), token="t2"), page(token=end))
    assert [[one.contact for one in rows] for rows in crm.everybody()] == [["1"], ["2"], []]
    assert [asked.query.get("page_token") for asked in server.asked] == [None, "t1", "t2"]
    server.on(CONTACTS, {"contacts": []})
    assert crm.page("") == ([], "")


def test_the_next_page_may_come_as_an_address(server: Scripted, crm: Crm) -> None:
    """An integration meets a whole address there; only its token is taken, so that our key goes nowhere else."""
    server.on(CONTACTS, page(row(1, tag_ids=[]), token="https://evil.example/x?page_size=9&page_token=a%2Bb"), page())
    assert len(list(crm.everybody())) == 2
    assert server.asked[1].query["page_token"] == "a+b"


@pytest.mark.parametrize("tokens", [["same", "same"], ["a", "b", "a"], ["https://x.example/no-token"]])
def test_a_list_that_goes_in_circles_ends(server: Scripted, crm: Crm, tokens: list[str]) -> None:
    """The mock that is made of the official file answers the same token for ever."""
    server.on(CONTACTS, *(page(row(n, tag_ids=[]), token=token) for n, token in enumerate(tokens, 1)))
    server.on(f"GET {V2}/tags/91/contacts", *(page({"id": n}, token=token) for n, token in enumerate(tokens, 1)))
    for read in (crm.everybody(), crm.tagged("91")):
        with pytest.raises(Retryable) as error:
            list(read)
        assert error.value.reason == "crm-answer-broken"
    assert len(server.asked) <= 6


def test_a_page_that_leads_to_itself_is_no_page(server: Scripted, crm: Crm) -> None:
    """A sweep asks page by page, and remembers only the last token."""
    server.on(CONTACTS, page(row(1, tag_ids=[]), token="here"))
    assert crm.page("")[1] == "here"
    with pytest.raises(Retryable) as error:
        crm.page("here")
    assert error.value.reason == "crm-answer-broken"


def test_an_address_that_is_too_long_is_halved_and_remembered(server: Scripted, crm: Crm) -> None:
    """Not published: how long an address may be."""
    rows = page(*(row(n, tag_ids=[]) for n in range(1, 9)))
    server.on(CONTACTS, Answer(b"", 414), rows)
    ids = [str(n) for n in range(1, 9)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "answer", _too_long_over(4, server))
        assert set(crm.contacts(ids)) == set(ids)
        assert len(server.asked) == 3, "one refused, two halves"
        assert crm.calls_for(8) == 2
        before = len(server.asked)
        crm.contacts(ids)
    assert len(server.asked) == before + 2


def _too_long_over(most: int, server: Scripted) -> Callable[[Any], Answer]:
    def answer(asked: Any) -> Answer:
        server.asked.append(asked)
        ids = asked.query["filter"].partition("==")[2].split(",")
        return Answer(b"", 414) if len(ids) > most else Answer(page(*(row(int(id_), tag_ids=[]) for id_ in ids)))

    return answer


@pytest.mark.parametrize(
    "odd", [[], "x", 7, {}, {"contacts": None}, {"contacts": {}}, {"tags": 5}, {"message": "hello"}]
)
def test_an_odd_answer_is_tried_again_and_breaks_nothing(server: Scripted, crm: Crm, odd: object) -> None:
    paths = ["contacts", "contacts/1", "tags", "contacts/model", "tags/91/contacts"]
    for path in paths:
        server.on(f"GET {V2}/{path}", odd)
    server.on(f"GET {V1}/hooks", odd if odd != [] else {})
    server.on(f"POST {V2}/tags/91/contacts:applyTags", odd)
    reads: list[Callable[[], object]] = [
        lambda: crm.contact("1"),
        lambda: crm.contacts(["1"]),
        lambda: crm.page(""),
        lambda: crm.by_email("a@example.com"),
        lambda: list(crm.changed(clock.now())),
        lambda: list(crm.tagged("91")),
        crm.list_tags,
        crm.list_fields,
        crm.hooks,
        lambda: crm.add_tag("91", ["1"]),
    ]
    for read in reads:
        with pytest.raises(Retryable) as error:
            read()
        assert error.value.reason == "crm-answer-broken"


def test_changes_are_asked_for_by_a_whole_moment(server: Scripted, crm: Crm) -> None:
    """A date alone is refused; milliseconds and zone must be there (keap-v2.yaml). A space is %20."""
    server.on(CONTACTS, page(row(1, tag_ids=[])))
    since = datetime(2026, 1, 1, 2, 0, 0, 5, tzinfo=UTC).astimezone()
    assert [one.contact for rows in crm.changed(since) for one in rows] == ["1"]
    assert "filter=start_update_time%3D%3D2026-01-01T02%3A00%3A00.000Z&order_by=update_time%20asc" in (
        server.asked[0].raw_query
    )


@pytest.mark.parametrize("email", ["ada*", "ada@x.de;contact_id>0", "", " "])
def test_an_address_that_would_be_another_question_is_not_asked(server: Scripted, crm: Crm, email: str) -> None:
    """`*` at the end stands for anything, `;` joins filters."""
    assert crm.by_email(email) == []
    assert server.asked == []


def test_an_address_finds_those_who_have_it_first_the_lowest_id_first(server: Scripted, crm: Crm) -> None:
    ada, second = [{"email": "Ada@x.de", "field": "EMAIL1"}], [{"email": "ada@x.de", "field": "EMAIL2"}]
    second.append({"email": "b@x.de", "field": "EMAIL1"})
    rows = [row(20, email_addresses=ada), row(3, email_addresses=ada), row(1, email_addresses=second), row(2)]
    server.on(CONTACTS, page(*(one | {"tag_ids": []} for one in rows)))
    assert [one.contact for one in crm.by_email("ada@x.de")] == ["3", "20"]
    assert "filter=email%3D%3Dada%40x.de" in server.asked[0].raw_query


# Tags and fields.


def test_each_contact_of_a_tag_has_its_own_result(server: Scripted, crm: Crm) -> None:
    """200 even if some failed; DUPLICATE counts as done."""
    server.on(f"POST {V2}/tags/91/contacts:applyTags", sample("v2-applyTags-200-partial.composed.json"))
    assert crm.add_tag("91", ["1001", "1002", "999999", "1001"]) == {"1001", "1002"}
    assert server.asked[0].json == {"contact_ids": ["1001", "1002", "999999"]}


@pytest.mark.parametrize(
    ("word", "kind", "reason"),
    [
        ("TAG_ID_NOT_FOUND", NeedsSetting, "crm-tag-missing"),
        ("NO_PERMISSION", NeedsSetting, "crm-key-refused"),
        ("FAILURE", Retryable, "crm-refused"),
        ("A_NEW_WORD", Retryable, "crm-refused"),
        (None, Retryable, "crm-refused"),
    ],
)
def test_a_tag_that_was_not_put_on_is_told_by_its_word(
    server: Scripted, crm: Crm, word: str | None, kind: type[Exception], reason: str
) -> None:
    server.on(f"POST {V2}/tags/91/contacts:applyTags", {"results": {"1": "SUCCESS", "2": word}})
    with pytest.raises(kind) as error:
        crm.add_tag("91", ["1", "2"])
    assert error.value.reason == reason  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", ["applyTags", "removeTags"])
def test_one_who_is_gone_does_not_spoil_a_tag_for_the_others(server: Scripted, crm: Crm, verb: str) -> None:
    """Not published: whether one missing contact makes the whole call a 404."""
    call = f"POST {V2}/tags/91/contacts:{verb}"
    gone = Answer(sample("error-404-app.composed.json"), 404)
    done = {"results": {"1": "SUCCESS"}} if verb == "applyTags" else Answer(status=204)
    server.on(call, gone, done, gone)
    write = crm.add_tag if verb == "applyTags" else crm.remove_tag
    assert write("91", ["1", "2"]) == ({"1"} if verb == "applyTags" else {"1", "2"})
    server.on(call, Answer({"code": 404, "message": "Tag not found", "details": None}, 404))
    with pytest.raises(NeedsSetting) as error:
        write("91", ["1"])
    assert error.value.reason == "crm-tag-missing"


@pytest.mark.parametrize("refused", [Answer({"code": 409, "message": "exists"}, 409), {"name": "Gold"}])
def test_a_tag_that_somebody_made_meanwhile_is_taken(server: Scripted, crm: Crm, refused: Any) -> None:
    """Not published: the answer for a name that is there."""
    nothing, gold = {"tags": []}, {"tags": [{"id": 91, "name": "gold"}]}
    server.on(TAGS, nothing, gold)
    server.on(f"POST {V2}/tags", refused)
    assert crm.tag("Gold").external_id == "91"


def test_a_field_that_is_gone_is_told_and_a_refusal_keeps_its_body_to_itself(server: Scripted, crm: Crm) -> None:
    server.on(f"PATCH {V1}/contacts/1", Answer({"message": "Unrecognized property: the-secret-word"}, 400))
    with pytest.raises(base.Refused) as refused:
        crm.set_fields("1", {"Member Password": "the-secret-word"})
    assert "the-secret-word" not in f"{refused.value!r} {refused.value.detail}"

    known, none = sample("v2-contacts-model-200.composed.json"), {"custom_fields": []}
    server.on(MODEL, known, none)
    crm.field_names.forget()
    with pytest.raises(NeedsSetting) as error:
        crm.set_fields("1", {"Member Password": "the-secret-word"})
    assert (error.value.reason, error.value.detail["field"]) == ("crm-field-missing", "Member Password")


def test_fields_of_orders_and_fields_without_a_number_are_none_of_ours(server: Scripted, crm: Crm) -> None:
    kinds = ["CONTACT", None, "ORDER", "COMPANY"]
    rows = [{"id": n, "label": f"F{n}", "record_type": kind} for n, kind in enumerate(kinds)]
    server.on(
        MODEL, {"custom_fields": [*rows, {"id": "4", "label": None}, {"id": "x", "label": "X"}, {"label": "Y"}, 5]}
    )
    assert crm.list_fields() == {"0": "F0", "1": "F1", "4": ""}


def test_a_field_is_written_by_v1_which_touches_no_other(server: Scripted, crm: Crm) -> None:
    """v2's PATCH is documented to remove every field that isn't listed; v1's takes the values given only."""
    server.on(f"PATCH {V1}/contacts/1001", sample("v1-contact-200.composed.json"))
    with base.recording() as calls:
        crm.set_fields("1001", {"member password": "the-secret-word"})
    assert server.calls() == [MODEL, f"PATCH {V1}/contacts/1001"]
    assert server.asked[1].json == {"custom_fields": [{"id": 46, "content": "the-secret-word"}]}
    assert "the-secret-word" not in str(base.as_rows(calls))
