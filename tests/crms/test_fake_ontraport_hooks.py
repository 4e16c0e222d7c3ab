"""The fake of Ontraport sends the webhooks that the vendor sends, and keeps its log of them."""

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.crms.ontraport_api import Api, condition, serving

FORM = "application/x-www-form-urlencoded"
DAY = 86_400


@dataclass(frozen=True)
class Call:
    """One call as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Somebody who takes webhooks. `status` is what he answers."""

    url: str
    status: int = 200
    calls: "queue.Queue[Call]" = field(default_factory=queue.Queue)

    def next(self) -> Call:
        """The next call, awaited for at most 10 s."""
        return self.calls.get(timeout=10)

    def told(self) -> dict[str, Any]:
        """The JSON of the next call."""
        found: dict[str, Any] = json.loads(self.next().body)
        return found


@pytest.fixture(scope="module")
def shared() -> Iterator[Api]:
    with serving(3) as api:
        yield api


@pytest.fixture
def api(shared: Api) -> Iterator[Api]:
    shared.as_usual()
    yield shared
    for row in shared.get("Webhooks"):
        shared.client.delete("Webhook/unsubscribe", params={"id": row["id"]})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            heard.calls.put(Call(self.command, self.path, dict(self.headers), body))
            self.send_response(heard.status)
            self.end_headers()

        do_GET = do_PUT = do_POST  # noqa: N815  # the names that http.server looks for

        def log_request(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        heard = Receiver(f"http://127.0.0.1:{server.server_address[1]}/?aal_updateuser=secret")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield heard
        server.shutdown()
        thread.join()


def fire(api: Api, receiver: Receiver, contact: int, **event: object) -> Call:
    answer = api.fake.post("/admin/fire", url=receiver.url, contacts=[contact], event=event)
    assert answer == {"statuses": {str(receiver.status): 1}}
    return receiver.next()


def subscribe(api: Api, receiver: Receiver, event: str, **more: object) -> int:
    made: int = api.send("POST", "Webhook/subscribe", url=receiver.url, event=event, **more)["id"]
    return made


# --- automations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body", "about"),
    [
        ("bare", "526", FORM),
        ("bare-newline", "526\n", FORM),
        ("bare-crlf", "526\r\n", FORM),
        ("pairs", "contact_id=526&email=ada%40example.com", FORM),
        ("json", '{"contact_id":"526","email":"ada@example.com"}', "application/json"),
    ],
)
def test_an_automation_posts_the_id_in_many_shapes(
    api: Api, receiver: Receiver, kind: str, body: str, about: str
) -> None:
    """Facts 2.2 (a): bare digits with or without a line's end, pairs, JSON; the URL is kept as it was typed."""
    _ada(api)
    call = fire(api, receiver, 526, kind=kind)
    assert (call.method, call.path, call.body) == ("POST", "/?aal_updateuser=secret", body.encode())
    assert call.headers["Content-Type"] == about


def _ada(api: Api) -> None:
    if api.fake.admin.get("/admin/contacts/526").status_code == 404:
        api.someone(id=526, email="ada@example.com")


def test_the_content_type_of_a_bare_body_is_anybodys_guess(api: Api, receiver: Receiver) -> None:
    """Facts 2.2 (a): unverified."""
    api.fake.set(hook_type="text/plain")
    assert fire(api, receiver, 1).headers["Content-Type"] == "text/plain"
    assert fire(api, receiver, 1, content_type="text/html").headers["Content-Type"] == "text/html"


@pytest.mark.parametrize(("kind", "method"), [("get", "GET"), ("query", "POST")])
def test_the_id_may_stand_in_the_url(api: Api, receiver: Receiver, kind: str, method: str) -> None:
    """Facts 2.2 (a): merge fields work in the URL; newer screens let the user choose the method."""
    call = fire(api, receiver, 2, kind=kind)
    assert (call.method, call.path, call.body) == (method, "/?aal_updateuser=secret&contact_id=2", b"")
    assert fire(api, receiver, 2, method="PUT").method == "PUT"


@pytest.mark.parametrize(
    ("event", "path", "body"),
    [
        ({"kind": "empty"}, "", b"contact_id=&email="),
        ({"kind": "bare", "empty": True}, "", b""),
        ({"kind": "json", "empty": True}, "", b'{"contact_id":"","email":""}'),
        ({"kind": "get", "empty": True}, "&contact_id=", b""),
    ],
)
def test_a_contact_just_created_may_be_nobody(
    api: Api, receiver: Receiver, event: dict[str, object], path: str, body: bytes
) -> None:
    """Facts 2.2 (a): "contact is created" can fire with the id blank."""
    call = fire(api, receiver, 1, **event)
    assert (call.path, call.body) == (f"/?aal_updateuser=secret{path}", body)


def test_nothing_is_signed(api: Api, receiver: Receiver) -> None:
    """Facts 0.6: neither automations nor subscriptions."""
    usual = {"Host", "Accept", "Accept-Encoding", "User-Agent", "Content-Type", "Content-Length"}
    assert set(fire(api, receiver, 1, kind="pairs").headers) <= usual
    assert set(fire(api, receiver, 1, kind="subscription").headers) <= usual


# --- subscriptions ---------------------------------------------------------------------------------------------


def test_a_subscription_tells_of_its_tag_by_itself(api: Api, receiver: Receiver) -> None:
    """Facts 2.2 (b): sub_tag(12) and unsub_tag(12), one tag each; tags put on by the API tell when they are on."""
    (tag, name), (other, _) = api.new_tag(), api.new_tag()
    on, off = (subscribe(api, receiver, f"{kind}({tag})") for kind in ("sub_tag", "unsub_tag"))
    api.send("PUT", "objects/tag", objectID=0, ids="1", add_list=f"{other},{tag}")
    assert api.fake.post("/admin/hooks/flush")["deliveries"] == []
    api.wait(60)
    told = receiver.told()
    assert (told["webhook_id"], told["object_type_id"], told["event"]) == (
        str(on),
        "0",
        {"type": "sub_tag", "tag_id": str(tag)},
    )
    assert told["data"]["id"] == "1"
    assert f"*/*{tag}*/*" in told["data"]["contact_cat"]
    assert told["timestamp"].isdigit()
    api.fake.post("/admin/tag", tag=name, contacts=[1], remove=True)  # by hand
    told = receiver.told()
    assert (told["webhook_id"], told["event"]["type"]) == (str(off), "unsub_tag")
    happened = api.fake.post("/admin/hooks/flush")["deliveries"]
    assert [(one["event"], one["contact"], one["outcome"]) for one in happened] == [
        (f"sub_tag({tag})", 1, "delivered"),
        (f"unsub_tag({tag})", 1, "delivered"),
    ]


def test_a_subscription_tells_of_new_contacts_but_not_of_changes(api: Api, receiver: Receiver) -> None:
    """Facts 2.2 (b): object_create(0); there is no "contact updated"."""
    subscribe(api, receiver, "object_create(0)")
    made = api.send("POST", "Contacts", email="new@example.com")["id"]
    assert receiver.told()["data"]["id"] == made
    api.send("PUT", "Contacts", id=made, city="Ghent")
    api.fake.post("/admin/hooks/flush")
    assert receiver.calls.empty()


def test_a_subscriptions_body_has_three_formats_and_may_be_a_form(api: Api, receiver: Receiver) -> None:
    """Facts 2.2 (b): lightweight and notify; facts 7: PHP-style pairs are documented too."""
    light = fire(api, receiver, 1, kind="subscription", tag_id=15, format="lightweight")
    assert json.loads(light.body)["data"] == {"id": "1"}
    assert "data" not in json.loads(fire(api, receiver, 1, kind="subscription", tag_id=15, format="notify").body)
    form = fire(api, receiver, 1, kind="subscription", type="object_submits_form", form_id=4)
    assert json.loads(form.body)["event"] == {"type": "object_submits_form", "form_id": "4"}
    api.fake.set(subscription_form="pairs", timestamp_number=True)
    call = fire(api, receiver, 1, kind="subscription", tag_id=15)
    pairs = parse_qs(call.body.decode(), keep_blank_values=True)
    assert (call.headers["Content-Type"], pairs["data[id]"], pairs["event[tag_id]"]) == (FORM, ["1"], ["15"])
    api.fake.set(subscription_columns=["id", "city", "address2"])
    body = fire(api, receiver, 1, kind="subscription", tag_id=15).body.decode()
    pairs = parse_qs(body, keep_blank_values=True)
    assert ("data[city]" in pairs, pairs["data[address2]"]) == (False, [""])  # PHP leaves nulls out, not blanks
    api.fake.set(subscription_form="json", subscription_columns=[])
    whole = json.loads(fire(api, receiver, 1, kind="subscription", tag_id=15).body)
    assert whole["data"] == api.get("Contact", id=1)
    assert type(whole["timestamp"]) is int


def test_the_format_is_chosen_when_subscribing(api: Api, receiver: Receiver) -> None:
    """Facts 2.2 (b): `data` is JSON in a text."""
    tag, name = api.new_tag()
    subscribe(api, receiver, f"sub_tag({tag})", data='{"format":"lightweight"}')
    api.fake.post("/admin/tag", tag=name, contacts=[2])
    assert receiver.told()["data"] == {"id": "2"}


def test_a_subscription_is_delayed_and_tried_again_as_the_switches_say(api: Api, receiver: Receiver) -> None:
    """Facts 2.2: retries are not published; the usual habit is one try."""
    tag, name = api.new_tag()
    number = subscribe(api, receiver, f"sub_tag({tag})")
    api.fake.set(hook_delay_seconds=300, hook_tries=2, hook_retry_seconds=600)
    receiver.status = 500
    api.fake.post("/admin/tag", tag=name, contacts=[1])
    assert api.fake.post("/admin/hooks/flush")["deliveries"] == []
    outcomes = []
    for seconds in (300, 0, 600, 600):
        api.wait(seconds)
        outcomes.append([one["outcome"] for one in api.fake.post("/admin/hooks/flush")["deliveries"]])
    assert outcomes == [["will be tried again"], [], ["failed"], []]
    row = api.get("Webhook", id=number)
    assert (row["last_code"], row["last_hook"].isdigit()) == ("500", True)
    assert json.loads(row["last_payload"])["event"]["tag_id"] == str(tag)


def test_a_subscription_ends(api: Api, receiver: Receiver) -> None:
    """Facts 2.2 (b): DELETE /Webhook/unsubscribe?id=."""
    tag, name = api.new_tag()
    number = subscribe(api, receiver, f"sub_tag({tag})")
    assert api.client.delete(f"Webhook/unsubscribe?id={number}").status_code == 200
    assert api.refused("GET", f"Webhook?id={number}") == (404, "Object not found")
    assert api.refused("DELETE", f"Webhook/unsubscribe?id={number}")[0] == 404
    api.fake.post("/admin/tag", tag=name, contacts=[1])
    assert api.fake.post("/admin/hooks/flush")["deliveries"] == []


@pytest.mark.parametrize("event", ["sub_tag", "contact_updated(0)", "sub_tag(gold)", ""])
def test_only_four_events_can_be_subscribed_to(api: Api, event: str) -> None:
    """Facts 2.2 (b)."""
    content = {"url": "http://127.0.0.1:9/", "event": event}
    assert api.refused("POST", "Webhook/subscribe", json=content) == (400, "Invalid query")
    wrong = {**content, "event": "sub_tag(1)", "data": "[]"}
    assert api.refused("POST", "Webhook/subscribe", json=wrong) == (400, "Invalid query")


def test_no_other_machine_is_ever_called(api: Api) -> None:
    """A fake fires at loopback addresses only."""
    tag, name = api.new_tag()
    api.send("POST", "Webhook/subscribe", url="https://example.com/", event=f"sub_tag({tag})")
    api.fake.post("/admin/tag", tag=name, contacts=[1])
    (one,) = api.fake.post("/admin/hooks/flush")["deliveries"]
    assert (one["outcome"], one["code"]) == ("refused: not this machine", 0)
    assert api.fake.post("/admin/fire", url="http://192.0.2.1/", contacts=[1])["statuses"] == {"0": 1}
    (one,) = api.fake.post("/admin/hooks/flush")["deliveries"]
    assert one["outcome"] == "refused: not this machine"


def test_the_log_keeps_successes_2_days_and_failures_7(api: Api, receiver: Receiver) -> None:
    """Facts 2.2 (a): GET /WebhookLogs has automations and subscriptions, so that missed hooks can be found."""
    api.wait(8 * DAY)
    assert api.get("WebhookLogs") == []
    fire(api, receiver, 1)
    receiver.status = 503
    fire(api, receiver, 2, kind="pairs")
    rows = api.get("WebhookLogs")
    assert [(row["payload"][:12], row["code"]) for row in rows] == [("1", "200"), ("contact_id=2", "503")]
    assert api.get("WebhookLog", id=rows[0]["id"]) == rows[0]
    assert api.get("WebhookLogs", condition=condition(("code", "<>", "200"))) == rows[1:]
    api.wait(3 * DAY)
    assert api.get("WebhookLogs") == rows[1:]
    assert api.get("WebhookLogs/getInfo")["count"] == "1"
    api.wait(5 * DAY)
    assert api.get("WebhookLogs") == []
