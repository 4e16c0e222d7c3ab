"""The fake Keap's REST hooks: verified, late, in batches, tried four times, then off. Facts 1.2(b) and 4."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.crms.keap_client import Keap, served

SAMPLES = Path(__file__).parent / "samples" / "keap"


class Receiver:
    """Somebody who takes hooks: echoes the secret unless told not to, and answers events with `status`."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/hook"
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.echoes, self.status = True, 200
        self.answering = threading.Event()  # cleared: says nothing until it is set
        self.answering.set()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for headers, body in self.posts if "x-hook-secret" not in headers]

    @property
    def secret(self) -> str:
        return next(headers["x-hook-secret"] for headers, _ in reversed(self.posts) if "x-hook-secret" in headers)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
            heard.answering.wait(20)
            secret = self.headers.get("X-Hook-Secret")
            self.send_response(200 if secret else heard.status)
            if secret and heard.echoes:
                self.send_header("X-Hook-Secret", secret)
            self.end_headers()

        def log_request(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        heard = Receiver(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield heard
        heard.answering.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def crm() -> Iterator[Keap]:
    with served() as one:
        one.server.set(limits=False)
        yield one


def subscribed(crm: Keap, receiver: Receiver, event: str) -> str:
    made = crm.v1.post("/hooks", json={"eventKey": event, "hookUrl": receiver.url})
    assert (made.status_code, made.json()["status"]) == (200, "Verified")
    key: str = made.json()["key"]
    return key


def flushed(crm: Keap, seconds: float) -> list[dict[str, Any]]:
    """Moves the clock on and sends what is due; what happened."""
    crm.clock(seconds)
    posts: list[dict[str, Any]] = crm.server.post("/admin/hooks/flush")["posts"]
    return posts


def status(crm: Keap, key: str) -> str:
    found: str = crm.v1.get(f"/hooks/{key}").json()["status"]
    return found


def test_it_works(crm: Keap, receiver: Receiver) -> None:
    subscribed(crm, receiver, "contact.edit")
    crm.v1.patch("/contacts/1", json={"given_name": "New"})
    assert flushed(crm, 61)[0]["outcome"] == "delivered"
    assert receiver.events[0]["object_keys"][0]["id"] == 1


def test_a_hook_is_verified_by_the_header_sent_back(crm: Keap, receiver: Receiver) -> None:
    """Until then it stays Unverified and gets no events; the receiver may bring the secret later."""
    receiver.echoes = False
    made = crm.v1.post("/hooks", json={"eventKey": "contact.edit", "hookUrl": receiver.url}).json()
    key = made["key"]
    headers, body = receiver.posts[0]
    assert (made["status"], json.loads(body)) == ("Unverified", {"verification_key": headers["x-hook-secret"]})
    crm.v1.patch("/contacts/1", json={"given_name": "Unheard"})
    assert flushed(crm, 3600) == []
    assert crm.v1.post(f"/hooks/{key}/verify").json()["status"] == "Unverified"
    late = {"X-Hook-Secret": headers["x-hook-secret"]}
    assert crm.v1.post(f"/hooks/{key}/delayedVerify", headers=late).json()["status"] == "Unverified"  # an old one
    late = {"X-Hook-Secret": receiver.secret}
    assert crm.v1.post(f"/hooks/{key}/delayedVerify", headers=late).json()["status"] == "Verified"
    assert crm.v1.post(f"/hooks/{key}/delayedVerify").status_code == 400


def test_a_hook_may_be_verified_after_it_is_made(crm: Keap, receiver: Receiver) -> None:
    crm.server.set(verifies="after")
    receiver.answering.clear()
    made = crm.v1.post("/hooks", json={"eventKey": "contact.edit", "hookUrl": receiver.url}).json()
    assert made["status"] == "Unverified"
    receiver.answering.set()
    assert crm.v1.post(f"/hooks/{made['key']}/verify").json()["status"] == "Verified"


def test_hooks_are_listed_changed_and_deleted(crm: Keap, receiver: Receiver) -> None:
    assert {"contact.edit", "contactGroup.applied"} <= set(crm.v1.get("/hooks/event_keys").json())
    key = subscribed(crm, receiver, "contact.edit")
    receiver.echoes = False
    changed = crm.v1.put(f"/hooks/{key}", json={"eventKey": "contact.add", "hookUrl": receiver.url}).json()
    assert changed == {"eventKey": "contact.add", "hookUrl": receiver.url, "key": key, "status": "Unverified"}
    assert crm.v1.get("/hooks").json() == [changed]
    assert crm.v1.delete(f"/hooks/{key}").status_code == 204
    assert (crm.v1.get(f"/hooks/{key}").status_code, crm.v1.get("/hooks").json()) == (404, [])
    for wrong in (
        {"eventKey": "contact.sneezed", "hookUrl": receiver.url},
        {"eventKey": "contact.add", "hookUrl": "x"},
    ):
        assert crm.v1.post("/hooks", json=wrong).status_code == 400


def test_a_second_hook_for_an_event_may_be_refused(crm: Keap, receiver: Receiver) -> None:
    subscribed(crm, receiver, "contact.edit")
    subscribed(crm, receiver, "contact.edit")
    crm.server.set(second_hook="refused")
    second = crm.v1.post("/hooks", json={"eventKey": "contact.edit", "hookUrl": receiver.url})
    assert (second.status_code, len(crm.v1.get("/hooks").json())) == (409, 2)


def test_an_edit_is_told_byte_for_byte_as_the_sample_has_it(crm: Keap, receiver: Receiver) -> None:
    start = datetime.fromisoformat("2026-08-11T10:15:30Z").timestamp()
    crm.server.post("/admin/contacts", contacts=[{"id": n, "email": f"{n}@example.com"} for n in (1001, 1002)])
    subscribed(crm, receiver, "contact.edit")
    crm.clock(start - crm.clock())
    crm.v1.patch("/contacts/1001", json={"given_name": "One"})
    crm.clock(1)
    crm.v1.patch("/contacts/1002", json={"given_name": "Two"})
    flushed(crm, 60)
    assert receiver.posts[-1][1] == (SAMPLES / "resthook-contact.edit.composed.json").read_bytes()
    assert "x-hook-signature" not in receiver.posts[-1][0]


def test_events_wait_half_a_minute_and_those_of_tags_five(crm: Keap, receiver: Receiver) -> None:
    for event in ("contact.edit", "contactGroup.applied", "contactGroup.removed"):
        subscribed(crm, receiver, event)
    tag = crm.tag("Gold", 1, 2)
    crm.v1.delete(f"/contacts/2/tags?ids={tag}")
    crm.v1.patch("/contacts/1", json={"given_name": "New"})
    assert flushed(crm, 29) == []
    assert {post["event"] for post in flushed(crm, 32)} == {"contact.edit", "contactGroup.removed"}
    assert flushed(crm, 299 - 61) == []
    assert [(post["event"], post["objects"]) for post in flushed(crm, 302)] == [("contactGroup.applied", 2)]
    contacts = [{"id": 1}, {"id": 2}]
    assert receiver.events[-1]["object_keys"] == [{"tag_id": int(tag), "contact_details": contacts}]


def test_a_batch_has_a_thousand_objects_at_most(crm: Keap, receiver: Receiver) -> None:
    subscribed(crm, receiver, "contact.add")
    people = [{"email": f"many.{n}@example.com"} for n in range(1001)]
    crm.server.post("/admin/contacts", contacts=people)
    assert sorted(post["objects"] for post in flushed(crm, 61)) == [1, 1000]


def test_what_the_owner_does_is_told_too(crm: Keap, receiver: Receiver) -> None:
    """Deleted and merged contacts, and tags that come by a merge."""
    for event in ("contact.delete", "contactGroup.applied"):
        subscribed(crm, receiver, event)
    crm.tag("Gold", 3)
    flushed(crm, 601)
    crm.server.post("/admin/merge", **{"from": 3, "into": 2})
    crm.server.admin.delete("/admin/contacts/1")
    flushed(crm, 601)
    told = {event["event_key"]: event["object_keys"] for event in receiver.events}
    assert {one["id"] for one in told["contact.delete"]} == {1, 3}
    assert told["contactGroup.applied"][0]["contact_details"] == [{"id": 2}]


def test_tagging_may_be_an_edit(crm: Keap, receiver: Receiver) -> None:
    """Facts 5: unverified, so a switch."""
    subscribed(crm, receiver, "contact.edit")
    crm.tag("Gold", 1)
    assert flushed(crm, 61) == []
    crm.server.set(tagging_updates=True)
    crm.tag("Blue", 1)
    assert [post["objects"] for post in flushed(crm, 61)] == [1]


def test_a_hook_is_off_after_four_failures_until_it_is_verified(crm: Keap, receiver: Receiver) -> None:
    key = subscribed(crm, receiver, "contact.edit")
    receiver.status = 500
    crm.v1.patch("/contacts/1", json={"given_name": "Lost"})
    outcomes = [[post["outcome"] for post in flushed(crm, wait)] for wait in (61, 61, 299, 1, 1799, 1)]
    assert outcomes == [["again"], ["again"], [], ["again"], [], ["inactive"]]
    assert (status(crm, key), len(receiver.events)) == ("Inactive", 4)
    receiver.status = 200
    crm.v1.patch("/contacts/1", json={"given_name": "Lost too"})
    assert flushed(crm, 3600) == []
    assert crm.v1.post(f"/hooks/{key}/verify").json()["status"] == "Verified"
    crm.v1.patch("/contacts/1", json={"given_name": "Heard"})
    assert [post["outcome"] for post in flushed(crm, 61)] == ["delivered"]


def test_gone_ends_a_hook_at_once_and_a_redirect_is_success(crm: Keap, receiver: Receiver) -> None:
    key = subscribed(crm, receiver, "contact.edit")
    for answer, outcome in ((302, "delivered"), (410, "inactive")):
        receiver.status = answer
        crm.v1.patch("/contacts/1", json={"given_name": outcome})
        assert [post["outcome"] for post in flushed(crm, 61)] == [outcome]
    assert status(crm, key) == "Inactive"


def test_silence_is_a_failure(crm: Keap, receiver: Receiver) -> None:
    subscribed(crm, receiver, "contact.edit")
    crm.server.set(hook_timeout_seconds=0.2)
    receiver.answering.clear()
    crm.v1.patch("/contacts/1", json={"given_name": "New"})
    assert [(post["status"], post["outcome"]) for post in flushed(crm, 61)] == [(0, "again")]


def test_posts_come_twice_and_out_of_order_if_told_so(crm: Keap, receiver: Receiver) -> None:
    subscribed(crm, receiver, "contact.edit")
    crm.server.set(hook_duplicates=1, hook_disorder=True)
    for name in ("Ann", "Bob"):
        for contact in (1, 2, 3):
            crm.v1.patch(f"/contacts/{contact}", json={"given_name": name})
    flushed(crm, 61)
    once, twice = receiver.events
    assert once == twice
    ids = [one["id"] for one in once["object_keys"]]
    assert sorted(ids) == [1, 1, 2, 2, 3, 3]
    assert ids != [1, 2, 3, 1, 2, 3]


def test_the_shapes_of_objects_differ(crm: Keap, receiver: Receiver) -> None:
    """`apiUrl` whole, empty or missing; tags without whose; very old posts."""
    for event in ("contact.edit", "contactGroup.applied"):
        subscribed(crm, receiver, event)
    shapes = []
    for settings in ({}, {"api_urls": "none"}, {"api_urls": "all", "tag_hooks": "tags", "old_hook_key": True}):
        crm.server.set(**settings)
        for contact in (1, 2, 3):
            crm.v1.patch(f"/contacts/{contact}", json={"given_name": "New"})
        flushed(crm, 61)
        shapes.append(receiver.events[-1])
    urls = [[one.get("apiUrl") for one in shape["object_keys"]] for shape in shapes[:2]]
    assert urls == [["https://api.infusionsoft.com/crm/rest/v1/contacts/1", "", None], [None] * 3]
    assert "object_keys" not in shapes[2]
    tag = crm.tag("Gold", 1)
    flushed(crm, 601)
    assert (receiver.events[-1]["object_key"]["id"], "contact_details" in str(receiver.events[-1])) == (int(tag), False)


def test_hooks_fire_by_themselves_when_their_time_has_come(crm: Keap, receiver: Receiver) -> None:
    """No flush: the fake's clock runs a thousand times as fast as ours."""
    subscribed(crm, receiver, "contact.edit")
    crm.server.set(speed=1000)
    heard = threading.Event()
    receiver.posts = _Noticed(heard)
    crm.v1.patch("/contacts/1", json={"given_name": "New"})
    assert heard.wait(20)
    assert receiver.events[0]["event_key"] == "contact.edit"


class _Noticed(list[tuple[dict[str, str], bytes]]):
    """A list that says when something is put in."""

    def __init__(self, noticed: threading.Event) -> None:
        super().__init__()
        self._noticed = noticed

    def append(self, post: tuple[dict[str, str], bytes]) -> None:
        super().append(post)
        self._noticed.set()


def test_nothing_leaves_this_machine(crm: Keap) -> None:
    made = crm.v1.post("/hooks", json={"eventKey": "contact.edit", "hookUrl": "http://192.0.2.1/hook"})
    assert (made.status_code, made.json()["status"]) == (200, "Unverified")
