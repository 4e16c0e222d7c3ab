"""The fake of Ontraport answers as the samples do, key by key. Where those are from: samples/ontraport/README.md."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crms.ontraport_api import Api, condition, serving
from tests.fakes.ontraport import Fake

SAMPLES = Path(__file__).parent / "samples" / "ontraport"


def raw(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def sample(name: str) -> Any:
    return json.loads(raw(name))


def shape(content: Any) -> Any:
    """Keys in their order and types, without the values."""
    if isinstance(content, dict):
        return [(key, shape(value)) for key, value in content.items()]
    if isinstance(content, list):
        return [shape(value) for value in content]
    return type(content).__name__


@pytest.fixture(scope="module")
def shared() -> Iterator[Api]:
    with serving() as api:
        yield api


@pytest.fixture
def api(shared: Api) -> Api:
    shared.as_usual()
    return shared


def own(api: Api, row: dict[str, Any], *names: str) -> None:
    """Gives the account these columns of its own; what a row shows is what a contact shows at first."""
    columns = []
    for name in names:
        value = row.get(name, "0")
        columns.append({"name": name, "alias": f"Column {name}", "initial": value if value is None else str(value)})
    assert api.fake.admin.put("/admin/columns", json={"columns": columns}).is_success


def reply(api: Api, method: str, path: str, content: object = None) -> Any:
    answer = api.client.request(method, path, json=content)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_single_read_is_the_captured_one(api: Api) -> None:
    """contact-get-200.real.json: each key in its place with its value; only the two moments are of our clock."""
    whole = sample("contact-get-200.real.json")
    row = whole["data"]
    names = list(row)
    own(api, row, *names[names.index("last_currency_used") + 1 :])
    meta = api.get("objects/meta", objectID=0, format="byId")["0"]["fields"]
    ours = {"id", "firstname", "lastname", "email", "date", "dlm", "contact_cat", *names[names.index("f2147") :]}
    fields = {meta[name]["alias"]: row[name] for name in names if name not in ours and row[name] is not None}
    api.fake.post("/admin/tags", id=15, name="Gold")
    person = {"id": 526, "email": row["email"], "first_name": "Ada", "last_name": "Example"}
    api.fake.post("/admin/contacts", contacts=[{**person, "fields": fields, "tags": ["Gold"]}])
    answer = reply(api, "GET", "Contact?id=526")
    assert [*answer] == [*whole]
    assert answer["account_id"] == whole["account_id"]
    assert list(answer["data"])[: len(names)] == names
    found = {name: answer["data"][name] for name in names}
    assert shape(found) == shape(row)
    assert found == {**row, "date": found["date"], "dlm": found["dlm"]}


def test_save_or_update_of_a_known_contact_is_the_captured_one(api: Api) -> None:
    """saveorupdate-existing: byte for byte but for dlm."""
    sent = sample("saveorupdate-existing.request.json")
    own(api, {"f3099": sent["f3099"]}, "f3099")
    known = {"SMS Number": sent["sms_number"]}
    person = {"id": 527, "email": "ada.b@example.com", "first_name": "Ada", "last_name": "Example", "fields": known}
    api.fake.post("/admin/contacts", contacts=[person])
    answer = api.client.post("Contacts/saveorupdate", json={**sent, "email": "ada.b@example.com"})
    expected = raw("saveorupdate-existing-200.real.json").replace(b'"526"', b'"527"')
    dlm = answer.json()["data"]["attrs"]["dlm"].encode()
    assert answer.content == expected.strip().replace(b"1760692428", dlm)


def test_a_create_shows_the_captured_keys(api: Api) -> None:
    """object-create: a custom object there, a contact here, which has use_utm_names besides."""
    sent, expected = sample("object-create.request.json"), sample("object-create-200.real.json")
    own(api, expected["data"], *sent, "f2249", "f2250")
    answer = reply(api, "POST", "Contacts", sent)
    assert answer["data"].pop("use_utm_names") == "false"
    assert shape(answer) == shape(expected)
    assert {name: answer["data"][name] for name in sent} == sent


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Contacts", "contact-create-200.fixture.json"),
        ("Contacts/saveorupdate", "saveorupdate-new-200.fixture.json"),
    ],
)
def test_a_create_has_the_keys_of_the_fixtures_in_their_order(api: Api, path: str, name: str) -> None:
    """The author of these fixtures had cut them down."""
    expected = sample(name)
    content = {key: expected["data"][key] for key in ("firstname", "lastname")}
    answer = reply(api, "POST", path, content)
    shown = {key: value for key, value in answer["data"].items() if key in expected["data"]}
    assert [*shown] == [*expected["data"]]
    assert {**shown, "id": "x"} == {**expected["data"], "id": "x"}
    assert [*answer] == [*expected]


def test_a_list_is_the_captured_one(api: Api) -> None:
    """object-list: a number among texts, a relation's column, an envelope with misc."""
    expected = sample("object-list-200.real.json")
    (row,) = expected["data"]
    own(api, row, *(name for name in row if name.startswith(("f", "page_"))))
    who = api.someone()
    api.wait(4)
    answer = reply(api, "GET", f"Contacts?ids={who}&listFields={','.join(row)}")
    assert shape(answer) == shape(expected)
    assert answer["data"][0]["contact_cat"] == "*/*"


def test_a_list_of_two_is_the_fixture(api: Api) -> None:
    """contacts-list: byte for byte."""
    api.fake.set(account_id=50)
    for number, first in ((8, "unitUpdated"), (10, "unit")):
        api.someone(id=number, first_name=first, last_name="test", email=f"unit.{number}@example.com")
    answer = api.client.get("Contacts?ids=8,10&listFields=id,owner,firstname,lastname")
    assert answer.content == raw("contacts-list-200.fixture.json").strip()
    found = api.client.get("object/getByEmail?objectID=0&email=unit.10@example.com")
    assert found.content == raw("getByEmail-200.fixture.json").strip()
    counted = api.client.get("Contacts/getInfo", params={"condition": condition(("id", "IN", [8, 10]))})
    assert counted.content == raw("getInfo-200.fixture.json").strip()
    api.send("PUT", "Contacts", id=8, firstname="unit")
    updated = api.client.put("Contacts", json={"id": 8, "firstname": "unitUpdated"})
    dlm = updated.json()["data"]["attrs"]["dlm"].encode()
    assert updated.content == raw("contact-update-200.fixture.json").strip().replace(b"1538154601", dlm)
    deleted = api.client.request("DELETE", "Contacts", json={"ids": "8,10"})
    assert deleted.content == raw("contacts-delete-200.fixture.json").strip()


def test_an_update_has_the_owners_columns_behind_dlm(api: Api) -> None:
    """object-update: byte for byte but for dlm."""
    own(api, {}, "f2261", "f2708")
    api.someone(id=733)
    answer = api.client.put("objects", json={"objectID": 0, "id": 733, "f2261": "152", "f2708": "328"})
    dlm = answer.json()["data"]["attrs"]["dlm"].encode()
    assert answer.content == raw("object-update-200.real.json").strip().replace(b"1760692456", dlm)


def test_nothing_and_refusals_are_byte_for_byte_those(api: Api) -> None:
    """list-empty, error-400, error-404."""
    assert api.client.get("Contacts?ids=999999").content == raw("list-empty-200.real.json").strip()
    assert api.client.get("Contacts?condition=x").content == raw("error-400.real.txt").strip()
    assert api.client.get("Contact?id=999999").content == raw("error-404.txt").strip()


def test_columns_are_described_as_in_the_fixture(api: Api) -> None:
    """meta-byId and fieldeditor-create: objects and their columns; the first column made is f1557."""
    expected = sample("meta-byId-200.fixture.json")
    column = {"name": "f1568", "alias": "fdsfa", "kind": "parent", "parent": "10000"}
    assert api.fake.admin.put("/admin/columns", json={"columns": [column]}).is_success
    answer = reply(api, "GET", "objects/meta?format=byId")
    assert [*answer["data"]] == [*expected["data"]]
    for number, about in expected["data"].items():
        assert [*answer["data"][number]] == [*about]
        for name, described in about["fields"].items():
            found = answer["data"][number]["fields"][name]
            assert (found, [*found]) == ({**described, "alias": found["alias"]}, [*described])
    api.fake.set(account_id=50)
    own(api, {})
    content = {"objectID": 0, "name": "Contact Information", "fields": [[{"alias": "string", "type": "text"}], [], []]}
    made = api.client.post("objects/fieldeditor", json=content)
    assert made.content == raw("fieldeditor-create-200.fixture.json").strip()


@pytest.mark.parametrize(("method", "verb"), [("PUT", "add"), ("DELETE", "remove")])
def test_tagging_is_answered_as_in_the_fixture(api: Api, method: str, verb: str) -> None:
    """tag-add-or-remove, to the composed requests, byte for byte."""
    api.fake.set(account_id=187157)
    answer = api.client.request(method, "objects/tag", content=raw(f"tag-{verb}-bulk.request.composed.json"))
    assert answer.content == raw("tag-add-or-remove-200.fixture.json").strip()


def test_the_composed_update_is_understood(api: Api) -> None:
    """contact-update.request.composed.json."""
    own(api, {"f1557": ""}, "f1557")
    sent = sample("contact-update.request.composed.json")
    sent["id"] = api.someone()
    assert reply(api, "PUT", "objects", sent)["data"]["attrs"]["f1557"] == sent["f1557"]


def test_subscriptions_are_answered_as_in_the_fixtures(api: Api) -> None:
    """webhook-subscribe (the id is a number there) and webhooks-list (a text), byte for byte."""
    api.fake.set(account_id=187157)
    for url in ("google.com", "yahoo.com"):
        answer = api.client.post("Webhook/subscribe", data={"url": url, "event": "object_create(0)"})
    assert answer.content == raw("webhook-subscribe-200.fixture.json").strip()
    assert api.client.get("Webhooks").content == raw("webhooks-list-200.fixture.json").strip()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("bare", "webhook-automation-seed.composed.txt"),
        ("bare-crlf", "webhook-automation-seed-newline.composed.txt"),
        ("pairs", "webhook-automation-pairs.composed.form"),
        ("subscription", "webhook-subscription-sub_tag.composed.json"),
    ],
)
def test_webhooks_are_byte_for_byte_the_composed_ones(kind: str, name: str) -> None:
    """webhook-*: what each says of contact 526."""
    fake = Fake()
    fake.account.tags[15] = "Gold"
    person = {"id": 526, "email": "ada.example@example.com", "first_name": "Ada", "last_name": "Example"}
    fake.account.add(1760692404, "first", **person, tags={15: 1760692404.0})
    event = {"kind": kind, "type": "sub_tag", "tag_id": 15, "webhook_id": 3, "timestamp": 1760692406}
    expected = raw(name)
    assert fake.hook(526, event)[1] == (expected if name.endswith(".txt") else expected.strip())
