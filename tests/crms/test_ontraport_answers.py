"""What Ontraport's answers may look like, each by an answer that shows it. Against its fake: test_ontraport.py.

Samples: tests/crms/samples/ontraport, with their origins. "Not published" marks what nobody could settle without an
account at Ontraport: there either answer is tried.
"""

import json
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import httpx
import pytest

from tagwarden.core.errors import NeedsSetting, Permanent, Retryable
from tagwarden.core.outcome import CrmTag
from tagwarden.core.ratelimit import Said
from tagwarden.crms import base
from tagwarden.crms.ontraport import Crm
from tests.crms.ontraport_script import FIELDS, Ontraport, crm, envelope, page, row, sample, server

__all__ = ["crm", "server"]


# --- reading ---------------------------------------------------------------------------------------------------


def test_both_headers_go_along(server: Ontraport, crm: Crm) -> None:
    """One without the other is refused ("Authentication")."""
    crm.check()
    headers = server.asked[0].headers
    assert (headers["api-appid"], headers["api-key"]) == ("2_1_abc", "key-1")


def test_the_account_is_named_by_its_number(server: Ontraport, crm: Crm) -> None:
    server.on("GET objects/meta", sample("meta-byId-200.fixture.json"))
    assert crm.check() == "Ontraport account 187157"


def test_a_captured_contact_is_read(server: Ontraport, crm: Crm) -> None:
    """Captured in October 2025: strings nearly everywhere, null for what was never set."""
    server.on("GET Contact", sample("contact-get-200.real.json"))
    with base.recording() as calls:
        found = crm.contact("526")

    assert (found.email, found.first_name, found.last_name) == ("ada.example@example.com", "Ada", "Example")
    assert found.tags == {CrmTag("15", "Gold")}
    assert found.fields == {"First Name": "Ada", "Country": "AU"}
    assert found.seen_until == found.started - timedelta(minutes=1)
    assert ("Read the contact", "1 tag") in {(call.what, call.found) for call in calls}


@pytest.mark.parametrize(
    ("stored", "tags"),
    [
        ("*/*15*/*22*/*", {"15", "22"}),
        ("*/*15*/*", {"15"}),
        ("15", {"15"}),
        ("*/*", set()),
        ("", set()),
        (None, set()),
        ("15,22", None),
        (15, None),
        ([], None),
        ({"15": "Gold"}, None),
    ],
)
def test_tags_are_a_column_in_stars(server: Ontraport, crm: Crm, stored: object, tags: set[str] | None) -> None:
    """Captured: "" right after creation, "*/*" seconds later, null elsewhere. A form we don't know says nothing."""
    server.on("GET Contacts", envelope([row(1, contact_cat=stored)]))
    found = crm.contacts(["1"])["1"].tags
    assert (None if found is None else {tag.external_id for tag in found}) == tags


def test_a_row_without_the_column_of_tags_is_not_one_without_tags(server: Ontraport, crm: Crm) -> None:
    bare = row(1)
    del bare["contact_cat"]
    server.on("GET Contacts", envelope([bare]))
    assert crm.contacts(["1"])["1"].tags is None


def test_a_tag_that_the_list_doesnt_know_is_called_by_its_number(server: Ontraport, crm: Crm) -> None:
    server.on("GET Contacts", envelope([row(1, contact_cat="*/*99*/*")]))
    assert crm.contacts(["1"])["1"].tags == {CrmTag("99", "Tag 99")}


def test_fifty_are_read_by_their_ids_and_only_what_is_needed_is_asked_for(server: Ontraport, crm: Crm) -> None:
    """ "Pagination": 50 is the most. What `listFields` doesn't name isn't sent."""
    server.on("GET Contacts", page(1))
    found = crm.contacts([str(contact) for contact in range(1, 51)])

    asked = server.to("GET Contacts")
    assert len(found) == 50
    assert (asked[0].query["range"], asked[0].query["ids"].count(",")) == ("50", 49)
    columns = asked[0].query["listFields"].split(",")
    assert {"id", "email", "firstname", "lastname", "contact_cat", "f1557"} <= set(columns)
    assert not {"f1568", "spent"} & set(columns)
    assert len(columns) == len(set(columns))


def test_rows_that_nobody_asked_for_are_dropped(server: Ontraport, crm: Crm) -> None:
    server.on("GET Contacts", envelope([row(1), row(2), row(1), {"email": "no@example.com"}, row(0, id=None)]))
    assert list(crm.contacts(["1", "3"])) == ["1"]


def test_a_list_with_gaps_comes_as_an_object(server: Ontraport, crm: Crm) -> None:
    """PHP writes a list as an object unless its keys are 0, 1, 2 …"""
    server.on("GET Contacts", envelope({"0": row(1), "2": row(2)}))
    assert set(crm.contacts(["1", "2"])) == {"1", "2"}


def test_an_empty_list_is_nobody(server: Ontraport, crm: Crm) -> None:
    server.on("GET Contacts", sample("list-empty-200.real.json"))
    assert crm.contacts(["1"]) == {}


def test_a_list_that_is_refused_because_all_are_gone_proves_nothing(server: Ontraport, crm: Crm) -> None:
    """Not published: whether a list of ids that are all gone is empty or refused."""
    server.on("GET Contacts", sample("error-404.txt"), status=404)
    assert crm.contacts(["1", "2"]) == {}


def test_numbers_and_strings_mean_the_same(server: Ontraport, crm: Crm) -> None:
    """Captured: page_108_published is "1" on create and 1 in a list."""
    server.on("GET Contacts", envelope([row(1, id=1, f1557=7, f1558=7.0, firstname=None)]))
    found = crm.contacts(["1"])["1"]
    assert (found.contact, found.first_name) == ("1", "")
    assert (found.fields["Losung"], found.fields["Points"]) == ("7", "7")


def test_dropdowns_are_read_by_their_labels(server: Ontraport, crm: Crm) -> None:
    """ "Field types": a drop-down holds an option's id, a list several in stars."""
    values = [("3", "*/*0*/*1*/*"), ("0", ""), (None, "*/*"), ("9", "*/*1*/*")]
    server.on("GET Contacts", envelope([row(n, f1560=one, f1561=many) for n, (one, many) in enumerate(values, 1)]))
    found = crm.contacts(["1", "2", "3", "4"]).values()
    assert [(one.fields["Level"], one.fields["Interests"]) for one in found] == [
        ("Gold", "Yoga, Tea"),
        ("", ""),
        ("", ""),
        ("9", "Tea"),
    ]


def test_of_two_fields_of_one_label_the_one_that_is_written_is_read(server: Ontraport, crm: Crm) -> None:
    """Labels may repeat."""
    twice = {name: {"alias": "Losung", "type": "text", "editable": "1"} for name in ("f1999", "f1557", "f1600")}
    server.on("GET objects/meta", envelope({"0": {"fields": twice}}))
    server.on("GET Contacts", envelope([row(1, f1999="c", f1557="a", f1600="b")]))
    assert crm.contacts(["1"])["1"].fields == {"Losung": "a"}
    assert crm.field_ids({"Losung": "x"}) == {"f1557": "x"}


def test_a_list_may_show_tags_as_they_were_a_minute_ago(server: Ontraport, crm: Crm) -> None:
    """Tag calls are answered before they are worked on."""
    server.on("GET Contacts", envelope([row(1)]))
    found = crm.contacts(["1"])["1"]
    assert found.started - found.seen_until == timedelta(minutes=1)


def test_relation_columns_and_unknown_ones_are_passed_over(server: Ontraport, crm: Crm) -> None:
    """Captured: keys such as f2251//f2207//firstname."""
    server.on("GET Contacts", envelope([row(1, **{"f2251//f2207//firstname": None, "f9999": "x"})]))
    assert crm.contacts(["1"])["1"].fields == {"First Name": "Pat"}


def test_a_field_that_was_deleted_meanwhile_spoils_no_read(server: Ontraport, crm: Crm) -> None:
    """Not published: whether `listFields` with a column that is gone is refused. The 400's text is captured."""
    crm.field_names.all()
    fewer = {name: one for name, one in FIELDS.items() if name != "f1558"}
    server.on("GET objects/meta", envelope({"0": {"fields": fewer}}))
    server.on("GET Contacts", sample("error-400.real.txt"), status=400)
    with pytest.raises(base.Refused):
        crm.contacts(["1"])
    assert ["f1558" in asked.query["listFields"] for asked in server.to("GET Contacts")] == [True, False]
    assert len(server.to("GET objects/meta")) == 3


# --- gone ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, sample("error-404.txt")),
        (400, "Invalid Contact ID"),
        (404, '"Object not found"'),
        (404, {"data": "Object not found"}),
    ],
)
def test_only_its_own_words_prove_that_a_contact_is_gone(server: Ontraport, crm: Crm, status: int, body: Any) -> None:
    """Met by integrations: texts, not JSON."""
    server.on("GET Contact", body, status=status)
    with pytest.raises(Permanent) as error:
        crm.contact("526")
    assert (error.value.reason, error.value.detail["contact"]) == ("contact-not-found", "526")


@pytest.mark.parametrize(
    ("status", "body"), [(404, "<html>404</html>"), (400, sample("error-400.real.txt")), (422, "")]
)
def test_other_refusals_dont(server: Ontraport, crm: Crm, status: int, body: Any) -> None:
    server.on("GET Contact", body, status=status)
    with pytest.raises(base.Refused) as error:
        crm.contact("526")
    assert (error.value.reason, error.value.detail["status"]) == ("crm-refused", status)


def test_an_answer_with_another_contact_is_a_merged_one(server: Ontraport, crm: Crm) -> None:
    """Not published: how a merged contact answers."""
    server.on("GET Contact", envelope(row(530)))
    with pytest.raises(Permanent) as error:
        crm.contact("526")
    assert error.value.reason == "contact-not-found"


@pytest.mark.parametrize("data", [[], {}, None, "", "text", [[]], {"email": "a@example.com"}, [{"id": ""}]])
def test_an_answer_without_a_contact_proves_nothing(server: Ontraport, crm: Crm, data: Any) -> None:
    server.on("GET Contact", envelope(data))
    with pytest.raises(Retryable) as error:
        crm.contact("526")
    assert error.value.reason == "crm-answer-broken"


@pytest.mark.parametrize(
    "body", [[], "text", {"code": 0}, {"code": 7, "data": [row(1)]}, envelope(None), envelope("x"), envelope([1])]
)
def test_a_list_that_is_none_is_asked_for_again(server: Ontraport, crm: Crm, body: Any) -> None:
    server.on("GET Contacts", body)
    with pytest.raises(Retryable) as error:
        crm.contacts(["1"])
    assert error.value.reason == "crm-answer-broken"


# --- by address ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, "Object not found"),
        (404, ""),
        (400, "Invalid email"),
        (422, "Invalid email"),
        (200, envelope([])),
        (200, envelope({})),
        (200, envelope("")),
        (200, envelope(None)),
        (200, envelope({"id": None})),
        (200, envelope({"ids": []})),
        (200, envelope({"id": "0"})),
    ],
)
def test_a_miss_comes_in_many_forms(server: Ontraport, crm: Crm, status: int, body: Any) -> None:
    """The change log: 404 since 13 April 2022, 400 before; others met an empty `data`."""
    server.on("GET object/getByEmail", body, status=status)
    assert crm.by_email("nobody@example.com") == []


@pytest.mark.parametrize(
    "data",
    [
        {"id": "2"},
        {"id": 2},
        {"ids": ["2"]},
        {"ids": "2"},
        {"ids": [2]},
        [{"id": "2"}],
        {"attrs": {"id": "2"}},
        {"ids": [{"id": 2}]},
    ],
)
def test_ids_stand_in_several_places(server: Ontraport, crm: Crm, data: Any) -> None:
    """A client library lists where it has met them."""
    server.on("GET object/getByEmail", envelope(data))
    server.on("GET Contacts", envelope([row(2)]))
    assert [one.contact for one in crm.by_email("P2@example.com ")] == ["2"]
    assert server.to("GET object/getByEmail")[0].query["all"] == "1"


def test_all_with_an_address_come_lowest_first_and_nobody_elses(server: Ontraport, crm: Crm) -> None:
    server.on("GET object/getByEmail", envelope({"ids": ["10", "9", "8", "7"]}))
    same = {"email": "twin@example.com"}
    server.on("GET Contacts", envelope([row(10, **same), row(9, **same), row(8)]))
    server.on("GET Contact", sample("error-404.txt"), status=404)
    assert [one.contact for one in crm.by_email("twin@example.com")] == ["9", "10"]
    assert [asked.query["id"] for asked in server.to("GET Contact")] == ["7"]


# --- lists -----------------------------------------------------------------------------------------------------


def test_everybody_is_read_in_the_order_of_ids(server: Ontraport, crm: Crm) -> None:
    """ "Criteria". By ids and not by `start`, so that a contact deleted meanwhile lets none slip."""
    server.on("GET Contacts", page(1), page(51, 3), sample("list-empty-200.real.json"))
    assert [one.contact for one in chain.from_iterable(crm.everybody())] == [str(n) for n in range(1, 54)]

    asked = server.to("GET Contacts")
    assert [json.loads(one.query["condition"])[0]["value"]["value"] for one in asked] == [0, 50, 53]
    assert json.loads(asked[1].query["condition"]) == [{"field": {"field": "id"}, "op": ">", "value": {"value": 50}}]
    assert {(one.query["sort"], one.query["sortDir"], one.query["range"]) for one in asked} == {("id", "asc", "50")}


def test_a_list_that_goes_in_circles_is_left(server: Ontraport, crm: Crm) -> None:
    server.on("GET Contacts", page(1))
    pages = crm.everybody()
    assert len(next(pages)) == 50
    with pytest.raises(Retryable) as error:
        next(pages)
    assert error.value.reason == "crm-answer-broken"


def test_a_page_of_rows_without_ids_is_no_end(server: Ontraport, crm: Crm) -> None:
    server.on("GET Contacts", envelope([{"email": "a@example.com"}]))
    with pytest.raises(Retryable):
        crm.page("")


def test_who_changed_is_asked_by_the_date_of_change(server: Ontraport, crm: Crm) -> None:
    """dlm: seconds in UTC."""
    server.on("GET Contacts", page(1), sample("list-empty-200.real.json"))
    since = datetime.fromtimestamp(1760692405, UTC)
    assert [len(found) for found in crm.changed(since)] == [50]

    first, second = [json.loads(one.query["condition"]) for one in server.to("GET Contacts")]
    assert first[0] == {"field": {"field": "dlm"}, "op": ">=", "value": {"value": 1760692405}}
    assert (first[1], second[2]["value"]["value"]) == ("AND", 50)


def test_who_has_a_tag_comes_in_pages(server: Ontraport, crm: Crm) -> None:
    full = envelope([{"id": str(n)} for n in range(1, 51)])
    server.on("GET objects/tag", full, envelope([{"id": 51}, {"id": ""}]))
    assert list(crm.tagged("15")) == [[str(n) for n in range(1, 51)], ["51"]]
    assert [one.query["start"] for one in server.to("GET objects/tag")] == ["0", "50"]
    assert server.asked[0].query["tag_id"] == "15"


@pytest.mark.parametrize("tag", ["15", "99"])
def test_a_tag_that_nobody_has_may_be_refused(server: Ontraport, crm: Crm, tag: str) -> None:
    """Not published: what a tag without contacts answers."""
    server.on("GET objects/tag", sample("error-404.txt"), status=404)
    if tag == "15":
        assert list(crm.tagged(tag)) == []
    else:
        with pytest.raises(NeedsSetting, match="crm-tag-missing"):
            list(crm.tagged(tag))


def test_pages_that_repeat_end(server: Ontraport, crm: Crm) -> None:
    full = envelope([{"tag_id": str(n), "tag_name": f"T{n}", "object_type_id": 0} for n in range(1, 51)])
    server.on("GET Tags", full)
    with pytest.raises(Retryable) as error:
        crm.list_tags()
    assert error.value.reason == "crm-answer-broken"
    assert len(server.to("GET Tags")) == 2


# --- refusals and limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told(server: Ontraport, crm: Crm, status: int) -> None:
    server.on("GET objects/meta", "Your App ID and API key do not authenticate.", status=status)
    with pytest.raises(NeedsSetting) as error:
        crm.check()
    assert error.value.reason == "crm-key-refused"


@pytest.mark.parametrize("body", ["", "OK", "<html>", b"\xff\xfe", '{"code":0,"data"'])
def test_a_200_that_cant_be_read_is_asked_for_again(server: Ontraport, crm: Crm, body: Any) -> None:
    server.on("GET Contact", body)
    with pytest.raises(Retryable) as error:
        crm.contact("526")
    assert error.value.reason == "crm-answer-broken"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"X-Rate-Limit-Reset": "17"}, 17),
        ({"X-Rate-Limit-Reset": "17", "Retry-After": "5"}, 5),
        ({"X-Rate-Limit-Reset": "17", "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 17),
        ({"X-Rate-Limit-Reset": "0"}, 1),
        ({"X-Rate-Limit-Reset": "1760692405"}, 60),
        ({"X-Rate-Limit-Reset": "soon"}, 10),
        ({}, 10),
    ],
)
def test_too_many_calls_are_a_pause_until_the_reset(
    server: Ontraport, crm: Crm, headers: dict[str, str], seconds: int
) -> None:
    """ "Rate limiting". Whether there is a Retry-After, sources disagree."""
    server.on("GET Contact", "Too many requests", status=429, headers=headers)
    with pytest.raises(Retryable) as error:
        crm.contact("526")
    assert (error.value.reason, error.value.after) == ("crm-paused", timedelta(seconds=seconds))
    assert not error.value.spends_try


def test_the_limit_is_a_hundred_and_eighty_in_a_minute(crm: Crm) -> None:
    assert [(limit.calls, limit.seconds) for limit in crm.limits] == [(180, 60)]
    headers = {"x-rate-limit-limit": "180", "x-rate-limit-remaining": "3.0", "x-rate-limit-reset": "-1"}
    assert crm.said(headers) == (Said(60, 180, 3, 0),)
    assert crm.said({"x-rate-limit-limit": "many"}) == (Said(60),)


def test_its_slow_answers_are_waited_for(crm: Crm) -> None:
    """Its support tells integrations that an answer may take 60 s."""
    assert crm.http.timeout == httpx.Timeout(10, connect=5, read=65)
