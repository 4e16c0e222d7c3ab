"""How Keap refuses: keys, tokens that end, limits and their headers."""

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from tagwarden.core import clock
from tagwarden.core.errors import NeedsSetting, Retryable
from tagwarden.core.ratelimit import Said
from tagwarden.crms import base
from tagwarden.crms.keap import KEY_LIMITS, OAUTH_LIMITS, Crm
from tests.crms.keap_script import V2, crm, row, sample, server
from tests.crms.scripted import Answer, Scripted

__all__ = ["crm", "server"]

OAUTH = {"client_id": "the-id", "client_secret": "s3cret", "access_token": "old-access", "refresh_token": "old-refresh"}


@pytest.mark.parametrize("name", ["bad-token.real", "expired.composed", "no-token.partly-real"])
def test_a_key_that_is_refused_is_told_and_not_tried_again(server: Scripted, crm: Crm, name: str) -> None:
    server.on(f"GET {V2}/oauth/connect/userinfo", Answer(sample(f"error-401-{name}.json"), 401))
    with pytest.raises(NeedsSetting) as error:
        crm.check()
    assert (error.value.reason, len(server.asked)) == ("crm-key-refused", 1)


def test_the_account_is_called_by_its_name(server: Scripted, crm: Crm) -> None:
    server.on(f"GET {V2}/oauth/connect/userinfo", {"tenant_id": "xyz789", "email": "a@x.de"}, {"email": "a@x.de"}, {})
    assert [crm.check() for _ in range(3)] == ["xyz789", "a@x.de", "Keap"]


@pytest.mark.parametrize(
    ("name", "status"), [("quota.real", 429), ("apigee.composed", 429), ("apigee.composed", 500), ("quota.real", 400)]
)
def test_one_call_too_many_is_known_by_status_or_body(server: Scripted, crm: Crm, name: str, status: int) -> None:
    """The code in the body is a text; a gateway of that make may answer 500."""
    server.on(f"GET {V2}/contacts/1", Answer(sample(f"error-429-{name}.json"), status))
    with pytest.raises(Retryable) as error:
        crm.contact("1")
    assert (error.value.reason, error.value.after, error.value.spends_try) == (
        "crm-paused",
        timedelta(seconds=2),
        False,
    )


def test_a_pause_that_is_asked_for_is_kept_also_by_a_503(server: Scripted, crm: Crm) -> None:
    for status, reason in ((429, "crm-paused"), (503, "crm-overloaded")):
        server.on(f"GET {V2}/contacts/1", Answer(b"later", status, {"Retry-After": "17"}))
        with pytest.raises(Retryable) as error:
            crm.contact("1")
        assert (error.value.reason, error.value.after) == (reason, timedelta(seconds=17))


def test_when_the_days_calls_are_used_up_we_sleep_until_they_are_there_again(server: Scripted, crm: Crm) -> None:
    expiry = clock.now_ms() + 5 * 3_600_000
    headers = limits() | {"x-keap-product-quota-available": "0", "x-keap-product-quota-expiry-time": str(expiry)}
    server.on(f"GET {V2}/contacts/1", Answer(sample("error-429-quota.real.json"), 429, headers | {"Retry-After": "1"}))
    with pytest.raises(Retryable) as error:
        crm.contact("1")
    assert error.value.after is not None
    assert timedelta(hours=4, minutes=59) < error.value.after <= timedelta(hours=5)
    assert crm.said(headers)[0].reset == pytest.approx(5 * 3600, abs=30)


def limits() -> dict[str, str]:
    lines = sample("headers-limits.composed.txt").decode().split("\n")
    return dict(line.split(": ", 1) for line in lines if line)


def test_headers_tell_of_key_and_account_whichever_has_less(crm: Crm) -> None:
    """Values of the account hold two windows joined by a bar (measured)."""
    headers = limits() | {"x-keap-product-quota-expiry-time": "1795478400000"}
    said = {one.seconds: (one.limit, one.remaining) for one in crm.said(headers)}
    assert said == {86_400: (30_000, 29_980), 60: (240, 239)}

    tight = headers | {"x-keap-tenant-throttle-available": "3|249000"}
    assert {one.seconds: (one.limit, one.remaining) for one in crm.said(tight)}[60] == (240, 3)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        (dict.fromkeys(limits(), ""), {}),
        ({"x-keap-product-throttle-available": "n/a"}, {86_400: 29_980, 60: 9_990}),
        ({"x-keap-tenant-throttle-time-unit": "minute|fortnight"}, {86_400: 29_980, 60: 239}),
        ({"x-keap-tenant-throttle-available": "1"}, {86_400: 29_980, 60: 1}),
        ({"x-keap-product-quota-available": "-4"}, {86_400: 0, 60: 239}),
    ],
)
def test_headers_that_are_blank_or_odd_say_nothing(crm: Crm, changes: dict[str, str], left: dict[int, int]) -> None:
    """Numbers are blank in answers to calls without a good key (measured)."""
    found = {one.seconds: one.remaining for one in crm.said(limits() | changes)}
    assert found == left
    assert crm.said({}) == ()


def test_a_limit_of_bursts_is_only_ever_lowered(crm: Crm) -> None:
    assert crm.said({"x-keap-product-spike-limit": "5"}) == (Said(1, 5),)
    assert crm.said({"x-keap-product-spike-limit": "600"}) == (Said(1, 10),)


def test_an_application_may_ask_more_often_than_a_key(server: Scripted, crm: Crm) -> None:
    with closing(Crm(base_url=server.url, credentials=OAUTH)) as application:
        assert (crm.limits, application.limits) == (KEY_LIMITS, OAUTH_LIMITS)


class Kept(base.Tokens):
    """Tokens kept in memory; each exchange that was made is noted."""

    def __init__(self) -> None:
        self.credentials: Mapping[str, str] = OAUTH
        self.renewals = 0

    def renewed(self, stale: str, exchange: Callable[[Mapping[str, str]], Mapping[str, str]]) -> Mapping[str, str]:
        if self.credentials["access_token"] == stale:
            self.renewals += 1
            self.credentials = {**self.credentials, **exchange(self.credentials)}
        return self.credentials


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def application(server: Scripted, kept: Kept) -> Iterator[Crm]:
    with closing(Crm(base_url=server.url, credentials=OAUTH, tokens=kept)) as adapter:
        yield adapter


@pytest.mark.parametrize("name", ["bad-token.real", "expired.composed", "no-token.partly-real"])
def test_a_token_that_is_over_is_renewed_once_and_the_call_made_again(
    server: Scripted, application: Crm, kept: Kept, name: str
) -> None:
    """A form, the application by Basic authentication; both tokens change, and the old refresh token is dead."""
    refused = Answer(sample(f"error-401-{name}.json"), 401)
    server.on(f"GET {V2}/contacts/1", refused, row(1, tag_ids=[]))
    server.on("POST /token", sample("oauth-token-200.composed.json"))

    assert application.contact("1").contact == "1"

    exchange = server.asked[1]
    assert parse_qs(exchange.body.decode()) == {"grant_type": ["refresh_token"], "refresh_token": ["old-refresh"]}
    assert exchange.headers["authorization"] == "Basic " + base64.b64encode(b"the-id:s3cret").decode()
    assert exchange.headers["content-type"] == "application/x-www-form-urlencoded"
    assert server.asked[2].headers["authorization"] == "Bearer aaaa1111"
    assert (kept.credentials["refresh_token"], kept.renewals) == ("rrrr2222", 1)


def test_a_second_401_is_a_refusal(server: Scripted, application: Crm, kept: Kept) -> None:
    server.on(f"GET {V2}/contacts/1", Answer(sample("error-401-expired.composed.json"), 401))
    server.on("POST /token", sample("oauth-token-200.composed.json"))
    with pytest.raises(NeedsSetting) as error:
        application.contact("1")
    assert (error.value.reason, kept.renewals, len(server.asked)) == ("crm-key-refused", 1, 3)


def test_a_403_renews_nothing(server: Scripted, application: Crm, kept: Kept) -> None:
    """A user's rights don't change with a new token."""
    server.on(f"GET {V2}/contacts/1", Answer({"code": 403, "message": "no"}, 403))
    with pytest.raises(NeedsSetting):
        application.contact("1")
    assert (kept.renewals, len(server.asked)) == (0, 1)


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (
            Answer({"error": "invalid_request", "error_description": "Invalid Refresh Token"}, 400),
            NeedsSetting,
            "crm-link-lost",
        ),
        (Answer(b"busy", 503), Retryable, "crm-overloaded"),
        ({"token_type": "bearer"}, Retryable, "crm-overloaded"),
    ],
)
def test_a_renewal_that_fails_says_whether_it_may_work_later(
    server: Scripted, application: Crm, answer: Any, kind: type[Exception], reason: str
) -> None:
    server.on(f"GET {V2}/contacts/1", Answer(sample("error-401-expired.composed.json"), 401))
    server.on("POST /token", answer)
    with pytest.raises(kind) as error:
        application.contact("1")
    assert error.value.reason == reason  # type: ignore[attr-defined]


def test_a_token_that_another_thread_renewed_meanwhile_is_used_without_another_renewal(
    server: Scripted, application: Crm, kept: Kept
) -> None:
    def answer(asked: Any) -> Answer:
        server.asked.append(asked)
        if asked.headers["authorization"] == "Bearer old-access":
            application.http.headers["Authorization"] = "Bearer newer"  # by another thread, while the call is under way
            return Answer(sample("error-401-expired.composed.json"), 401)
        return Answer(row(1, tag_ids=[]))

    server.answer = answer  # type: ignore[method-assign]
    assert application.contact("1").contact == "1"
    assert (kept.renewals, len(server.asked)) == (0, 2)
