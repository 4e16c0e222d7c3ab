"""/metrics: what it counts, and who may read it."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.receiver.conftest import Door

TOKEN = "a-token-of-some-length"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(answer: httpx.Response) -> Samples:
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"tagwarden_{name}", frozenset(labels.items())]


def test_calls_are_counted_by_answer_and_batches_by_size_and_time(own_door: Door) -> None:
    for _ in range(3):
        own_door.post()
    own_door.post("/?aal_updatuser=live-0123456789abcdefghijklmnopqrstuvwxyz")
    own_door.post("/?aal_updateuser=a-secret-that-nobody-knows")
    found = samples(own_door.client.get("/metrics"))
    assert value(found, "deliveries_total", status="200", reason="") == 3
    assert value(found, "deliveries_total", status="403", reason="handshake-wrong") == 1
    assert sum(n for (name, _), n in found.items() if name == "tagwarden_deliveries_total") == 5
    for name in ("answer_seconds", "spool_commit_seconds", "spool_batch_rows"):
        assert value(found, f"{name}_count") == 5
    assert value(found, "spool_batch_rows_bucket", le="1.0") == 5
    assert value(found, "spool_batch_rows_sum") == 5
    assert 0 < value(found, "answer_seconds_sum") < 5
    assert value(found, "check_ok", check="spool") == 1
    assert value(found, "check_ok", check="database") == 0
    assert value(found, "disk_free_bytes") > 0


def test_without_a_token_only_this_machine_reads_and_through_no_proxy(the_door: Door) -> None:
    assert the_door.client.get("/metrics").status_code == 200
    assert the_door.client.get("/metrics", headers={"host": "localhost"}).status_code == 200
    for header, content in (
        ("x-forwarded-for", "10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("via", "1.1 proxy"),
        ("forwarded", "for=10.0.0.1"),
        ("host", "members.example.com"),
    ):
        answer = the_door.client.get("/metrics", headers={header: content})
        assert (answer.status_code, b"TAGWARDEN_METRICS_TOKEN" in answer.content) == (403, True), header


@pytest.mark.parametrize("sent", ["", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, "Bearer", "Bearer \xe9"])
def test_with_a_token_nobody_reads_without_it(own_door_with_token: Door, sent: str) -> None:
    headers = {"authorization": sent.encode("latin-1")} if sent else {}
    assert own_door_with_token.client.get("/metrics", headers=headers).status_code == 403


def test_with_a_token_who_sends_it_reads_from_anywhere(own_door_with_token: Door) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "x-forwarded-for": "10.0.0.1"}
    answer = own_door_with_token.client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert TOKEN not in answer.text


@pytest.fixture
def own_door_with_token(closed_door: Door) -> Door:
    closed_door.fill()
    closed_door.start(TAGWARDEN_METRICS_TOKEN=TOKEN)
    return closed_door
