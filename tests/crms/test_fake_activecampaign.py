"""The fake ActiveCampaign does what the facts say of the real one. Sections named are those of the facts."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.crms.conftest import FakeServer, running_fake
from tests.fakes.activecampaign import API_KEY, OTHER_KEY

SAMPLES = Path(__file__).parent / "samples" / "activecampaign"
PEOPLE = 120
ALL = {"include": "contactTags.tag,fieldValues", "limit": 100}


class Ac:
    """The fake, with a client that has a good key."""

    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake
        self.defaults: dict[str, Any] = fake.admin.get("/admin/settings").json()
        self.api = httpx.Client(base_url=f"{fake.url}/api/3", headers={"Api-Token": API_KEY})

    def close(self) -> None:
        self.api.close()

    def get(self, path: str, **query: Any) -> Any:
        answer = self.api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **content: Any) -> httpx.Response:
        return self.api.post(path, json=content)

    def tag(self, name: str, *contacts: int) -> int:
        tag: int = self.fake.post("/admin/tag", tag=name, contacts=list(contacts))["id"]
        return tag

    def field(self, label: str) -> int:
        field: int = self.fake.post("/admin/field", label=label)["id"]
        return field

    def person(self, email: str, **more: Any) -> int:
        ids: list[int] = self.fake.post("/admin/contacts", contacts=[{"email": email, **more}])["ids"]
        return ids[0]

    def link(self, contact: int, tag: int) -> str:
        rows = self.get(f"/contacts/{contact}/contactTags")["contactTags"]
        return next(row["id"] for row in rows if row["tag"] == str(tag))


@contextlib.contextmanager
def account(people: int) -> Iterator[Ac]:
    with running_fake("activecampaign", people) as fake, contextlib.closing(Ac(fake)) as ac:
        yield ac


@pytest.fixture(scope="module")
def shared() -> Iterator[Ac]:
    with account(PEOPLE) as ac:
        yield ac


@pytest.fixture
def ac(shared: Ac) -> Ac:
    """The fake without limits, lag and faults. People and tags of other tests may be there as well."""
    shared.fake.set(**shared.defaults | {"limits": False})
    return shared


def shape(value: Any) -> Any:
    """Keys in their order and types, all the way down."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    return [shape(inner) for inner in value] if isinstance(value, list) else type(value).__name__


# --- key and limit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Api-Token": "wrong"}, {"Authorization": f"Bearer {API_KEY}"}])
def test_a_bad_key_is_forbidden_rather_than_unauthorised(ac: Ac, headers: dict[str, str]) -> None:
    """Section 1.1."""
    answer = httpx.get(f"{ac.fake.url}/api/3/users/me", headers=headers)
    assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})


def test_a_key_can_be_taken_back(ac: Ac) -> None:
    """Section 1.1: keys do not run out; a user can make a new one."""
    try:
        ac.fake.admin.put("/admin/keys", json={"keys": [OTHER_KEY]})
        assert ac.api.get("/users/me").status_code == 403
    finally:
        ac.fake.admin.put("/admin/keys", json={"keys": [API_KEY, OTHER_KEY]})
    assert ac.get("/users/me")["user"]["id"] == "1"


def test_five_calls_a_second_over_all_keys(ac: Ac) -> None:
    """Sections 0 (4) and 1.6: one limit for the account, told by headers; a refused call is told when to come."""
    ac.fake.set(limits=True, speed=0)
    ac.fake.post("/admin/clock", seconds=2)
    heard = [ac.api.get("/users/me", headers={"Api-Token": key}) for key in (API_KEY, OTHER_KEY, "bad") * 2]
    assert [one.status_code for one in heard] == [200, 200, 403, 200, 200, 429]
    assert [one.headers["RateLimit-Remaining"] for one in heard] == ["4", "3", "2", "1", "0", "0"]
    assert {one.headers["RateLimit-Limit"] for one in heard} == {"5"}
    assert (heard[-1].headers["Retry-After"], heard[-1].content) == ("1", b"")
    ac.fake.post("/admin/clock", seconds=0.5)
    assert ac.api.get("/users/me").status_code == 429
    ac.fake.post("/admin/clock", seconds=0.5)
    assert ac.api.get("/users/me").status_code == 200


# --- reading -----------------------------------------------------------------------------------------------------


def test_one_contact_looks_as_captured(ac: Ac) -> None:
    """Section 1.3, get-contact.json: the same keys in the same order, the same types."""
    sample = json.loads((SAMPLES / "get-contact.json").read_text())
    ac.fake.admin.patch("/admin/contacts/1", json={"lists": [1, 3], "phone": "123-123-1234"})
    found = ac.get("/contacts/1")
    assert shape(found) == shape(sample)
    assert found["contact"]["phone"] == sample["contact"]["phone"]
    host = re.compile("https?://[^/]+")
    assert host.sub("", json.dumps(found["contact"]["links"])) == host.sub("", json.dumps(sample["contact"]["links"]))


def test_utc_stamps_show_local_digits(ac: Ac) -> None:
    """Section 1.3, "clock trap"."""
    contact = ac.get("/contacts/1")["contact"]
    assert re.search(r"-0[56]:00$", contact["udate"])
    assert contact["udate"][:19].replace("T", " ") == contact["updated_utc_timestamp"]


def test_scalars_of_a_list_are_strings(ac: Ac) -> None:
    """Section 1.3: ids, flags and the total too. Empty dates come as null or as zeros."""
    found = ac.get("/contacts", limit=100)
    kinds = {type(value) for row in found["contacts"] for value in row.values()}
    assert kinds == {str, type(None), list, dict}
    assert isinstance(found["meta"]["total"], str)
    assert {row["deleted_at"] for row in found["contacts"]} == {None, "0000-00-00 00:00:00"}
    keys = {"cdate", "email", "phone", "firstName", "lastName", "udate", "email_domain", "links", "id", "organization"}
    assert keys < set(found["contacts"][0])
    assert list(found) == ["scoreValues", "contacts", "meta"]


def test_a_page_has_twenty_rows_and_never_more_than_a_hundred(ac: Ac) -> None:
    """Section 1.3."""
    assert len(ac.get("/contacts")["contacts"]) == 20
    assert len(ac.get("/contacts", limit=1000)["contacts"]) == 100
    assert int(ac.get("/contacts")["meta"]["total"]) >= PEOPLE
    assert ac.api.get("/contacts", params={"limit": "lots"}).status_code == 400


def test_pages_by_offset_do_not_overlap(ac: Ac) -> None:
    """Section 1.3."""
    first, second = (ac.get("/contacts", limit=50, offset=offset)["contacts"] for offset in (0, 50))
    assert len({row["id"] for row in first + second}) == 100


def test_the_whole_account_by_id_greater(ac: Ac) -> None:
    """Section 1.3: with orders[id] each page starts after the last id; without, lists are in no order of ids."""
    seen: list[int] = []
    query = {"orders[id]": "ASC", "limit": 50}
    while rows := ac.get("/contacts", id_greater=seen[-1] if seen else 0, **query)["contacts"]:
        seen += [int(row["id"]) for row in rows]
    assert len(seen) >= PEOPLE
    assert seen == sorted(set(seen))
    unordered = [int(row["id"]) for row in ac.get("/contacts", limit=100)["contacts"]]
    assert unordered != sorted(unordered)
    backwards = ac.get("/contacts", **{"orders[id]": "DESC", "limit": 1})["contacts"]
    assert backwards[0]["id"] == str(seen[-1])


def test_a_hundred_by_id_in_one_call(ac: Ac) -> None:
    """Sections 1.3 and 3. Without `limit` twenty come; a bare `ids` counts once, as PHP reads it."""
    ids = list(range(1, 101))
    assert {row["id"] for row in ac.get("/contacts", **{"ids[]": ids, "limit": 100})["contacts"]} == set(map(str, ids))
    short = ac.get("/contacts", **{"ids[]": ids})
    assert (len(short["contacts"]), short["meta"]["total"]) == (20, "100")
    assert [row["id"] for row in ac.get("/contacts", ids=[3, 4])["contacts"]] == ["4"]
    ac.fake.set(most_ids=50)
    assert ac.api.get("/contacts", params={"ids[]": ids}).status_code == 400


def test_tags_come_only_when_asked_for(ac: Ac) -> None:
    """Section 1.3: GET by id brings values but no tags."""
    ac.tag("Asked", 5)
    assert "contactTags" not in ac.get("/contacts/5")
    assert "contactTags" not in ac.get("/contacts/5")["contact"]
    listed = ac.get("/contacts", **{"ids[]": [5]})
    assert not {"contactTags", "fieldValues"} & (set(listed) | set(listed["contacts"][0]))
    one = ac.get("/contacts/5", include="contactTags.tag")
    assert "Asked" in {tag["tag"] for tag in one["tags"]}
    assert one["contact"]["contactTags"] == [row["id"] for row in one["contactTags"]]


def test_sideloaded_rows_stand_beside_the_contacts(ac: Ac) -> None:
    """Section 1.3: collections of their own, ids at the contacts, no order that has to do with theirs."""
    ids, field = [20, 21, 22, 23, 24, 25], ac.field("Side")
    tag = ac.tag("Side", *ids)
    ac.api.put("/contacts/21", json={"contact": {"fieldValues": [{"field": str(field), "value": "v"}]}})
    found = ac.get("/contacts", **{"ids[]": ids, **ALL})
    links = [row for row in found["contactTags"] if row["tag"] == str(tag)]
    assert [row["contact"] for row in links] != [row["id"] for row in found["contacts"]]
    assert {row["contact"] for row in links} == set(map(str, ids))
    assert [row["tag"] for row in found["tags"] if row["id"] == str(tag)] == ["Side"]
    (value,) = found["fieldValues"]
    assert (value["contact"], value["field"], value["value"], value["owner"]) == ("21", str(field), "v", "21")
    by_id = {row["id"]: row for row in found["contacts"]}
    assert by_id["21"]["fieldValues"] == [value["id"]]
    assert by_id["22"]["fieldValues"] == []
    assert "tags" not in ac.get("/contacts", **{"ids[]": ids, "include": "contactTags"})


def test_empty_sideloads_may_be_left_out(ac: Ac) -> None:
    """A switch: nobody has published such an answer."""
    nobody = ac.person("without-tags@example.com")
    full = ac.get("/contacts", **{"ids[]": [nobody], **ALL})
    assert (full["contactTags"], full["contacts"][0]["contactTags"]) == ([], [])
    ac.fake.set(empty_sideloads=False)
    bare = ac.get("/contacts", **{"ids[]": [nobody], **ALL})
    assert not {"contactTags", "fieldValues", "tags"} & (set(bare) | set(bare["contacts"][0]))


def test_contacts_are_found_by_address_and_by_tag(ac: Ac) -> None:
    """Section 1.3: `email` is exact, `search` and `email_like` are not."""
    one = ac.person("Find.Me@example.com")
    ac.person("refind.me@example.com")
    tag = ac.tag("Found", one)
    for query in ({"email": "find.me@EXAMPLE.com"}, {"filters[email]": "find.me@example.com"}, {"tagid": tag}):
        assert [row["id"] for row in ac.get("/contacts", **query)["contacts"]] == [str(one)]
    assert ac.get("/contacts", email="nobody@example.com")["contacts"] == []
    assert len(ac.get("/contacts", email_like="find.me@")["contacts"]) == 2
    assert len(ac.get("/contacts", search="find.me@")["contacts"]) == 2


def test_a_tag_moves_the_update_stamp_only_by_a_switch(ac: Ac) -> None:
    """Sections 1.3 and 7."""
    one = ac.person("stamped@example.com")
    ac.fake.post("/admin/clock", seconds=3600)
    since = {"filters[updated_after]": ac.get("/contacts/1", include="")["contact"]["cdate"], "search": "stamped@"}
    moment = ac.get(f"/contacts/{one}")["contact"]["udate"]
    ac.tag("Moves nothing", one)
    assert ac.get(f"/contacts/{one}")["contact"]["udate"] == moment
    ac.fake.set(tag_moves_udate=True)
    ac.tag("Moves", one)
    assert ac.get(f"/contacts/{one}")["contact"]["udate"] > moment
    assert len(ac.get("/contacts", **since)["contacts"]) == 1
    assert ac.get("/contacts", **{"filters[updated_after]": "2999-01-01"})["contacts"] == []
    assert ac.api.get("/contacts", params={"filters[updated_after]": "soon"}).status_code == 400


def test_who_is_on_no_list_may_be_missing_from_lists(ac: Ac) -> None:
    """Section 1.3: unverified for v3, so a switch. By id they are there."""
    one = ac.post("/contact/sync", contact={"email": "listless@example.com"}).json()["contact"]["id"]
    assert len(ac.get("/contacts", **{"ids[]": [one]})["contacts"]) == 1
    ac.fake.set(hide_listless=True)
    assert ac.get("/contacts", **{"ids[]": [one]})["contacts"] == []
    assert ac.get(f"/contacts/{one}")["contact"]["id"] == one


def test_contacts_are_told_apart_by_status(ac: Ac) -> None:
    """Section 1.3: -1, the default, is any; 2 is unsubscribed."""
    one = ac.person("gone-off@example.com", status=2)
    for status, there in ((-1, True), (1, False), (2, True)):
        found = ac.get("/contacts", email="gone-off@example.com", status=status)["contacts"]
        assert [row["id"] for row in found] == ([str(one)] if there else [])


def test_all_tag_links_in_a_list(ac: Ac) -> None:
    """Section 1.3: undocumented, used by others."""
    tag = ac.tag("Swept", *range(30, 60))
    found = ac.get("/contactTags", limit=100, offset=0)
    swept = [row for row in found["contactTags"] if row["tag"] == str(tag)]
    assert {row["contact"] for row in swept} <= set(map(str, range(30, 60)))
    assert {"contact", "tag", "cdate", "created_timestamp", "updated_timestamp", "links", "id"} == set(swept[0])


def test_a_deleted_contact_is_gone_or_has_a_telling_address(ac: Ac) -> None:
    """Sections 0 (12), 1.3 and 5."""
    one = ac.person("leaver@example.com")
    assert (ac.api.delete(f"/contacts/{one}").status_code, ac.api.delete(f"/contacts/{one}").status_code) == (200, 404)
    answer = ac.api.get(f"/contacts/{one}")
    assert (answer.status_code, answer.json()) == (404, {"message": f"No Result found for Subscriber with id {one}"})
    assert ac.get("/contacts", **{"ids[]": [one]})["contacts"] == []
    ac.fake.set(deleted_shows="address")
    assert re.match(rf"deleted\+{one}@", ac.get(f"/contacts/{one}")["contact"]["email"])
    assert ac.get("/contacts", **{"ids[]": [one]})["contacts"][0]["deleted"] == "1"


def test_a_list_may_lag(ac: Ac) -> None:
    """No lag is published for ActiveCampaign; whoever sets one gets the older state."""
    one = ac.person("late@example.com")
    ac.fake.post("/admin/clock", seconds=100)
    ac.tag("Late", one)
    ac.fake.set(lag_seconds=50)
    assert ac.get("/contacts", **{"ids[]": [one], **ALL})["contactTags"] == []
    ac.fake.post("/admin/clock", seconds=60)
    assert len(ac.get("/contacts", **{"ids[]": [one], **ALL})["contactTags"]) == 1


# --- faults ------------------------------------------------------------------------------------------------------


def test_a_good_key_is_forbidden_now_and_then(ac: Ac) -> None:
    """Sections 1.1 and 5."""
    ac.fake.set(fault_rate=0.3, faults=["403"])
    assert {ac.api.get("/users/me").status_code for _ in range(30)} == {200, 403}


@pytest.mark.parametrize(
    ("fault", "holds"), [("empty", lambda text: text == ""), ("short", lambda text: text[:1] == "{")]
)
def test_an_answer_may_be_empty_or_cut_though_the_work_is_done(
    ac: Ac, fault: str, holds: Callable[[str], bool]
) -> None:
    """Section 1.6: a 2xx that is no JSON."""
    tag = ac.tag(f"Work {fault}")
    ac.fake.set(fault_rate=1, faults=[fault])
    answer = ac.post("/contactTags", contactTag={"contact": 13, "tag": tag})
    assert answer.status_code == 201
    assert holds(answer.text)
    with pytest.raises(ValueError):
        answer.json()
    assert f"Work {fault}" in ac.fake.truth(13)["tags"]


def test_an_unpaid_account_is_told_so(ac: Ac) -> None:
    """Section 1.6."""
    ac.fake.set(fault_rate=1, faults=["402"])
    assert ac.api.get("/users/me").status_code == 402


def test_a_list_may_lack_or_repeat_rows(ac: Ac) -> None:
    """Section 0 (12): what is absent is not deleted."""
    query = {"ids[]": list(range(1, 11)), **ALL}
    ac.fake.set(fault_rate=1, faults=["missing-rows"])
    assert len(ac.get("/contacts", **query)["contacts"]) == 5
    ac.fake.set(faults=["duplicate-rows"])
    assert len(ac.get("/contacts", **query)["contacts"]) == 15


def test_tags_may_be_missing_from_an_answer(ac: Ac) -> None:
    """Section 0 (12): half of the contacts have no tag key, and no rows among the links."""
    ids = [60, 61, 62, 63]
    ac.tag("Kept", *ids)
    ac.fake.set(fault_rate=1, faults=["missing-tags"])
    found = ac.get("/contacts", **{"ids[]": ids, **ALL})
    with_tags = {row["id"] for row in found["contacts"] if "contactTags" in row}
    assert len(with_tags) == 2
    assert {row["contact"] for row in found["contactTags"]} == with_tags
    assert "contactTags" not in ac.get("/contacts/60", include="contactTags")["contact"]
    assert "contactTags" not in ac.get("/contacts/60/contactTags")
