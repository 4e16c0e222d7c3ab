"""What is answered, and what is kept: the table of docs/webhooks.md, line by line."""

import gzip
import json
import re
import time
import uuid
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.receiver.conftest import GETTING, REVOKED, SCOPED, SECRET, Door
from tests.receiver.load import fire

FORBIDDEN = {"set-cookie", "location"}


@pytest.mark.parametrize("path", ["/", "/index.php", "/wp-login.php", "/a/b%20c/"])
def test_a_good_call_is_on_disk_before_its_200(the_door: Door, path: str) -> None:
    answer = the_door.post(f"{path}?aal_updateuser={SECRET}", b"contactId=526")
    assert answer.status_code == 200
    row = the_door.last()
    assert answer.json() == {"ok": True, "delivery": row.id}
    assert answer.headers["x-request-id"] == row.id
    assert uuid.UUID(row.id).version == 7
    assert (row.kind, row.handshake, row.site, row.connection) == ("call", 1, 1, 3)
    assert (row.method, row.path, row.query) == ("POST", path.replace("%20", " "), "aal_updateuser=***")
    assert (row.body, row.word, row.status, row.reason) == (b"contactId=526", "aal_updateuser", 200, "")
    assert (row.address, row.host) == ("127.0.0.1", f"127.0.0.1:{the_door.port}")
    assert abs(row.received - time.time() * 1000) < 10_000


@pytest.mark.parametrize(
    ("url", "body", "status", "reason", "help_says"),
    [
        (f"/?aal_updateuser={SECRET}", b"", 400, "contact-id-missing", "contactId"),
        (f"/?aal_updateuser={SECRET}", b"[Contact ID]", 400, "contact-id-unresolved", "merge field"),
        (f"/?aal_updateuser={SECRET}", b'{"contactId":', 400, "body-unreadable", ""),
        (f"/?key={SECRET}", b"526", 400, "operation-missing", "aal_"),
        (f"/?aal_updateuser={SECRET}&aal_batchsync={SECRET}", b"526", 400, "operation-ambiguous", ""),
        (f"/?all_batchsync={SECRET}", b"526", 404, "operation-misspelled", "aal_batchsync"),
        (f"/?aal_updateusr={SECRET}", b"526", 404, "operation-unknown", "aal_updateuser"),
        (f"/?aal_updateuser={SECRET}&x={'y' * 9000}", b"526", 413, "head-too-large", ""),
    ],
)
def test_a_wrong_call_is_refused_with_a_sentence_and_kept(
    the_door: Door, url: str, body: bytes, status: int, reason: str, help_says: str
) -> None:
    answer = the_door.post(url, body)
    content = answer.json()
    assert (answer.status_code, content["ok"], content["reason"]) == (status, False, reason)
    assert help_says in content["help"]
    row = the_door.last()
    assert (row.id, row.status, row.reason) == (answer.headers["x-request-id"], status, reason)
    assert row.body == body
    assert SECRET not in repr(row)


def test_all_wrong_handshakes_get_the_same_answer_after_the_same_time(the_door: Door) -> None:
    urls = [
        f"/?aal_updateuser={REVOKED}",
        f"/?aal_updateuser={SCOPED}",
        "/?aal_updateuser=wrong-0123456789abcdefghijklmn",
        "/?aal_updateuser=",
        "/?aal_nonsense=x",
        f"/hooks/{REVOKED}",
        "/hooks/nobody",
    ]
    seen = set()
    for url in urls:
        started = time.monotonic()
        answer = the_door.post(url)
        assert 0.1 <= time.monotonic() - started < 1
        headers = {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "date")}
        seen.add((answer.status_code, answer.text, json.dumps(headers)))
    assert len(seen) == 1
    assert next(iter(seen))[0] == 403


def test_revoked_and_out_of_scope_calls_are_kept_with_their_body(the_door: Door) -> None:
    for secret, handshake in ((REVOKED, 3), (SCOPED, 2)):
        the_door.post(f"/?aal_updateuser={secret}", b"contactId=1")
        row = the_door.last()
        assert (row.kind, row.handshake, row.status, row.reason) == ("call", handshake, 403, "handshake-wrong")
        assert row.body == b"contactId=1"
    assert the_door.post(f"/?aal_batchsync={SCOPED}").status_code == 200


def test_strangers_are_sampled_without_body_and_values(own_door: Door) -> None:
    guess = "wrong-0123456789abcdefghijklmn"
    url = f"/?aal_updateuser={guess}&teamId=secretive"
    assert own_door.post(url, cookie="a=b").status_code == 403
    before = time.monotonic()
    told = fire(own_door.port, url, connections=40, seconds=5, most=2)
    assert dict(told.statuses) == {403: 80}
    seconds = int(time.monotonic() - before) + 2  # the seconds that were touched
    rows = own_door.rows()
    assert 10 <= len(rows) <= 10 * seconds < 80
    for row in rows:
        assert (row.kind, row.body, row.handshake) == ("stranger", b"", None)
        assert (row.word, row.query) == ("aal_updateuser", "aal_updateuser=***&teamId=***")
        assert guess not in repr(row)
        assert "cookie" not in row.headers
        assert "secretive" not in repr(row)


def test_the_handshake_is_nowhere_on_disk(own_door: Door) -> None:
    odd = "öld+secret/with=signs&more"
    own_door.fill(own_door.entry(odd, 9))
    spelled = [quote(odd, safe=""), quote(odd, safe="+/").replace("+", "%2b")]
    for value in spelled:
        answer = own_door.post(
            f"/?aal_updateuser={value}",
            f"contactId=526&url=https%3A%2F%2Fx%2F%3Faal_updateuser%3D{value}".encode(),
            referer=f"https://x/?aal_updateuser={value}",
        )
        assert answer.status_code == 200
    own_door.post(body=b"contactId=526", authorization="Basic dXNlcjpwYXNz", cookie="sessionid=tasty", x_a=SECRET)
    own_door.post(f"/hooks/{SECRET}/more?token={SECRET}", SECRET.encode())
    own_door.stop()
    stored = b"".join(path.read_bytes() for path in own_door.data.rglob("*") if path.is_file())
    for form in (SECRET, "dXNlcjpwYXNz", "tasty", odd, *spelled):
        assert form.encode() not in stored.replace(b"keys", b"")
    assert own_door.last().path == "/hooks/***/more"


def test_a_known_handshake_counts_under_any_name_with_or_without_white_space(the_door: Door) -> None:
    assert the_door.post(f"/?secret={SECRET}").status_code == 400
    assert the_door.last().handshake == 1
    assert the_door.post(f"/?aal_updateuser=%20{SECRET}%0A").status_code == 200
    assert SECRET not in the_door.last().query


def test_what_is_no_webhook_goes_to_the_pages(the_door: Door) -> None:
    for url in ("/", "/?next=%2Fdeliveries%2F0123456789", "/hooks"):
        assert the_door.post(url).headers["x-page"] == "yes"


def test_get_is_taken_only_where_it_is_allowed(the_door: Door) -> None:
    answer = the_door.client.get(f"/?aal_updateuser={SECRET}&contactId=526")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["reason"] == "method-not-allowed"
    assert (the_door.last().status, the_door.last().method) == (405, "GET")
    assert the_door.client.get(f"/?aal_updateuser={GETTING}&contactId=526").status_code == 200
    assert the_door.client.put(f"/?aal_updateuser={GETTING}", content=b"526").status_code == 405
    assert the_door.last().body == b"526"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_get_a_plain_answer_and_no_row(the_door: Door, method: str) -> None:
    before = len(the_door.rows())
    answer = the_door.client.request(method, the_door.url)
    assert (answer.status_code, answer.content, answer.headers["allow"]) == (204, b"", "POST")
    assert len(the_door.rows()) == before


def chunks(size: int, number: int) -> Iterator[bytes]:
    for _ in range(number):
        yield b"x" * size


def test_a_body_of_64_kib_is_taken_and_one_byte_more_is_not(the_door: Door) -> None:
    most = b"contactId=526&x=".ljust(65_536, b"y")
    assert the_door.post(body=most).status_code == 200
    assert the_door.last().body == most
    for body in (most + b"y", b"z" * 900_000, chunks(10_000, 7), chunks(65_536, 40)):
        answer = the_door.post(body=body)
        assert (answer.status_code, answer.json()["reason"]) == (413, "too-large")
        assert (the_door.last().status, len(the_door.last().body)) == (413, 4096)


def test_a_hook_that_tells_of_many_contacts_may_be_larger(the_door: Door) -> None:
    most = b"x" * 262_144
    assert the_door.post(f"/hooks/{SECRET}", most).status_code == 200
    assert the_door.last().body == most
    assert the_door.post(f"/hooks/{SECRET}", most + b"y").status_code == 413


def test_bodies_without_a_length_are_taken(the_door: Door) -> None:
    assert the_door.post(body=iter([b"contact", b"Id=5", b"26"])).status_code == 200
    assert the_door.last().body == b"contactId=526"


def test_packed_bodies_are_kept_packed(the_door: Door) -> None:
    packed = gzip.compress(b"contactId=526")
    assert the_door.post(body=packed, content_encoding="gzip").status_code == 200
    assert the_door.last().body == packed
    answer = the_door.post(body=b"?", content_encoding="br")
    assert (answer.status_code, answer.json()["reason"]) == (415, "encoding-not-supported")
    assert "gzip" in answer.json()["help"]


def test_hooks_are_taken_as_they_come_and_their_secret_is_echoed(the_door: Door) -> None:
    answer = the_door.post(f"/hooks/{SECRET}", b"\x00\xff anything", x_hook_secret="5a0c2b7e-1111")
    assert (answer.status_code, answer.headers["x-hook-secret"]) == (200, "5a0c2b7e-1111")
    row = the_door.last()
    assert (row.kind, row.path, row.body, row.word) == ("hook", "/hooks/***", b"\x00\xff anything", "")
    assert "x-hook-secret" not in the_door.post(f"/hooks/{REVOKED}", x_hook_secret="5a0c").headers
    assert "x-hook-secret" not in the_door.post(x_hook_secret="5a0c").headers


def test_no_answer_redirects_or_sets_a_cookie_or_says_gone(the_door: Door) -> None:
    for url in (the_door.url, "/?aal_x=1", "/hooks/x", f"/hooks/{SECRET}/", f"//?aal_updateuser={SECRET}"):
        for method in ("POST", "GET", "DELETE", "HEAD", "OPTIONS"):
            answer = the_door.client.request(method, f"http://127.0.0.1:{the_door.port}{url}")
            assert not FORBIDDEN & set(answer.headers)
            assert answer.status_code not in (301, 302, 303, 307, 308, 410)
            assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])


def test_headers_are_kept_as_pairs_in_their_order(the_door: Door) -> None:
    the_door.raw(
        f"POST {the_door.url} HTTP/1.1\r\nHost: h.example\r\nX-B: 1\r\nX-A: 2\r\nx-b: 3\r\n"
        "Content-Length: 3\r\n\r\n526".encode()
    )
    pairs = [["host", "h.example"], ["x-b", "1"], ["x-b", "3"], ["x-a", "2"], ["content-length", "3"]]
    assert sorted(json.loads(the_door.last().headers)) == sorted(pairs)
    assert the_door.last().host == "h.example"


def test_the_clients_address_is_a_trusted_proxys_word(closed_door: Door) -> None:
    closed_door.fill()
    closed_door.start(TAGWARDEN_TRUSTED_PROXIES="127.0.0.0/8")
    closed_door.post(x_forwarded_for="6.6.6.6, 203.0.113.9")
    assert closed_door.last().address == "203.0.113.9"


def test_a_forwarded_address_of_anybody_else_is_not_believed(the_door: Door) -> None:
    the_door.post(x_forwarded_for="203.0.113.9")
    assert the_door.last().address == "127.0.0.1"
