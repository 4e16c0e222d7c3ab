"""What the fake Keap says is what the samples say. Where each sample is from stands in their README."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.crms.keap_client import Keap, opened, served
from tests.fakes import keap

SAMPLES = Path(__file__).parent / "samples" / "keap"
JOHN = {"id": 1001, "email": "john.smith@example.com", "first_name": "John", "last_name": "Smith"}
FIELDS = [
    {
        "id": 45,
        "label": "Favorite Color",
        "name": "FavoriteColor",
        "type": "Dropdown",
        "options": [{"id": "blue", "label": "Blue"}],
    },
    {"id": 46, "label": "Member Password"},
]
TAGS = [{"id": 91, "name": "Module_3_Has_Access", "category": 10}, {"id": 105, "name": "Blue"}]


def sample(name: str) -> Any:
    return json.loads((SAMPLES / name).read_bytes())


def at(crm: Keap, moment: str) -> None:
    """Sets the fake's clock, which stands still."""
    crm.clock(datetime.fromisoformat(moment).timestamp() - crm.clock())


@pytest.fixture
def crm() -> Iterator[Keap]:
    """An account that knows the samples' fields and tags, and nobody."""
    with served(0) as one:
        one.server.set(limits=False)
        one.server.post("/admin/keap", fields=FIELDS, tags=TAGS, categories={"10": "Access"})
        yield one


def in_order(content: Any) -> str:
    """As text, so that the order of keys counts too."""
    return json.dumps(content)


def test_v1_contacts(crm: Keap) -> None:
    at(crm, "2019-02-23T06:29:40.855Z")
    crm.person(**JOHN, fields={"Favorite Color": "blue"}, tags=["Module_3_Has_Access", "Blue"])
    marketable = [{"email": JOHN["email"], "field": "EMAIL1", "is_opt_in": True}]
    crm.server.post("/admin/keap", extras={"1001": {"email_addresses": marketable}})
    at(crm, "2019-02-23T06:29:40.856Z")
    crm.server.admin.patch("/admin/contacts/1001", json={"first_name": "John"})
    ask: dict[str, Any] = {"optional_properties": "custom_fields"}
    single = crm.v1.get("/contacts/1001", params=ask)
    assert single.text == in_order(sample("v1-contact-200.composed.json")).replace(", ", ",").replace(": ", ":")
    listed = crm.v1.get("/contacts", params=ask | {"limit": 1, "order": "id"}).text
    expected = in_order(sample("v1-contacts-list-200.composed.json"))
    theirs = listed.replace(crm.server.url, "https://api.infusionsoft.com").replace(
        "&optional_properties=custom_fields", ""
    )
    theirs = theirs.replace("optional_properties=custom_fields&", "")
    assert in_order(json.loads(theirs)) == expected


def test_v1_tags_of_a_contact(crm: Keap) -> None:
    crm.person(**JOHN)
    at(crm, "2024-03-15T10:30:00.000Z")
    crm.tag("Module_3_Has_Access", 1001)
    expected = in_order(sample("v1-contact-tags-get-200.from-spec.json"))
    assert in_order(crm.v1.get("/contacts/1001/tags").json()) == expected


def test_v1_words_for_tags(crm: Keap) -> None:
    crm.person(**JOHN, tags=["Blue"])
    asked = sample("v1-contact-tags-post.request.composed.json")
    as_map = crm.v1.post("/contacts/1001/tags", json=asked)
    assert as_map.content == (SAMPLES / "v1-contact-tags-post-200-map.composed.json").read_bytes().strip()
    crm.v1.delete("/contacts/1001/tags?ids=91")
    crm.server.set(tag_results="list")
    as_list = crm.v1.post("/contacts/1001/tags", json={"tagIds": [91, 105]})
    assert as_list.content == (SAMPLES / "v1-contact-tags-post-200-list.from-spec.json").read_bytes().strip()


def test_v1_hooks(crm: Keap) -> None:
    """The sample's receiver isn't of this machine, so nobody verifies it."""
    for _ in range(7):
        made = crm.v1.post("/hooks", json=sample("v1-hook-create.request.composed.json"))
    assert made.content == (SAMPLES / "v1-hook-create-200.composed.json").read_bytes().strip()


def test_v2_list_of_contacts(crm: Keap) -> None:
    at(crm, "2024-03-15T10:30:00.000Z")
    crm.person(**JOHN, fields={"Favorite Color": "blue"}, tags=["Module_3_Has_Access", "Blue"])
    crm.person(**JOHN | {"id": 1002, "email": "ada@example.com"})
    ask = "id,given_name,family_name,email_addresses,custom_fields,tag_ids,update_time"
    answer = crm.v2.get("/contacts", params={"fields": ask})
    assert answer.content == (SAMPLES / "v2-contacts-list-200.composed.json").read_bytes().strip()


def test_v2_contact_with_everything(crm: Keap) -> None:
    expected = sample("v2-contact-full-200.from-spec.json")
    at(crm, "2024-01-10T08:00:00Z")
    crm.person(**JOHN, fields={"Favorite Color": "blue"}, tags=["Module_3_Has_Access", "Blue"])
    crm.server.post("/admin/keap", extras={"1001": expected})
    at(crm, "2024-03-15T10:30:00Z")
    crm.server.admin.patch("/admin/contacts/1001", json={})
    crm.server.set(milliseconds=False, v2_unset_field="empty")
    assert crm.v2.get("/contacts/1001", params={"fields": ",".join(expected)}).json() == expected


def test_v2_contacts_are_written_as_the_samples_have_it(crm: Keap) -> None:
    made = crm.v2.post("/contacts", json=sample("v2-contact-create.request.composed.json"))
    assert made.status_code == 201
    crm.v2.patch(f"/contacts/{made.json()['id']}", json=sample("v2-contact-patch-customfields.request.composed.json"))
    truth = crm.server.truth(made.json()["id"])
    assert truth["fields"] == {"Favorite Color": "blue", "Member Password": "s3cret-Generated-9"}
    assert (truth["email"], truth["first_name"]) == ("ada@example.com", "Ada")


def test_v2_model(crm: Keap) -> None:
    answer = crm.v2.get("/contacts/model")
    assert answer.content == (SAMPLES / "v2-contacts-model-200.composed.json").read_bytes().strip()


def test_v2_tags(crm: Keap) -> None:
    times = {"created": datetime.fromisoformat("2024-01-10T08:00:00Z").timestamp()}
    times["updated"] = datetime.fromisoformat("2024-03-15T10:30:00Z").timestamp()
    vip = {"id": 123, "name": "VIP Customer", "description": "High-value customers", "category": 10, "times": times}
    crm.server.post("/admin/keap", tags=[vip])
    crm.server.set(milliseconds=False)
    answer = crm.v2.get("/tags?filter=tag_ids%3D%3D123")
    assert answer.content == (SAMPLES / "v2-tags-list-200.from-spec.json").read_bytes().strip()


def test_v2_contacts_of_a_tag(crm: Keap) -> None:
    crm.person(**JOHN)
    at(crm, "2023-10-01T12:00:00Z")
    crm.tag("Blue", 1001)
    crm.server.set(milliseconds=False)
    answer = crm.v2.get("/tags/105/contacts")
    assert answer.content == (SAMPLES / "v2-tag-contacts-list-200.from-spec.json").read_bytes().strip()


def test_v2_apply_tags(crm: Keap) -> None:
    crm.person(**JOHN)
    crm.person(**JOHN | {"id": 1002}, tags=["Blue"])
    answer = crm.v2.post("/tags/105/contacts:applyTags", json=sample("v2-applyTags.request.composed.json"))
    assert answer.content == (SAMPLES / "v2-applyTags-200-partial.composed.json").read_bytes().strip()


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("error-401-no-token.partly-real.json", {}),
        ("error-401-bad-token.real.json", {"Authorization": "Bearer guess"}),
        ("error-401-expired.composed.json", {"Authorization": f"Bearer {keap.ACCESS_TOKEN}"}),
    ],
)
def test_refused_keys(crm: Keap, name: str, headers: dict[str, str]) -> None:
    crm.server.post("/admin/tokens/expire")
    answer = httpx.get(f"{crm.server.url}{keap.V2}/contacts", headers=headers)
    assert (answer.status_code, answer.content) == (401, (SAMPLES / name).read_bytes().strip())


def test_refused_calls(crm: Keap) -> None:
    missing = crm.v2.get("/contacts/4711")
    assert (missing.status_code, missing.content) == (
        404,
        (SAMPLES / "error-404-app.composed.json").read_bytes().strip(),
    )
    for body, name in (("quota", "error-429-quota.real.json"), ("apigee", "error-429-apigee.composed.json")):
        crm.server.set(limits=True, day_used=30_000, limit_body=body)
        limited = crm.v2.get("/contacts")
        assert (limited.status_code, limited.content) == (429, (SAMPLES / name).read_bytes().strip())


def test_headers_of_limits(crm: Keap) -> None:
    """Names, and how values are written. One more than the sample: the spike limit, which was measured too."""
    pairs = [line.split(": ", 1) for line in (SAMPLES / "headers-limits.composed.txt").read_text().splitlines() if line]
    sent = {name: value for name, value in crm.v2.get("/tags").headers.items() if name.startswith("x-keap-")}
    assert [name for name in sent if name != "x-keap-product-spike-limit"] == [name for name, _ in pairs]
    fixed = ("-limit", "-unit", "-interval", "-id")
    assert all(sent[name] == value for name, value in pairs if name.endswith(fixed))
    bars = {name for name, value in pairs if "|" in value}
    assert {name for name, value in sent.items() if "|" in value} == bars
    assert len(sent["x-keap-product-quota-expiry-time"]) == len(dict(pairs)["x-keap-product-quota-expiry-time"])


def test_a_pair_of_tokens(crm: Keap) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": keap.REFRESH_TOKEN}
    pair = httpx.post(f"{crm.server.url}/token", data=form, auth=(keap.CLIENT_ID, keap.CLIENT_SECRET)).json()
    expected = sample("oauth-token-200.composed.json")
    assert list(pair) == list(expected)
    same = ("token_type", "expires_in", "scope")
    assert {name: pair[name] for name in same} == {name: expected[name] for name in same}


def test_the_automation_step() -> None:
    """“Send HTTP POST”: form pairs, the contact's id first, under one of four names (facts 1.2)."""
    fake = keap.Fake()
    headers, body = fake.hook(1001, {})
    assert (headers, body) == (keap.FORM, (SAMPLES / "http-post-snippet.composed.form").read_bytes())
    assert fake.hook(1001, {"name": "Id", "pairs": {"plan": "a b"}})[1] == b"Id=1001&plan=a+b"
    fake.book.add(0, "test", **JOHN)
    legacy = b"Contact0Id=1001&Contact0Email=john.smith%40example.com&Contact0FirstName=John&Contact0LastName=Smith"
    assert fake.hook(1001, {"name": "Contact0Id"})[1] == legacy


def test_the_verification_of_a_hook() -> None:
    name, secret = (SAMPLES / "resthook-verify-headers.composed.txt").read_text().strip().split(": ")
    headers, body = keap.Fake().hook(0, {"kind": "verify", "secret": secret})
    assert (headers[name], body) == (secret, (SAMPLES / "resthook-verify.composed.json").read_bytes())


def test_an_event_of_tags() -> None:
    _, body = keap.Fake().hook(1001, {"kind": "contactGroup.applied", "tag": 91, "more": [1002]})
    assert body == (SAMPLES / "resthook-contactGroup.applied.composed.json").read_bytes()


def test_one_process_serves_it(crm: Keap) -> None:
    """The admin API fires the step at a receiver: here the fake itself, which answers like any other."""
    fired = crm.server.post("/admin/fire", url=f"{crm.server.url}/token", contacts=[1001, 1002], concurrency=2)
    assert fired == {"statuses": {"400": 2}}
    with opened(crm.server, "guess") as stranger:
        assert stranger.v1.get("/contacts").status_code == 401
