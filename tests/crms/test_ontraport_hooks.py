"""What Ontraport tells by itself: calls to a webhook, subscriptions, and its log of both."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from tagwarden.core import wire
from tagwarden.core.errors import Permanent, Retryable
from tagwarden.core.hooks import Arrived, Event, Happened, Hook
from tagwarden.core.wire import Param
from tagwarden.crms import base
from tagwarden.crms.ontraport import Crm
from tests.crms.ontraport_script import Ontraport, crm, envelope, sample, server

__all__ = ["crm", "server"]


SUB_TAG = json.loads(sample("webhook-subscription-sub_tag.composed.json"))
SENT = datetime.fromtimestamp(1760692406, UTC)
PAIRS = (
    "webhook_id=3&object_type_id=0&event[type]=sub_tag&event[tag_id]=15&data[id]=526&data[firstname]=Ada"
    "&data[email]=ada.example%40example.com&data[contact_cat]=*%2F*15*%2F*&timestamp=1760692406"
)


def events(body: bytes | str | dict[str, Any], **headers: str) -> list[Event]:
    raw = json.dumps(body) if isinstance(body, dict) else body
    return Crm.events(Arrived("", headers, raw.encode() if isinstance(raw, str) else raw), [])


# --- calls by an automation's Send a Webhook -----------------------------------------------------------------------

WORDS: dict[str, dict[str, Param]] = {"updateuser": {}}


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", sample("webhook-automation-seed.composed.txt")),
        ("", sample("webhook-automation-seed-newline.composed.txt")),
        ("", b"\r\n526\r\n"),
        ("", b"526="),
        ("", sample("webhook-automation-pairs.composed.form")),
        ("", b"contactId=526"),
        ("", b"id=526"),
        ("", b'{"contact_id": 526}'),
        ("", b'{"id": "526", "email": "ada.example@example.com"}'),
        ("&contact_id=526", b""),
        ("", sample("webhook-subscription-sub_tag.composed.json")),
        ("", PAIRS.encode()),
    ],
)
@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded", "text/plain", "application/json"])
def test_a_contact_is_found_in_whatever_the_box_for_post_data_holds(query: str, body: bytes, kind: str) -> None:
    """Its Content-Type is published nowhere. A subscription may come as PHP's form pairs (support article)."""
    headers = {"content-type": kind} if kind else {}
    call = wire.understand(query=f"aal_updateuser=s{query}", headers=headers, body=body, words=WORDS)
    assert (call.contacts, call.finding) == (("526",), None)


@pytest.mark.parametrize(
    ("query", "body", "reason"),
    [
        ("&contact_id=", b"", "contact-id-empty"),
        ("", b"contact_id=&email=", "contact-id-empty"),
        ("", b"", "contact-id-missing"),
        ("", b"[Contact ID]", "contact-id-unresolved"),
        ("", b"object_type_id=146&data[id]=9", "contact-id-missing"),
    ],
)
def test_a_call_without_a_contact_says_why(query: str, body: bytes, reason: str) -> None:
    """A trigger "contact is created" can fire with an empty contact (met by integrations)."""
    call = wire.understand(query=f"aal_updateuser=s{query}", headers={}, body=body, words=WORDS)
    assert call.finding
    assert (call.contacts, call.finding.reason) == ((), reason)


# --- what subscriptions tell --------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [json.dumps(SUB_TAG), PAIRS])
def test_a_tag_that_was_put_on_is_told(body: str) -> None:
    """ "Webhook events", as JSON; the vendor's support shows PHP's form pairs."""
    (told,) = events(body)
    assert (told.happened, told.contact, told.tag) == (Happened.TAG_ADDED, "526", "15")
    assert (told.email, told.at) == ("ada.example@example.com", SENT)


def test_json_and_form_tell_of_the_same_event() -> None:
    assert events(json.dumps(SUB_TAG))[0].ref == events(PAIRS)[0].ref != ""


@pytest.mark.parametrize(
    "change",
    [
        {"webhook_id": "4"},
        {"timestamp": "1760692407"},
        {"data": {"id": "527"}},
        {"event": {"type": "unsub_tag", "tag_id": "15"}},
    ],
)
def test_another_event_has_another_mark(change: dict[str, Any]) -> None:
    assert events(SUB_TAG | change)[0].ref != events(SUB_TAG)[0].ref


@pytest.mark.parametrize(
    ("event", "happened", "tag"),
    [
        ({"type": "unsub_tag", "tag_id": 15}, Happened.TAG_REMOVED, "15"),
        ({"type": "object_create"}, Happened.CREATED, ""),
        ({"type": "object_submits_form", "form_id": "4"}, Happened.CHANGED, ""),
        ("sub_tag(15)", Happened.TAG_ADDED, "15"),
        ({"type": "sub_tag"}, Happened.TAG_ADDED, ""),
        ({"type": "sub_tag", "tag_id": "Gold"}, Happened.TAG_ADDED, ""),
    ],
)
def test_each_event_has_its_meaning(event: Any, happened: Happened, tag: str) -> None:
    (told,) = events(SUB_TAG | {"event": event})
    assert (told.happened, told.contact, told.tag) == (happened, "526", tag)


@pytest.mark.parametrize("moment", ["", "0", None, "soon", "1e400", "-5", [1], "99999999999999"])
def test_a_moment_that_is_none_is_left_out(moment: Any) -> None:
    (told,) = events(SUB_TAG | {"timestamp": moment})
    assert told.at is None


def test_an_event_without_its_moment_has_no_mark() -> None:
    (told,) = events({name: value for name, value in SUB_TAG.items() if name != "timestamp"})
    assert told.ref == ""


@pytest.mark.parametrize(
    ("data", "contacts"), [({"id": ""}, []), ({}, []), ("", []), ({"id": "", "email": "a@example.com"}, [""])]
)
def test_an_event_that_names_nobody_is_well(data: Any, contacts: list[str]) -> None:
    """An empty contact was met by integrations."""
    assert [told.contact for told in events(SUB_TAG | {"data": data})] == contacts


@pytest.mark.parametrize(
    "body",
    [
        "",
        "526",
        "{",
        "[1]",
        "[" * 100_000,
        b"\xff\xfe\x00",
        "event[type]=moon_rises&data[id]=526",
        SUB_TAG | {"object_type_id": "146"},
        SUB_TAG | {"event": None},
        SUB_TAG | {"event": {"type": "sub_tags", "tag_id": "15"}},
    ],
)
def test_what_is_no_event_of_a_contact_is_not_understood(body: Any) -> None:
    with pytest.raises(Permanent) as error:
        events(body)
    assert error.value.reason == "hook-not-understood"


@pytest.mark.parametrize(
    "data", [{"id": "5²6"}, {"id": "9" * 5_000}, {"id": 1e300}, {"id": "\ud800"}, {"email": "a\x00\ud800b"}]
)
def test_odd_values_break_nothing(data: Any) -> None:
    for told in events(SUB_TAG | {"data": data}):
        told.email.encode()
        assert told.contact == ""


def test_no_signature_is_asked_for() -> None:
    """Ontraport signs nothing: the secret in the address is all there is."""
    assert Crm.events(Arrived("", {}, PAIRS.encode()), ["a secret"]) == events(PAIRS)


# --- hooks at Ontraport ----------------------------------------------------------------------------------------


def test_hooks_are_listed_with_what_they_tell(server: Ontraport, crm: Crm) -> None:
    server.on("GET Webhooks", sample("webhooks-list-200.fixture.json"))
    assert crm.hooks() == [
        Hook("1", "google.com", Happened.CREATED),
        Hook("2", "yahoo.com", Happened.CREATED),
    ]
    odd = [
        {"id": "3", "event": "unsub_tag(12)", "url": None},
        {"id": "4", "event": "moon_rises(1)"},
        {"event": "sub_tag(1)"},
    ]
    server.on("GET Webhooks", envelope(odd))
    assert crm.hooks() == [Hook("3", "", Happened.TAG_REMOVED, "12")]


def test_a_hook_is_a_subscription_to_one_tag(server: Ontraport, crm: Crm) -> None:
    server.on("GET Webhooks", sample("list-empty-200.real.json"))
    server.on("POST Webhook/subscribe", sample("webhook-subscribe-200.fixture.json"))
    made = crm.make_hook("https://example.com/hooks/s", Happened.TAG_ADDED, "12")
    assert made == Hook("2", "https://example.com/hooks/s", Happened.TAG_ADDED, "12")
    form = parse_qs(server.to("POST Webhook/subscribe")[0].body.decode())
    assert form == {"url": ["https://example.com/hooks/s"], "event": ["sub_tag(12)"]}

    crm.make_hook("https://example.com/hooks/s", Happened.CREATED)
    assert b"object_create%280%29" in server.to("POST Webhook/subscribe")[1].body


@pytest.mark.parametrize(("happened", "tag"), [(Happened.CHANGED, ""), (Happened.TAG_ADDED, "")])
def test_what_there_is_no_hook_for_is_said(server: Ontraport, crm: Crm, happened: Happened, tag: str) -> None:
    with pytest.raises(Permanent) as error:
        crm.make_hook("https://example.com/hooks/s", happened, tag)
    assert error.value.detail["what"] == crm.cannot["hook-for-changes"]


def test_a_hook_that_is_gone_is_taken_away_well(server: Ontraport, crm: Crm) -> None:
    hook = Hook("7", "https://example.com/hooks/s", Happened.TAG_ADDED, "12")
    server.on("DELETE Webhook/unsubscribe", sample("error-404.txt"), status=404)
    server.on("GET Webhooks", sample("list-empty-200.real.json"))
    crm.remove_hook(hook)
    assert server.asked[0].query == {"id": "7"}
    server.on("GET Webhooks", envelope([{"id": "7", "event": "sub_tag(12)", "url": hook.url}]))
    with pytest.raises(base.Refused):
        crm.remove_hook(hook)


# --- its log of webhooks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "9", "url": "https://example.com/hooks/s", "payload": json.dumps(SUB_TAG), "code": "500"},
        {"id": 9, "endpoint": "https://example.com/hooks/s", "last_payload": SUB_TAG, "date": "1760692400"},
        {
            "id": "9",
            "body": PAIRS,
        },
    ],
)
def test_the_log_is_read_whatever_its_columns_are_called(server: Ontraport, crm: Crm, entry: Any) -> None:
    """ "Webhook Log" is published without its columns. An entry has the `ref` of the call it tells of."""
    server.on("GET WebhookLogs", envelope([entry, {"id": "8", "payload": "526"}, {"id": "7"}]))
    (found,) = crm.missed(SENT - timedelta(hours=1))
    (called,) = events(SUB_TAG)
    assert (found.happened, found.contact, found.tag, found.at) == (Happened.TAG_ADDED, "526", "15", SENT)
    assert found.ref == called.ref != ""
    assert crm.missed(SENT + timedelta(seconds=1)) == []


def test_an_entry_whose_payload_has_no_moment_has_the_entrys(server: Ontraport, crm: Crm) -> None:
    told = {name: value for name, value in SUB_TAG.items() if name != "timestamp"}
    server.on("GET WebhookLogs", envelope([{"id": 1, "data": told, "date": "1760692406"}, {"id": 2, "data": told}]))
    (found,) = crm.missed(SENT - timedelta(hours=1))
    assert (found.at, found.ref) == (SENT, "")


def test_calls_to_others_are_none_of_ours(server: Ontraport, crm: Crm) -> None:
    server.on(
        "GET WebhookLogs", envelope([{"id": 1, "url": "https://zap.example.com/x", "payload": json.dumps(SUB_TAG)}])
    )
    assert crm.missed(SENT - timedelta(hours=1)) == []


def test_the_log_is_read_newest_first_and_only_as_far_as_needed(server: Ontraport, crm: Crm) -> None:
    def entries(first: int, at: int) -> dict[str, Any]:
        return envelope([{"id": n, "payload": SUB_TAG | {"timestamp": at}} for n in range(first, first + 50)])

    server.on("GET WebhookLogs", entries(100, 1760692406), entries(50, 1760600000), entries(0, 1760500000))
    assert len(crm.missed(SENT - timedelta(hours=1))) == 50
    assert [(one.query["sortDir"], one.query["start"]) for one in server.to("GET WebhookLogs")] == [
        ("desc", "0"),
        ("desc", "50"),
    ]


def test_a_long_log_is_left_after_a_thousand_entries(server: Ontraport, crm: Crm) -> None:
    many = [envelope([{"id": 10_000 - n} for n in range(start, start + 50)]) for start in range(0, 1_500, 50)]
    server.on("GET WebhookLogs", *many)
    assert crm.missed(SENT) == []
    assert len(server.to("GET WebhookLogs")) == 20


@pytest.mark.parametrize(
    ("status", "body"), [(403, "No"), (404, "Not Found"), (400, "Invalid query"), (200, envelope("x"))]
)
def test_a_log_that_cant_be_read_tells_nothing(server: Ontraport, crm: Crm, status: int, body: Any) -> None:
    """Rights of keys differ, and not each account may have the log."""
    server.on("GET WebhookLogs", body, status=status)
    assert crm.missed(SENT) == []


def test_a_log_that_cant_be_read_now_is_asked_for_again(server: Ontraport, crm: Crm) -> None:
    server.on("GET WebhookLogs", "", status=503)
    with pytest.raises(Retryable):
        crm.missed(SENT)
