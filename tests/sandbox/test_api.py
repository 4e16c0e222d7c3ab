"""The API a CRM's customers program against."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.sandbox.conftest import Crm, names


def test_a_wrong_key_is_refused(crm: Crm) -> None:
    answer = httpx.get(f"{crm.url}/api/ping", headers={"Authorization": "Bearer guess"})
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_key"})
    assert crm.api.get("/api/ping").json() == {"account": "Sandbox CRM"}


def test_the_list_is_paged_and_complete(crm: Crm) -> None:
    first = crm.api.get("/api/contacts").json()
    rows = [row for page in range(1, first["pages"] + 1) for row in _page(crm, page)]
    assert len(first["contacts"]) == 100
    assert first["total"] == len(rows) == len({row["id"] for row in rows}) == len({row["email"] for row in rows})
    assert _page(crm, first["pages"] + 1) == []
    assert crm.api.get("/api/contacts", params={"per_page": 101}).status_code == 400


def _page(crm: Crm, page: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = crm.api.get("/api/contacts", params={"page": page}).json()["contacts"]
    return rows


def test_a_contact_is_found_by_its_email_whatever_the_case(crm: Crm) -> None:
    contact = crm.contact(17)
    found = crm.api.get("/api/contacts", params={"email": contact["email"].upper()}).json()
    assert (found["total"], found["contacts"]) == (1, [contact])


def test_a_bulk_read_leaves_unknown_ids_out_and_takes_a_hundred(crm: Crm) -> None:
    assert [row["id"] for row in crm.in_bulk(3, 1, 999_999, 2)] == [1, 2, 3]
    assert len(crm.in_bulk(*range(1, 101))) == 100
    answer = crm.api.get("/api/contacts", params={"ids": ",".join(map(str, range(1, 102)))})
    assert (answer.status_code, answer.json()) == (400, {"error": "too_many_ids"})
    assert crm.counters()["reads_by_kind"] == {"by_id": 0, "bulk": 3, "list": 0, "other": 0}


def test_an_unknown_contact_is_a_404(crm: Crm) -> None:
    answer = crm.api.get("/api/contacts/999999")
    assert (answer.status_code, answer.json()) == (404, {"error": "contact_not_found"})


@pytest.mark.parametrize("path", ["/api/contacts/x", "/api/contacts?ids=1,x", "/api/contacts?page=0"])
def test_a_malformed_number_is_a_400(crm: Crm, path: str) -> None:
    assert crm.api.get(path).status_code == 400


@pytest.mark.parametrize(("kind", "label"), [("tag", "name"), ("field", "label")])
def test_a_tag_or_field_is_made_once(crm: Crm, kind: str, label: str) -> None:
    first = crm.api.post(f"/api/{kind}s", json={label: "Made once"})
    again = crm.api.post(f"/api/{kind}s", json={label: "Made once"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()[kind] in crm.api.get(f"/api/{kind}s").json()[f"{kind}s"]


def test_tags_are_added_and_removed(crm: Crm) -> None:
    tag = crm.new_tag("Added and removed")
    assert crm.tag(tag, 21, 22, 999_999).json() == {"done": [21, 22], "missing": [999_999]}
    assert all("Added and removed" in names(row) for row in crm.in_bulk(21, 22))
    assert crm.untag(tag, 21).json() == {"done": [21], "missing": []}
    assert "Added and removed" not in names(crm.contact(21))
    assert "Added and removed" in names(crm.contact(22))
    assert crm.tag(999_999, 21).json() == {"error": "tag_not_found"}
    assert crm.tag(tag, *range(1, 102)).status_code == 400


def test_fields_are_written(crm: Crm) -> None:
    answer = crm.api.put("/api/contacts/31/fields", json={"fields": {"Password": "kettle", "Points": 7}})
    assert answer.json()["contact"] == crm.contact(31)
    assert (crm.contact(31)["fields"]["Password"], crm.contact(31)["fields"]["Points"]) == ("kettle", "7")


def test_an_unknown_field_is_named_and_nothing_is_written(crm: Crm) -> None:
    answer = crm.api.put("/api/contacts/32/fields", json={"fields": {"Password": "kettle", "Passwort": "x"}})
    assert (answer.status_code, answer.json()) == (422, {"error": "field_not_found", "label": "Passwort"})
    assert crm.contact(32)["fields"]["Password"] == ""


def test_every_answer_tells_the_rate_limit(crm: Crm) -> None:
    for path in ("/api/ping", "/api/contacts/999999", "/api/nowhere"):
        headers = crm.api.get(path).headers
        assert headers["X-RateLimit-Limit"] == "10000"
        assert 0 <= int(headers["X-RateLimit-Remaining"]) < 10_000
        assert headers["X-RateLimit-Reset"] == "1"


def test_over_the_limit_is_a_429_that_says_when_to_come_again(crm: Crm) -> None:
    crm.set(rate_limit=2)
    answers = [crm.api.get("/api/ping") for _ in range(4)]
    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    over = next(answer for answer in answers if answer.status_code == 429)
    assert over.json() == {"error": "rate_limited"}
    assert (over.headers["Retry-After"], over.headers["X-RateLimit-Remaining"]) == ("1", "0")
    deadline = time.monotonic() + 5
    while crm.api.get("/api/ping").status_code == 429 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert crm.api.get("/admin/counters").json()["reads_by_kind"]["other"] >= 3


def test_latency_is_kept(crm: Crm) -> None:
    crm.set(latency_ms=150)
    began = time.monotonic()
    crm.api.get("/api/ping")
    assert time.monotonic() - began >= 0.15


def test_a_lagging_list_shows_the_old_and_then_the_new(crm: Crm) -> None:
    gained, lost = crm.new_tag("Gained"), crm.new_tag("Lost")
    crm.tag(lost, 41)
    crm.set(lag_seconds=0.001)
    before = _when_bulk_shows(crm, 41, "Lost")
    crm.set(lag_seconds=1.5)
    _let_pass(1.6)
    crm.tag(gained, 41)
    crm.untag(lost, 41)
    crm.api.put("/api/contacts/41/fields", json={"fields": {"Password": "new"}})
    lagging, fresh = crm.in_bulk(41)[0], crm.contact(41)
    assert (names(lagging), lagging["fields"]) == (names(before), before["fields"])
    assert names(fresh) == names(before) - {"Lost"} | {"Gained"}
    assert lagging["updated_at"] <= fresh["updated_at"]
    deadline = time.monotonic() + 10
    while crm.in_bulk(41) != [fresh] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert crm.in_bulk(41) == [fresh]


def _when_bulk_shows(crm: Crm, contact: int, tag: str) -> dict[str, object]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        row = crm.in_bulk(contact)[0]
        if tag in names(row):
            return row
    raise AssertionError(f"the bulk read never showed {tag}")


def _let_pass(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.05)


def test_a_lagging_list_shows_a_deleted_contact_and_not_a_new_one(crm: Crm) -> None:
    old, new = crm.admin.post("/admin/contacts", json={"count": 2}).json()["ids"]
    _let_pass(0.1)
    crm.set(lag_seconds=3600)
    assert crm.in_bulk(old, new) == []
    crm.set(lag_seconds=0.05)
    assert [row["id"] for row in crm.in_bulk(old, new)] == [old, new]
    _let_pass(3)
    crm.set(lag_seconds=3)
    crm.admin.delete(f"/admin/contacts/{old}")
    assert [row["id"] for row in crm.in_bulk(old)] == [old]
    assert crm.api.get(f"/api/contacts/{old}").status_code == 404


def test_every_write_is_logged_with_who_made_it(crm: Crm) -> None:
    tag = crm.new_tag("Logged")
    after = crm.writes()[-1]["id"]
    crm.tag(tag, 51)
    crm.tag(tag, 51)
    crm.api.put("/api/contacts/51/fields", json={"fields": {"Password": "kettle"}})
    crm.admin.post("/admin/tag", json={"tag": "Logged", "contacts": [51], "remove": True})
    rows = crm.writes(after)
    assert [(row["who"], row["contact"], row["what"], row["detail"], row["changed"]) for row in rows] == [
        ("api", 51, "tag-add", "Logged", True),
        ("api", 51, "tag-add", "Logged", False),
        ("api", 51, "field-set", "Password", True),
        ("admin", 51, "tag-remove", "Logged", True),
    ]
    assert "kettle" not in str(rows)
    paged = crm.admin.get("/admin/writes", params={"after": after, "limit": 2}).json()["writes"]
    assert paged == rows[:2]


def test_all_is_still_there_after_a_restart(start: Callable[..., Crm], tmp_path: Path) -> None:
    first = start(20, "--webhook-url", "http://127.0.0.1:8000/?aal_updateuser=kept")
    first.tag(first.new_tag("Kept"), 5)
    first.set(latency_ms=3)
    contact, writes = first.contact(5), first.writes()
    assert first.stop() == 0
    second = start(30)
    assert second.contact(5) == contact
    assert second.writes() == writes
    assert second.api.get("/api/contacts").json()["total"] == 30
    assert second.admin.get("/admin/settings").json()["latency_ms"] == 3
    assert "aal_updateuser=kept" in second.admin.get("/fire").text
    assert (tmp_path / "crm.sqlite3").stat().st_mode & 0o077 == 0


def test_the_same_people_are_made_each_time(crm: Crm, start: Callable[..., Crm]) -> None:
    other = start(60)
    for contact in (52, 53, 60):
        here, there = crm.contact(contact), other.contact(contact)
        assert here["email"] == there["email"]
        assert here["first_name"] == there["first_name"]


def test_the_file_survives_a_kill(start: Callable[..., Crm], tmp_path: Path) -> None:
    first = start(5)
    tag = first.new_tag("Before the kill")
    first.tag(tag, 5)
    first.process.kill()
    first.process.wait(10)
    with sqlite3.connect(tmp_path / "crm.sqlite3") as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.close()
    assert "Before the kill" in names(start(5).contact(5))
