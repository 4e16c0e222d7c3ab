"""ActiveCampaign's answers word for word: those of samples/activecampaign, and those that nobody could capture, in
each form in which they may come. What it does as a whole is in test_activecampaign.py.
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tagwarden.core import clock
from tagwarden.core.errors import NeedsSetting, Permanent, Retryable
from tagwarden.core.hooks import Happened, Hook
from tagwarden.core.outcome import CrmTag
from tagwarden.core.ratelimit import Said
from tagwarden.crms.activecampaign import Crm
from tests.crms.scripted import Answer, Scripted, scripted

SAMPLES = Path(__file__).parent / "samples" / "activecampaign"
NO_ROWS: dict[str, Any] = {"contactTags": [], "tags": [], "fieldValues": []}


@pytest.fixture
def script() -> Iterator[Scripted]:
    with scripted() as found:
        yield found


@pytest.fixture
def crm(script: Scripted) -> Iterator[Crm]:
    with closing(Crm(base_url=script.url, credentials={"api_key": "the-key"})) as adapter:
        yield adapter


def say(script: Scripted, call: str, content: Any, status: int = 200, **headers: str) -> None:
    """`call`: as "GET /contacts/5". Said twice: the second answer is for the second call."""
    method, path = call.split(" ")
    answer = Answer(content.encode() if isinstance(content, str) else content, status, headers)
    script.answers.setdefault(f"{method} /api/3{path}", []).append(answer)


def calls(script: Scripted) -> list[str]:
    return [call.replace(" /api/3", " ") for call in script.calls()]


def row(contact: int, **more: Any) -> dict[str, Any]:
    """A contact of a list, in the form of samples/activecampaign/get-contact.json."""
    there = {"id": str(contact), "email": f"p{contact}@example.com", "firstName": "", "lastName": ""}
    return {**there, "contactTags": [], "fieldValues": [], **more}


def link(id_: int, contact: int, tag: int) -> dict[str, str]:
    return {"id": str(id_), "contact": str(contact), "tag": str(tag), "cdate": "2026-11-20T09:00:00-06:00"}


def value(id_: int, contact: int, field: int, text: str | None) -> dict[str, str | None]:
    return {"id": str(id_), "contact": str(contact), "field": str(field), "value": text}


def fields_called(script: Scripted, *labels: str) -> None:
    rows = [{"id": str(number), "title": label, "type": "text"} for number, label in enumerate(labels, 1)]
    say(script, "GET /fields", {"fields": rows, "meta": {"total": str(len(rows))}})


# --- reading ------------------------------------------------------------------------------------------------------


def test_a_captured_contact_is_read(script: Scripted, crm: Crm) -> None:
    """get-contact.json, captured: it has no tags beside it, so these are asked for alone."""
    say(script, "GET /contacts/1", (SAMPLES / "get-contact.json").read_text())
    say(script, "GET /contacts/1/contactTags", {"contactTags": [link(7, 1, 20)]})
    say(script, "GET /tags", {"tags": [{"id": "20", "tag": "Module 1", "tagType": "contact"}], "meta": {"total": "1"}})

    found = crm.contact("1")

    assert (found.email, found.first_name, found.last_name) == (
        "contact.email@example.com",
        "Test_FirstName",
        "Test_LastName",
    )
    assert found.tags == {CrmTag("20", "Module 1")}
    assert found.fields == {}


def test_what_is_loaded_beside_contacts_is_joined_by_contact_whatever_its_order(script: Scripted, crm: Crm) -> None:
    """Sideloading: lists of ids in each contact, the rows beside them in an order of their own."""
    say(
        script,
        "GET /contacts",
        {
            "contacts": [row(1, contactTags=["11"], fieldValues=["21"]), row(2, contactTags=["12", "13"])],
            "contactTags": [link(13, 2, 6), link(11, 1, 5), link(12, 2, 5)],
            "tags": [{"id": "6", "tag": "Gold, with a comma"}, {"id": "5", "tag": "Module 1"}],
            "fieldValues": [value(21, 1, 2, "Kiel")],
        },
    )
    fields_called(script, "Password", "Town")

    found = crm.contacts(["1", "2"])

    assert found["1"].tags == {CrmTag("5", "Module 1")}
    assert found["2"].tags == {CrmTag("5", "Module 1"), CrmTag("6", "Gold, with a comma")}
    assert (found["1"].fields, found["2"].fields) == ({"Town": "Kiel"}, {})
    asked = parse_qs(script.asked[0].raw_query)
    assert asked == {"ids[]": ["1", "2"], "limit": ["100"], "include": ["contactTags.tag,fieldValues"]}


def test_ids_may_be_numbers_and_values_may_be_null(script: Scripted, crm: Crm) -> None:
    """The documentation's own example has numbers where captured answers have texts."""
    answer = {
        "contacts": [row(1, id=1, firstName=None, contactTags=[11], fieldValues=[21])],
        "contactTags": [{"id": 11, "contact": 1, "tag": 5}],
        "tags": [{"id": 5, "tag": "Module 1"}],
        "fieldValues": [{"id": 21, "contact": 1, "field": 1, "value": None}],
    }
    say(script, "GET /contacts", answer)
    fields_called(script, "Town")

    found = crm.contacts(["1"])["1"]

    assert (found.first_name, found.tags, found.fields) == ("", {CrmTag("5", "Module 1")}, {"Town": ""})


def test_a_list_without_a_contacts_tags_says_so(script: Scripted, crm: Crm) -> None:
    """Missing is not empty: no list of ids, or one that names a link which isn't there, and no list elsewhere."""
    bare = row(1)
    del bare["contactTags"]
    answer = {"contacts": [bare, row(2, contactTags=["12", "13"]), row(3)], **NO_ROWS, "contactTags": [link(12, 2, 5)]}
    say(script, "GET /contacts", answer)
    say(script, "GET /tags", {"tags": [{"id": "5", "tag": "Module 1"}], "meta": {"total": "1"}})

    say(script, "GET /contacts/1/contactTags", {})

    found = crm.contacts(["1", "2", "3"])

    assert [found[one].tags for one in "123"] == [None, None, frozenset()]


def test_a_contact_without_a_list_of_tags_has_those_of_its_own_list(script: Scripted, crm: Crm) -> None:
    """Undocumented: whether somebody without tags has an empty list beside it, or none."""
    bare = [row(1), row(2)]
    for one in bare:
        del one["contactTags"]
    say(script, "GET /contacts", {"contacts": [*bare, row(3, contactTags=["13"])], "contactTags": [link(13, 3, 5)]})
    say(script, "GET /contacts/1/contactTags", {"contactTags": []})
    say(script, "GET /contacts/2/contactTags", {"contactTags": [link(12, 2, 5)]})
    say(script, "GET /tags", {"tags": [{"id": "5", "tag": "Module 1"}], "meta": {"total": "1"}})
    found = crm.contacts(["1", "2", "3"])
    module = CrmTag("5", "Module 1")
    assert [found[one].tags for one in "123"] == [frozenset(), {module}, {module}]


def test_a_contact_whose_fields_are_missing_is_left_out_and_asked_for_alone(script: Scripted, crm: Crm) -> None:
    """A password that seems to be missing would be made anew."""
    say(script, "GET /contacts", {"contacts": [row(1, fieldValues=["21"]), row(2)], **NO_ROWS})
    say(script, "GET /contacts/1", {"contact": row(1, fieldValues=["21"]), **NO_ROWS})
    assert set(crm.contacts(["1", "2"])) == {"2"}
    with pytest.raises(Retryable, match="crm-answer-broken"):
        crm.contact("1")


def test_rows_that_nobody_asked_for_are_dropped(script: Scripted, crm: Crm) -> None:
    """As if `ids[]` or `email` weren't minded."""
    say(script, "GET /contacts", {"contacts": [row(1), row(2), row(3, email="P2@example.com")], **NO_ROWS})
    assert set(crm.contacts(["2", "9"])) == {"2"}
    assert [one.contact for one in crm.by_email("p2@example.com")] == ["2", "3"]


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"contact": None},
        {"contact": []},
        {"contact": {"email": "no-id@example.com"}},
        {"contact": {"id": "1"}},
        '{"contact": {"id": "1", "ema',
        "",
        "<html>maintenance</html>",
    ],
)
def test_an_odd_answer_is_asked_for_again(script: Scripted, crm: Crm, answer: Any) -> None:
    """Empty and cut answers with status 200 have been met by integrations."""
    say(script, "GET /contacts/1", answer)
    with pytest.raises(Retryable, match="crm-answer-broken"):
        crm.contact("1")


@pytest.mark.parametrize("answer", [[], {}, {"contacts": None}, {"contacts": [None]}, {"contacts": [{"email": "x"}]}])
def test_an_odd_list_is_asked_for_again(script: Scripted, crm: Crm, answer: Any) -> None:
    say(script, "GET /contacts", answer)
    with pytest.raises(Retryable, match="crm-answer-broken"):
        crm.contacts(["1"])


def test_a_list_that_goes_in_circles_ends(script: Scripted, crm: Crm) -> None:
    """As if `id_greater`, or `offset` with the lists of names, weren't minded."""
    say(script, "GET /contacts", {"contacts": [row(1), row(2)], **NO_ROWS})
    say(script, "GET /tags", {"tags": [{"id": "1", "tag": "Module 1"}], "meta": {"total": "2"}})
    for pages in (crm.everybody(), crm.tagged("5"), crm.changed(clock.now())):
        with pytest.raises(Retryable, match="crm-answer-broken"):
            list(pages)
    with pytest.raises(Retryable, match="crm-answer-broken"):
        crm.list_tags()


def test_a_page_that_rows_were_left_out_of_is_not_the_last(script: Scripted, crm: Crm) -> None:
    for rows in ([row(1), row(5)], [row(8)], []):
        say(script, "GET /contacts", {"contacts": rows, **NO_ROWS})
    assert [one.contact for page in crm.everybody() for one in page] == ["1", "5", "8"]
    assert [asked.query["id_greater"] for asked in script.asked] == ["0", "5", "8"]


@pytest.mark.parametrize(
    "answer",
    [
        {"message": "No Result found for Subscriber with id 17"},
        {"errors": [{"status": 404, "title": "Not Found", "detail": "Contact not found"}]},
    ],
)
def test_a_404_in_either_of_its_forms_says_that_a_contact_is_gone(script: Scripted, crm: Crm, answer: Any) -> None:
    say(script, "GET /contacts/17", answer, 404)
    with pytest.raises(Permanent) as error:
        crm.contact("17")
    assert error.value.reason == "contact-not-found"


@pytest.mark.parametrize("answer", ["<html>no such page</html>", "", {}, []])
def test_a_404_of_another_server_is_no_deletion(script: Scripted, crm: Crm, answer: Any) -> None:
    say(script, "GET /contacts/17", answer, 404)
    with pytest.raises(Permanent) as error:
        crm.contact("17")
    assert error.value.reason == "crm-refused"


def test_a_contact_that_answers_under_another_id_was_merged(script: Scripted, crm: Crm) -> None:
    say(script, "GET /contacts/17", {"contact": row(18), **NO_ROWS})
    with pytest.raises(Permanent, match="contact-not-found"):
        crm.contact("17")


def test_who_changed_is_asked_for_by_day_and_told_by_the_stamp_with_its_offset(script: Scripted, crm: Crm) -> None:
    """`updated_utc_timestamp` holds local digits in the captured answer: it would be six hours off here."""
    since = datetime(2026, 11, 27, 2, 0, tzinfo=UTC)
    before = row(1, udate="2026-11-26T19:59:00-06:00", updated_utc_timestamp="2026-11-27 09:00:00")
    after = row(2, udate="2026-11-26T20:01:00-06:00", updated_utc_timestamp="2026-11-26 20:01:00")
    never = [row(3, udate=None), row(4, udate="0000-00-00 00:00:00")]
    say(script, "GET /contacts", {"contacts": [before, after, *never], **NO_ROWS})
    say(script, "GET /contacts", {"contacts": [], **NO_ROWS})

    assert [one.contact for page in crm.changed(since) for one in page] == ["2", "3", "4"]
    assert script.asked[0].query["filters[updated_after]"] == "2026-11-25"


# --- refusals and limits ------------------------------------------------------------------------------------------


def test_403_is_repeated_twice_before_the_key_counts_as_bad(script: Scripted, crm: Crm) -> None:
    say(script, "GET /users/me", {"message": "Forbidden"}, 403)
    say(script, "GET /users/me", {"message": "Forbidden"}, 403)
    say(script, "GET /users/me", {"user": {"id": "1", "email": "owner@example.com", "username": "owner"}})
    assert crm.check() == "owner@example.com"
    assert len(script.asked) == 3

    script.answers.clear()
    say(script, "GET /users/me", {"message": "Forbidden"}, 403)
    with pytest.raises(NeedsSetting, match="crm-key-refused"):
        crm.check()
    assert len(script.asked) == 6
    assert {asked.headers["api-token"] for asked in script.asked} == {"the-key"}


def test_an_unpaid_account_is_told(script: Scripted, crm: Crm) -> None:
    say(script, "GET /users/me", {}, 402)
    with pytest.raises(NeedsSetting, match="crm-unpaid"):
        crm.check()


def test_the_pause_of_a_429_is_kept_and_limits_are_heard_leniently(script: Scripted, crm: Crm) -> None:
    say(script, "GET /users/me", "", 429, **{"Retry-After": "3"})
    say(script, "GET /users/me", "", 429)
    for seconds in (3, 1):
        with pytest.raises(Retryable) as error:
            crm.check()
        assert (error.value.reason, error.value.after) == ("crm-paused", timedelta(seconds=seconds))
        assert error.value.spends_try is False
    assert crm.said({"ratelimit-limit": "5", "ratelimit-remaining": "4.0"}) == (Said(1, 5, 4),)
    assert crm.said({"ratelimit-limit": "five", "ratelimit-remaining": "-1"}) == (Said(1, None, 0),)
    assert crm.said({}) == (Said(1),)


def test_a_key_pasted_with_a_line_break_and_an_address_with_its_path_do(script: Scripted) -> None:
    say(script, "GET /users/me", {"user": {"id": "1", "username": "owner"}})
    with closing(Crm(base_url=f"{script.url}/api/3/", credentials={"api_key": " the-key\n"})) as pasted:
        assert pasted.check() == "owner"


# --- tags ---------------------------------------------------------------------------------------------------------


def test_tags_of_templates_are_none_of_ours(script: Scripted, crm: Crm) -> None:
    rows = [{"id": "1", "tag": "one", "tagType": "contact"}, {"id": "4", "tag": "test1", "tagType": "template"}]
    say(script, "GET /tags", {"tags": rows, "meta": {"total": "2"}})
    assert crm.list_tags() == {"1": "one"}


def test_a_tag_is_put_on_with_numbers_one_contact_a_call(script: Scripted, crm: Crm) -> None:
    say(script, "POST /contactTags", {"contactTag": {"contact": "17", "tag": "20", "id": "1"}}, 201)
    assert crm.add_tag("20", ["17", "18"]) == {"17", "18"}
    assert [asked.json for asked in script.asked] == [
        {"contactTag": {"contact": 17, "tag": 20}},
        {"contactTag": {"contact": 18, "tag": 20}},
    ]


@pytest.mark.parametrize("status", [404, 422])
def test_a_tag_that_is_refused_is_looked_into(script: Scripted, crm: Crm, status: int) -> None:
    """Nobody documents what is answered if the tag is gone, or on already: either status may mean any of it."""
    say(script, "POST /contactTags", {"errors": [{"title": "Whatever"}]}, status)
    say(script, "GET /tags/20", {"tag": {"id": "20", "tag": "Module 1"}})
    say(
        script, "GET /contacts/17", {"contact": row(17, contactTags=["1"]), **NO_ROWS, "contactTags": [link(1, 17, 20)]}
    )
    say(script, "GET /contacts/18", {"message": "No Result found for Subscriber with id 18"}, 404)
    say(script, "GET /contacts/19", {"contact": row(19), **NO_ROWS})
    assert crm.add_tag("20", ["17", "18"]) == {"17"}
    with pytest.raises(Permanent, match="crm-refused"):
        crm.add_tag("20", ["19"])

    say(script, "GET /tags/21", {"message": "No Result found for Tag with id 21"}, 404)
    with pytest.raises(NeedsSetting, match="crm-tag-missing"):
        crm.add_tag("21", ["17"])


def test_a_tag_is_taken_off_by_the_id_of_its_link(script: Scripted, crm: Crm) -> None:
    links = [link(101, 17, 20), link(102, 17, 21), link(103, 17, 20)]
    answer = {"contact": row(17, contactTags=["101", "102", "103"]), **NO_ROWS, "contactTags": links}
    say(script, "GET /contacts/17", answer)
    say(script, "DELETE /contactTags/101", {})
    say(script, "DELETE /contactTags/103", {"message": "No Result found for SubscriberTag with id 103"}, 404)
    assert crm.remove_tag("20", ["17"]) == {"17"}
    assert calls(script) == ["GET /contacts/17", "DELETE /contactTags/101", "DELETE /contactTags/103"]


def test_a_refusal_that_says_nothing_of_the_contact_is_no_tag_taken_off(script: Scripted, crm: Crm) -> None:
    say(script, "GET /contacts/17", "<html>no such page</html>", 404)
    with pytest.raises(Permanent, match="crm-refused"):
        crm.remove_tag("20", ["17"])


@pytest.mark.parametrize("meta", [{}, {"meta": {"total": "130"}}])
def test_a_long_list_of_links_is_read_to_its_end(script: Scripted, crm: Crm, meta: Any) -> None:
    """Undocumented: whether this list goes by pages. Were it cut, tags would be taken away."""
    say(script, "GET /contacts/17", (SAMPLES / "get-contact.json").read_text().replace('"id": "1"', '"id": "17"'))
    links = [link(n, 17, n) for n in range(1, 131)]
    say(script, "GET /contacts/17/contactTags", {"contactTags": links[:100], **meta})
    say(script, "GET /contacts/17/contactTags", {"contactTags": links[100:], **meta})
    say(script, "GET /contacts/17/contactTags", {"contactTags": [], **meta})
    say(script, "GET /tags", {"tags": [], "meta": {"total": "0"}})
    assert len(crm.contact("17").tags or ()) == 130


def test_a_list_of_links_that_minds_no_offset_is_whole(script: Scripted, crm: Crm) -> None:
    say(script, "GET /contacts/17", (SAMPLES / "get-contact.json").read_text().replace('"id": "1"', '"id": "17"'))
    say(script, "GET /contacts/17/contactTags", {"contactTags": [link(1, 17, 5), link(2, 17, 6)]})
    say(script, "GET /tags", {"tags": [], "meta": {"total": "0"}})
    assert {tag.name for tag in crm.contact("17").tags or ()} == {"Tag 5", "Tag 6"}


def test_a_tag_that_somebody_made_meanwhile_is_found(script: Scripted, crm: Crm) -> None:
    """Undocumented: what is answered to a tag of a name that is there."""
    say(script, "GET /tags", {"tags": [], "meta": {"total": "0"}})
    say(script, "GET /tags", {"tags": [{"id": "9", "tag": "Done", "tagType": "contact"}], "meta": {"total": "1"}})
    say(script, "POST /tags", {"errors": [{"code": "duplicate"}]}, 422)
    assert crm.tag("Done") == CrmTag("9", "Done")


# --- fields -------------------------------------------------------------------------------------------------------


def test_a_new_field_is_put_on_all_lists(script: Scripted, crm: Crm) -> None:
    say(script, "POST /fields", {"fieldOptions": [], "field": {"id": "8", "title": "Password"}}, 201)
    say(script, "POST /fieldRels", {"fieldRel": {"id": "19"}}, 201)
    crm.make_field("Password")
    assert script.asked[-1].json == {"fieldRel": {"field": 8, "relid": 0}}


@pytest.mark.parametrize(("relations", "put"), [([], 1), (["3"], 0)])
def test_a_field_that_is_there_is_put_on_lists_only_if_it_is_on_none(
    script: Scripted, crm: Crm, relations: list[str], put: int
) -> None:
    """422 with `duplicate`. The call that puts a field on lists may have been lost the first time."""
    say(script, "POST /fields", {"errors": [{"code": "duplicate", "title": "There already"}]}, 422)
    rows = [{"id": "8", "title": "password", "relations": relations}]
    say(script, "GET /fields", {"fields": rows, "meta": {"total": "1"}})
    say(script, "POST /fieldRels", {"fieldRel": {"id": "19"}}, 201)
    crm.make_field("Password")
    assert calls(script).count("POST /fieldRels") == put


def test_fields_are_written_all_in_one_call(script: Scripted, crm: Crm) -> None:
    fields_called(script, "Password", "Username")
    echo = [value(31, 17, 1, "s3cret"), value(32, 17, 2, "anna")]
    say(script, "PUT /contacts/17", {"contact": row(17), "fieldValues": echo})
    crm.set_fields("17", {"password": "s3cret", "Username": "anna"})
    rows = [{"field": "1", "value": "s3cret"}, {"field": "2", "value": "anna"}]
    assert script.asked[-1].json == {"contact": {"fieldValues": rows}}
    assert calls(script) == ["GET /fields", "PUT /contacts/17"]


@pytest.mark.parametrize(("status", "answer"), [(422, {"errors": [{"title": "No such field"}]}), (200, {})])
def test_a_field_that_was_deleted_meanwhile_is_told_however_that_is_answered(
    script: Scripted, crm: Crm, status: int, answer: Any
) -> None:
    """Undocumented: a write to a field that is gone is refused, or passed over in silence."""
    fields_called(script, "Password")
    fields_called(script, "Town")
    say(script, "PUT /contacts/17", answer, status)
    with pytest.raises(NeedsSetting) as error:
        crm.set_fields("17", {"Password": "s3cret"})
    assert (error.value.reason, error.value.detail["field"]) == ("crm-field-missing", "Password")


def test_a_write_that_isnt_shown_again_is_well_as_long_as_the_field_is_there(script: Scripted, crm: Crm) -> None:
    fields_called(script, "Password")
    say(script, "PUT /contacts/17", {"contact": row(17)})
    crm.set_fields("17", {"Password": "s3cret"})


def test_a_write_to_a_deleted_address_is_told(script: Scripted, crm: Crm) -> None:
    fields_called(script, "Password")
    say(script, "PUT /contacts/17", {"contact": row(17, email="deleted+17@example.com")})
    with pytest.raises(Permanent, match="contact-not-found"):
        crm.set_fields("17", {"Password": "s3cret"})


# --- hooks --------------------------------------------------------------------------------------------------------


def test_a_hook_is_told_of_all_but_our_own_writes(script: Scripted, crm: Crm) -> None:
    """Without the source `api` nobody is told of what came by it, as ours does."""
    say(script, "GET /webhooks", {"webhooks": [], "meta": {"total": "0"}})
    say(script, "POST /webhooks", {"webhook": {"id": "4", "url": "https://x.example/hooks/s"}}, 201)
    assert crm.make_hook("https://x.example/hooks/s", Happened.TAG_ADDED, "20") == Hook(
        "4", "https://x.example/hooks/s", Happened.TAG_ADDED
    )
    webhook = script.asked[-1].json["webhook"]
    assert webhook["sources"] == ["public", "admin", "system"]
    assert webhook["events"] == ["contact_tag_added"]


@pytest.mark.parametrize("sign", [{"state": "0"}, {"status": "inactive"}, {"active": False}])
def test_a_hook_that_was_switched_off_is_made_anew(script: Scripted, crm: Crm, sign: dict[str, object]) -> None:
    """After a 410 it stays listed and is silent. How a list shows that isn't documented."""
    there = {"id": "4", "url": "https://x.example/hooks/s", "events": ["contact_tag_added"], **sign}
    others = {"id": "5", "url": "https://other.example/", "events": ["sent"]}
    say(script, "GET /webhooks", {"webhooks": [there, others], "meta": {"total": "2"}})
    say(script, "DELETE /webhooks/4", {})
    say(script, "POST /webhooks", {"webhook": {"id": "6"}}, 201)

    assert [(hook.id, hook.alive) for hook in crm.hooks()] == [("4", False)]
    assert crm.make_hook("https://x.example/hooks/s", Happened.TAG_ADDED).id == "6"
    assert "DELETE /webhooks/4" in calls(script)
    assert "DELETE /webhooks/5" not in calls(script)
