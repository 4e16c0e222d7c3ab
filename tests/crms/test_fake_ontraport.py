"""The fake of Ontraport does what the vendor's API does: reading, writing, tagging, limits and faults.

"facts" are the notes on Keap and Ontraport that the fake was made from; section 2 is Ontraport.
"""

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.crms.ontraport_api import HEADERS, NUMBERS, Api, condition, serving, term

DONE = "The tag is now being processed."


@pytest.fixture(scope="module")
def shared() -> Iterator[Api]:
    with serving(120) as api:
        yield api


@pytest.fixture
def api(shared: Api) -> Api:
    shared.as_usual()
    return shared


# --- who may call, and how often -------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", HEADERS)
def test_both_headers_are_needed(api: Api, missing: str) -> None:
    """Facts 2.1 and 4: `Api-Appid` and `Api-Key`, both; 2.5: the body of a refusal is plain text."""
    given = {name: value for name, value in HEADERS.items() if name != missing}
    for headers in (given, {**HEADERS, missing: "guess"}):
        answer = httpx.get(f"{api.fake.url}/1/Contact?id=1", headers=headers)
        assert (answer.status_code, answer.headers["Content-Type"]) == (401, "text/html; charset=utf-8")
        assert answer.text[0] != "{"
        assert "X-Rate-Limit-Limit" not in answer.headers


def test_a_key_may_be_revoked_restricted_or_see_only_some(api: Api) -> None:
    """Facts 2.1 and 2.3: rights follow the key's owner, so what isn't in a list need not be deleted."""
    api.fake.set(hidden=[3])
    assert [row["id"] for row in api.get("Contacts", ids="2,3,4")] == ["2", "4"]
    assert api.refused("GET", "Contact?id=3")[0] == api.refused("PUT", "Contacts", json={"id": 3})[0] == 403
    api.fake.set(hidden=[], key="restricted")
    assert api.refused("GET", "Contacts")[0] == 403
    assert "0" in api.get("objects/meta", objectID=0, format="byId")
    api.fake.set(key="revoked")
    assert api.refused("GET", "objects/meta?objectID=0")[0] == 401


def test_180_calls_in_any_60_seconds_and_no_more(api: Api) -> None:
    """Facts 2.5: a rolling minute, three headers, the reset in seconds, 429 with a text."""
    api.fake.set(limits=True)
    api.get("Tags")
    api.wait(30)
    answers = [api.client.get("Tags?range=1") for _ in range(180)]
    assert [answer.status_code for answer in answers] == [200] * 179 + [429]
    first, last = answers[0].headers, answers[-1].headers
    assert (first["X-Rate-Limit-Limit"], first["X-Rate-Limit-Remaining"]) == ("180", "178")
    assert last["X-Rate-Limit-Remaining"] == "0"
    assert 0 < int(last["X-Rate-Limit-Reset"]) <= 30
    assert (answers[-1].text, "Retry-After" in last) == ("Rate limit exceeded", False)
    api.wait(30)  # the first call leaves the window, and only that
    assert [api.client.get("Tags?range=1").status_code for _ in range(2)] == [200, 429]
    api.fake.set(retry_after=True)
    assert 0 < int(api.client.get("Tags").headers["Retry-After"]) <= 60


def test_other_tools_share_the_limit(api: Api) -> None:
    """Facts 0.8: per account, shared by everybody."""
    api.fake.set(limits=True)
    assert api.fake.post("/admin/others", calls=179) == {"taken": 179}
    assert [api.client.get("Tags?range=1").status_code for _ in range(2)] == [200, 429]


def test_answers_take_their_time(api: Api) -> None:
    """Facts 2.3: 0.8 to 2.7 s were captured, up to 60 s were announced; by the fake's clock."""
    api.fake.set(reply_least=10, reply_most=20, speed=100)
    began = time.monotonic()
    api.get("Contact", id=1)
    assert time.monotonic() - began >= 0.1
    api.fake.set(reply_most=0, slow_rate=1, slow_seconds=60, speed=60)
    who = api.someone()
    with pytest.raises(httpx.ReadTimeout):
        api.client.put("Contacts", json={"id": who, "city": "Ghent"}, timeout=0.2)
    api.fake.set(slow_rate=0)
    deadline = time.monotonic() + 10
    while api.cell(who, "city") != "Ghent" and time.monotonic() < deadline:  # nobody heard of it, but it is done
        pass
    assert api.cell(who, "city") == "Ghent"


# --- reading ---------------------------------------------------------------------------------------------------


def test_a_page_is_cut_at_50_without_a_word(api: Api) -> None:
    """Facts 0.1, 2.3 and 4: `range` is at most 50, whatever is asked; more by `start` only."""
    ids = ",".join(map(str, range(1, 101)))
    rows = api.get("Contacts", ids=ids, range=200, listFields="id")
    assert [row["id"] for row in rows] == [str(number) for number in range(1, 51)]
    assert len(api.get("Contacts")) == 50
    second = api.get("objects", objectID=0, start=50, range=10, listFields="id")
    assert [row["id"] for row in second] == [str(number) for number in range(51, 61)]
    api.fake.set(over_range="obeyed")
    assert len(api.get("Contacts", ids=ids, range=200)) == 100
    api.fake.set(over_range="refused")
    assert api.refused("GET", f"Contacts?ids={ids}&range=200") == (400, "Invalid query")


def test_lists_may_run_behind_but_a_single_read_does_not(api: Api) -> None:
    """A switch of all fakes: nothing is known of it at this vendor."""
    who = api.someone()
    api.wait(100)
    api.send("PUT", "Contacts", id=who, city="Ghent")
    api.fake.set(lag_seconds=50)
    assert (api.get("Contacts", ids=who)[0]["city"], api.cell(who, "city")) == (None, "Ghent")
    api.wait(50)
    assert api.get("Contacts", ids=who)[0]["city"] == "Ghent"


def test_texts_stand_for_numbers_with_few_exceptions(api: Api) -> None:
    """Facts 2.3: every scalar is a string, but page_*_published is a number in lists."""
    one = api.get("Contact", id=1)
    assert {type(value) for value in one.values()} == {str, type(None)}
    assert one["page_101_published"] == "0"
    row = api.get("Contacts", ids=1)[0]
    assert row["page_101_published"] == 0
    assert {name for name in row if type(row[name]) is int} == {"page_101_published"}
    assert {**row, "page_101_published": "0"} == one


def test_a_row_has_only_the_columns_asked_for(api: Api) -> None:
    """Facts 0.3: without contact_cat in listFields a row says nothing about tags."""
    assert api.get("Contacts", ids=7, listFields="lastname,id,nosuch") == [{"lastname": "Castle", "id": "7"}]
    api.fake.set(unknown_column="refused")
    assert api.refused("GET", "Contacts?listFields=id,nosuch") == (400, "Invalid query")


def test_tags_are_a_text_and_none_has_four_forms(api: Api) -> None:
    """Facts 2.3: "*/*15*/*22*/*"; "" just after the creation, then "*/*"; null and "" were captured too."""
    tags = [api.new_tag() for _ in range(2)]
    who = api.someone(tags=[name for _, name in tags])
    assert api.cell(who, "contact_cat") == f"*/*{tags[0][0]}*/*{tags[1][0]}*/*"
    nobody = int(api.send("POST", "Contacts", email="untagged@example.com")["id"])
    assert api.cell(nobody, "contact_cat") == ""
    api.wait(4)
    assert api.cell(nobody, "contact_cat") == "*/*"
    api.fake.set(no_tags="mixed")
    assert [row["contact_cat"] for row in api.get("Contacts", ids="3,4,5")] == ["", "*/*", None]


@pytest.mark.parametrize(
    ("terms", "ids"),
    [
        ([("id", "<=", 2)], ["1", "2"]),
        ([("id", "IN", [4, "6"])], ["4", "6"]),
        ([("id", "NOT IN", [1, 2]), "AND", ("id", "<", 5)], ["3", "4"]),
        ([("id", "=", "9"), "OR", ("id", "=", 10), "AND", ("email", "=", "nobody@example.com")], ["9"]),
        ([("email", "LIKE", "%.7@EXAMPLE.com"), "AND", ("id", "<", 100)], ["7"]),
        ([("city", "IS", None), "AND", ("id", "=", 8)], ["8"]),
        ([("lastname", "<>", "Brook"), "AND", [term("id", "=", 1), "OR", term("id", "=", 2)]], ["2"]),
        ([("dlm", ">=", 4_000_000_000)], []),
    ],
)
def test_a_condition_picks_rows(api: Api, terms: list[Any], ids: list[str]) -> None:
    """Facts 2.3: ops, lists, AND and OR."""
    asked = {"condition": condition(*terms), "listFields": "id"}
    assert [row["id"] for row in api.get("Contacts", **asked)] == ids
    assert api.get("Contacts/getInfo", condition=asked["condition"])["count"] == str(len(ids))


def test_lists_are_sorted_and_counted(api: Api) -> None:
    """Facts 2.3: sort and sortDir; numbers as numbers; the count of getInfo is a text."""
    rows = api.get("Contacts", ids="9,10,11", sort="id", sortDir="desc", listFields="id")
    assert [row["id"] for row in rows] == ["11", "10", "9"]
    assert int(api.get("objects/getInfo", objectID=0)["count"]) >= 120


def test_contacts_are_found_by_their_tag(api: Api) -> None:
    """Facts 2.3: /objects/tag by id or name, paged as all lists."""
    tag, name = api.new_tag()
    api.fake.post("/admin/tag", tag=name, contacts=list(range(1, 61)))
    assert len(api.get("objects/tag", objectID=0, tag_id=tag)) == 50
    rows = api.get("objects/tag", objectID=0, tag_name=name, start=50, listFields="id")
    assert [row["id"] for row in rows] == [str(number) for number in range(51, 61)]


def test_an_email_leads_to_an_id_or_misses_in_three_ways(api: Api) -> None:
    """Facts 2.3: a miss is 404 since 2022, was 400, may be empty data."""
    first, second = (api.someone(email="twice@example.com") for _ in range(2))
    assert api.get("object/getByEmail", objectID=0, email="Twice@example.com") == {"id": str(first)}
    both = api.get("object/getByEmail", objectID=0, email="twice@example.com", all=1)
    assert both == {"ids": [str(first), str(second)]}
    path = "object/getByEmail?objectID=0&email=nobody@example.com"
    assert api.refused("GET", path) == (404, "Object not found")
    api.fake.set(miss="400")
    assert api.refused("GET", path)[0] == 400
    api.fake.set(miss="empty")
    assert api.get(path) == []


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("Contact?id=999999", 404, "Object not found"),
        ("object?objectID=0&id=x", 404, "Object not found"),
        ("Contacts?condition=[", 400, "Invalid query"),
        ("Contacts?condition=" + condition(("nosuch", "=", 1)), 400, "Invalid query"),
        ("Contacts?condition=" + condition(("id", "~", 1)), 400, "Invalid query"),
        ("Contacts?condition=" + condition(("id", "=", 1), ("id", "=", 2)), 400, "Invalid query"),
        ("Contacts?range=all", 400, "Invalid query"),
        ("objects", 400, "Invalid query"),
        ("NoSuchThings", 404, "Object not found"),
    ],
)
def test_a_refusal_is_a_plain_text(api: Api, path: str, status: int, text: str) -> None:
    """Facts 2.5: never parse a 4xx as JSON; a switch gives the JSON envelope that a secondary source tells of."""
    assert api.refused("GET", path) == (status, text)
    api.fake.set(errors="json")
    assert api.client.get(path).json() == {"code": status, "data": text, "account_id": 100001}


def test_a_deleted_contact_is_gone_and_a_merged_one_may_live_on(api: Api) -> None:
    """Facts 2.3: only `Object not found` for one is proof of deletion; 5: how merged ones answer is not known."""
    gone, old, into = (api.someone() for _ in range(3))
    assert api.client.delete(f"Contact?id={gone}").json() == {"code": 0, "account_id": 100001}
    api.fake.post("/admin/merge", **{"from": old, "into": into})
    assert api.refused("GET", f"Contact?id={gone}") == (404, "Object not found")
    assert api.refused("GET", f"Contact?id={old}") == (404, "Object not found")
    assert [row["id"] for row in api.get("Contacts", ids=f"{gone},{old},{into}")] == [str(into)]
    api.fake.set(gone="Invalid Contact ID")
    assert api.refused("PUT", "Contacts", json={"id": gone}) == (404, "Invalid Contact ID")
    api.fake.set(merged="survivor")
    assert api.cell(old, "id") == str(into)


# --- writing ---------------------------------------------------------------------------------------------------


def test_a_create_answers_straight_and_echoes_numbers(api: Api) -> None:
    """Facts 2.3: fields straight in `data`, request numbers stay numbers; 2.4: duplicates are allowed."""
    sent = {"email": "double@example.com", "zip": 4000, "f1501": "2", "nosuch": "x", "dlm": "5"}
    made = [api.send("POST", "Contacts", **sent) for _ in range(2)]
    assert made[0]["id"] != made[1]["id"]
    assert (made[0]["zip"], made[0]["bulk_mail"], made[0]["contact_cat"]) == (4000, "1", "")
    assert "nosuch" not in made[0]
    assert made[0]["dlm"] != "5"
    assert api.cell(int(made[0]["id"]), "zip") == "4000"


def test_an_update_answers_with_what_changed_and_no_more(api: Api) -> None:
    """Facts 2.3: `data.attrs` with the changes, dlm and id; what is unchanged or unknown is missing."""
    who = api.someone(first_name="Ada")
    sent = {"objectID": 0, "id": who, "firstname": "Ada", "city": "Ghent", "nosuch": "x", "f1501": "2"}
    attrs = api.send("PUT", "objects", **sent)["attrs"]
    assert attrs.pop("dlm").isdigit()
    assert attrs == {"city": "Ghent", "f1501": "2", "id": str(who)}
    assert list(api.send("PUT", "Contacts", **sent)["attrs"]) == ["dlm", "id"]


def test_blanks_erase_unless_told_otherwise(api: Api) -> None:
    """Facts 2.3: sent blanks erase, `ignore_blanks` exists."""
    who = api.someone(first_name="Ada", fields={"City": "Ghent"})
    assert "city" not in api.send("PUT", "Contacts", id=who, city="", ignore_blanks=True)["attrs"]
    assert api.cell(who, "city") == "Ghent"
    assert api.send("PUT", "Contacts", id=who, city="", firstname=None)["attrs"]["city"] == ""
    assert (api.cell(who, "city"), api.cell(who, "firstname")) == ("", "")


def test_values_are_normalised_and_choices_are_ids(api: Api) -> None:
    """Facts 2.3: Australia becomes AU; drop-downs hold option ids, check 0 or 1, lists the notation of tags."""
    who = api.someone()
    assert api.send("PUT", "Contacts", id=who, country="Australia")["attrs"]["country"] == "AU"
    assert "country" not in api.send("PUT", "Contacts", id=who, country="Australia")["attrs"]
    attrs = api.send("PUT", "Contacts", id=who, f1501="Gold", f1502="*/*1*/*9*/*", f1503=True)["attrs"]
    assert (attrs.get("f1501"), attrs.get("f1502"), attrs["f1503"]) == (None, None, "1")
    assert api.send("PUT", "Contacts", id=who, f1502="*/*1*/*2*/*")["attrs"]["f1502"] == "*/*1*/*2*/*"
    options = api.get("objects/meta", objectID=0, format="byId")["0"]["fields"]["f1501"]["options"]
    assert options == {"1": "Silver", "2": "Gold"}


def test_a_bad_email_is_unprocessable(api: Api) -> None:
    """Facts 2.5: 422 for a bad e-mail."""
    assert api.refused("POST", "Contacts", json={"email": "ada at example"}) == (422, "Invalid email address")
    assert api.refused("PUT", "Contacts", json={"id": 1, "email": "@"})[0] == 422


def test_save_or_update_finds_by_email(api: Api) -> None:
    """Facts 2.4: a new one has data.id, a known one data.attrs.id; either may be sent as a form."""
    content = {"email": "saved@example.com", "firstname": "Ada", "update_by": "email"}
    new = api.send("POST", "Contacts/saveorupdate", **content)
    form = {**content, "firstname": "Bea", "objectID": "0"}
    known = api.client.post("objects/saveorupdate", data=form).json()["data"]
    assert known["attrs"]["id"] == new["id"]
    assert api.cell(int(new["id"]), "firstname") == "Bea"


def test_dlm_moves_on_by_itself(api: Api) -> None:
    """Facts 2.3 and 4: captured 1760692401, 403, 404 with no further write."""
    who = api.someone()
    said = int(api.send("PUT", "Contacts", id=who, city="Ghent")["attrs"]["dlm"])
    api.wait(2)
    assert int(str(api.cell(who, "dlm"))) == said + 1
    changed = condition(("dlm", ">", said), "AND", ("id", "=", who))
    assert len(api.get("Contacts", condition=changed)) == 1


def test_work_in_the_background_is_checked_now_and_done_later(api: Api) -> None:
    """Facts 2.4: `background_request` on any write; a wrong one is refused at once."""
    who = api.someone()
    assert api.refused("PUT", "Contacts", json={"id": 999_999, "background_request": True})[0] == 404
    attrs = api.send("PUT", "Contacts", id=who, city="Ghent", background_request=True)["attrs"]
    assert (attrs["id"], api.cell(who, "city")) == (str(who), None)
    api.wait(60)
    assert api.cell(who, "city") == "Ghent"


def test_contacts_are_deleted_by_a_list_of_ids(api: Api) -> None:
    """Facts 4: DELETE with a body; without ids it is refused."""
    both = [api.someone() for _ in range(2)]
    assert api.refused("DELETE", "Contacts", json={"objectID": 0}) == (400, "Invalid query")
    assert api.send("DELETE", "objects", objectID=0, ids=",".join(map(str, both))) == "Deleted"
    assert [api.refused("GET", f"Contact?id={one}")[0] for one in both] == [404, 404]


# --- tagging ---------------------------------------------------------------------------------------------------


def test_tags_come_1_to_60_seconds_later(api: Api) -> None:
    """Facts 0.10 and 2.4: answered at once, done later; DELETE has a body; dlm moves with it (switch)."""
    (gold, _), (late, _) = api.new_tag(), api.new_tag()
    ids = [api.someone() for _ in range(2)]
    before = api.cell(ids[0], "dlm")
    asked = {"objectID": 0, "ids": ",".join(map(str, ids))}
    assert api.send("PUT", "objects/tag", **asked, add_list=f"{gold},{late}") == DONE
    assert api.cell(ids[0], "contact_cat") == ""
    api.wait(60)
    assert [api.cell(one, "contact_cat") for one in ids] == [f"*/*{gold}*/*{late}*/*"] * 2
    assert api.cell(ids[0], "dlm") != before
    assert api.send("DELETE", "objects/tag", **asked, remove_list=str(late)) == DONE
    assert api.cell(ids[0], "contact_cat") == f"*/*{gold}*/*{late}*/*"
    api.wait(60)
    assert api.cell(ids[0], "contact_cat") == f"*/*{gold}*/*"


def test_tagging_may_leave_dlm_alone_and_keeps_its_order(api: Api) -> None:
    """Facts 5: dlm on a change of tags is not known."""
    tag, name = api.new_tag()
    who = api.someone()
    api.wait(5)
    api.fake.set(tags_move_dlm=False, tag_delay_least=50)
    before = api.cell(who, "dlm")
    api.send("PUT", "objects/tag", objectID=0, ids=[who], add_list=[tag])
    api.fake.set(tag_delay_least=1, tag_delay_most=1)
    api.send("DELETE", "objects/tag", objectID=0, ids=[who], remove_list=[tag])
    api.wait(60)
    assert (api.cell(who, "contact_cat"), api.cell(who, "dlm")) == ("*/*", before)
    whats = [row["what"] for row in api.fake.writes() if row["detail"] == name]
    assert whats == ["tag-add", "tag-remove"]


def test_tags_by_name_are_made_when_missing(api: Api) -> None:
    """Facts 2.4: `ids` must be a list there."""
    who, name = api.someone(), f"Made {next(NUMBERS)}"
    content = {"objectID": 0, "ids": str(who), "add_names": [name]}
    assert api.refused("PUT", "objects/tagByName", json=content) == (400, "Invalid query")
    assert api.send("PUT", "objects/tagByName", **{**content, "ids": [who]}) == DONE
    api.wait(60)
    assert api.fake.truth(who)["tags"] == [name]
    api.send("DELETE", "objects/tagByName", objectID=0, ids=[who], remove_names=[name, "Never made"])
    api.wait(60)
    assert api.fake.truth(who)["tags"] == []


def test_a_segment_is_tagged_by_a_condition(api: Api) -> None:
    """Facts 2.4: condition and performAll; without that a page only. 5: the size of `ids` is not known."""
    tag, _ = api.new_tag()
    asked = {"objectID": 0, "add_list": tag, "condition": condition(("id", "<=", 60))}
    api.send("PUT", "objects/tag", **asked)
    api.wait(60)
    assert api.get("Contacts/getInfo", condition=_tagged(tag))["count"] == "50"
    api.send("PUT", "objects/tag", **asked, performAll=True)
    api.wait(60)
    assert api.get("Contacts/getInfo", condition=_tagged(tag))["count"] == "60"
    other, _ = api.new_tag()
    api.fake.set(tag_ids_most=2)
    api.send("PUT", "objects/tag", objectID=0, ids="1,2,3", add_list=other)
    api.wait(60)
    assert api.get("Contacts/getInfo", condition=_tagged(other))["count"] == "2"
    assert api.refused("PUT", "objects/tag", json={"objectID": 0, "add_list": tag}) == (400, "Invalid query")


def _tagged(tag: int) -> str:
    return condition(("contact_cat", "LIKE", f"%*/*{tag}*/*%"))


def test_the_list_of_tags_has_those_of_other_object_types(api: Api) -> None:
    """Facts 2.3: rows of tag_id, tag_name, object_type_id; keep 0. Object type 14 is the same list."""
    tag, name = api.new_tag()
    other = api.fake.post("/admin/tags", name="A deal's", object_type_id="10000")["id"]
    rows = api.get("Tags", condition=condition(("tag_id", "IN", [tag, other])))
    assert rows == [
        {"tag_id": str(tag), "tag_name": name, "object_type_id": "0"},
        {"tag_id": str(other), "tag_name": "A deal's", "object_type_id": "10000"},
    ]
    assert api.get("objects", objectID=14, start=len(api.get("Tags", range=50)) - 1)[0] == rows[1]
    assert api.get("Tag", id=tag) == rows[0]
    assert api.send("POST", "objects", objectID=14, tag_name=name)["tag_id"] != str(tag)
    api.fake.set(same_tag_name="first")
    assert api.send("POST", "Tags", tag_name=name)["tag_id"] == str(tag)


# --- columns ---------------------------------------------------------------------------------------------------


def test_meta_tells_of_columns_some_with_editable_null(api: Api) -> None:
    """Facts 2.3 and 4: alias, type and options by column; byId or byName."""
    by_id, by_name = (api.get("objects/meta", objectID=0, format=form) for form in ("byId", "byName"))
    assert by_id["0"] == by_name["Contact"] == api.get("Contacts/meta")["0"]
    fields = by_id["0"]["fields"]
    assert (fields["f1500"]["editable"], fields["firstname"]["editable"], fields["dlm"]["editable"]) == (None, "1", "0")
    assert list(fields) == list(api.get("Contact", id=1))


def test_a_column_is_made_and_written(api: Api) -> None:
    """Facts 2.3 and 2.4: fieldeditor in, f-number out, then PUT; a kind that there isn't is reported in `error`."""
    fields = [[{"alias": "Member Password", "type": "text"}], [{"alias": "Mood", "type": "feeling"}], []]
    made = api.send("POST", "objects/fieldeditor", objectID=0, name="Contact Information", fields=fields)
    (name,) = made["success"]
    assert re.fullmatch(r"f\d{4}", name)
    assert (made["success"][name], len(made["error"])) == ("Member Password", 1)
    who = api.someone()
    assert api.send("PUT", "objects", objectID=0, id=who, **{name: "kettle"})["attrs"][name] == "kettle"
    assert api.get("Contacts", ids=who, listFields=name) == [{name: "kettle"}]
    assert api.fake.truth(who)["fields"]["Member Password"] == "kettle"


# --- faults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ("401", 401, "Your App ID"),
        ("403", 403, "You do not"),
        ("429", 429, "Rate limit"),
        ("500", 500, "Internal"),
        ("503", 503, "<html>"),
        ("html", 200, "<html>"),
        ("empty", 200, ""),
    ],
)
def test_a_fault_is_made_instead_of_the_work(api: Api, fault: str, status: int, body: str) -> None:
    """Facts 2.5: text bodies, and whatever a server in trouble says."""
    who = api.someone()
    api.fake.set(fault_rate=1, faults=[fault])
    answer = api.client.put("Contacts", json={"id": who, "city": "Ghent"})
    assert (answer.status_code, answer.text[: len(body)]) == (status, body)
    assert body or not answer.content
    api.fake.set(fault_rate=0)
    assert api.cell(who, "city") is None


def test_rows_and_tags_go_missing_or_come_twice(api: Api) -> None:
    """Facts 0.3: a row without the tag key means unknown, never no tags."""
    asked = {"ids": "1,2,3,4", "listFields": "id,contact_cat"}
    api.fake.set(fault_rate=1, faults=["missing-rows"])
    assert len(api.get("Contacts", **asked)) == 2
    api.fake.set(faults=["duplicate-rows"])
    assert len(api.get("Contacts", **asked)) == 6
    api.fake.set(faults=["missing-tags"])
    assert sum("contact_cat" in row for row in api.get("Contacts", **asked)) == 2
    assert "contact_cat" not in api.get("Contact", id=1)
    assert api.get("Tags", range=1)
