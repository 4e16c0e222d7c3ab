"""The fake Kit reads and writes as Kit does. Numbers are sections of what was gathered about Kit, given as facts."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.crms.conftest import running_fake
from tests.crms.kit_serving import KEY, Kit, sample, serving
from tests.fakes import kit as fake
from tests.fakes.kit_rows import iso

RATE = "v4, rate limited: plain text, no Retry-After, no rate headers"


@pytest.fixture
def kit() -> Iterator[Kit]:
    with serving() as running:
        yield running


def sweep(kit: Kit, path: str, **params: Any) -> list[list[dict[str, Any]]]:
    """All pages of a list, by end_cursor as long as has_next_page."""
    pages, after = [], {}
    while True:
        found = kit.read(path, **params, **after)
        pages.append(found[path.rpartition("/")[2]])
        if not found["pagination"]["has_next_page"]:
            return pages
        after = {"after": found["pagination"]["end_cursor"]}


def ids(kit: Kit, **params: Any) -> list[int]:
    return [row["id"] for row in kit.read("/v4/subscribers", **params)["subscribers"]]


# --- credentials ---------------------------------------------------------------------------------------------------


def errors() -> dict[str, Any]:
    return {row["when"]: row for row in sample("errors.json")}


@pytest.mark.parametrize(
    ("path", "headers", "when"),
    [
        ("/v4/account", {}, "v4, no credential at all (also for an unknown path: auth is checked before routing)"),
        ("/v4/nowhere", {}, "v4, no credential at all (also for an unknown path: auth is checked before routing)"),
        ("/v4/account", {"X-Kit-Api-Key": "bad"}, "v4, wrong X-Kit-Api-Key"),
        ("/v4/account", {"X-Kit-Api-Key": fake.ACCESS_TOKEN}, "v4, wrong X-Kit-Api-Key"),
        ("/v4/account", {"Authorization": "Bearer bad"}, "v4, wrong Bearer token"),
        ("/v4/account", {"Authorization": f"Bearer {fake.API_KEY}"}, "v4, wrong Bearer token"),
        ("/v4/subscribers/999", KEY, "v4, unknown id"),
        ("/v4/nowhere", KEY, "v4, unknown id"),
        ("/v3/subscribers", {"Authorization": "Bearer x"}, "v3, no credential (a Bearer header is not read)"),
        (f"/v3/subscribers?api_secret={fake.API_KEY}", {}, "v3, wrong api_secret or api_key"),
    ],
)
def test_refusals_say_what_kit_says(kit: Kit, path: str, headers: dict[str, str], when: str) -> None:
    """2.5 and 2.1: sentences and header as probed; a key is no token, a token no key; v4's key is none of v3's."""
    answer, expected = kit.bare.get(path, headers=headers), errors()[when]
    assert (answer.status_code, answer.json()) == (expected["status"], expected["body"])
    for name, value in expected.get("headers", {}).items():
        assert answer.headers[name] == value


def test_an_expired_token_is_told_apart(kit: Kit) -> None:
    """2.1: the sentence after which Kit's own library refreshes."""
    assert kit.app.get("/v4/account").json() == sample("v4-get-account.json")
    kit.post("/admin/tokens/expire")
    row = errors()["v4, expired OAuth token (official Kit PHP library matches this sentence, then refreshes)"]
    answer = kit.app.get("/v4/account")
    assert (answer.status_code, answer.json()) == (row["status"], row["body"])


def test_a_key_can_be_taken_away_and_given_back(kit: Kit) -> None:
    """2.5: 401 also means that the account lost API access."""
    kit.post("/admin/tokens/take-key")
    assert kit.api.get("/v4/account").status_code == 401
    kit.post("/admin/tokens/give-key")
    assert kit.api.get("/v4/account").status_code == 200


def refresh(kit: Kit, token: str) -> Any:
    content = {"grant_type": "refresh_token", "refresh_token": token, "client_id": fake.CLIENT_ID}
    return kit.bare.post("/v4/oauth/token", data=content | {"client_secret": fake.CLIENT_SECRET})


def works(kit: Kit, token: str) -> bool:
    return kit.bare.get("/v4/account", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_refresh_token_works_once(kit: Kit) -> None:
    """2.1: since May 2026; afterwards invalid_grant, and the new pair works, until it expires."""
    first = refresh(kit, fake.REFRESH_TOKEN)
    assert first.status_code == 200
    assert first.json().keys() >= {"access_token", "refresh_token", "expires_in", "token_type", "created_at"}
    again = refresh(kit, fake.REFRESH_TOKEN)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert works(kit, first.json()["access_token"])
    assert refresh(kit, first.json()["refresh_token"]).status_code == 200
    kit.later(first.json()["expires_in"])
    assert not works(kit, first.json()["access_token"])


def test_a_refresh_can_be_lenient_or_strict(kit: Kit) -> None:
    """2.1, unpublished: the old token may live until the new access token is used, or its reuse may end all."""
    kit.set(refresh_grace=True)
    lost = refresh(kit, fake.REFRESH_TOKEN).json()
    kept = refresh(kit, fake.REFRESH_TOKEN).json()
    assert works(kit, lost["access_token"])
    assert refresh(kit, fake.REFRESH_TOKEN).status_code == 400
    kit.set(refresh_grace=False, reuse_revokes=True)
    assert refresh(kit, fake.REFRESH_TOKEN).status_code == 400
    assert not works(kit, kept["access_token"])


def test_tokens_can_be_revoked_and_rotated_behind_ones_back(kit: Kit) -> None:
    """2.1: another process refreshed, or the owner took the app off."""
    fresh = kit.post("/admin/tokens/rotate")
    assert refresh(kit, fake.REFRESH_TOKEN).status_code == 400
    assert works(kit, fresh["access_token"])
    kit.post("/admin/tokens/revoke")
    assert kit.app.get("/v4/account").json() == {"errors": ["The access token is invalid"]}
    assert refresh(kit, fresh["refresh_token"]).status_code == 400


@pytest.mark.parametrize(("verifier", "status"), [("x" * 43, 200), ("y" * 43, 400)])
def test_a_code_is_exchanged_with_its_verifier(kit: Kit, verifier: str, status: int) -> None:
    """2.1: authorisation code with PKCE (S256); a code works once."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"x" * 43).digest()).decode().rstrip("=")
    asked = {"client_id": fake.CLIENT_ID, "redirect_uri": "http://127.0.0.1/back", "response_type": "code"}
    back = kit.bare.get("/v4/oauth/authorize", params=asked | {"state": "s1", "code_challenge": challenge})
    assert back.status_code == 302
    assert back.next_request is not None
    params = back.next_request.url.params
    assert params["state"] == "s1"
    content = asked | {"grant_type": "authorization_code", "code": params["code"], "code_verifier": verifier}
    assert kit.bare.post("/v4/oauth/token", json=content).status_code == status
    assert kit.bare.post("/v4/oauth/token", json=content).status_code == 400


# --- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("client", "calls"), [("api", 120), ("app", 600)])
def test_over_the_limit_it_says_retry_later_and_nothing_else(kit: Kit, client: str, calls: int) -> None:
    """2.5: 120 a minute for a key, 600 for a token, in a rolling window; plain text without any header that helps."""
    kit.set(speed=0)
    caller = getattr(kit, client)
    for n in range(calls):
        assert caller.get("/v4/account").status_code == 200
        if n == calls // 2:
            kit.later(30)
    refused = caller.get("/v4/account")
    assert (refused.status_code, refused.text) == (429, errors()[RATE]["text"])
    assert refused.headers["Content-Type"].startswith("text/plain")
    assert not [name for name in refused.headers if "rate" in name or "retry" in name or name.startswith("x-")]
    assert (kit.app if client == "api" else kit.api).get("/v4/account").status_code == 200
    kit.later(31)  # the first half has left the window, not the second
    assert [caller.get("/v4/account").status_code for _ in range(calls // 2 + 1)] == [200] * (calls // 2 + 1)
    assert caller.get("/v4/account").status_code == 429


def test_answers_tell_no_limits(kit: Kit) -> None:
    """2.5: live headers carry only x-request-id and x-runtime."""
    headers = kit.api.get("/v4/account").headers
    assert headers["X-Request-Id"]
    assert headers["X-Runtime"]
    assert not [name for name in headers if "rate" in name.lower()]


# --- reading -------------------------------------------------------------------------------------------------------


def test_only_active_subscribers_are_listed_unless_all_are_asked_for(kit: Kit) -> None:
    """2.3: status is active by default; by id and with status=all everybody is there, tags and all."""
    ann = kit.person(tags=["Gold"])
    for state in ("inactive", "bounced", "complained"):
        kit.person(f"{state}@example.com", state=state)
    assert kit.api.post(f"/v4/subscribers/{ann}/unsubscribe").status_code == 204
    assert ids(kit) == []
    assert len(ids(kit, status="all")) == 4
    gone = kit.read("/v4/subscribers", status="cancelled", include="tags,canceled_at")["subscribers"][0]
    assert (gone["state"], [tag["name"] for tag in gone["tags"]]) == ("cancelled", ["Gold"])
    assert gone["canceled_at"] == kit.read(f"/v4/subscribers/{ann}")["subscriber"]["canceled_at"] is not None
    assert kit.read(f"/v4/tags/{kit.tag('Gold')}/subscribers")["subscribers"] == []
    assert len(kit.read(f"/v4/tags/{kit.tag('Gold')}/subscribers", status="all")["subscribers"]) == 1


@pytest.mark.parametrize("wanted", [{"include": "canceled_at"}, {"sort_field": "cancelled_at"}])
def test_what_is_about_cancelled_ones_wants_that_status(kit: Kit, wanted: dict[str, str]) -> None:
    """2.3: else 422."""
    assert kit.api.get("/v4/subscribers", params=wanted).status_code == 422
    assert kit.api.get("/v4/subscribers", params=wanted | {"status": "cancelled"}).status_code == 200


def test_tags_come_only_when_asked_for(kit: Kit) -> None:
    """2.3 and 0.7: never by id; in lists by include=tags; where there are none the key may be missing (a switch)."""
    ann, bea = kit.person(tags=["Gold"]), kit.person("bea@example.com")
    assert "tags" not in kit.read("/v4/subscribers")["subscribers"][0]
    assert "tags" not in kit.read(f"/v4/subscribers/{ann}", include="tags")["subscriber"]
    gold = {"id": kit.tag("Gold"), "name": "Gold"}
    rows = {row["id"]: row for row in kit.read("/v4/subscribers", include="tags")["subscribers"]}
    assert [rows[ann]["tags"], rows[bea]["tags"]] == [[gold], []]
    kit.set(empty_tags_missing=True)
    rows = {row["id"]: row for row in kit.read("/v4/subscribers", include="tags")["subscribers"]}
    assert "tags" in rows[ann]
    assert "tags" not in rows[bea]
    assert "fields" not in kit.read("/v4/subscribers", slim="true")["subscribers"][0]


def test_pages_are_walked_by_cursors_that_end_in_equals(kit: Kit) -> None:
    """2.3: pagination as published, both ways; there is no next_cursor."""
    people = kit.people(7)
    pages = sweep(kit, "/v4/subscribers", per_page=3)
    assert [[row["id"] for row in page] for page in pages] == [people[:3], people[3:6], people[6:]]
    first = kit.read("/v4/subscribers", per_page=3)["pagination"]
    assert first.keys() == sample("v4-list-subscribers-include-tags.json")["pagination"].keys()
    assert (first["has_previous_page"], first["has_next_page"]) == (False, True)
    assert first["end_cursor"].endswith("=")
    second = kit.read("/v4/subscribers", per_page=3, after=first["end_cursor"], include_total_count="true")
    assert second["pagination"]["has_previous_page"]
    assert second["pagination"]["total_count"] == 7
    before = {"before": second["pagination"]["start_cursor"]}
    assert ids(kit, per_page=3, **before) == people[:3]
    assert kit.api.get("/v4/subscribers", params={"after": "not a cursor"}).status_code == 422
    for number in (10, 100):  # cursors of any length
        people.append(kit.person(f"{number}@example.com", id=number))
        assert kit.read("/v4/subscribers")["pagination"]["end_cursor"].endswith("=")
    kit.set(newest_first=True)
    assert [row["id"] for page in sweep(kit, "/v4/subscribers", per_page=3) for row in page] == people[::-1]


def test_a_page_has_500_rows_and_at_most_1000(kit: Kit) -> None:
    """2.3: the default and the clamp."""
    kit.people(1001)
    assert [len(ids(kit)), len(ids(kit, per_page=2000)), len(ids(kit, per_page=999))] == [500, 1000, 999]
    assert kit.read("/v4/subscribers", per_page=5000)["pagination"]["per_page"] == 1000


def test_lists_lag_while_by_id_is_fresh(kit: Kit) -> None:
    """0.8 and 2.3: the list shows the old tags; id and its tags are fresh, or the tags lag too (a switch)."""
    kit.set(speed=0, lag_seconds=30)
    ann, gold = kit.person(), kit.tag("Gold")
    assert ids(kit) == []
    assert kit.read(f"/v4/subscribers/{ann}")["subscriber"]["id"] == ann
    kit.later(60)
    assert kit.api.post(f"/v4/tags/{gold}/subscribers/{ann}").status_code == 201
    assert kit.read("/v4/subscribers", include="tags")["subscribers"][0]["tags"] == []
    assert kit.read(f"/v4/tags/{gold}/subscribers")["subscribers"] == []
    assert [tag["id"] for tag in kit.read(f"/v4/subscribers/{ann}/tags")["tags"]] == [gold]
    kit.set(tag_lists_lag=True)
    assert kit.read(f"/v4/subscribers/{ann}/tags")["tags"] == []
    kit.later(30)
    assert kit.read("/v4/subscribers", include="tags")["subscribers"][0]["tags"][0]["id"] == gold
    assert len(kit.read(f"/v4/tags/{gold}/subscribers")["subscribers"]) == 1


def test_some_lag_for_minutes(kit: Kit) -> None:
    """0.8: a median of 30 s, a tail of up to 5 min."""
    kit.set(speed=0, lag_seconds=30, lag_tail_seconds=300, lag_tail_share=0.2)
    people = kit.people(50)
    kit.later(30)
    late = set(people) - set(ids(kit))
    assert 0 < len(late) < 25
    kit.later(269)
    assert set(people) - set(ids(kit)) == late
    kit.later(1)
    assert ids(kit) == people


def test_people_are_found_by_address_and_by_what_changed(kit: Kit) -> None:
    """2.3: exact address, several by commas (a switch); whether a tag moves updated_at is a switch."""
    kit.set(speed=0)
    ann, bea = kit.person("ann@example.com"), kit.person("bea@example.com")
    assert ids(kit, email_address="ANN@example.com") == [ann]
    assert ids(kit, email_address="ann@example") == []
    assert ids(kit, email_address="ann@example.com,bea@example.com") == [ann, bea]
    kit.set(many_addresses=False)
    assert ids(kit, email_address="ann@example.com,bea@example.com") == []
    mark = iso(kit.later(1))
    kit.later(1)
    gold = kit.tag("Gold")
    kit.api.post(f"/v4/tags/{gold}/subscribers/{ann}")
    assert ids(kit, updated_after=mark) == []
    kit.set(tag_moves_updated=True)
    kit.api.post(f"/v4/tags/{gold}/subscribers/{bea}")
    assert ids(kit, updated_after=mark) == [bea]
    assert ids(kit, updated_after="2020-01-01") == [ann, bea]


def test_the_filter_finds_by_tags_with_ids_as_strings(kit: Kit) -> None:
    """2.3: rows of the filter have string ids, tag_names and tag_ids, tags and fields if asked for."""
    ann, _ = kit.person(tags=["Gold"], fields={"Town": "Kiel"}), kit.person("bea@example.com", tags=["Silver"])
    rule = {"type": "tags", "any": [{"type": "ids", "matching": [kit.tag("Gold")]}]}
    include = [{"type": "tags"}, {"type": "custom_fields"}]
    answer = kit.api.post("/v4/subscribers/filter", json={"all": [rule], "include": include})
    (row,) = answer.json()["subscribers"]
    assert list(row)[:6] == list(sample("v4-filter-subscribers.json")["subscribers"][0])
    assert (row["id"], row["tag_names"], row["tag_ids"]) == (str(ann), ["Gold"], [str(kit.tag("Gold"))])
    assert (row["fields"], row["tags"][0]["name"]) == ({"town": "Kiel"}, "Gold")
    assert kit.api.post("/v4/subscribers/filter", json={"all": [{"type": "opens"}]}).status_code == 422


def test_faults_come_as_they_are_asked_for(kit: Kit) -> None:
    """5: refusals of good credentials, broken bodies, lists that leave out, repeat, or say too early that they end."""
    kit.people(4, tags=["Gold"])
    statuses = {"401-expired": 401, "401-invalid": 401, "403": 403, "502-html": 502, "empty-body": 200, "429": 429}
    for fault, status in statuses.items():
        kit.set(fault_rate=1, faults=[fault])
        assert kit.app.get("/v4/subscribers").status_code == status
    assert kit.app.get("/v4/account").text == "Retry later"
    kit.set(faults=["missing-rows"])
    assert len(ids(kit)) == 2
    kit.set(faults=["duplicate-rows"])
    assert len(ids(kit)) == 6
    kit.set(faults=["missing-tags"])
    rows = kit.read("/v4/subscribers", include="tags")["subscribers"]
    assert len([row for row in rows if "tags" in row]) == 2
    assert "tags" not in kit.read(f"/v4/subscribers/{rows[0]['id']}/tags")
    kit.set(faults=["cut-page"])
    found = kit.read("/v4/subscribers", per_page=4)
    assert (len(found["subscribers"]), found["pagination"]["has_next_page"]) == (2, False)
    kit.set(faults=["text-body"])
    assert kit.api.get("/v4/subscribers").text.startswith("<")
    kit.set(faults=["empty-body"])
    assert kit.api.get("/v4/subscribers").text == ""


def test_it_is_served_by_hand() -> None:
    """5: as other tests start it, filled; last names are a field, since Kit knows none."""
    with running_fake("kit", 3) as running:
        answer = running.admin.get("/v4/subscribers", headers=KEY)
        assert [row["fields"]["last_name"] for row in answer.json()["subscribers"]] == ["Brook", "Castle", "Dale"]
        counted = running.counters()
        assert (counted["calls"], counted["GET /v4/subscribers"]) == (1, 1)
