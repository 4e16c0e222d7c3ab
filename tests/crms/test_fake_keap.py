"""The fake Keap reads and writes as the facts on Keap say, section by section."""

import time
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest

from tests.crms.keap_client import Keap, crm, own, server
from tests.fakes import keap

__all__ = ["crm", "own", "server"]


def test_it_works(crm: Keap) -> None:
    rows = crm.v2.get("/contacts", params={"page_size": 1000, "fields": "id,tag_ids,custom_fields"}).json()["contacts"]
    assert len(rows) >= 25
    assert crm.v2.get("/oauth/connect/userinfo").json()["tenant_id"] == keap.TENANT
    assert crm.server.counters()["GET /crm/rest/v2/contacts"] >= 1


# --- reading ---------------------------------------------------------------------------------------------------


def test_ids_are_integers_in_one_version_and_strings_in_the_other(crm: Keap) -> None:
    """Facts 1.3."""
    contact, field = crm.person(fields={"Ids": "x"}), crm.label("Ids")
    old = crm.v1.get(f"/contacts/{contact}", params={"optional_properties": "custom_fields"}).json()
    new = crm.v2.get(f"/contacts/{contact}", params={"fields": "id,custom_fields"}).json()
    assert (old["id"], new["id"]) == (contact, str(contact))
    assert {"id": int(field), "content": "x"} in old["custom_fields"]
    assert {"id": field, "content": "x"} in new["custom_fields"]


def test_rows_are_sparse_unless_more_is_asked_for(crm: Keap) -> None:
    """Facts 0.3 and 1.3: what isn't requested is absent, and v1's list has no tags at all."""
    contact = crm.person()
    crm.tag("Sparse", contact)
    usual = {"id", "given_name", "family_name", "email_addresses"}
    assert set(crm.v2.get(f"/contacts/{contact}").json()) == set(crm.found(f"contact_ids=={contact}")[0]) == usual
    assert set(crm.v2.get(f"/contacts/{contact}", params={"fields": "tag_ids"}).json()) == {"tag_ids"}
    single = crm.v1.get(f"/contacts/{contact}").json()
    listed = crm.v1.get("/contacts", params={"limit": 1000, "optional_properties": "custom_fields"}).json()["contacts"]
    assert "tag_ids" in single
    assert "custom_fields" not in single
    assert not any("tag_ids" in row for row in listed)
    assert all("custom_fields" in row for row in listed)


def test_an_unknown_optional_property_is_refused_by_name(crm: Keap) -> None:
    """Facts 7."""
    answer = crm.v1.get("/contacts", params={"optional_properties": "custom_fields,shoe_size"})
    assert (answer.status_code, answer.json()) == (400, {"message": "Unrecognized optional property: shoe_size"})


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_unknown_parameters_are_ignored_and_everything_comes_back(crm: Keap, version: str) -> None:
    """Facts 1.3: `?email=x` is no filter in v2."""
    name = {"v1": "mail", "v2": "email"}[version]
    assert len(getattr(crm, version).get("/contacts", params={name: "nobody@example.com"}).json()["contacts"]) >= 25


def test_contacts_are_found_by_filters(crm: Keap) -> None:
    """Facts 1.3: the filter's grammar."""
    one, other = crm.person(first_name="Zoe", fields={"Best Day": "Monday"}), crm.person(first_name="Zora")
    email = crm.server.truth(one)["email"]
    ids = {str(one), str(other)}
    assert {row["id"] for row in crm.found(f"contact_ids=={one},{other},999999")} == ids
    assert {row["id"] for row in crm.found(f"ids=={one},{other}")} == ids
    assert [row["id"] for row in crm.found(f"email=={email.upper()}")] == [str(one)]
    assert {row["id"] for row in crm.found("given_name==zo*")} == ids
    assert [row["id"] for row in crm.found(f"given_name==zo*;contact_id>{one}")] == [str(other)]
    assert [row["id"] for row in crm.found("bestday==Mon*")] == [str(one)]
    assert crm.found("email==zo*@example.com") == []  # only a star at the end stands for anything


@pytest.mark.parametrize(
    "wrong",
    ["shoe_size==40", "email", "email>a", "start_update_time==2026-01-01", "start_update_time==2026-01-01T00:00:00Z"],
)
def test_a_wrong_filter_is_refused(crm: Keap, wrong: str) -> None:
    """Facts 1.3: a date needs its time, milliseconds and zone."""
    answer = crm.v2.get(f"/contacts?filter={quote(wrong, safe='')}")
    assert (answer.status_code, answer.json()["code"]) == (400, 400)


def test_a_plus_is_a_plus(crm: Keap) -> None:
    """Facts 1.3: a space is %20."""
    assert crm.v2.get("/contacts?order_by=update_time+asc").status_code == 400
    assert crm.v2.get("/contacts?order_by=update_time%20asc").status_code == 200
    contact = crm.person(email="plus+sign@example.com")
    assert crm.v2.get("/contacts?filter=email==plus+sign@example.com").json()["contacts"][0]["id"] == str(contact)
    crm.server.set(plus_is_space=True)
    assert crm.v2.get("/contacts?order_by=update_time+asc").status_code == 200


def test_changes_are_found_by_their_time(own: Keap) -> None:
    """Facts 1.3: the window by `update_time`, which tagging may or may not move."""
    own.clock(3600)
    since = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(own.clock(10) - 5))
    window = f"start_update_time=={since}"
    own.tag("Silent", 1)
    assert own.found(window) == []
    own.server.set(tagging_updates=True)
    own.tag("Loud", 2)
    own.v1.patch("/contacts/3", json={"given_name": "Changed"})
    assert [row["id"] for row in own.found(window, order_by="update_time asc")] == ["2", "3"]


def test_a_v2_list_is_read_by_its_cursor(crm: Keap) -> None:
    """Facts 1.3: at most 1,000 rows, `next_page_token` until it is empty."""
    rows, pages = _all_pages(crm, page_size=7)
    whole = crm.v2.get("/contacts", params={"page_size": 1000}).json()
    assert (rows, whole["next_page_token"]) == ([row["id"] for row in whole["contacts"]], "")
    assert pages == -(-len(rows) // 7)
    assert crm.v2.get("/contacts", params={"page_size": 1001}).status_code == 400
    assert crm.v2.get("/contacts", params={"page_token": "guess"}).status_code == 400


def _all_pages(crm: Keap, **asked: str | int) -> tuple[list[str], int]:
    rows: list[str] = []
    for pages in count(1):
        page = crm.v2.get("/contacts", params=asked).json()
        rows += [row["id"] for row in page["contacts"]]
        if not page.get("next_page_token"):
            return rows, pages
        asked["page_token"] = page["next_page_token"]
    raise AssertionError


def test_what_ends_the_pages_is_anybodys_guess(crm: Keap) -> None:
    """Facts 1.3 and the samples' README: empty, null, missing, a whole URL, or for ever the same."""
    ask = {"page_size": 1000}
    for kind, end in (("null", {"next_page_token": None}), ("absent", {})):
        crm.server.set(last_token=kind)
        page = crm.v2.get("/contacts", params=ask).json()
        assert {name: value for name, value in page.items() if name != "contacts"} == end
    crm.server.set(token_as_url=True)
    url = crm.v2.get("/contacts", params={"page_size": 2}).json()["next_page_token"]
    assert url.startswith(f"{crm.server.url}{keap.V2}/contacts?page_token=")
    crm.server.set(token_as_url=False, token_repeats=True)
    asked: list[dict[str, str | int]] = [{"page_size": 2}, {"page_size": 2, "page_token": "x"}]
    first, second = (crm.v2.get("/contacts", params=one).json() for one in asked)
    assert first == second


@pytest.mark.parametrize(("cursor", "read"), [("key", 4), ("offset", 3)])
def test_rows_that_move_during_a_sweep(own: Keap, cursor: str, read: int) -> None:
    """A cursor by offset skips a row when another moves to the end; nobody knows which kind Keap has."""
    own.server.set(cursor=cursor)
    asked: dict[str, str | int] = {"page_size": 2}
    ordered = "/contacts?order_by=update_time%20asc"
    first = own.v2.get(ordered + "&page_size=2").json()
    own.clock(1)
    own.v1.patch(f"/contacts/{first['contacts'][0]['id']}", json={"given_name": "Moved"})
    asked["page_token"] = first["next_page_token"]
    second = own.v2.get(f"{ordered}&page_size=2&page_token={asked['page_token']}").json()
    assert len(first["contacts"]) + len(second["contacts"]) == read


def test_a_v1_list_is_read_by_its_links(crm: Keap) -> None:
    """Facts 1.3: whole URLs; the sample shows one even after the last row."""
    page = crm.v1.get("/contacts", params={"limit": 10}).json()
    seen = [row["id"] for row in page["contacts"]]
    while page["contacts"]:
        assert page["next"].startswith(f"{crm.server.url}{keap.V1}/contacts/?limit=10&offset=")
        page = crm.v1.get(page["next"]).json()
        seen += [row["id"] for row in page["contacts"]]
    assert (len(seen), seen) == (page["count"], sorted(set(seen)))


def test_the_tag_side_of_reading(own: Keap) -> None:
    """Facts 1.3: who has a tag and since when, which is the true feed; and the tags of one contact."""
    tag = own.tag("Gold", 1, 2)
    own.clock(100)
    own.tag("Gold", 3)
    path = f"/tags/{tag}/contacts"
    rows = own.v2.get(path, params={"page_size": 1000}).json()["contacts"]
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    since = rows[2]["applied_time"]
    late = own.v2.get(f"{path}?filter={quote('since_applied_time==' + since, safe='')}").json()["contacts"]
    assert late == rows[2:]
    one = own.v2.get("/contacts/3/tags").json()["tags"]
    assert [(row["tag"]["id"], row["tag"]["name"], row["applied_time"]) for row in one] == [(tag, "Gold", since)]
    assert own.v2.get("/tags/99/contacts").status_code == 404


def test_tags_in_lists_may_be_missing_or_empty(crm: Keap) -> None:
    """Facts 1.3 and 5: whether rows carry `tag_ids`, and what a contact without tags carries."""
    contact = crm.person()
    ask = {"fields": "id,tag_ids,groups"}
    bare = {"id": str(contact), "groups": ""}
    assert crm.found(f"contact_ids=={contact}", **ask) == [bare | {"tag_ids": []}]
    crm.server.set(empty_tags="absent")
    assert crm.found(f"contact_ids=={contact}", **ask) == [bare]
    tags = [crm.tag(name, contact) for name in ("One", "Two")]
    crm.server.set(tag_ids_in_lists=False)
    assert crm.found(f"contact_ids=={contact}", **ask) == [bare | {"groups": ",".join(tags)}]
    assert crm.v2.get(f"/contacts/{contact}", params=ask).json()["tag_ids"] == tags  # single reads have them
    crm.server.set(groups_in_lists=False)
    assert crm.found(f"contact_ids=={contact}", **ask) == [{"id": str(contact)}]


def test_an_unset_field_looks_one_way_or_another(crm: Keap) -> None:
    """Facts 1.3: unverified."""
    contact, field = crm.person(), crm.label("Never Set")
    for unset, expected in (("absent", []), ("null", [None]), ("empty", [""])):
        crm.server.set(v1_unset_field=unset, v2_unset_field=unset)
        old = crm.v1.get(f"/contacts/{contact}", params={"optional_properties": "custom_fields"}).json()
        new = crm.v2.get(f"/contacts/{contact}", params={"fields": "custom_fields"}).json()
        assert [one["content"] for one in old["custom_fields"] if one["id"] == int(field)] == expected
        assert [one["content"] for one in new["custom_fields"] if one["id"] == field] == expected
    for unset, row in (("null", {"given_name": None}), ("empty", {"given_name": ""}), ("absent", {})):
        crm.server.set(v2_unset_property=unset)
        assert crm.v2.get(f"/contacts/{contact}", params={"fields": "given_name"}).json() == row


def test_lists_may_lag_behind_single_reads(own: Keap) -> None:
    own.server.set(lag_seconds=60)
    tag = own.tag("Late", 1)
    assert own.v2.get("/contacts/1", params={"fields": "tag_ids"}).json()["tag_ids"] == [tag]
    assert own.found("contact_ids==1", fields="tag_ids") == [{"tag_ids": []}]
    assert own.v2.get(f"/tags/{tag}/contacts").json()["contacts"] == []
    own.clock(61)
    assert own.found("contact_ids==1", fields="tag_ids") == [{"tag_ids": [tag]}]


def test_a_deleted_contact_is_gone_and_a_merged_one_perhaps(crm: Keap) -> None:
    """Facts 1.4 and 5: 404 for a deleted id; for a merged one 404, a redirect or the survivor."""
    gone, into, old = crm.person(), crm.person(), crm.person()
    tag = crm.tag("Kept", old)
    assert crm.v2.delete(f"/contacts/{gone}").status_code == 204
    assert (crm.v2.get(f"/contacts/{gone}").status_code, crm.v1.get(f"/contacts/{gone}").status_code) == (404, 404)
    asked = {"contact_id": str(into), "duplicate_contact_id": str(old)}
    merged = crm.v2.post("/contacts:merge?fields=id,tag_ids", json=asked)
    assert (merged.status_code, merged.json()) == (200, {"id": str(into), "tag_ids": [tag]})
    assert crm.v2.get(f"/contacts/{old}").status_code == 404
    crm.server.set(merged="redirect")
    assert crm.v2.get(f"/contacts/{old}?fields=id").headers["Location"] == f"{keap.V2}/contacts/{into}?fields=id"
    crm.server.set(merged="survivor")
    assert crm.v2.get(f"/contacts/{old}").json()["id"] == str(into)


def test_a_long_url_is_refused_by_the_gateway(crm: Keap) -> None:
    """Facts 1.3: the longest URL is unverified; 200 ids fit in any case."""
    assert len(crm.found("contact_ids==" + ",".join(map(str, range(1, 201))), page_size=1000)) >= 25
    answer = crm.v2.get("/contacts?filter=contact_ids%3D%3D" + ",".join(str(10_000 + n) for n in range(1200)))
    assert (answer.status_code, answer.json()["fault"]["detail"]["errorcode"]) == (414, "protocol.http.TooBigLine")


# --- writing ---------------------------------------------------------------------------------------------------


def test_a_v1_patch_changes_only_what_it_names(crm: Keap) -> None:
    """Facts 0.4 and 1.4."""
    contact = crm.person(first_name="Ada", fields={"Colour": "blue", "Secret": ""})
    secret = crm.label("Secret")
    answer = crm.v1.patch(
        f"/contacts/{contact}", json={"custom_fields": [{"id": int(secret), "content": "s3cret & <x>"}]}
    )
    assert {one["id"]: one["content"] for one in answer.json()["custom_fields"]}[int(secret)] == "s3cret & <x>"
    truth = crm.server.truth(contact)
    assert truth["fields"] == {"Colour": "blue", "Secret": "s3cret & <x>"}
    assert truth["first_name"] == "Ada"
    written = [row for row in crm.server.writes() if row["contact"] == contact and row["what"] == "field-set"]
    assert [(row["who"], row["detail"], row["value"]) for row in written] == [("api", "Secret", "s3cret & <x>")]
    wrong = crm.v1.patch(f"/contacts/{contact}", json={"foo": 1})
    assert (wrong.status_code, wrong.json()) == (400, {"message": "Unrecognized property: foo"})


def test_a_v2_patch_removes_what_its_lists_leave_out(crm: Keap) -> None:
    """Facts 0.4 and 1.4: documented so; one integration lives as if it weren't."""
    contact = crm.person(fields={"Hue": "blue", "Code": "old"})
    hue, code = crm.label("Hue"), crm.label("Code")
    crm.v2.patch(f"/contacts/{contact}", json={"given_name": "Eve", "job_title": "Clerk"})
    assert crm.server.truth(contact)["fields"] == {"Hue": "blue", "Code": "old"}  # no list, nothing removed
    partial = {"custom_fields": [{"id": code, "content": "new"}]}
    assert crm.v2.patch(f"/contacts/{contact}?update_mask=custom_fields", json=partial).status_code == 200
    assert crm.server.truth(contact)["fields"] == {"Hue": "", "Code": "new"}
    crm.v2.patch(f"/contacts/{contact}", json={"custom_fields": []})
    assert crm.server.truth(contact)["fields"] == {"Hue": "", "Code": ""}
    crm.server.set(v2_patch="merges")
    for field, text in ((hue, "red"), (code, "newer")):
        crm.v2.patch(f"/contacts/{contact}", json={"custom_fields": [{"id": field, "content": text}]})
    assert crm.server.truth(contact)["fields"] == {"Hue": "red", "Code": "newer"}
    assert crm.v2.get(f"/contacts/{contact}", params={"fields": "job_title"}).json() == {"job_title": "Clerk"}


def test_a_v2_patch_takes_away_emails_too(crm: Keap) -> None:
    """Facts 0.4."""
    contact = crm.person(email="first@example.com")
    both = [{"email": "first@example.com", "field": "EMAIL1"}, {"email": "second@example.com", "field": "EMAIL2"}]
    crm.v2.patch(f"/contacts/{contact}", json={"email_addresses": both})
    assert crm.v1.get(f"/contacts/{contact}").json()["email_addresses"] == both
    crm.v2.patch(f"/contacts/{contact}", json={"email_addresses": both[1:]})
    assert crm.v2.get(f"/contacts/{contact}").json()["email_addresses"] == both[1:]
    assert crm.server.truth(contact)["email"] == ""


def test_the_mask_is_a_repeated_key(crm: Keap) -> None:
    """Facts 1.4 and 3."""
    contact = crm.person(first_name="Ada", last_name="Adler")
    new = {"given_name": "Bea", "family_name": "Brook"}
    assert crm.v2.patch(f"/contacts/{contact}?update_mask=given_name,family_name", json=new).status_code == 400
    assert crm.v2.patch(f"/contacts/{contact}?update_mask=given_name", json=new).status_code == 200
    assert crm.v2.get(f"/contacts/{contact}?fields=given_name,family_name").json() == new | {"family_name": "Adler"}
    crm.v2.patch(f"/contacts/{contact}?update_mask=given_name&update_mask=family_name", json=new)
    assert crm.v2.get(f"/contacts/{contact}?fields=given_name,family_name").json() == new


def test_v2_may_keep_ampersands_encoded(crm: Keap) -> None:
    """Facts 1.3: a quirk, unverified for v2."""
    contact, field = crm.person(), crm.label("Round Trip")
    for escapes, kept in ((False, "a&b<c"), (True, "a&amp;b&lt;c")):
        crm.server.set(escapes=escapes)
        crm.v2.patch(f"/contacts/{contact}", json={"custom_fields": [{"id": field, "content": "a&b<c"}]})
        assert crm.server.truth(contact)["fields"]["Round Trip"] == kept


def test_a_field_is_refused_by_an_unknown_or_numeric_id_or_for_its_length(crm: Keap) -> None:
    """Facts 1.3 and 3: v2's ids are strings; a text has at most 65,535 characters."""
    contact, field = crm.person(), crm.label("Long")
    for wrong in (
        {"id": int(field), "content": "x"},
        {"id": "9999", "content": "x"},
        {"id": field, "content": "x" * 65_536},
    ):
        assert crm.v2.patch(f"/contacts/{contact}", json={"custom_fields": [wrong]}).status_code == 400
    assert crm.server.truth(contact)["fields"].get("Long", "") == ""


def test_an_upsert_makes_once_and_then_updates(crm: Keap) -> None:
    """Facts 1.4: 201 and 200; without the option a duplicate."""
    new = {"email_addresses": [{"email": "up@example.com", "field": "EMAIL1", "opt_in_reason": "bought"}]}
    once = crm.v2.post("/contacts?duplicate_option=Email", json=new)
    again = crm.v2.post("/contacts?duplicate_option=Email", json=new | {"given_name": "Up"})
    assert (once.status_code, again.status_code, once.json()["id"]) == (201, 200, again.json()["id"])
    assert crm.v2.get(f"/contacts/{once.json()['id']}").json()["email_addresses"][0]["is_opt_in"] is True
    assert crm.v2.post("/contacts", json=new).status_code == 201
    assert len(crm.found("email==up@example.com")) == 2
    kept = crm.v1.put("/contacts", json=new_v1("up@example.com") | {"duplicate_option": "Email"})
    assert (kept.status_code, kept.json()["id"]) == (200, int(once.json()["id"]))
    assert len(crm.v1.get("/contacts", params={"email": "up@example.com"}).json()["contacts"]) == 2
    assert crm.v2.post("/contacts", json={"given_name": "Nobody"}).status_code == 400
    assert crm.v1.post("/contacts", json=new_v1("fresh@example.com")).status_code == 201


def new_v1(email: str) -> dict[str, Any]:
    return {"email_addresses": [{"email": email, "field": "EMAIL1"}], "opt_in_reason": "bought"}


def test_a_bad_owner_is_a_server_error(crm: Keap) -> None:
    """Facts 1.5: so a 500 on a write may be our data."""
    answer = crm.v2.patch(f"/contacts/{crm.person()}", json={"owner_id": "777"})
    assert (answer.status_code, answer.json()["code"]) == (500, 500)


def test_tags_are_put_on_in_bulk_with_a_word_each(crm: Keap) -> None:
    """Facts 1.4: 200 even if some failed; taking off has no body."""
    has, hasnt = crm.person(), crm.person()
    tag = crm.tag("Bulk", has)
    ids = {"contact_ids": [str(has), str(hasnt), "999999"]}
    answer = crm.v2.post(f"/tags/{tag}/contacts:applyTags", json=ids)
    words = {str(has): "DUPLICATE", str(hasnt): "SUCCESS", "999999": "CONTACT_NOT_FOUND"}
    assert (answer.status_code, answer.json()) == (200, {"results": words})
    removed = crm.v2.post(f"/tags/{tag}/contacts:removeTags", json=ids)
    assert (removed.status_code, removed.content) == (204, b"")
    assert crm.server.truth(has)["tags"] == crm.server.truth(hasnt)["tags"] == []
    assert crm.v2.post("/tags/99999/contacts:applyTags", json=ids).status_code == 404
    assert crm.v2.post(f"/tags/{tag}/contacts:applyTags", json={"contact_ids": [has]}).status_code == 400
    crm.server.set(most_tagged=2)
    assert crm.v2.post(f"/tags/{tag}/contacts:applyTags", json=ids).status_code == 400


def test_v1_puts_tags_on_and_off(crm: Keap) -> None:
    """Facts 1.4: words as a map or as a list."""
    contact = crm.person()
    gold, blue = int(crm.tag("V1 Gold", contact)), int(crm.tag("V1 Blue"))
    answer = crm.v1.post(f"/contacts/{contact}/tags", json={"tagIds": [gold, blue, 99999]})
    assert answer.json() == {str(gold): "DUPLICATE", str(blue): "SUCCESS", "99999": "TAG_ID_NOT_FOUND"}
    crm.server.set(tag_results="list")
    assert crm.v1.post(f"/tags/{gold}/contacts", json={"ids": [contact, 999999]}).json() == [
        {"key": "DUPLICATE"},
        {"key": "CONTACT_NOT_FOUND"},
    ]
    assert crm.v1.delete(f"/contacts/{contact}/tags?ids={gold}%2C{blue}").status_code == 204
    assert crm.server.truth(contact)["tags"] == []
    crm.tag("V1 Gold", contact)
    assert crm.v1.delete(f"/tags/{gold}/contacts", params={"ids": contact}).status_code == 204
    assert crm.v1.get(f"/contacts/{contact}/tags").json()["tags"] == []


def test_tags_are_made_and_found_by_name(crm: Keap) -> None:
    """Facts 1.4; the answer to a name that is taken is unverified."""
    made = crm.v2.post("/tags", json={"name": "Brand New", "description": "d"})
    assert made.status_code == 201
    assert crm.v2.get("/tags?filter=name%3D%3DBrand%20New").json()["tags"] == [made.json()]
    assert crm.v2.get("/tags?filter=category_id%3D%3DNONE&page_size=1000").json()["tags"]
    assert crm.v2.post("/tags", json={"name": "Brand New"}).status_code == 409
    crm.server.set(same_tag_name="found")
    again = crm.v2.post("/tags", json={"name": "Brand New"})
    assert (again.status_code, again.json()["id"]) == (200, made.json()["id"])
    crm.server.set(same_tag_name="second")
    assert crm.v2.post("/tags", json={"name": "Brand New"}).json()["id"] != made.json()["id"]
    assert crm.v2.post("/tags", json={"name": "x" * 256}).status_code == 400


def test_fields_are_made_with_the_type_names_of_each_version(crm: Keap) -> None:
    """Facts 1.3."""
    path = "/contacts/model/customFields"
    made = crm.v2.post(path, json={"label": "Door Code", "field_type": "TEXT"})
    assert (made.status_code, made.json()["field_name"]) == (201, "DoorCode")
    assert crm.v2.post(path, json={"label": "Other", "field_type": "Text"}).status_code == 400
    old = crm.v1.post(path, json={"label": "Age", "field_type": "WholeNumber"}).json()
    assert crm.v1.post(path, json={"label": "Other", "field_type": "TEXT"}).status_code == 400
    model = {one["id"]: one for one in crm.v2.get("/contacts/model").json()["custom_fields"]}
    assert model[made.json()["id"]]["label"] == "Door Code"
    assert (old["field_type"], model[str(old["id"])]["field_type"]) == ("WholeNumber", "WHOLE_NUMBER")
    contact = crm.person()
    crm.v2.patch(f"/contacts/{contact}", json={"custom_fields": [{"id": str(old["id"]), "content": 41}]})
    assert [row["id"] for row in crm.found("age>=41")] == [str(contact)]
    assert crm.found("age>41") == []
