"""What Kit's adapter makes of single answers: the published samples, and odd ones that no fake gives."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tagwarden.core.errors import NeedsSetting, Permanent, Retryable
from tagwarden.core.hooks import Arrived, Event, Happened, Hook
from tagwarden.core.outcome import CrmTag
from tagwarden.crms import base
from tagwarden.crms.kit import Crm
from tests.crms.kit_serving import SAMPLES, sample
from tests.crms.scripted import Answer, Scripted, scripted

KEY = "kit_a-key-of-ours"
OAUTH = {"client_id": "ours", "client_secret": "s3cret", "access_token": "at-1", "refresh_token": "rt-1"}
LAST = {"has_previous_page": False, "has_next_page": False, "start_cursor": None, "end_cursor": None, "per_page": 1000}
FIELDS = {"custom_fields": [], "pagination": LAST}
SECRET = "whsec_test_secret_for_the_fake"
SIGNED_AT = datetime.fromtimestamp(1_753_797_130, UTC)
MARK = "52dfe2aa1718938e386847801c03e4f67143273920160d49116dc03972d9fb9e"  # worked out by the published formula


@pytest.fixture
def kit() -> Iterator[Scripted]:
    with scripted() as found:
        found.on("GET /v4/custom_fields", FIELDS)
        yield found


@pytest.fixture
def crm(kit: Scripted) -> Iterator[Crm]:
    with closing(Crm(base_url=kit.url, credentials={"api_key": KEY})) as adapter:
        yield adapter


def person(number: int = 5, **more: Any) -> dict[str, Any]:
    row = {"id": number, "first_name": "Ann", "email_address": "ann@example.com", "state": "active", "fields": {}}
    return row | {"tags": []} | more


def listed(*rows: object, cursor: str = "") -> dict[str, Any]:
    return {"subscribers": list(rows), "pagination": LAST | {"has_next_page": bool(cursor), "end_cursor": cursor}}


# --- samples ----------------------------------------------------------------------------------------------------------


def test_the_published_answers_are_read(kit: Scripted, crm: Crm) -> None:
    """Get a subscriber, its tags, List subscribers, account, tags, fields."""
    kit.on("GET /v4/subscribers/324", sample("v4-get-subscriber.json"))
    kit.on("GET /v4/subscribers/324/tags", sample("v4-subscriber-tags.json"))
    kit.on("GET /v4/subscribers", sample("v4-list-subscribers-include-tags.json"))
    kit.on("GET /v4/account", sample("v4-get-account.json"))
    kit.on("GET /v4/tags", sample("v4-list-tags.json"))
    kit.on("GET /v4/custom_fields", sample("v4-list-custom-fields.json"))

    alice = crm.contact("324")
    assert (alice.email, alice.first_name, alice.fields) == ("alice@convertkit.dev", "Alice", {"category": "One"})
    assert alice.tags == {CrmTag("111", "Tag B"), CrmTag("112", "Tag A")}
    found = crm.contacts(["200", "202", "999"])
    assert {one: snapshot.tags for one, snapshot in found.items()} == {"200": {CrmTag("1", "VIP")}, "202": set()}
    assert crm.check() == "Kit Greetings"
    assert crm.list_tags() == {"11": "Tag B", "10": "Tag A"}
    assert crm.list_fields() == {"last_name": "Last name"}


def test_calls_are_made_as_kit_wants_them(kit: Scripted, crm: Crm) -> None:
    """All states and tags are asked for, a thousand a page; the cursor's = is escaped."""
    kit.on("GET /v4/subscribers", listed(person(1), cursor="Wzc4OV0="), listed(person(2)))
    assert [[one.contact for one in page] for page in crm.everybody()] == [["1"], ["2"]]
    first, second = (asked for asked in kit.asked if asked.path == "/v4/subscribers")
    assert first.query == {"status": "all", "include": "tags", "per_page": "1000"}
    assert second.query == first.query | {"after": "Wzc4OV0="}
    assert "after=Wzc4OV0%3D" in second.raw_query
    assert first.headers["x-kit-api-key"] == KEY
    assert "authorization" not in first.headers


def test_an_address_with_the_version_in_it_does_as_well(kit: Scripted) -> None:
    kit.on("GET /v4/account", sample("v4-get-account.json"))
    with closing(Crm(base_url=f"{kit.url}/v4/", credentials={"api_key": f" {KEY}\n"})) as crm:
        assert crm.check() == "Kit Greetings"
    assert kit.asked[0].headers["x-kit-api-key"] == KEY


# --- odd answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"subscribers": None, "pagination": LAST},
        {"subscribers": [{"email_address": "no id"}], "pagination": LAST},
        {"subscribers": ["text"], "pagination": LAST},
        {"subscribers": []},
        {"subscribers": [], "pagination": {"has_next_page": "yes"}},
        {"subscribers": [], "pagination": {"has_next_page": True}},
    ],
)
def test_a_list_that_is_none_is_tried_again(kit: Scripted, crm: Crm, answer: object) -> None:
    kit.on("GET /v4/subscribers", answer)
    for read in (lambda: crm.contacts(["5"]), lambda: crm.page(""), lambda: crm.by_email("a@example.com")):
        with pytest.raises(Retryable, match="crm-answer-broken"):
            read()


def test_lists_that_go_in_circles_end(kit: Scripted, crm: Crm) -> None:
    kit.on("GET /v4/subscribers", listed(person(), cursor="A="), listed(person(), cursor="B="))
    kit.on("GET /v4/tags/3/subscribers", listed(person(), cursor="A="), listed(person(), cursor="B="))
    kit.on("GET /v4/tags", {"tags": [], "pagination": LAST | {"has_next_page": True, "end_cursor": "A="}})
    for read in (
        lambda: list(crm.everybody()),
        lambda: list(crm.changed(SIGNED_AT)),
        lambda: list(crm.tagged("3")),
        lambda: crm.contacts(["77"]),
        crm.list_tags,
    ):
        with pytest.raises(Retryable, match="crm-answer-broken"):
            read()


@pytest.mark.parametrize(
    "subscriber", [None, {}, person(6), {**person(), "fields": None}, {"id": 5, "email_address": "ann@example.com"}]
)
def test_a_contact_that_is_not_whole_is_no_contact(kit: Scripted, crm: Crm, subscriber: object) -> None:
    kit.on("GET /v4/subscribers/5", {"subscriber": subscriber})
    with pytest.raises(Retryable, match="crm-answer-broken"):
        crm.contact("5")


def test_a_row_without_fields_is_left_out_not_taken_for_one_with_empty_ones(kit: Scripted, crm: Crm) -> None:
    row = person(6)
    del row["fields"]
    kit.on("GET /v4/subscribers", listed(row, person(5)))
    assert set(crm.contacts(["5", "6"])) == {"5"}


@pytest.mark.parametrize("tags", [None, "none", [{"name": "Gold"}], ["Gold"]])
def test_what_is_no_list_of_tags_is_unknown(kit: Scripted, crm: Crm, tags: object) -> None:
    kit.on("GET /v4/subscribers", listed(person(tags=tags)))
    assert crm.contacts(["5"])["5"].tags is None


def test_a_tag_without_a_name_gets_it_from_the_list(kit: Scripted, crm: Crm) -> None:
    kit.on("GET /v4/subscribers", listed(person(tags=[{"id": 11}])))
    kit.on("GET /v4/tags", sample("v4-list-tags.json"))
    assert crm.contacts(["5"])["5"].tags == {CrmTag("11", "Tag B")}


def test_only_kits_own_404_says_that_somebody_is_gone(kit: Scripted, crm: Crm) -> None:
    """Auth comes before routing, so its 404 has its form; another server's page, at a wrong address, has not."""
    others = Answer(b"<h1>Not Found</h1>", 404), Answer({"message": "Not Found"}, 404)
    kit.on("GET /v4/subscribers/5", Answer({"errors": ["Not Found"]}, 404), *others)
    with pytest.raises(Permanent, match="contact-not-found"):
        crm.contact("5")
    for _ in others:
        with pytest.raises(base.Refused):
            crm.contact("5")


def test_rows_of_other_addresses_are_dropped(kit: Scripted, crm: Crm) -> None:
    """An address with a comma asks for two; the lowest id comes first."""
    same = [person(9, email_address="Ann@Example.com"), person(5)]
    kit.on("GET /v4/subscribers", listed(*same, person(3, email_address="bob@example.com")))
    assert [one.contact for one in crm.by_email("ann@example.com")] == ["5", "9"]


def test_too_much_bulk_work_is_a_pause(kit: Scripted) -> None:
    """413: they ask to wait until what was sent before is worked off."""
    kit.on("POST /v4/bulk/tags/subscribers", Answer(sample("v4-bulk-413.json"), 413))
    with closing(Crm(base_url=kit.url, credentials=OAUTH)) as app, pytest.raises(Retryable) as error:
        app.add_tag("3", ["5", "6"])
    assert (error.value.reason, error.value.after) == ("crm-paused", timedelta(minutes=1))


def test_whom_a_bulk_answer_does_not_name_is_asked_about_alone(kit: Scripted) -> None:
    """The sample of a failure has null in the place of who is gone."""
    kit.on("POST /v4/bulk/tags/subscribers", sample("v4-bulk-tag-200.json"))
    kit.on("DELETE /v4/bulk/tags/subscribers", sample("v4-bulk-tag-200.json"))
    for contact in ("649", "700"):
        kit.on(f"POST /v4/tags/83/subscribers/{contact}", sample("v4-tag-subscriber-201.json"))
        kit.on(f"DELETE /v4/tags/83/subscribers/{contact}", Answer(status=204))
    with closing(Crm(base_url=kit.url, credentials=OAUTH)) as app:
        assert app.add_tag("83", ["649", "700"]) == {"649", "700"}
        assert app.remove_tag("83", ["649", "700"]) == {"649", "700"}
    assert {"POST /v4/tags/83/subscribers/700", "DELETE /v4/tags/83/subscribers/700"} <= set(kit.calls())
    assert kit.asked[0].json == {
        "taggings": [{"tag_id": 83, "subscriber_id": 649}, {"tag_id": 83, "subscriber_id": 700}]
    }
    assert kit.asked[0].headers["authorization"] == "Bearer at-1"


@pytest.mark.parametrize("answer", [{}, {"failures": "none"}, {"subscribers": []}])
def test_a_bulk_answer_that_says_nothing_is_tried_again(kit: Scripted, answer: object) -> None:
    kit.on("POST /v4/bulk/tags/subscribers", answer)
    with closing(Crm(base_url=kit.url, credentials=OAUTH)) as app, pytest.raises(Retryable, match="crm-answer-broken"):
        app.add_tag("83", ["649", "700"])


# --- writing fields ------------------------------------------------------------------------------------------------


def _can_write(kit: Scripted, *answers: object) -> None:
    kit.on("GET /v4/custom_fields", sample("v4-list-custom-fields.json"))
    kit.on("GET /v4/subscribers/5", {"subscriber": person(canceled_at=None)})
    kit.on("PUT /v4/subscribers/5", *answers)


def test_address_and_name_go_along_with_a_field(kit: Scripted, crm: Crm) -> None:
    """The address is required; nobody says whether a name that is left out stays."""
    _can_write(kit, {"subscriber": person(fields={"last_name": "Berg"})})
    crm.set_fields("5", {"Last name": "Berg"})
    assert kit.asked[-1].json == {
        "email_address": "ann@example.com",
        "first_name": "Ann",
        "fields": {"last_name": "Berg"},
    }


def test_a_value_that_the_answer_does_not_show_is_written_again(kit: Scripted, crm: Crm) -> None:
    """The field is there, and yet: perhaps the answer was of before."""
    for answer in ({"subscriber": person(fields={"last_name": "Old"})}, {"subscriber": person()}, {}):
        _can_write(kit, answer)
        with pytest.raises(Retryable, match="crm-answer-broken"):
            crm.set_fields("5", {"Last name": "Berg"})


@pytest.mark.parametrize("answer", [{}, {"failures": []}, {"failures": [], "custom_field_values": [{"value": "Berg"}]}])
def test_a_bulk_write_that_does_not_show_what_was_written_is_made_again(kit: Scripted, answer: object) -> None:
    _can_write(kit)
    kit.on("POST /v4/bulk/custom_fields/subscribers", answer)
    with closing(Crm(base_url=kit.url, credentials=OAUTH)) as app, pytest.raises(Retryable, match="crm-answer-broken"):
        app.set_fields("5", {"Last name": "Berg"})


def test_what_is_stored_later_shows_later(kit: Scripted, crm: Crm) -> None:
    """202."""
    _can_write(kit, Answer({"subscriber": person(fields={"last_name": None})}, 202))
    crm.set_fields("5", {"Last name": "Berg"})


def test_a_refusal_of_the_address_is_no_missing_field(kit: Scripted, crm: Crm) -> None:
    _can_write(kit, Answer({"errors": ["Email address has already been taken"]}, 422))
    with pytest.raises(base.Refused):
        crm.set_fields("5", {"Last name": "Berg"})


def test_whoever_was_quicker_made_the_field(kit: Scripted, crm: Crm) -> None:
    kit.on("GET /v4/custom_fields", FIELDS, sample("v4-list-custom-fields.json"))
    kit.on("POST /v4/custom_fields", Answer({"errors": ["Key has already been taken"]}, 422))
    crm.make_field("Last name")
    assert crm.has_field("last name")


# --- tokens --------------------------------------------------------------------------------------------------------


class Kept(base.Tokens):
    """Renews at once and keeps nothing."""

    def renewed(self, stale: str, exchange: Any) -> Any:
        return {**OAUTH, **exchange(OAUTH)}


def _refusal(sentence: str) -> Answer:
    return Answer({"errors": [sentence]}, 401)


@pytest.mark.parametrize("sentence", ["The access token expired", "The access token is invalid"])
@pytest.mark.parametrize("path", ["/v4/oauth/token", "/oauth/token"])
def test_a_token_is_renewed_at_whichever_address_there_is(kit: Scripted, sentence: str, path: str) -> None:
    """It has moved over the years."""
    kit.on("POST /v4/oauth/token", Answer({"errors": ["Not Found"]}, 404))
    kit.on(f"POST {path}", {"access_token": "at-2", "refresh_token": "rt-2", "expires_in": 172_800})
    kit.on("GET /v4/account", _refusal(sentence), sample("v4-get-account.json"))
    with closing(Crm(base_url=kit.url, credentials=OAUTH, tokens=Kept())) as app:
        assert app.check() == "Kit Greetings"
    assert kit.asked[-1].headers["authorization"] == "Bearer at-2"
    assert b"refresh_token=rt-1" in next(asked.body for asked in kit.asked if asked.path == path)


def test_a_401_that_is_not_of_the_token_uses_none_up(kit: Scripted) -> None:
    """It is also what an account gets that lost the API: its trial is over, or it isn't paid."""
    kit.on("GET /v4/account", _refusal("Your account does not have access to the API"))
    app = Crm(base_url=kit.url, credentials=OAUTH, tokens=Kept())
    with closing(app), pytest.raises(NeedsSetting, match="crm-key-refused"):
        app.check()
    assert kit.calls() == ["GET /v4/account"]


def test_a_token_that_stays_refused_is_renewed_once(kit: Scripted) -> None:
    kit.on("POST /v4/oauth/token", {"access_token": "at-2", "refresh_token": "rt-2"})
    kit.on("GET /v4/account", _refusal("The access token is invalid"))
    app = Crm(base_url=kit.url, credentials=OAUTH, tokens=Kept())
    with closing(app), pytest.raises(NeedsSetting, match="crm-key-refused"):
        app.check()
    assert kit.calls() == ["GET /v4/account", "POST /v4/oauth/token", "GET /v4/account"]


# --- hooks --------------------------------------------------------------------------------------------------------

CREATED = (SAMPLES / "webhook-2-subscriber.created.json").read_bytes()
ADA = Event(
    Happened.CREATED,
    "987654",
    "ada@example.com",
    at=datetime(2026, 7, 29, 14, 32, 10, tzinfo=UTC),
    ref="9c2e1f3a-6b7d-4e8f-a1b2-c3d4e5f60718",
)


def signed(
    header: str = f"t=1753797130,v1={MARK}",
    *,
    body: bytes = CREATED,
    late: float = 0,
    secrets: tuple[str, ...] = (SECRET,),
) -> list[Event]:
    received = SIGNED_AT + timedelta(seconds=late)
    return Crm.events(Arrived("", {"x-kit-signature": header}, body, received), secrets)


def test_the_published_delivery_is_read_and_its_signature_fits() -> None:
    """HMAC-SHA256 over the time, a dot and the body; the secret as it was given, whsec_ and all."""
    assert signed() == [ADA]
    assert signed(f"t=1753797130, v1={'0' * 64}, v1={MARK}") == [ADA], "two while a secret is being changed"
    assert signed(secrets=("whsec_new", SECRET)) == [ADA]
    assert signed(late=299) == signed(late=-299) == [ADA]


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"v1={MARK}",
        f"t=,v1={MARK}",
        f"t=1753797131,v1={MARK}",
        f"t=１７５３７９７１３０,v1={MARK}",
        "t=1753797130",
        "t=1753797130,v1=ünsinn",
        f"t=1753797130,v0={MARK}",
    ],
)
def test_a_signature_that_does_not_fit_is_refused(header: str) -> None:
    with pytest.raises(Permanent, match="signature-wrong"):
        signed(header)


def test_a_signature_is_good_for_five_minutes_and_for_its_body_only() -> None:
    for change in ({"late": 301}, {"late": -301}, {"body": CREATED + b" "}, {"secrets": ("whsec_other",)}):
        with pytest.raises(Permanent, match="signature-wrong"):
            signed(**change)  # type: ignore[arg-type]


def test_without_a_secret_nothing_need_be_signed_but_with_one_an_older_webhook_is_refused() -> None:
    """Or whoever knows the address could leave the signature out."""
    older = (SAMPLES / "webhook-legacy-subscriber.json").read_bytes()
    assert Crm.events(Arrived("", {}, CREATED), []) == [ADA]
    assert Crm.events(Arrived("", {}, older), []) == [Event(Happened.TAG_ADDED, "1", "John@example.com")]
    with pytest.raises(Permanent, match="signature-wrong"):
        Crm.events(Arrived("", {}, older), [SECRET])


def test_an_older_webhook_says_in_its_address_what_it_was_made_for() -> None:
    older = (SAMPLES / "webhook-legacy-subscriber.json").read_bytes()
    (event,) = Crm.events(Arrived("told=tag-removed&tag=44", {}, older), [])
    assert event == Event(Happened.TAG_REMOVED, "1", "John@example.com", tag="44")
    (event,) = Crm.events(Arrived("told=nonsense", {}, older), [])
    assert event.happened == Happened.TAG_ADDED


def told(*rows: object) -> list[Event]:
    return Crm.events(Arrived("", {}, json.dumps({"delivery_id": 1, "events": rows}).encode()), [])


def happened(kind: str, created: str = "2026-07-29T14:32:10Z", number: int = 5, **data: Any) -> dict[str, Any]:
    subscriber = {"id": number, "email_address": "ann@example.com"}
    return {"id": f"e{number}", "type": kind, "created": created, "data": {"subscriber": subscriber, **data}}


def test_events_are_in_the_order_in_which_they_happened() -> None:
    """They come in any order."""
    later, sooner = "2026-07-29T14:32:11Z", "2026-07-29T14:32:10Z"
    tag = {"tag": {"id": 7, "name": "Gold"}}
    found = told(
        happened("subscriber.tag_removed", later, 1, **tag), happened("subscriber.tag_added", sooner, 2, **tag)
    )
    assert [(one.happened, one.contact, one.tag, one.tag_name) for one in found] == [
        (Happened.TAG_ADDED, "2", "7", "Gold"),
        (Happened.TAG_REMOVED, "1", "7", "Gold"),
    ]


@pytest.mark.parametrize("kind", ["unsubscribed", "bounced", "complained", "activated", "custom_field_value_updated"])
def test_whatever_else_befalls_a_subscriber_is_a_change(kind: str) -> None:
    (event,) = told(happened(f"subscriber.{kind}"))
    assert (event.happened, event.contact) == (Happened.CHANGED, "5")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"5",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"subscriber": null}',
        b'{"subscriber": {"first_name": "Ann"}}',
        b'{"events": {}}',
        b'{"events": [null, 1, {}]}',
        b'{"events": [{"id": "x", "type": "tag.created", "data": {"tag": {"id": 1}}}]}',
        b'{"events": [{"type": "subscriber.created", "data": []}]}',
        b'{"events": [{"type": "subscriber.created", "data": {"subscriber": {"id": "7; drop"}}}]}',
    ],
)
def test_what_tells_of_nobody_is_not_understood(body: bytes) -> None:
    with pytest.raises(Permanent, match="hook-not-understood"):
        Crm.events(Arrived("", {}, body), [])


def test_a_delivery_of_no_events_only_tries_the_address() -> None:
    assert told() == []


def test_a_signed_delivery_of_a_hundred_is_read_whole() -> None:
    rows = [happened("subscriber.tag_added", number=number, tag={"id": 7}) for number in range(1, 101)]
    body = json.dumps({"delivery_id": 1, "events": rows}).encode()
    mark = hmac.new(SECRET.encode(), b"1753797130." + body, hashlib.sha256).hexdigest()
    assert len(signed(f"t=1753797130,v1={mark}", body=body)) == 100


def test_the_published_list_of_older_webhooks_is_read(kit: Scripted, crm: Crm) -> None:
    """Event names stand there without their prefix; those of forms are none of ours."""
    listed = sample("v4-list-legacy-webhooks.json")
    kit.on("GET /v4/webhook_endpoints", Answer({"errors": ["Not Found"]}, 404))
    kit.on("GET /v4/webhooks", listed)
    found = Hook("webhooks/2", "http://example.convertkit.dev/tags", Happened.TAG_ADDED, "44")
    assert crm.hooks() == [found]
    listed["webhooks"][0]["event"]["name"] = "subscriber.tag_add"  # as one is made
    kit.on("GET /v4/webhooks", listed)
    assert crm.hooks() == [found]


def test_an_endpoint_that_is_gone_is_made_again(kit: Scripted, crm: Crm) -> None:
    kit.on("PATCH /v4/webhook_endpoints/7", Answer({"errors": ["Not Found"]}, 404))
    made = {"webhook_endpoint": {"id": "we_8", "url": "https://x.example", "secret": "whsec_8"}}
    kit.on("POST /v4/webhook_endpoints", Answer(made, 201))
    revived = crm.revive_hook(Hook("webhook_endpoints/7", "https://x.example", Happened.TAG_REMOVED, alive=False))
    assert revived == Hook("webhook_endpoints/we_8", "https://x.example", Happened.TAG_REMOVED, secret="whsec_8")
    assert kit.asked[-1].json["events"] == ["subscriber.tag_removed"]
