"""What stands behind the receiver: pages, as any WSGI server would run them."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

from tests.receiver.conftest import Door, until


def test_a_page_gets_the_request_as_wsgi_has_it(the_door: Door) -> None:
    answer = the_door.raw(
        b"POST /staff/caf%C3%A9?q=%20a HTTP/1.1\r\nHost: northlight.example:8443\r\nCookie: a=1\r\nCookie: b=2\r\n"
        b"X-Many: 1\r\nX-Many: 2\r\nX_Forged: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
        b"Content-Type: text/x\r\nContent-Length: 4\r\n\r\nbody"
    )
    assert answer.status == 201
    told = json.loads(answer.body)  # type: ignore[attr-defined]  # see conftest.raw
    assert told.pop("body") == "body"
    assert told["PATH_INFO"].encode("latin-1").decode() == "/staff/café"
    assert told["QUERY_STRING"] == "q=%20a"
    assert (told["SERVER_NAME"], told["SERVER_PORT"]) == ("northlight.example", "8443")
    assert told["HTTP_HOST"] == "northlight.example:8443"
    assert told["HTTP_COOKIE"] == "a=1; b=2"
    assert told["HTTP_X_MANY"] == "1,2"
    assert told["REMOTE_ADDR"] == "127.0.0.1"
    assert told["wsgi.url_scheme"] == "http"
    assert (told["CONTENT_TYPE"], told["CONTENT_LENGTH"]) == ("text/x", "4")
    assert not {"HTTP_X_FORGED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"} & set(told)


def test_every_answer_of_the_application_is_closed(the_door: Door) -> None:
    before = int(the_door.client.get("/a").json()["closed"])
    assert int(the_door.client.get("/a").json()["closed"]) == before + 1


def test_a_large_answer_arrives_whole(the_door: Door) -> None:
    assert the_door.client.get("/big").content == b"x" * 65_536 * 80


def test_a_reader_who_leaves_a_large_answer_does_no_harm(the_door: Door) -> None:
    for _ in range(12):  # more than there are threads
        with socket.create_connection(("127.0.0.1", the_door.port)) as connection:
            connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.recv(100)
    until(lambda: the_door.client.get("/a").status_code == 201)


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 65_536 + 1):
        yield b"x" * 65_536


def test_a_body_of_more_than_2_mib_is_refused(the_door: Door) -> None:
    assert the_door.client.post("/a", content=b"x" * (2 << 20)).status_code == 201
    assert the_door.client.post("/a", content=b"x" * ((2 << 20) + 1)).status_code == 413
    assert the_door.client.post("/a", content=pieces(2 << 20)).status_code == 413


def test_a_broken_page_says_so_and_nothing_else_breaks(the_door: Door) -> None:
    answer = the_door.client.get("/broken")
    assert answer.status_code == 500
    assert "this page always breaks" not in answer.text
    assert the_door.post().status_code == 200


def test_slow_pages_hold_up_no_webhook(the_door: Door) -> None:
    def read() -> None:
        with contextlib.suppress(OSError):
            the_door.raw(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 20)

    readers = [threading.Thread(target=read) for _ in range(16)]  # two rounds of all threads
    for reader in readers:
        reader.start()
    started = time.monotonic()
    for _ in range(20):
        assert the_door.post().status_code == 200
    assert time.monotonic() - started < 1
    for reader in readers:
        reader.join(20)


def test_webhooks_are_taken_when_the_pages_cant_start(closed_door: Door) -> None:
    closed_door.fill()
    closed_door.start("tagwarden.rsgi:application", TAGWARDEN_LOG_LEVEL="INFO", DJANGO_SETTINGS_MODULE="no.such")
    assert closed_door.post().status_code == 200
    answer = closed_door.client.get("/")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert "being upgraded" in answer.text
