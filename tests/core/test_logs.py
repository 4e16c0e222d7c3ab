"""The form of a log line, and what it never holds."""

import json
import logging
import sys
import threading
from contextvars import copy_context

import pytest

from tagwarden.core import logs


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("tagwarden.test", logging.WARNING, "here.py", 1, message, arguments, None)


def line(message: str = "hello", *arguments: object) -> dict[str, object]:
    text = logs.Json().format(record(message, *arguments))
    assert "\n" not in text
    told: dict[str, object] = json.loads(text)
    return told


def test_a_json_line_says_when_who_and_what() -> None:
    told = line("hello %s", "Zoë\n")
    assert list(told) == ["time", "level", "logger", "part", "process", "message"]
    assert (told["level"], told["logger"], told["message"]) == ("WARNING", "tagwarden.test", "hello Zoë\n")
    assert str(told["time"]).endswith("Z")


def test_a_line_names_the_deliveries_it_concerns_and_the_next_one_does_not() -> None:
    with logs.concerning(["a"]):
        with logs.concerning(["b", "c", "b"]):
            assert line()["deliveries"] == ["b", "c"]
        assert line()["deliveries"] == ["a"]
        assert logs.Text().format(record("hello")).endswith("WARNING tagwarden.test: hello [a]")
    assert "deliveries" not in line()
    assert logs.Text().format(record("hello")).endswith("hello")


def test_of_many_it_names_some_and_counts_the_others() -> None:
    with logs.concerning(str(n) for n in range(250)):
        told = line()
        assert (told["deliveries"], told["deliveries_left_out"]) == ([str(n) for n in range(20)], 230)
        assert logs.Text().format(record("hello")).endswith("18, 19 and 230 more]")


def test_a_thread_that_is_handed_the_context_names_them_too() -> None:
    found: list[object] = []
    with logs.concerning(["a"]):
        thread = threading.Thread(target=copy_context().run, args=(lambda: found.append(line()["deliveries"]),))
    thread.start()
    thread.join()
    assert found == [["a"]]


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("GET /?aal_updateuser=s3cret&x=1", "GET /?aal_updateuser=***&x=1"),
        ("Not Found: /hooks/s3cret/more", "Not Found: /hooks/***/more"),
        ("Gone: /sign-in/s3cret/", "Gone: /sign-in/***/"),
        ("Forbidden: /staff/sign-in/", "Forbidden: /staff/sign-in/"),
    ],
)
def test_secrets_that_stand_in_our_addresses_are_masked(told: str, kept: str) -> None:
    assert line("%s", told)["message"] == kept
    assert kept in logs.Text().format(record(told))


def test_they_are_masked_in_tracebacks_as_well() -> None:
    try:
        raise ValueError("/?aal_updateuser=s3cret")
    except ValueError:
        broken = record("it broke")
        broken.exc_info = sys.exc_info()
    told = json.loads(logs.Json().format(broken))
    assert "ValueError: /?aal_updateuser=***" in told["error"]
    assert "s3cret" not in logs.Text().format(broken)
