"""The fake Kit tells of what happens as Kit does: legacy webhooks, and signed endpoints with their retries."""

import hashlib
import hmac
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.crms.kit_serving import SAMPLES, Heard, Kit, Receiver, receiving, sample, serving
from tests.fakes.kit import HOOK_SECRET

GOLD, SILVER = 1, 2
ADDED, REMOVED = "subscriber.tag_added", "subscriber.tag_removed"


@pytest.fixture
def kit() -> Iterator[Kit]:
    """With two tags, and a clock that only the test moves."""
    with serving() as running:
        running.set(speed=0)
        running.names(tags={"1": "Gold", "2": "Silver"})
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


# --- legacy --------------------------------------------------------------------------------------------------------


def legacy(kit: Kit, url: str, name: str, **more: Any) -> int:
    answer = kit.api.post("/v4/webhooks", json={"target_url": url, "event": {"name": name, **more}})
    assert answer.status_code == 201, answer.text
    found: int = answer.json()["webhook"]["id"]
    return found


def test_a_legacy_hook_is_made_listed_and_deleted(kit: Kit) -> None:
    """2.2: the echo drops the prefix; the samples' shapes; 422 without event or tag."""
    request, expected = sample("v4-create-legacy-webhook.request.json"), sample("v4-create-legacy-webhook-201.json")
    answer = kit.api.post("/v4/webhooks", json=request)
    assert answer.status_code == 201
    made = answer.json()["webhook"]
    assert made == expected["webhook"] | {"id": made["id"], "account_id": made["account_id"]}
    assert list(made) == list(expected["webhook"])
    second = legacy(kit, "http://127.0.0.1/", "subscriber.tag_add", tag_id=44)
    rows = kit.read("/v4/webhooks")["webhooks"]
    assert [row["id"] for row in rows] == [second, made["id"]]
    assert rows[0]["event"] == sample("v4-list-legacy-webhooks.json")["webhooks"][0]["event"]
    assert kit.api.delete(f"/v4/webhooks/{second}").status_code == 204
    assert kit.api.delete(f"/v4/webhooks/{second}").status_code == 404
    for event in ({}, {"name": "subscriber.tag_add"}, {"name": "tag_add", "tag_id": 1}):
        assert kit.api.post("/v4/webhooks", json={"target_url": "http://a.b/", "event": event}).status_code == 422


def test_a_legacy_hook_fires_only_on_a_real_change_of_its_tag(kit: Kit, receiver: Receiver) -> None:
    """2.2: one event and one tag each; a tag that is there already fires nothing; taken off, it fires again."""
    ann = kit.person()
    hook = legacy(kit, f"{receiver.url}/?aal_updateuser=x&tag=gold", "subscriber.tag_add", tag_id=GOLD)
    legacy(kit, f"{receiver.url}/off", "subscriber.tag_remove", tag_id=GOLD)
    path = f"/v4/tags/{GOLD}/subscribers/{ann}"
    kit.api.post(path)
    kit.flush()
    (heard,) = receiver.take()
    assert heard.path == "/?aal_updateuser=x&tag=gold"
    assert heard.content["subscriber"]["id"] == ann
    kit.api.post(path)
    kit.tag("Silver", ann)
    kit.flush()
    assert receiver.take() == []
    kit.set(legacy_repeats=True)
    kit.api.post(path)
    kit.set(legacy_repeats=False)
    kit.api.delete(path)
    kit.tag("Gold", ann)
    kit.flush()
    assert sorted(one.path for one in receiver.take()) == ["/?aal_updateuser=x&tag=gold"] * 2 + ["/off"]
    kit.api.delete(f"/v4/webhooks/{hook}")
    kit.tag("Gold", ann, remove=True)
    kit.tag("Gold", ann)
    kit.flush()
    assert [one.path for one in receiver.take()] == ["/off"]


def test_other_legacy_events_fire_too(kit: Kit, receiver: Receiver) -> None:
    """2.2: subscription and field events, one at a time."""
    town = kit.field("Town")
    for name in ("activate", "unsubscribe", "bounce", "complain"):
        legacy(kit, f"{receiver.url}/{name}", f"subscriber.subscriber_{name}")
    legacy(kit, f"{receiver.url}/field", "custom_field.field_value_updated", custom_field_id=town)
    ann, bea, cleo = kit.person(), kit.person("bea@example.com"), kit.person("cleo@example.com")
    kit.flush()
    assert [one.path for one in receiver.take()] == ["/activate"] * 3
    kit.api.post(f"/v4/subscribers/{ann}/unsubscribe")
    kit.admin.patch(f"/admin/contacts/{bea}", json={"state": "bounced"})
    kit.admin.patch(f"/admin/contacts/{cleo}", json={"state": "complained"})
    kit.api.post("/v4/subscribers", json={"email_address": "ann@example.com", "fields": {"town": "Kiel"}})
    kit.flush()
    heard = {one.path: one.content["subscriber"] for one in receiver.take()}
    assert {path: row["state"] for path, row in heard.items()} == {
        "/unsubscribe": "cancelled",
        "/bounce": "bounced",
        "/complain": "complained",
        "/field": "cancelled",
    }
    assert heard["/field"]["fields"] == {"Town": "Kiel"}


def test_a_legacy_body_is_the_sample_to_the_byte(kit: Kit, receiver: Receiver) -> None:
    """2.2: no event, no tag, no signature; fields by label, a time with milliseconds."""
    kit.later(datetime.fromisoformat("2018-02-15T19:40:24.913+00:00").timestamp() - kit.later(0) + 0.0001)
    kit.person("John@example.com", id=1, first_name="John", fields={"My Custom Field": "Value"})
    legacy(kit, receiver.url, "subscriber.tag_add", tag_id=GOLD)
    kit.tag("Gold", 1)
    kit.flush()
    kit.post("/admin/fire", url=receiver.url, contacts=[1], event={"kind": "legacy"})
    native, fired = receiver.take()
    assert native.body == fired.body == (SAMPLES / "webhook-legacy-subscriber.json").read_bytes()
    assert native.headers["Content-Type"] == "application/json"
    assert not [name for name in native.headers if name.startswith("X-")]


def test_legacy_retries_and_doubles_are_a_switch(kit: Kit, receiver: Receiver) -> None:
    """2.2: nothing is published, so one try, and one delivery, unless told otherwise."""
    ann = kit.person()
    legacy(kit, receiver.url, "subscriber.tag_add", tag_id=GOLD)
    receiver.answers = [(500, {}), (500, {})]
    kit.tag("Gold", ann)
    assert [row["status"] for row in kit.flush()] == ["failed"]
    kit.set(legacy_retries=[60], hook_copies=2)
    kit.tag("Gold", ann, remove=True)
    receiver.answers = [(500, {}), (500, {})]
    kit.tag("Gold", ann)
    assert [(row["status"], row["next_in"]) for row in kit.flush()] == [("retrying", 60)]
    kit.later(60)
    assert [row["status"] for row in kit.flush()] == ["delivered"]
    assert len(receiver.take()) == 1 + 2 + 2


# --- endpoints -----------------------------------------------------------------------------------------------------


def endpoint(kit: Kit, url: str, *events: str, **more: Any) -> dict[str, Any]:
    answer = kit.api.post("/v4/webhook_endpoints", json={"url": url, "events": events or [ADDED], **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["webhook_endpoint"]
    return found


def marks(heard: Heard) -> tuple[int, list[str]]:
    """t and the signatures of X-Kit-Signature."""
    pairs = [part.split("=") for part in heard.headers["X-Kit-Signature"].split(",")]
    assert pairs[0][0] == "t"
    assert {name for name, _ in pairs[1:]} == {"v1"}
    return int(pairs[0][1]), [value for _, value in pairs[1:]]


def mark(secret: str, t: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{t}.".encode() + body, hashlib.sha256).hexdigest()


def test_the_secret_is_shown_once(kit: Kit, receiver: Receiver) -> None:
    """2.2: on creation (and rotation), never in a list, by id or on a change."""
    made = endpoint(kit, receiver.url, name="Mine", description="d")
    assert list(made) == ENDPOINT
    assert made["secret"].startswith("whsec_")
    assert (made["status"], made["name"], made["events"]) == ("active", "Mine", [ADDED])
    path = f"/v4/webhook_endpoints/{made['id']}"
    listed = kit.read("/v4/webhook_endpoints")["webhook_endpoints"]
    changed = kit.api.patch(path, json={"events": [REMOVED]}).json()["webhook_endpoint"]
    del made["secret"]
    assert listed == [made]
    assert changed == made | {"events": [REMOVED]}
    assert kit.read(path)["webhook_endpoint"] == changed


ENDPOINT = ["id", "name", "url", "events", "status", "source", "description", "created_by_app", "created_at"]
ENDPOINT += ["previous_secret_expires_at", "secret"]


def test_events_are_signed_and_carry_the_tag(kit: Kit, receiver: Receiver) -> None:
    """2.2: envelope, headers, and HMAC over "<t>.<body>" with the secret as it is given."""
    secret = endpoint(kit, receiver.url)["secret"]
    ann = kit.person(fields={"Town": "Kiel"})
    kit.api.post(f"/v4/tags/{GOLD}/subscribers/{ann}")
    kit.flush()
    (heard,) = receiver.take()
    t, (signed,) = marks(heard)
    assert signed == mark(secret, t, heard.body)
    assert t == int(kit.later(0))
    assert heard.headers["X-Kit-Delivery"] == str(heard.content["delivery_id"])
    assert heard.headers["User-Agent"] == "Kit-Webhooks/2.0"
    (event,) = heard.content["events"]
    assert list(event) == ["id", "type", "created", "data"]
    assert (event["type"], event["data"]["tag"]) == (ADDED, {"id": GOLD, "name": "Gold"})
    assert event["data"]["subscriber"]["fields"] == {"town": "Kiel"}
    kit.api.post(f"/v4/tags/{GOLD}/subscribers/{ann}")
    kit.flush()
    assert receiver.take() == []


def test_a_delivery_is_the_sample_to_the_byte_with_its_signature(kit: Kit, receiver: Receiver) -> None:
    """2.2: body and signature of the published vector; two secrets make two marks."""
    kit.stand_at(datetime.fromisoformat("2026-07-29T14:32:10+00:00").timestamp())
    kit.person("ada@example.com", id=987654, first_name="Ada", fields={"Company": "Kit"})
    wanted: dict[str, Any] = {"kind": "events", "type": "subscriber.created", "t": 1753797130, "delivery_id": 123456}
    wanted |= {"event_id": "9c2e1f3a-6b7d-4e8f-a1b2-c3d4e5f60718", "secrets": ["whsec_test_secret_for_the_fake"]}
    kit.post("/admin/fire", url=receiver.url, contacts=[987654], event=wanted)
    (heard,) = receiver.take()
    assert heard.body == (SAMPLES / "webhook-2-subscriber.created.json").read_bytes()
    known = "52dfe2aa1718938e386847801c03e4f67143273920160d49116dc03972d9fb9e"
    assert heard.headers["X-Kit-Signature"] == f"t=1753797130,v1={known}"
    kit.set(compact_hooks=True)
    kit.post("/admin/fire", url=receiver.url, contacts=[987654], event={"kind": "events", "tag": "Gold"})
    (heard,) = receiver.take()
    t, signed = marks(heard)
    assert b"\n" not in heard.body
    assert signed == [mark(HOOK_SECRET, t, heard.body)]


def test_events_are_batched_by_type_and_by_the_hundred(kit: Kit, receiver: Receiver) -> None:
    """2.2: 1 to 100 events of one type; those within some time together (a switch); in any order (a switch)."""
    people = kit.people(101)
    endpoint(kit, receiver.url, ADDED, REMOVED)
    kit.tag("Gold", *people)
    kit.flush()
    heard = sorted((one.content["events"] for one in receiver.take()), key=len)
    assert [len(events) for events in heard] == [1, 100]
    assert [event["data"]["subscriber"]["id"] for event in heard[1]] == people[:100]
    kit.set(batch_seconds=5, out_of_order=True)
    for one in people[:6]:
        kit.tag("Silver", one)
    kit.tag("Gold", people[0], remove=True)
    assert kit.flush() == []
    kit.later(5)
    kit.flush()
    types = {one.content["events"][0]["type"]: one.content["events"] for one in receiver.take()}
    assert [len(types[ADDED]), len(types[REMOVED])] == [6, 1]
    order = [event["data"]["subscriber"]["id"] for event in types[ADDED]]
    assert order != people[:6]
    assert sorted(order) == people[:6]


def test_a_rotated_secret_signs_beside_the_old_one(kit: Kit, receiver: Receiver) -> None:
    """2.2: two v1 until the old secret expires or is revoked."""
    made, ann = endpoint(kit, receiver.url, ADDED, REMOVED), kit.person()
    path = f"/v4/webhook_endpoints/{made['id']}"

    def marked(*secrets: str) -> bool:
        kit.tag("Gold", ann, remove=bool(kit.truth(ann)["tags"]))
        kit.flush()
        (heard,) = receiver.take()
        t, found = marks(heard)
        return found == [mark(secret, t, heard.body) for secret in secrets]

    first = made["secret"]
    rotated = kit.api.post(f"{path}/rotate_secret").json()["webhook_endpoint"]
    second = rotated["secret"]
    assert second != first
    assert rotated["previous_secret_expires_at"] is not None
    assert marked(second, first)
    assert (
        kit.api.post(f"{path}/revoke_previous_secret").json()["webhook_endpoint"]["previous_secret_expires_at"] is None
    )
    assert marked(second)
    third = kit.api.post(f"{path}/rotate_secret").json()["webhook_endpoint"]["secret"]
    assert marked(third, second)
    kit.later(86_400)
    assert marked(third)
    assert "secret" not in kit.read(path)["webhook_endpoint"]


def test_a_failed_delivery_is_tried_eight_times_under_one_number(kit: Kit, receiver: Receiver) -> None:
    """2.2: after 30 s, 2 m, 15 m, 1 h, 4 h, 12 h, 24 h, each signed anew; then failed for good."""
    made, ann = endpoint(kit, receiver.url), kit.person()
    receiver.answers = [(500, {}), (404, {}), (302, {"Location": receiver.url}), (400, {}), *[(503, {})] * 4]
    kit.tag("Gold", ann)
    for wait in (30, 120, 900, 3600, 14_400, 43_200, 86_400):
        (row,) = kit.flush()
        assert (row["status"], row["next_in"]) == ("retrying", wait)
        kit.later(wait - 1)
        assert kit.flush() == []
        kit.later(1)
    (row,) = kit.flush()
    assert (row["status"], row["attempt"]) == ("failed", 8)
    heard = receiver.take()
    assert len(heard) == 8
    assert len({one.body for one in heard}) == 1
    assert len({one.headers["X-Kit-Delivery"] for one in heard}) == 1
    times = [marks(one) for one in heard]
    assert [signed for t, (signed,) in times] == [mark(made["secret"], t, heard[0].body) for t, _ in times]
    assert times[-1][0] - times[0][0] == 148_650
    kit.later(200_000)
    assert kit.flush() == []


def test_410_stops_and_retry_after_slows(kit: Kit, receiver: Receiver) -> None:
    """2.2: 410 ends a delivery at once (a switch: the endpoint too); Retry-After of 429 or 503 counts, 1 s to 24 h."""
    made, (ann, bea) = endpoint(kit, receiver.url, ADDED, REMOVED), kit.people(2)
    receiver.answers = [(410, {})]
    kit.tag("Gold", ann)
    assert [row["status"] for row in kit.flush()] == ["failed"]
    answers = [(503, "7", 7), (429, "0", 1), (429, "999999", 86_400), (500, "7", 3600), (503, "soon", 14_400)]
    receiver.answers = [(status, {"Retry-After": wait}) for status, wait, _ in answers]
    kit.tag("Gold", bea)
    for _, _, wait in answers:
        (row,) = kit.flush()
        assert row["next_in"] == wait
        kit.later(wait)
    assert [row["status"] for row in kit.flush()] == ["delivered"]
    kit.set(gone_disables=True)
    receiver.answers = [(410, {})]
    kit.tag("Gold", bea, remove=True)
    kit.flush()
    assert kit.read(f"/v4/webhook_endpoints/{made['id']}")["webhook_endpoint"]["status"] == "disabled"


def test_what_is_planned_or_unknown_cannot_be_subscribed_to(kit: Kit, receiver: Receiver) -> None:
    """2.2: 422, of the whole list, on creation and on a change; which are planned is a switch."""
    kit.set(planned_events=[ADDED])
    path, content = "/v4/webhook_endpoints", {"url": receiver.url}
    for events in ([ADDED], ["subscriber.created", ADDED], ["subscriber.tag_add"], []):
        assert kit.api.post(path, json=content | {"events": events}).status_code == 422
    made = endpoint(kit, receiver.url, "subscriber.created")
    one = f"{path}/{made['id']}"
    assert kit.api.patch(one, json={"events": [ADDED]}).status_code == 422
    kit.set(planned_events=[])
    assert kit.api.patch(one, json={"events": [ADDED]}).status_code == 200
    kit.tag("Gold", kit.person())
    kit.flush()
    assert [one.content["events"][0]["type"] for one in receiver.take()] == [ADDED]


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://192.168.1.5/", "http://intranet/", "ftp://a.b/", None])
def test_private_addresses_are_refused(kit: Kit, url: str | None) -> None:
    """2.2: loopback too, but for the switch that tests live by."""
    content = {"events": [ADDED]}
    assert kit.api.post("/v4/webhook_endpoints", json=content | {"url": url}).status_code == 422
    assert kit.api.post("/v4/webhook_endpoints", json=content | {"url": "http://127.0.0.1/"}).status_code == 201
    kit.set(loopback_hooks=False)
    for loopback in ("http://127.0.0.1/", "http://localhost:8000/", "http://[::1]/"):
        assert kit.api.post("/v4/webhook_endpoints", json=content | {"url": loopback}).status_code == 422


def test_an_apps_endpoints_are_hidden_from_a_key(kit: Kit, receiver: Receiver) -> None:
    """2.2: 404, or 403; or a key is refused altogether, as somebody has met (switches)."""
    answer = kit.app.post("/v4/webhook_endpoints", json={"url": receiver.url, "events": [ADDED]})
    path = f"/v4/webhook_endpoints/{answer.json()['webhook_endpoint']['id']}"
    assert kit.app.get(path).status_code == 200
    assert kit.read("/v4/webhook_endpoints")["webhook_endpoints"] == []
    assert [kit.api.get(path).status_code, kit.api.delete(path).status_code] == [404, 404]
    kit.set(foreign_endpoint_status=403)
    assert kit.api.get(path).status_code == 403
    kit.set(endpoints_need_oauth=True)
    assert kit.api.get("/v4/webhook_endpoints").status_code == 401
    assert kit.app.get("/v4/webhook_endpoints").status_code == 200


def test_a_disabled_or_deleted_endpoint_hears_nothing(kit: Kit, receiver: Receiver) -> None:
    """2.2: PATCH status; DELETE 204; what was to be tried again is dropped."""
    made, ann = endpoint(kit, receiver.url, ADDED, REMOVED), kit.person()
    path = f"/v4/webhook_endpoints/{made['id']}"
    assert kit.api.patch(path, json={"status": "off"}).status_code == 422
    kit.api.patch(path, json={"status": "disabled"})
    kit.tag("Gold", ann)
    assert kit.flush() == []
    kit.api.patch(path, json={"status": "active"})
    receiver.answers = [(500, {})]
    kit.tag("Silver", ann)
    kit.flush()
    assert kit.api.delete(path).status_code == 204
    kit.later(30)
    assert [row["outcome"] for row in kit.flush()] == ["dropped"]
    assert len(receiver.take()) == 1
    assert kit.api.get(path).status_code == 404


def test_deliveries_have_a_history(kit: Kit, receiver: Receiver) -> None:
    """2.2: 30 days, newest first, by status and event type; an unknown filter is refused."""
    made, (ann, bea) = endpoint(kit, receiver.url, ADDED, REMOVED), kit.people(2)
    path = f"/v4/webhook_endpoints/{made['id']}/deliveries"
    kit.tag("Gold", ann)
    kit.flush()
    receiver.answers = [(500, {})]
    kit.tag("Gold", bea)
    kit.tag("Gold", ann, remove=True)
    kit.flush()
    rows = kit.read(path)["deliveries"]
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    assert [row["event_type"] for row in rows] == [REMOVED, ADDED, ADDED]
    (waits,) = kit.read(path, status="retrying", event_type=ADDED)["deliveries"]
    assert (waits["attempt_count"], waits["completed_at"]) == (1, None)
    assert kit.api.get(path, params={"status": "lost"}).status_code == 422
    kit.later(31 * 86_400)
    kit.flush()
    assert [row["id"] for row in kit.read(path)["deliveries"]] == [waits["id"]]


def test_all_kinds_of_events_are_told(kit: Kit, receiver: Receiver) -> None:
    """2.2: subscription, field and resource events, whoever did it; signed by the real clock (a switch)."""
    kinds = ["created", "activated", "unsubscribed", "bounced", "complained", "custom_field_value_updated"]
    names = [f"subscriber.{kind}" for kind in kinds] + ["tag.created", "tag.deleted", "custom_field.created"]
    endpoint(kit, receiver.url, *names)
    kit.later(150_000)
    ann, bea = kit.person(fields={"Town": "Kiel"}), kit.person("bea@example.com")
    kit.person("cleo@example.com", state="inactive")
    kit.set(activated_on_create=False, sign_by_real_clock=True)
    kit.person("dora@example.com")
    kit.api.put(f"/v4/subscribers/{ann}", json={"email_address": "a@example.com", "fields": {"town": "Bonn"}})
    kit.api.post(f"/v4/subscribers/{ann}/unsubscribe")
    for state in ("bounced", "complained"):
        kit.admin.patch(f"/admin/contacts/{bea}", json={"state": state})
    bronze = kit.api.post("/v4/tags", json={"name": "Bronze"}).json()["tag"]["id"]
    assert kit.app.request("DELETE", "/v4/bulk/tags", json={"tags": [{"id": bronze}]}).json() == {"failures": []}
    kit.flush()
    heard = receiver.take()
    types = [event["type"] for one in heard for event in one.content["events"]]
    assert {name: types.count(name) for name in names} == dict.fromkeys(names, 1) | {
        "subscriber.created": 4,
        "subscriber.activated": 2,
    }
    updated = next(event for one in heard for event in one.content["events"] if "field_value" in event["type"])
    assert updated["data"]["custom_field"]["key"] == "town"
    assert updated["data"]["subscriber"]["fields"]["town"] == "Bonn"
    assert marks(heard[-1])[0] < kit.later(0) - 100_000


def test_it_fires_at_this_machine_only_and_by_itself(kit: Kit, receiver: Receiver) -> None:
    """5: elsewhere nothing is sent; a due delivery goes out in the background, when the clock reaches it."""
    ann = kit.person()
    endpoint(kit, "https://example.com/hook")
    kit.tag("Gold", ann)
    assert [(row["outcome"], row["status"]) for row in kit.flush()] == [("not this machine", "failed")]
    legacy(kit, receiver.url, "subscriber.tag_add", tag_id=SILVER)
    kit.set(speed=1000, legacy_retries=[100])
    receiver.answers = [(500, {})]
    kit.tag("Silver", ann)
    assert receiver.wait_for(2)
    assert [one.content["subscriber"]["id"] for one in receiver.take()] == [ann, ann]
