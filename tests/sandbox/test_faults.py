"""Each fault does on the wire what it says."""

import json
import socket
import time
from collections.abc import Callable

import httpx
import pytest

from tests.sandbox.conftest import Crm, names

BULK = "/api/contacts?ids=" + ",".join(map(str, range(101, 121)))


def _raw(crm: Crm, path: str, seconds: float = 5, method: str = "GET", body: bytes = b"") -> bytes:
    """All bytes that come back before the server ends the connection."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{crm.port}\r\nAuthorization: Bearer sandbox-key\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    heard = b""
    with socket.create_connection(("127.0.0.1", crm.port), timeout=seconds) as link:
        link.sendall(head.encode() + body)
        while chunk := link.recv(65_536):
            heard += chunk
    return heard


def test_no_fault_is_made_unless_switched_on(crm: Crm) -> None:
    assert all(crm.api.get(BULK).status_code == 200 for _ in range(50))
    crm.set(fault_rate=1)
    assert crm.api.get(BULK).status_code == 200
    assert crm.counters()["faults"] == 0


def test_429_says_when_to_come_again_and_does_nothing(crm: Crm) -> None:
    tag = crm.new_tag("Not done 429")
    crm.set(fault_rate=1, faults=["429"])
    answer = crm.tag(tag, 101)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    crm.set(fault_rate=0)
    assert "Not done 429" not in names(crm.contact(101))


def test_503_is_a_page_in_html_and_does_nothing(crm: Crm) -> None:
    tag = crm.new_tag("Not done 503")
    crm.set(fault_rate=1, faults=["503"])
    answer = crm.tag(tag, 101)
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert answer.text.startswith("<html>")
    crm.set(fault_rate=0)
    assert "Not done 503" not in names(crm.contact(101))


def test_a_timeout_says_nothing_and_ends_when_the_client_goes(crm: Crm) -> None:
    crm.set(fault_rate=1, faults=["timeout"])
    with pytest.raises(TimeoutError):
        _raw(crm, BULK, seconds=0.5)
    crm.set(fault_rate=0)
    assert crm.api.get(BULK).status_code == 200


def test_a_cut_answer_ends_before_its_length(crm: Crm) -> None:
    crm.set(fault_rate=1, faults=["cut"])
    head, _, body = _raw(crm, BULK).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) == promised // 2
    with pytest.raises(httpx.RemoteProtocolError):
        crm.api.get(BULK)


def test_a_reset_breaks_the_connection(crm: Crm) -> None:
    crm.set(fault_rate=1, faults=["reset"])
    with pytest.raises(ConnectionResetError):
        _raw(crm, BULK)


def test_after_a_reset_a_write_is_done_or_not(crm: Crm) -> None:
    crm.set(fault_rate=1, faults=["reset"])
    for contact in range(101, 121):
        body = json.dumps({"fields": {"Username": "written"}}).encode()
        with pytest.raises(ConnectionResetError):
            _raw(crm, f"/api/contacts/{contact}/fields", method="PUT", body=body)
    crm.set(fault_rate=0)
    assert {row["fields"]["Username"] for row in crm.in_bulk(*range(101, 121))} == {"", "written"}


def test_missing_rows_are_missing_from_bulk_reads_and_lists_only(crm: Crm) -> None:
    crm.set(fault_rate=1, faults=["missing-rows"])
    assert len(crm.api.get(BULK).json()["contacts"]) == 10
    page = crm.api.get("/api/contacts").json()
    assert len(page["contacts"]) == 50
    assert page["total"] >= 249
    assert crm.contact(101)["id"] == 101


def test_missing_tags_leave_the_key_out(crm: Crm) -> None:
    crm.set(fault_rate=1, faults=["missing-tags"])
    assert ["tags" in row for row in crm.api.get(BULK).json()["contacts"]].count(False) == 10
    assert "tags" not in crm.contact(101)
    assert crm.api.get("/api/contacts/999999").status_code == 404
    assert crm.api.get("/api/contacts", params={"email": "nobody@example.com"}).json()["contacts"] == []


def test_the_share_of_faults_is_about_as_set_and_the_same_for_a_seed(crm: Crm) -> None:
    runs = []
    for seed in (7, 7, 8):
        crm.set(fault_rate=0.3, faults=["503", "missing-rows"], seed=seed)
        runs.append([crm.api.get("/api/ping").status_code for _ in range(200)])
    assert runs[0] == runs[1] != runs[2]
    assert 30 <= runs[0].count(503) <= 90
    assert crm.counters()["faults"] == sum(run.count(503) for run in runs)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fault_rates": 1},
        {"faults": ["fire"]},
        {"faults": "429"},
        {"fault_rate": 2},
        {"rate_limit": 0},
        {"latency_ms": 1.5},
        {"latency_ms": True},
        {"lag_seconds": "1"},
    ],
)
def test_a_wrong_setting_is_refused_and_nothing_changes(crm: Crm, wrong: dict[str, object]) -> None:
    before = crm.admin.get("/admin/settings").json()
    answer = crm.admin.put("/admin/settings", json=wrong | {"seed": 99})
    assert answer.status_code == 400
    assert next(iter(wrong)) in answer.json()["help"]
    assert crm.admin.get("/admin/settings").json() == before


def test_it_stops_quickly_while_a_call_hangs(start: Callable[..., Crm]) -> None:
    crm = start(1)
    crm.set(fault_rate=1, faults=["timeout"])
    with socket.create_connection(("127.0.0.1", crm.port)) as link:
        link.sendall(b"GET /api/ping HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sandbox-key\r\n\r\n")
        deadline = time.monotonic() + 5
        while crm.counters()["faults"] == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        began = time.monotonic()
        assert crm.stop() == 0
        assert time.monotonic() - began < 5
