"""A proxy's headers count only if the proxy is ours."""

import pytest

from tagwarden.core.proxy import Proxies

OURS = Proxies(("10.0.0.0/8", "::1/128"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9:4711", "", "203.0.113.9"),
        ("203.0.113.9:4711", "198.51.100.1", "203.0.113.9"),  # not our proxy: it may say what it likes
        ("10.0.0.1:80", "198.51.100.1", "198.51.100.1"),
        (
            "10.0.0.1:80",
            "6.6.6.6, 198.51.100.1, 10.2.2.2",
            "198.51.100.1",
        ),  # the left part is the sender's tale
        ("[::1]:80", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1:80", "nonsense", "nonsense"),
        ("10.0.0.1:80", "", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_one_before_our_proxies(peer: str, forwarded: str, client: str) -> None:
    assert OURS.client(peer, forwarded) == client


def test_the_scheme_is_the_proxys_if_it_is_ours() -> None:
    assert OURS.scheme("10.0.0.1:80", "http", "https") == "https"
    assert OURS.scheme("203.0.113.9:80", "http", "https") == "http"
    assert OURS.scheme("10.0.0.1:80", "http", "gopher") == "http"


def test_without_trusted_proxies_no_header_counts() -> None:
    assert Proxies(()).client("10.0.0.1:80", "198.51.100.1") == "10.0.0.1"
