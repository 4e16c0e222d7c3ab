"""Keap's REST hooks: what they tell, and how they are kept alive."""

import json
from datetime import UTC, datetime

import pytest

from tagwarden.core.errors import Permanent
from tagwarden.core.hooks import Arrived, Event, Happened, Hook
from tagwarden.crms.keap import Crm
from tests.crms.keap_script import V1, crm, sample, server
from tests.crms.scripted import Answer, Scripted

__all__ = ["crm", "server"]


def arrived(body: bytes | object, **headers: str) -> Arrived:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Arrived("", {name.replace("_", "-"): value for name, value in headers.items()}, content)


def told(body: bytes | object, **headers: str) -> list[tuple[str, str, str]]:
    return [(str(one.happened), one.contact, one.tag) for one in Crm.events(arrived(body, **headers), [])]


def test_a_change_of_contacts_is_an_event_for_each() -> None:
    found = Crm.events(arrived(sample("resthook-contact.edit.composed.json")), [])
    at = datetime(2026, 8, 11, 10, 15, 30, tzinfo=UTC)
    assert found[0] == Event(Happened.CHANGED, "1001", at=at)
    assert [one.contact for one in found] == ["1001", "1002"]


def test_of_a_tag_all_contacts_are_read() -> None:
    """One receiver reads only the first; all of them were tagged."""
    body = sample("resthook-contactGroup.applied.composed.json")
    assert told(body) == [("tag-added", "1001", "91"), ("tag-added", "1002", "91")]
    two = {
        "event_key": "contactGroup.removed",
        "object_keys": [{"tag_id": n, "contact_details": [{"id": n}]} for n in (7, 8)],
    }
    assert told(two) == [("tag-removed", "7", "7"), ("tag-removed", "8", "8")]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        ({"event_key": "contact.add", "object_key": 5}, [("contact-created", "5", "")]),
        ({"event_key": "contact.delete", "object_keys": [{"id": "5"}]}, [("contact-changed", "5", "")]),
        (
            {"event_key": "contactGroup.applied", "object_key": '[{"tagId": 91, "applied": [5, 6]}]'},
            [("tag-added", "5", "91"), ("tag-added", "6", "91")],
        ),
        (
            {"event_key": "contact.edit", "object_keys": [{"id": 5}, {"id": ""}, {}, None, {"id": "~x~"}]},
            [("contact-changed", "5", "")],
        ),
    ],
)
def test_older_and_odd_forms_are_understood(body: object, events: list[tuple[str, str, str]]) -> None:
    assert told(body) == events


def test_a_thousand_objects_are_a_thousand_events() -> None:
    keys = [{"id": n, "apiUrl": "", "timestamp": "soon"} for n in range(1, 1001)]
    found = Crm.events(arrived({"event_key": "contact.edit", "object_keys": keys}), [])
    assert (len(found), found[0].at) == (1000, None)


def test_the_question_whether_we_are_there_is_no_event() -> None:
    """The receiver sends X-Hook-Secret back; nothing else is to be done."""
    assert Crm.events(arrived(sample("resthook-verify.composed.json"), x_hook_secret="5a0c"), []) == []
    assert Crm.events(arrived(sample("resthook-verify.composed.json")), []) == []
    assert Crm.events(arrived(b"", x_hook_secret="5a0c"), []) == []
    assert Crm.events(arrived(b"verification_key=5a0c", x_hook_secret="5a0c"), []) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[1]",
        b'{"event_key": 5}',
        b"[" * 60_000,
        {"event_key": "order.add", "object_keys": [{"id": 5}]},
        {"event_key": "contactGroup.edit", "object_keys": [{"id": 91}]},
        {"event_key": "contactGroup.applied", "object_keys": [{"id": 91, "apiUrl": ""}]},
        {"event_key": "contactGroup.applied", "object_key": "[{"},
        {"event_key": "contact.edit", "object_keys": []},
        {"event_key": "contact.edit", "object_keys": None},
    ],
)
def test_what_is_no_event_of_a_contact_is_said_to_be_not_understood(body: object) -> None:
    """A bare id in a hook of tags may be the tag's: better to say so than to act on a contact of that number."""
    with pytest.raises(Permanent) as error:
        told(body)
    assert error.value.reason == "hook-not-understood"


def test_a_hook_is_made_once_and_lives_when_it_is_verified(server: Scripted, crm: Crm) -> None:
    url = "https://members.example.com/hooks/keap/abc123"
    made = json.loads(sample("v1-hook-create-200.composed.json"))
    order = {"eventKey": "order.add", "hookUrl": url, "key": "9", "status": "Verified"}
    server.on(f"GET {V1}/hooks", [order], [order, made | {"key": 7, "status": "Verified"}])
    server.on(f"POST {V1}/hooks", made)
    hook = crm.make_hook(url, Happened.TAG_ADDED, "91")
    assert hook == Hook("7", url, Happened.TAG_ADDED, alive=False)
    assert server.asked[1].json == {"eventKey": "contactGroup.applied", "hookUrl": url}
    assert crm.make_hook(url, Happened.TAG_ADDED, "91").alive
    assert server.calls().count(f"POST {V1}/hooks") == 1


def test_a_hook_is_revived_by_verifying_it_and_made_anew_if_it_is_gone(server: Scripted, crm: Crm) -> None:
    url, made = (
        "https://m.example/hooks/x",
        {"eventKey": "contact.edit", "hookUrl": "https://m.example/hooks/x", "key": "8"},
    )
    dead = Hook("7", url, Happened.CHANGED, alive=False)
    server.on(f"GET {V1}/hooks", [])
    server.on(f"POST {V1}/hooks", made | {"status": "Verified"})
    server.on(
        f"POST {V1}/hooks/7/verify", made | {"key": "7", "status": "Verified"}, Answer(status=204), Answer({}, 404)
    )
    assert (crm.revive_hook(dead).alive, crm.revive_hook(dead).alive) == (True, False)
    assert crm.revive_hook(dead).id == "8"
