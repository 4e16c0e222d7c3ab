"""The fake Keap's keys, tokens, limits and faults are those of the facts on Keap."""

from typing import Any

import httpx
import pytest

from tests.crms.keap_client import Keap, crm, opened, own, server
from tests.fakes import keap

__all__ = ["crm", "own", "server"]


# --- keys and tokens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "oauth.v2.InvalidAccessToken"),
        ({"Authorization": "Token x"}, "oauth.v2.InvalidAccessToken"),
        ({"Authorization": "Bearer guess"}, "keymanagement.service.invalid_access_token"),
    ],
)
def test_the_gateway_looks_at_the_key_before_the_path(crm: Keap, headers: dict[str, str], code: str) -> None:
    """Facts 1.5: 401 has several meanings; the limits' numbers are blank."""
    for path in ("/contacts", "/nowhere"):
        answer = httpx.get(crm.server.url + keap.V2 + path, headers=headers)
        assert (answer.status_code, answer.json()["fault"]["detail"]["errorcode"]) == (401, code)
        assert answer.headers["x-keap-product-quota-available"] == ""
    unknown = crm.v2.get("/nowhere")
    assert (unknown.status_code, unknown.json()["code"]) == (404, 404)
    assert crm.v2.put("/tags").status_code == 405


def test_keys_come_by_either_header(crm: Keap) -> None:
    """Facts 1.1."""
    for headers in ({"X-Keap-API-Key": keap.SERVICE_KEY}, {"Authorization": f"Bearer {keap.PERSONAL_TOKEN}"}):
        assert httpx.get(f"{crm.server.url}{keap.V2}/tags", headers=headers).status_code == 200


def test_a_restricted_users_token_is_valid_and_sees_nothing(crm: Keap) -> None:
    """Facts 1.1: userinfo can't be withheld, contacts can."""
    with opened(crm.server, keap.RESTRICTED_TOKEN) as small:
        assert small.v2.get("/oauth/connect/userinfo").json()["is_admin"] is False
        answer = small.v2.get("/contacts")
    assert (answer.status_code, answer.json()["code"]) == (403, 403)


def _refresh(crm: Keap, token: str, secret: str = keap.CLIENT_SECRET, **more: Any) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": token}
    return httpx.post(f"{crm.server.url}/token", **{"data": form, "auth": (keap.CLIENT_ID, secret), **more})


def test_a_refresh_token_works_once(own: Keap) -> None:
    """Facts 0.7, 1.1 and 7: the old one is dead as soon as it is used."""
    pair = _refresh(own, keap.REFRESH_TOKEN).json()
    dead = _refresh(own, keap.REFRESH_TOKEN)
    assert (dead.status_code, dead.json()) == (
        400,
        {"error": "invalid_request", "error_description": "Invalid Refresh Token"},
    )
    for token in (keap.ACCESS_TOKEN, pair["access_token"]):
        with opened(own.server, token) as client:
            assert client.v2.get("/tags").status_code == 200
    own.server.set(refresh_ends_access=True)
    last = _refresh(own, pair["refresh_token"]).json()
    with opened(own.server, pair["access_token"]) as client:
        assert client.v2.get("/tags").status_code == 401
    own.clock(46 * 86_400)
    assert _refresh(own, last["refresh_token"]).status_code == 400


def test_a_refresh_needs_a_form_and_the_clients_secret(crm: Keap) -> None:
    """Facts 1.1 and 7."""
    assert _refresh(crm, keap.REFRESH_TOKEN, "guess").json()["error"] == "invalid_client"
    as_json = _refresh(crm, "", data=None, json={"grant_type": "refresh_token", "refresh_token": keap.REFRESH_TOKEN})
    assert (as_json.status_code, as_json.json()["error_description"]) == (
        400,
        "response_type or grant_type is required",
    )


def test_an_access_token_expires_in_the_middle_of_work(own: Keap) -> None:
    """Facts 1.5: the code of an expired token is unverified."""
    with opened(own.server, keap.ACCESS_TOKEN) as client:
        assert client.v2.get("/contacts").status_code == 200
        own.clock(86_401)
        expired = client.v2.get("/contacts")
        own.server.set(expired_as="invalid")
        unclear = client.v2.get("/contacts")
    codes = [answer.json()["fault"]["detail"]["errorcode"].rpartition(".")[2] for answer in (expired, unclear)]
    assert codes == ["access_token_expired", "invalid_access_token"]
    assert _refresh(own, keap.REFRESH_TOKEN).status_code == 200


def test_tokens_and_keys_are_expired_and_revoked_by_the_test(own: Keap) -> None:
    first = own.server.post("/admin/tokens")
    assert first["access_token"] in own.server.post("/admin/tokens/revoke", token=keap.ACCESS_TOKEN)["access"]
    with opened(own.server, first["access_token"]) as client:
        own.server.post("/admin/tokens/expire")
        assert "expired" in client.v2.get("/tags").text
        own.server.post("/admin/tokens/revoke")
        assert "invalid_access_token" in client.v2.get("/tags").text
    assert _refresh(own, first["refresh_token"]).status_code == 400
    own.server.post("/admin/tokens/revoke", token=keap.SERVICE_KEY)
    assert "invalid_access_token" in own.v2.get("/tags").text


def test_a_code_is_exchanged_once(own: Keap) -> None:
    """Facts 1.1: client id and secret in the body."""
    back = "http://127.0.0.1/back"
    asked = {"client_id": keap.CLIENT_ID, "redirect_uri": back, "response_type": "code", "scope": "full", "state": "s"}
    sent = httpx.get(f"{own.server.url}/app/oauth/authorize", params=asked).headers["Location"]
    code = httpx.URL(sent).params["code"]
    assert (sent.startswith(back), httpx.URL(sent).params["state"]) == (True, "s")
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back}
    form |= {"client_id": keap.CLIENT_ID, "client_secret": keap.CLIENT_SECRET}
    answers = [httpx.post(f"{own.server.url}/token", data=form) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 400]
    with opened(own.server, answers[0].json()["access_token"]) as client:
        assert client.v2.get("/tags").status_code == 200


# --- limits and faults -----------------------------------------------------------------------------------------


def test_ten_calls_a_second_for_a_key_and_twenty_five_for_oauth(own: Keap) -> None:
    """Facts 1.5."""
    for key, most in ((keap.SERVICE_KEY, 10), (keap.ACCESS_TOKEN, 25)):
        with opened(own.server, key) as client:
            statuses = [client.v2.get("/tags").status_code for _ in range(most + 1)]
        assert statuses == [200] * most + [429]
    own.clock(1)
    assert own.v2.get("/tags").status_code == 200
    assert own.server.counters()["limited"] == 2


def test_two_hundred_and_forty_calls_a_minute(own: Keap) -> None:
    """Facts 1.5."""
    for _ in range(24):
        assert all(own.v2.get("/tags").status_code == 200 for _ in range(10))
        own.clock(1)
    refused = own.v2.get("/tags")
    assert (refused.status_code, refused.headers["x-keap-product-throttle-available"]) == (429, "0")
    assert "Retry-After" not in refused.headers
    own.server.set(retry_after=True)
    assert own.v2.get("/tags").headers["Retry-After"] == "36"
    own.clock(36)
    assert own.v2.get("/tags").status_code == 200


def test_the_day_ends_at_midnight_and_the_tenant_shares(own: Keap) -> None:
    """Facts 1.5: when nothing is left of the day, only its end helps."""
    own.server.set(day_used=29_999)
    assert own.v2.get("/tags").headers["x-keap-product-quota-available"] == "0"
    refused = own.v2.get("/tags")
    assert (refused.status_code, refused.json()["code"]) == (429, "429")
    now = own.clock(0)
    ends = int(refused.headers["x-keap-product-quota-expiry-time"]) / 1000
    assert ends % 86_400 == 0
    assert 0 < ends - now <= 86_400
    own.server.set(day_used=0)
    assert own.v2.get("/tags").headers["x-keap-product-quota-used"] == "2"
    own.clock(ends - now)
    assert own.v2.get("/tags").headers["x-keap-product-quota-used"] == "1"
    own.server.set(tenant_minute_used=10_000)
    refused = own.v2.get("/tags")
    assert (refused.status_code, refused.headers["x-keap-tenant-throttle-available"]) == (429, "0|249999")
    own.server.set(tenant_minute_used=0, tenant_day_used=250_000)
    assert own.v2.get("/tags").status_code == 429
    own.server.set(tenant_day_used=0, limit_body="apigee", day_used=30_000)
    assert own.v2.get("/tags").json()["fault"]["detail"]["errorcode"] == "policies.ratelimit.QuotaViolation"


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("401-expired", 401, "access_token_expired"),
        ("401-revoked", 401, "invalid_access_token"),
        ("403", 403, '"code":403'),
        ("429", 429, '"code":"429"'),
        ("429-apigee", 429, "QuotaViolation"),
        ("500", 500, '"code":500'),
        ("503", 503, "<html>"),
        ("text", 502, "Bad Gateway"),
    ],
)
def test_faults_come_and_go(crm: Keap, fault: str, status: int, words: str) -> None:
    """Facts 0.9 and 1.5: two envelopes, and sometimes neither."""
    crm.server.set(faults=[fault], fault_rate=1)
    answer = crm.v2.get("/contacts")
    assert (answer.status_code, words in answer.text) == (status, True)
    crm.server.set(fault_rate=0)
    assert crm.v2.get("/contacts").status_code == 200


def test_reads_may_be_spoiled(crm: Keap) -> None:
    """Facts 0.3: what is missing is unknown, never empty."""
    ask: dict[str, Any] = {"params": {"fields": "id,tag_ids,groups", "page_size": 20}}
    whole = crm.v2.get("/contacts", **ask).json()["contacts"]
    rows: dict[str, list[dict[str, Any]]] = {}
    for fault in ("missing-rows", "duplicate-rows", "missing-tags"):
        crm.server.set(faults=[fault], fault_rate=1)
        rows[fault] = crm.v2.get("/contacts", **ask).json()["contacts"]
    assert (len(whole), len(rows["missing-rows"]), len(rows["duplicate-rows"])) == (20, 10, 30)
    assert sum("tag_ids" not in row and "groups" not in row for row in rows["missing-tags"]) == 10
    assert "tag_ids" not in crm.v2.get("/contacts/1", **ask).json()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_short_page_is_not_the_last(crm: Keap, version: str) -> None:
    crm.server.set(faults=["short-page"], fault_rate=1)
    ask, end = {"v1": ({"limit": 10}, "next"), "v2": ({"page_size": 10}, "next_page_token")}[version]
    page = getattr(crm, version).get("/contacts", params=ask).json()
    assert (len(page["contacts"]), bool(page[end])) == (5, True)


def test_a_refresh_may_be_done_and_its_answer_lost(own: Keap) -> None:
    """Facts 0.7: the pair that nobody got is the only one that is good."""
    own.server.set(faults=["reset"], fault_rate=1, seed=1)
    lost = 0
    while keap.REFRESH_TOKEN in own.server.admin.get("/admin/tokens").json()["refresh"]:
        with pytest.raises(httpx.TransportError):
            _refresh(own, keap.REFRESH_TOKEN)
        lost += 1
        assert lost < 30
    own.server.set(fault_rate=0)
    assert _refresh(own, keap.REFRESH_TOKEN).status_code == 400
