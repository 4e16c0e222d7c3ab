"""How tags and fields are written at Ontraport, each by an answer that shows it."""

from typing import Any

import pytest

from tagwarden.core.errors import NeedsSetting, Permanent, Retryable
from tagwarden.crms import base
from tagwarden.crms.ontraport import Crm
from tests.crms.ontraport_script import FIELDS, TAGS, Ontraport, crm, envelope, row, sample, server
from tests.crms.scripted import Answer, Asked

__all__ = ["crm", "server"]


# --- tags and fields -------------------------------------------------------------------------------------------


def test_tags_of_other_objects_are_left_out(server: Ontraport, crm: Crm) -> None:
    assert crm.list_tags() == {"15": "Gold", "22": "Module 3"}


def test_a_row_of_tags_without_its_id_is_a_broken_answer(server: Ontraport, crm: Crm) -> None:
    server.on("GET Tags", envelope([{"tag_name": "Gold", "object_type_id": "0"}]))
    with pytest.raises(Retryable):
        crm.list_tags()


@pytest.mark.parametrize(
    "data", [{"tag_name": "New", "tag_id": "31"}, {"tag_id": 31, "id": "9"}, {"id": "31"}, {"attrs": {"id": 31}}]
)
def test_a_tag_is_made_with_only_its_name(server: Ontraport, crm: Crm, data: Any) -> None:
    server.on("POST Tags", envelope(data))
    assert crm.make_tag("New") == "31"
    assert server.asked[0].json == {"tag_name": "New"}


def test_a_made_tag_without_an_id_is_a_broken_answer(server: Ontraport, crm: Crm) -> None:
    server.on("POST Tags", envelope({"tag_name": "New"}))
    with pytest.raises(Retryable):
        crm.make_tag("New")


def test_tags_are_put_on_and_taken_off_fifty_at_a_time(server: Ontraport, crm: Crm) -> None:
    """The vendor's SDK: ids and lists joined by commas, a body also on DELETE; the answer says that it is worked on."""
    server.on("PUT objects/tag", sample("tag-add-or-remove-200.fixture.json"))
    server.on("DELETE objects/tag", sample("tag-add-or-remove-200.fixture.json"))
    assert crm.add_tag("15", ["526", "527"]) == {"526", "527"}
    assert crm.remove_tag("22", ["526"]) == {"526"}

    common = {"objectID": 0, "background_request": True}
    assert server.to("PUT objects/tag")[0].json == {"ids": "526,527", "add_list": "15"} | common
    assert server.to("DELETE objects/tag")[0].json == {"ids": "526", "remove_list": "22"} | common
    assert Crm.tags_at_once == 50


def test_a_tag_that_is_gone_is_told_though_the_call_would_be_taken(server: Ontraport, crm: Crm) -> None:
    """Since the answer comes before the work, the list of tags is asked."""
    server.on("PUT objects/tag", sample("tag-add-or-remove-200.fixture.json"))
    with pytest.raises(NeedsSetting) as error:
        crm.add_tag("99", ["526"])
    assert error.value.reason == "crm-tag-missing"
    assert server.to("PUT objects/tag") == []


def test_a_tag_that_was_made_a_moment_ago_elsewhere_is_known(server: Ontraport, crm: Crm) -> None:
    crm.tag_names.all()
    server.on("GET Tags", envelope([*TAGS, {"tag_id": "31", "tag_name": "New", "object_type_id": "0"}]))
    server.on("PUT objects/tag", sample("tag-add-or-remove-200.fixture.json"))
    assert crm.add_tag("31", ["526"]) == {"526"}


def test_a_tag_call_refused_for_one_that_is_gone_is_made_for_the_others(server: Ontraport, crm: Crm) -> None:
    """Not published: what a tag call with a contact that is gone answers."""
    gone, done = sample("error-404.txt"), sample("tag-add-or-remove-200.fixture.json")
    for path in ("PUT objects/tag", "DELETE objects/tag"):
        server.on(path, done)
    usual = server.server.answer

    def answer(asked: Asked) -> Answer:
        taken = usual(asked)
        refused = asked.path.endswith("objects/tag") and "3" in asked.json["ids"].split(",")
        return Answer(gone, 404) if refused else taken

    server.server.answer = answer  # type: ignore[method-assign]
    assert crm.add_tag("15", ["1", "2", "3", "4", "5"]) == {"1", "2", "4", "5"}
    assert crm.remove_tag("15", ["3", "4"]) == {"4"}


def test_to_take_off_a_tag_that_is_gone_is_done(server: Ontraport, crm: Crm) -> None:
    server.on("DELETE objects/tag", "Invalid tag", status=400)
    assert crm.remove_tag("99", ["526"]) == {"526"}
    with pytest.raises(base.Refused):
        crm.remove_tag("15", ["526"])


def test_fields_are_those_that_can_be_written_as_text(server: Ontraport, crm: Crm) -> None:
    """Captured: `editable` is null for some fields; a parent holds another record's id."""
    assert set(crm.list_fields()) == {"firstname", "country", "f1557", "f1558", "f1560", "f1561"}


def test_the_fields_of_the_vendors_own_fixture_are_read(server: Ontraport, crm: Crm) -> None:
    server.on("GET objects/meta", sample("meta-byId-200.fixture.json"))
    assert crm.list_fields() == {"firstname": "First Name"}


def test_meta_of_one_object_may_come_as_a_list(server: Ontraport, crm: Crm) -> None:
    """PHP writes {"0": …} as a list."""
    server.on("GET objects/meta", envelope([{"name": "Contact", "fields": FIELDS}]))
    assert crm.has_field("losung")


@pytest.mark.parametrize("data", [[], {}, None, {"146": {"fields": {}}}, {"0": []}, {"0": {"fields": []}}, [None]])
def test_meta_without_the_contacts_fields_is_a_broken_answer(server: Ontraport, crm: Crm, data: Any) -> None:
    server.on("GET objects/meta", envelope(data))
    with pytest.raises(Retryable) as error:
        crm.has_field("Losung")
    assert error.value.reason == "crm-answer-broken"


def test_odd_fields_are_passed_over(server: Ontraport, crm: Crm) -> None:
    odd = {"f1": None, "f2": {"alias": None, "type": "text"}, "f3": {"alias": " "}, "f4": {"alias": "Ok"}, "f5": []}
    server.on("GET objects/meta", envelope({"0": {"fields": odd}}))
    assert crm.list_fields() == {"f4": "Ok"}


def test_a_field_is_made_in_a_section_of_ours(server: Ontraport, crm: Crm) -> None:
    """ "Create fields and sections": three columns of fields."""
    server.on("POST objects/fieldeditor", sample("fieldeditor-create-200.fixture.json"))
    crm.make_field("Member Password")
    assert server.to("POST objects/fieldeditor")[0].json == {
        "objectID": 0,
        "name": "Tagwarden",
        "fields": [[{"alias": "Member Password", "type": "text"}], [], []],
    }
    crm.make_field("LOSUNG")
    assert len(server.to("POST objects/fieldeditor")) == 1


def test_a_field_that_wasnt_made_is_told(server: Ontraport, crm: Crm) -> None:
    server.on("POST objects/fieldeditor", envelope({"success": [], "error": [{"alias": "Member Password"}]}))
    with pytest.raises(Permanent) as error:
        crm.make_field("Member Password")
    assert error.value.reason == "crm-refused"


def test_a_field_that_somebody_else_made_meanwhile_is_well(server: Ontraport, crm: Crm) -> None:
    more = FIELDS | {"f1600": {"alias": "Member Password", "type": "text", "editable": "1"}}
    usual, later = envelope({"0": {"fields": FIELDS}}), envelope({"0": {"fields": more}})
    server.on("GET objects/meta", usual, later)
    server.on("POST objects/fieldeditor", envelope({"success": [], "error": ["It is there already"]}))
    crm.make_field("Member Password")


# --- writing ---------------------------------------------------------------------------------------------------


def wrote(**attrs: Any) -> dict[str, Any]:
    return envelope({"attrs": {"dlm": "1760692456", **attrs, "id": "526"}})


def test_a_field_is_written_by_its_column_and_nothing_else_is_sent(server: Ontraport, crm: Crm) -> None:
    """A blank that is sent erases, so only what is meant is sent."""
    server.on("PUT objects", wrote(f1557="n3w"))
    crm.set_fields("526", {"losung": "n3w"})
    assert server.to("PUT objects")[0].json == {"objectID": 0, "id": 526, "f1557": "n3w"}
    assert server.to("GET Contact") == []


def test_an_option_is_written_by_its_id(server: Ontraport, crm: Crm) -> None:
    server.on("PUT objects", wrote(f1560="4"))
    crm.set_fields("526", {"Level": "silver"})
    assert server.to("PUT objects")[0].json["f1560"] == "4"


@pytest.mark.parametrize("data", [{"attrs": {"id": "526"}}, {"attrs": []}, {}, [], "Updated", None])
def test_a_field_that_the_answer_leaves_out_is_read_back_once(server: Ontraport, crm: Crm, data: Any) -> None:
    """Captured: `attrs` has only what changed. What is missing was the same before, or was ignored."""
    server.on("PUT objects", envelope(data))
    server.on("GET Contact", envelope(row(526, f1557="n3w")))
    crm.set_fields("526", {"Losung": "n3w"})
    assert len(server.to("GET Contact")) == 1

    with pytest.raises(Retryable) as error:
        crm.set_fields("526", {"Losung": "other-Secret"})
    assert (error.value.reason, error.value.detail["field"]) == ("crm-value-not-kept", "Losung")
    assert "other-Secret" not in f"{error.value!r}{error.value.detail}"


def test_a_value_that_is_put_into_another_form_was_kept(server: Ontraport, crm: Crm) -> None:
    """Captured: "Australia" was sent, "AU" is stored."""
    server.on("PUT objects", wrote())
    server.on("GET Contact", envelope(row(526, country="AU", f1558="10.00")))
    crm.set_fields("526", {"Country": "Australia"})
    crm.set_fields("526", {"Points": "10"})
    server.on("GET Contact", envelope(row(526, country="", f1558="0")))
    for label, value in [("Country", "Australia"), ("Points", "10")]:
        with pytest.raises(Retryable):
            crm.set_fields("526", {label: value})
    crm.set_fields("526", {"Points": ""})


def test_a_field_that_is_gone_and_silently_ignored_is_told(server: Ontraport, crm: Crm) -> None:
    crm.field_names.all()
    fewer = {name: one for name, one in FIELDS.items() if name != "f1557"}
    server.on("GET objects/meta", envelope({"0": {"fields": fewer}}))
    server.on("PUT objects", wrote())
    server.on("GET Contact", envelope(row(526)))
    with pytest.raises(NeedsSetting) as error:
        crm.set_fields("526", {"Losung": "n3w"})
    assert (error.value.reason, error.value.detail["field"]) == ("crm-field-missing", "Losung")


def test_a_field_that_is_gone_and_refused_is_told(server: Ontraport, crm: Crm) -> None:
    crm.field_names.all()
    fewer = {name: one for name, one in FIELDS.items() if name != "f1557"}
    server.on("GET objects/meta", envelope({"0": {"fields": fewer}}))
    server.on("PUT objects", "Invalid query", status=400)
    with pytest.raises(NeedsSetting):
        crm.set_fields("526", {"Losung": "n3w"})
    with pytest.raises(base.Refused):
        crm.set_fields("526", {"Country": "XX"})


def test_a_password_is_in_nothing_that_went_wrong(server: Ontraport, crm: Crm) -> None:
    server.on("PUT objects", "Invalid value the-secret-word", status=422)
    with base.recording() as calls, pytest.raises(base.Refused) as error:
        crm.set_fields("526", {"Losung": "the-secret-word"})
    told = f"{error.value!r} {error.value} {error.value.detail} {base.as_rows(calls)}"
    assert "the-secret-word" not in told
    assert any(call.what == "Write Losung" for call in calls)
