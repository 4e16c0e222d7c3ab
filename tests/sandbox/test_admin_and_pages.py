"""The admin API, firing webhooks, and the pages."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from tests.sandbox.conftest import ROOT, Crm, Receiver, free_port, names


def _fire(crm: Crm, **order: object) -> dict[str, Any]:
    answer = crm.admin.post("/admin/fire", json=order, timeout=30)
    assert answer.status_code == 200, answer.text
    figures: dict[str, Any] = answer.json()
    return figures


def test_contacts_are_made_and_deleted(crm: Crm) -> None:
    person = {"email": "maria@example.com", "fields": {"Points": "5"}, "tags": ["Brand new"]}
    made = crm.admin.post("/admin/contacts", json={"contacts": [person]}).json()
    contact = crm.contact(made["ids"][0])
    assert (contact["email"], contact["fields"]["Points"], names(contact)) == (
        person["email"],
        "5",
        {"Brand new"},
    )
    assert crm.admin.delete(f"/admin/contacts/{contact['id']}").status_code == 200
    assert crm.api.get(f"/api/contacts/{contact['id']}").status_code == 404
    assert crm.admin.delete(f"/admin/contacts/{contact['id']}").status_code == 404
    assert crm.admin.post("/admin/contacts", json={"contacts": [{"id": 17, "email": "x"}]}).status_code == 409
    assert crm.admin.post("/admin/contacts", json={"contacts": [{"mail": "x"}]}).status_code == 400


def test_ten_thousand_contacts_are_tagged_quickly(crm: Crm) -> None:
    made = crm.admin.post("/admin/contacts", json={"count": 10_000}, timeout=30).json()
    total = crm.api.get("/api/contacts").json()["total"]
    began = time.monotonic()
    changed = crm.admin.post("/admin/tag", json={"tag": "Everybody", "contacts": "all"}).json()["changed"]
    assert time.monotonic() - began < 3
    assert changed == total > 10_000
    assert "Everybody" in names(crm.contact(made["ids"][-1]))
    again = crm.admin.post("/admin/tag", json={"tag": "Everybody", "contacts": "all"}).json()
    assert again == {"changed": 0}
    gone = crm.admin.post("/admin/tag", json={"tag": "Everybody", "contacts": "all", "remove": True}).json()
    assert gone == {"changed": total}


def test_firing_sends_one_post_a_contact_and_counts_the_answers(crm: Crm, receiver: Receiver) -> None:
    ids = list(range(2, 202))
    receiver.answers = {b"10": 503, b"11": 503}
    figures = _fire(crm, url=receiver.url, contacts=ids, shape="bare", concurrency=50)
    assert sorted(int(body) for body in receiver.bodies) == ids
    assert (figures["sent"], figures["statuses"], figures["errors"]) == (200, {"200": 198, "503": 2}, {})
    assert sorted(figures["accepted"]) == [contact for contact in ids if contact not in {10, 11}]
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["slowest_ms"]
    assert receiver.paths == {"/?aal_updateuser=secret"}


def test_firing_one_by_one_keeps_the_order(crm: Crm, receiver: Receiver) -> None:
    ids = [9, 3, 7, 5]
    _fire(crm, url=receiver.url, contacts=ids, shape="bare", at_once=False)
    assert [int(body) for body in receiver.bodies] == ids


def test_the_bodies_are_form_or_json(crm: Crm, receiver: Receiver) -> None:
    _fire(crm, url=receiver.url, contacts=[17], shape="form")
    _fire(crm, url=receiver.url, contacts=[17], shape="json")
    form, content = parse_qs(receiver.bodies[0].decode()), json.loads(receiver.bodies[1])
    email = crm.contact(17)["email"]
    assert (form["contactId"], form["email"]) == (["17"], [email])
    assert (content["contactId"], content["email"]) == (17, email)


def test_a_call_that_is_not_answered_is_not_sent_again(crm: Crm, receiver: Receiver) -> None:
    receiver.silent.set()
    figures = _fire(crm, url=receiver.url, contacts=[17, 18], timeout_seconds=1)
    assert (figures["errors"], figures["accepted"]) == ({"TimeoutError": 2}, [])
    assert len(receiver.bodies) == 2
    nobody = _fire(crm, url=f"http://127.0.0.1:{free_port()}/", contacts=[17])
    assert nobody["errors"] == {"ClientConnectorError": 1}


def test_firing_in_the_background_can_be_watched(crm: Crm, receiver: Receiver) -> None:
    receiver.silent.set()
    job = _fire(crm, url=receiver.url, contacts=[17, 18], background=True)["job"]
    assert crm.admin.get(f"/admin/fire/{job}").json()["finished"] is False
    receiver.silent.clear()
    deadline = time.monotonic() + 10
    while not (figures := crm.admin.get(f"/admin/fire/{job}").json())["finished"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (figures["sent"], figures["total"]) == (2, 2)
    assert crm.admin.get("/admin/fire/999999").status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/",
        "http://example.com/",
        "http://127.0.0.1.example.com/",
        "http://0.0.0.0/",
        "file:///x",
    ],
)
def test_only_this_machine_is_fired_at(crm: Crm, url: str) -> None:
    answer = crm.admin.post("/admin/fire", json={"url": url, "contacts": [17]})
    assert (answer.status_code, answer.json()["error"]) == (400, "url_not_loopback")
    page = crm.admin.post("/fire", data={"url": url, "contact": "17", "shape": "form"})
    assert page.status_code == 400
    assert "fires at this machine only" in page.text


def test_it_listens_on_this_machine_only(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tagwarden.sandbox.crm", "--host", "0.0.0.0", "--port", str(free_port())]
    ran = subprocess.run([*command, "--file", tmp_path / "x"], cwd=ROOT, capture_output=True, timeout=20, check=False)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"listens on this machine only" in ran.stderr


def test_a_port_that_is_taken_is_named(crm: Crm, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tagwarden.sandbox.crm",
        "--port",
        str(crm.port),
        "--file",
        tmp_path / "x",
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20, check=False)
    assert ran.returncode == 1
    assert f"can't listen on 127.0.0.1:{crm.port}" in ran.stderr.decode()


@pytest.mark.parametrize("path", ["/tag", "/fire", "/settings", "/admin/tag", "/admin/counters/reset", "/api/tags"])
def test_another_web_page_cannot_write(crm: Crm, path: str) -> None:
    before = len(crm.writes())
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = crm.api.post(path, headers=headers, data={"tag": "Evil", "act": "add"})
        assert (answer.status_code, answer.json()["error"]) == (403, "other_origin")
    assert len(crm.writes()) == before


def test_another_host_name_is_refused(crm: Crm) -> None:
    for path in ("/", "/admin/settings", "/api/ping"):
        answer = crm.api.get(path, headers={"Host": "evil.example"})
        assert (answer.status_code, answer.json()) == (403, {"error": "not_loopback"})
    assert crm.api.get("/", headers={"Host": f"localhost:{crm.port}"}).status_code == 200


def _submit(crm: Crm, path: str, **form: str) -> httpx.Response:
    headers = {"Origin": crm.url, "Sec-Fetch-Site": "same-origin"}
    return crm.admin.post(path, data=form, headers=headers, follow_redirects=True)


def test_the_contacts_page_finds_by_name_email_tag_and_id(crm: Crm) -> None:
    contact = crm.contact(60)
    crm.tag(crm.new_tag("Findable"), 60)
    for search in (contact["first_name"], contact["email"], "Findable", "60"):
        assert contact["email"] in crm.admin.get("/", params={"q": search}).text
    assert "No contact fits" in crm.admin.get("/", params={"q": "nobody like this"}).text


def test_a_tag_is_added_and_removed_on_a_contacts_page(crm: Crm) -> None:
    page = _submit(crm, "/tag", contact="61", tag="By hand", act="add")
    assert page.url.path == "/contacts/61"
    assert "Added the tag “By hand” for 1 contact." in page.text
    assert "By hand" in names(crm.contact(61))
    last = crm.writes()[-1]
    assert (last["who"], last["contact"], last["what"], last["detail"]) == ("page", 61, "tag-add", "By hand")
    assert "Nothing changed" in _submit(crm, "/tag", contact="61", tag="By hand", act="add").text
    _submit(crm, "/tag", contact="61", tag="By hand", act="remove")
    assert "By hand" not in names(crm.contact(61))


def test_everybody_is_tagged_on_the_contacts_page(crm: Crm) -> None:
    total = crm.api.get("/api/contacts").json()["total"]
    assert f"for {total:,} contacts" in _submit(crm, "/tag", tag="All by hand", act="add").text
    assert f"for {total:,} contacts" in _submit(crm, "/tag", tag="All by hand", act="remove").text


def test_a_webhook_is_fired_from_a_contacts_page_and_its_address_remembered(crm: Crm, receiver: Receiver) -> None:
    page = _submit(crm, "/fire", contact="62", url=receiver.url, shape="bare")
    deadline = time.monotonic() + 10
    while "is over" not in (text := crm.admin.get(page.url.path).text) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "Answered 200" in text
    assert receiver.bodies == [b"62"]
    assert receiver.url in crm.admin.get("/contacts/63").text


def test_settings_are_changed_on_their_page(crm: Crm) -> None:
    form = {"latency_ms": "1", "rate_limit": "900", "lag_seconds": "0.5", "fault_rate": "0.25", "seed": "3"}
    page = _submit(crm, "/settings", **form, faults="503")
    assert "Faults are on: 25 %" in page.text
    expected = {"latency_ms": 1, "rate_limit": 900, "lag_seconds": 0.5, "fault_rate": 0.25, "seed": 3}
    assert crm.admin.get("/admin/settings").json() == expected | {"faults": ["503"]}
    assert "were not saved" in _submit(crm, "/settings", **form | {"fault_rate": "7"}).text


def test_what_people_type_is_never_taken_for_html(crm: Crm) -> None:
    _submit(crm, "/tag", contact="64", tag="<script>alert(1)</script>", act="add")
    for path in ("/contacts/64", "/", "/writes"):
        page = crm.admin.get(path)
        assert "<script>" not in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_a_missing_page_says_so_as_a_page(crm: Crm) -> None:
    for path, sentence in (
        ("/contacts/999999", "There is no such contact."),
        ("/x", "There is no such page."),
    ):
        page = crm.admin.get(path)
        assert (page.status_code, sentence in page.text) == (404, True)
