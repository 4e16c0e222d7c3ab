"""The fake Kit writes as Kit does, singly and in bulk, and answers in the shapes of its samples."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.crms.kit_serving import Kit, receiving, sample, serving

MADE = datetime(2023, 2, 17, 11, 43, 55, tzinfo=UTC).timestamp()


@pytest.fixture
def kit() -> Iterator[Kit]:
    with serving() as running:
        yield running


def upsert(kit: Kit, **content: Any) -> Any:
    return kit.api.post("/v4/subscribers", json={"email_address": "ann@example.com", **content})


# --- singly --------------------------------------------------------------------------------------------------------


def test_creating_is_an_upsert_by_address(kit: Kit) -> None:
    """2.4: 201 new and active; 200 known, with another name and the same state."""
    made = upsert(kit, first_name="Ann")
    assert (made.status_code, made.json()["subscriber"]["state"]) == (201, "active")
    known = upsert(kit, first_name="Anna", email_address="ANN@example.com", state="cancelled")
    assert (known.status_code, known.json()["subscriber"]) == (
        200,
        made.json()["subscriber"] | {"first_name": "Anna"},
    )
    inactive = upsert(kit, email_address="bea@example.com", state="inactive")
    assert (inactive.status_code, inactive.json()["subscriber"]["state"]) == (201, "inactive")
    bad = upsert(kit, email_address="no address")
    assert (bad.status_code, bad.json()) == (422, sample("v4-create-subscriber-422.json"))


def test_a_field_that_is_not_there_is_dropped_with_a_warning(kit: Kit) -> None:
    """2.4 and 0.11: ignored and warned of; silently (a switch); or 422 (a switch), and then nothing is stored."""
    kit.field("Town")
    fields = {"town": "Kiel", "password": "secret"}
    answer = upsert(kit, fields=fields)
    assert answer.status_code == 201
    assert answer.json()["subscriber"]["fields"] == {"town": "Kiel"}
    assert "password" in answer.json()["warnings"][0]
    kit.set(unknown_fields="drop")
    assert "warnings" not in upsert(kit, fields=fields).json()
    kit.set(unknown_fields="refuse")
    refused = upsert(kit, email_address="bea@example.com", fields=fields)
    assert (refused.status_code, len(refused.json()["errors"])) == (422, 1)
    assert len(kit.read("/v4/subscribers", status="all")["subscribers"]) == 1


def test_values_are_strings_and_unset_ones_null(kit: Kit) -> None:
    """2.4; a list leaves unset ones out, as its sample does, or names them (a switch)."""
    kit.names(fields={"1": "Town", "2": "Age"})
    made = upsert(kit, fields={"age": 40}).json()["subscriber"]
    assert made["fields"] == {"age": "40", "town": None}
    assert kit.read("/v4/subscribers")["subscribers"][0]["fields"] == {"age": "40"}
    kit.set(unset_in_list=True)
    assert kit.read("/v4/subscribers")["subscribers"][0]["fields"] == {"age": "40", "town": None}
    assert upsert(kit, fields={"age": ""}).json()["subscriber"]["fields"]["age"] is None
    kit.set(empty_is_null=False)
    assert kit.read(f"/v4/subscribers/{made['id']}")["subscriber"]["fields"]["age"] == ""


def test_more_than_ten_fields_are_stored_later(kit: Kit) -> None:
    """2.4: 202 and the state before; visible after a while; at most 140."""
    kit.set(speed=0)
    kit.names(fields={str(n): f"Field {n}" for n in range(1, 12)})
    values = {f"field_{n}": "x" for n in range(1, 12)}
    answer = upsert(kit, fields=values)
    assert (answer.status_code, set(answer.json()["subscriber"]["fields"].values())) == (202, {None})
    path = f"/v4/subscribers/{answer.json()['subscriber']['id']}"
    kit.later(9)
    assert set(kit.read(path)["subscriber"]["fields"].values()) == {None}
    kit.later(1)
    assert kit.read(path)["subscriber"]["fields"] == values
    put = kit.api.put(path, json={"email_address": "ann@example.com", "fields": dict.fromkeys(values, "y")})
    assert (put.status_code, put.json()["subscriber"]["fields"]) == (202, values)
    assert upsert(kit, fields={f"f{n}": "x" for n in range(141)}).status_code == 422


def test_an_update_needs_the_address_which_must_be_free(kit: Kit) -> None:
    """2.4: email_address is required (a switch lets it be left out); one that is taken answers 422."""
    ann = kit.person()
    kit.person("bea@example.com")
    path = f"/v4/subscribers/{ann}"
    assert kit.api.put(path, json={"first_name": "A"}).status_code == 422
    taken = kit.api.put(path, json={"email_address": "bea@example.com"})
    assert (taken.status_code, taken.json()) == (422, {"errors": ["Email address has already been taken"]})
    moved = kit.api.put(path, json={"email_address": "new@example.com", "first_name": "A"})
    assert (moved.status_code, kit.truth(ann)["email"]) == (200, "new@example.com")
    kit.set(put_needs_email=False)
    assert kit.api.put(path, json={"first_name": "B"}).status_code == 200
    assert kit.truth(ann)["first_name"] == "B"


def test_tagging_tells_new_from_known(kit: Kit) -> None:
    """2.4: 201 and 200, by id or address; 204 off; 404 for what there is not; 422 without either."""
    ann, gold = kit.person(), kit.tag("Gold")
    path, by_email = f"/v4/tags/{gold}/subscribers/{ann}", f"/v4/tags/{gold}/subscribers"
    assert [kit.api.post(path, json={}).status_code for _ in range(2)] == [201, 200]
    assert kit.truth(ann)["tags"] == ["Gold"]
    assert kit.api.request("DELETE", by_email, json={"email_address": "ann@example.com"}).status_code == 204
    assert kit.truth(ann)["tags"] == []
    assert kit.api.post(by_email, json={"email_address": "ann@example.com"}).status_code == 201
    assert [kit.api.delete(path).status_code for _ in range(2)] == [204, 204]
    kit.set(untag_missing_status=404)
    assert kit.api.delete(path).status_code == 404
    assert kit.api.post(by_email, json={}).status_code == 422
    assert kit.api.post(by_email, json={"email_address": "nobody@example.com"}).status_code == 404
    assert kit.api.post(f"/v4/tags/{gold}/subscribers/999").status_code == 404
    assert kit.api.post(f"/v4/tags/999/subscribers/{ann}").status_code == 404


def test_making_a_tag_or_a_field_can_be_repeated(kit: Kit) -> None:
    """2.4: 201, then 200 with the same; a field has a key of its label, and a name that stays."""
    for path, content in (("/v4/tags", {"name": "Gold"}), ("/v4/custom_fields", {"label": " Ort & Straße 1 "})):
        first, second = kit.api.post(path, json=content), kit.api.post(path, json=content)
        assert (first.status_code, second.status_code, first.json()) == (201, 200, second.json())
        assert kit.api.post(path, json={}).status_code == 422
    field = first.json()["custom_field"]
    assert (field["key"], field["label"]) == ("ort_stra_e_1", "Ort & Straße 1")
    renamed = kit.api.put(f"/v4/custom_fields/{field['id']}", json={"label": "Town"}).json()["custom_field"]
    assert (renamed["key"], renamed["name"]) == ("town", field["name"])
    ann = kit.person(fields={"Town": "Kiel"})
    assert kit.api.delete(f"/v4/custom_fields/{field['id']}").status_code == 204
    assert kit.read(f"/v4/subscribers/{ann}")["subscriber"]["fields"] == {}
    assert kit.truth(ann)["fields"] == {}


def test_what_is_written_is_logged_with_who_did_it(kit: Kit) -> None:
    """5: tests tell the owner's doings from the adapter's."""
    ann, gold = kit.person(), kit.tag("Gold")
    kit.tag("Gold", ann)
    kit.api.post(f"/v4/tags/{gold}/subscribers/{ann}")
    rows = kit.admin.get("/admin/writes").json()["writes"]
    assert [(row["who"], row["what"], row["changed"]) for row in rows] == [
        ("admin", "contact-add", True),
        ("admin", "tag-add", True),
        ("api", "tag-add", False),
    ]


# --- in bulk -------------------------------------------------------------------------------------------------------

BULK = {
    "/v4/bulk/tags/subscribers": "taggings",
    "/v4/bulk/custom_fields/subscribers": "custom_field_values",
    "/v4/bulk/subscribers": "subscribers",
    "/v4/bulk/tags": "tags",
    "/v4/bulk/custom_fields": "custom_fields",
}


@pytest.mark.parametrize(("path", "key"), BULK.items())
def test_bulk_calls_are_for_tokens_and_want_entries(kit: Kit, path: str, key: str) -> None:
    """0.10 and 2.4: a key gets 401; an empty list or none 422."""
    refused = kit.api.post(path, json={key: [{}]})
    assert (refused.status_code, refused.json()) == (401, {"errors": ["The access token is invalid"]})
    for content in ({key: []}, {}, {key: {}}):
        empty = kit.app.post(path, json=content)
        assert (empty.status_code, empty.json()) == (
            422,
            {"errors": [f"No {key.replace('_', ' ')} included for processing"]},
        )


def test_bulk_tagging_succeeds_in_part(kit: Kit) -> None:
    """2.4: up to 100 entries answer 200, with the failures beside the results; as the samples have it."""
    kit.stand_at(MADE)
    kit.names(tags={"83": "A", "84": "B"})
    kit.person("sub@example.com", id=649, first_name="Sub")
    taggings: list[dict[str, Any]] = [{"tag_id": tag, "subscriber_id": 649} for tag in (83, 84)]
    taggings += [{"tag_id": 83, "subscriber_id": None}, {"tag_id": None, "subscriber_id": 649}]
    answer = kit.app.post("/v4/bulk/tags/subscribers", json={"taggings": taggings, "callback_url": None})
    assert (answer.status_code, answer.json()) == (200, sample("v4-bulk-tag-200.json"))
    assert kit.truth(649)["tags"] == ["A", "B"]
    off = kit.app.request("DELETE", "/v4/bulk/tags/subscribers", json={"taggings": taggings[:2]})
    assert (off.status_code, off.json()) == (200, sample("v4-bulk-untag-200.json"))
    assert kit.truth(649)["tags"] == []
    assert kit.app.post("/v4/bulk/tags/subscribers", json={}).json() == sample("v4-bulk-422.json")


def test_bulk_values_succeed_in_part(kit: Kit) -> None:
    """2.4: as the sample has it, though the order of results is not the order of entries."""
    kit.names(fields={"156": "Name", "157": "Company"})
    kit.person("sub@example.com", id=615)
    expected = sample("v4-bulk-custom-field-values-200.json")
    values = [*expected["custom_field_values"], *(one["custom_field_value"] for one in expected["failures"])]
    answer = kit.app.post("/v4/bulk/custom_fields/subscribers", json={"custom_field_values": values})
    assert answer.status_code == 200
    assert answer.json()["failures"] == expected["failures"]
    assert answer.json()["custom_field_values"] == expected["custom_field_values"][::-1]
    assert kit.truth(615)["fields"] == {"Name": "Smith", "Company": "Acme Inc"}


def test_bulk_makes_subscribers_tags_and_fields(kit: Kit) -> None:
    """2.4: existing ones are returned; a bad address is a failure; the plan's limit is a 403; tags can be deleted."""
    rows = [{"email_address": "ann@example.com", "first_name": "Ann"}, {"email_address": None}]
    made = kit.app.post("/v4/bulk/subscribers", json={"subscribers": rows}).json()
    assert [row["first_name"] for row in made["subscribers"]] == ["Ann"]
    assert made["failures"] == [{"errors": ["Email address is invalid"], "subscriber": {"email_address": None}}]
    gold = kit.tag("Gold", made["subscribers"][0]["id"])
    tags = kit.app.post("/v4/bulk/tags", json={"tags": [{"name": "New"}, {"name": "Gold"}]}).json()["tags"]
    assert (tags[0]["id"], tags[0].keys()) == (gold, {"id", "name", "created_at"})
    fields = kit.app.post("/v4/bulk/custom_fields", json={"custom_fields": [{"label": "Town"}]}).json()
    assert fields["custom_fields"][0]["key"] == "town"
    dropped = kit.app.request("DELETE", "/v4/bulk/tags", json={"tags": [{"id": gold}, {"id": 99}]}).json()
    assert dropped == {"failures": [{"errors": ["Tag does not exist"], "tag": {"id": 99}}]}
    assert kit.read("/v4/subscribers", include="tags")["subscribers"][0]["tags"] == []
    kit.set(subscriber_limit=2)
    over = kit.app.post("/v4/bulk/subscribers", json={"subscribers": rows})
    assert (over.status_code, over.json()) == (403, {"errors": ["This request would exceed your subscriber limit"]})


def test_more_than_a_hundred_entries_are_done_later_and_called_back(kit: Kit) -> None:
    """2.4: 202 with an empty body; the result is POSTed, unsigned; 413 when too much is queued."""
    kit.set(speed=0)
    people, gold = kit.people(101), kit.tag("Gold")
    taggings = [{"tag_id": gold, "subscriber_id": one} for one in people[1:]] + [{"tag_id": gold, "subscriber_id": 0}]
    with receiving() as receiver:
        content = {"taggings": taggings, "callback_url": f"{receiver.url}/done"}
        answer = kit.app.post("/v4/bulk/tags/subscribers", json=content)
        assert (answer.status_code, answer.content) == (202, b"")
        assert kit.truth(people[5])["tags"] == []
        kit.set(bulk_queue_bytes=10)
        full = kit.app.post("/v4/bulk/tags/subscribers", json=content)
        assert (full.status_code, full.json()) == (413, sample("v4-bulk-413.json"))
        kit.later(30)
        (told,) = kit.flush()
        assert kit.truth(people[5])["tags"] == ["Gold"]
        (heard,) = receiver.heard
        assert (told["kind"], heard.path) == ("callback", "/done")
        assert not [name for name in heard.headers if "signature" in name.lower()]
        assert [len(heard.content["subscribers"]), len(heard.content["failures"])] == [100, 1]


# --- samples -------------------------------------------------------------------------------------------------------

ALICE = {"email": "alice@convertkit.dev", "first_name": "Alice"}
VALUES = {"birthday": "Feb 17", "last_name": "Lamarr", "source": "landing page"}
LABELS = {"1": "Last name", "2": "Birthday", "3": "Source"}


def shape(value: Any) -> Any:
    """Keys in their order, and types; text of times and cursors is of a kind."""
    if isinstance(value, dict):
        return [(key, shape(one)) for key, one in value.items()]
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value).__name__


def same(found: Any, name: str) -> None:
    """The very values, in the very order."""
    assert found == sample(name)
    assert shape(found) == shape(sample(name))


def test_one_subscriber_reads_as_the_samples(kit: Kit) -> None:
    """5: by id, made, changed, tagged: values and order of keys."""
    kit.stand_at(MADE)
    kit.names(fields={"1": "Category"})
    kit.person(**ALICE, id=324, fields={"Category": "One"})
    same(kit.read("/v4/subscribers/324"), "v4-get-subscriber.json")
    kit.api.delete("/v4/custom_fields/1")
    kit.api.put("/v4/subscribers/324", json={"email_address": "other@example.com"})
    kit.names(tags={"1": "Gold"})
    kit.person(**ALICE, id=1246)
    same(kit.api.post("/v4/tags/1/subscribers/1246").json(), "v4-tag-subscriber-201.json")
    kit.api.put("/v4/subscribers/1246", json={"email_address": "another@example.com"})
    kit.names(fields=LABELS)
    kit.person("before@example.com", id=348)
    sent = sample("v4-update-subscriber.request.json")["fields"]
    kit.person(**ALICE, id=378)
    content = sample("v4-update-subscriber.request.json") | {"fields": {key: sent[key] for key in VALUES}}
    same(kit.api.put("/v4/subscribers/378", json=content).json(), "v4-update-subscriber-200.json")
    made = kit.api.post("/v4/subscribers", json=content | {"email_address": "x@convertkit.dev"})
    assert shape(made.json()) == shape(sample("v4-create-subscriber-201.json"))


def test_a_subscriber_with_many_fields_reads_as_the_sample(kit: Kit) -> None:
    """5: 202, all fields null, in the order of their keys."""
    kit.stand_at(MADE)
    keys = list(sample("v4-create-subscriber-202.json")["subscriber"]["fields"])
    kit.names(fields={str(n): key.replace("_", " ").capitalize() for n, key in enumerate(reversed(keys), 1)})
    kit.person("before@example.com", id=350)
    answer = kit.api.post("/v4/subscribers", json=sample("v4-create-subscriber.request.json"))
    assert (answer.status_code, len(answer.json()["warnings"])) == (202, 3)
    content = answer.json()
    del content["warnings"]
    same(content, "v4-create-subscriber-202.json")


def test_the_list_reads_as_the_sample(kit: Kit) -> None:
    """5: with everything included; the fake knows no attribution and no places, but their keys."""
    expected = sample("v4-list-subscribers-include-tags.json")
    kit.names(tags={"1": "VIP", "2": "Newsletter", "3": "Imported"}, fields={"1": "Category"})
    for row in expected["subscribers"]:
        kit.stand_at(datetime.fromisoformat(row["created_at"]).timestamp())
        fields = {"Category": "One"} if row["fields"] else {}
        tags = [tag["name"] for tag in row["tags"]]
        kit.person(row["email_address"], id=row["id"], first_name=row["first_name"], fields=fields, tags=tags)
    found = kit.read("/v4/subscribers", include="attribution,tags,location")
    for row, wanted in zip(found["subscribers"], expected["subscribers"], strict=True):
        assert list(row) == list(wanted)
        assert list(row["attribution"]) == list(wanted["attribution"])
        for name in ("id", "state", "first_name", "email_address", "created_at", "fields", "tags"):
            assert row[name] == wanted[name]
    assert shape(found["pagination"]) == shape(expected["pagination"])
    assert found["pagination"]["per_page"] == 500


def test_tags_and_fields_read_as_the_samples(kit: Kit) -> None:
    """5: lists, single ones, and cursors to the letter."""
    kit.stand_at(MADE)
    kit.names(tags={"10": "Tag A", "11": "Tag B"}, fields={"1": "Last name"})
    same(kit.read("/v4/tags"), "v4-list-tags.json")
    same(kit.read("/v4/custom_fields"), "v4-list-custom-fields.json")
    kit.names(tags={"18": "Before"}, fields={"5": "Before"})
    same(kit.api.post("/v4/tags", json={"name": "Completed"}).json(), "v4-create-tag-201.json")
    same(kit.api.post("/v4/custom_fields", json={"label": "Interests"}).json(), "v4-create-custom-field-201.json")
    same(kit.read("/v4/account"), "v4-get-account.json")


def test_the_lists_about_a_tag_read_as_the_samples(kit: Kit) -> None:
    """5: who has it, the latest first; and the tags of one."""
    kit.stand_at(MADE)
    kit.names(tags={"111": "Tag B", "112": "Tag A"}, fields={"1": "Category"})
    for number, email in ((1132, "630"), (1133, "631"), (1134, "632")):
        fields = {"Category": "One"} if number == 1134 else {}
        kit.person(f"subscriber{email}@kit.dev", id=number, tags=["Tag B"], fields=fields)
    found, expected = kit.read("/v4/tags/111/subscribers"), sample("v4-tag-subscribers.json")
    assert found["subscribers"] == expected["subscribers"]
    assert shape(found) == shape(expected)
    kit.later(-3600)
    kit.person(id=7, tags=["Tag B", "Tag A"])
    found, expected = kit.read("/v4/subscribers/7/tags"), sample("v4-subscriber-tags.json")
    assert found["tags"] == expected["tags"]
    assert shape(found) == shape(expected)
