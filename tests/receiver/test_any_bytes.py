"""Whatever bytes come with a known handshake: no 5xx, no traceback, and the call is on disk."""

import contextlib
import socket

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.receiver.conftest import SECRET, Door

# What an HTTP/1.1 request line may hold at all; the server itself answers 400 to the rest.
_URI = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"<>#\\^`{|}')
_TOKEN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_!$&'*.^`|~+"
_OURS = ["content-encoding: gzip", "content-encoding: br", "content-type: application/json", "cookie: a",
         "content-type: multipart/form-data; boundary=a", "idempotency-key: x", "x-hook-secret: y"]  # fmt: skip
_FRAMING = {"content-length", "transfer-encoding", "connection", "host", "expect", "upgrade", "trailer", "te"}

bodies = st.one_of(
    st.binary(max_size=2_000),
    st.binary(max_size=40).map(lambda piece: piece * 2_000),  # some of them too large
    st.text(alphabet='{}[]":,=&%contacidI 0\n\\u', max_size=100).map(str.encode),
)
headers = st.lists(
    st.one_of(
        st.sampled_from(_OURS),
        st.tuples(
            st.text(alphabet=_TOKEN, min_size=1, max_size=20).filter(lambda name: name.lower() not in _FRAMING),
            st.text(alphabet=[chr(code) for code in (9, *range(32, 127), *range(128, 256))], max_size=60),
        ).map(": ".join),
    ),
    max_size=6,
)


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    method=st.sampled_from(["POST"] * 6 + ["GET", "PUT", "DELETE", "X"]),
    path=st.sampled_from(["/", "/index.php", "/%00%ff", "//", f"/hooks/{SECRET}", f"/hooks/{SECRET}/%0a"]),
    name=st.sampled_from(["aal_updateuser", "AAL_batchsync", "all_x", "aal_", "x", "", "%00", "aal_%ff"]),
    rest=st.text(alphabet=_URI, max_size=60),
    head=headers,
    body=bodies,
    chunked=st.booleans(),
)
def test_a_known_handshake_is_always_kept_and_answered(
    the_door: Door, method: str, path: str, name: str, rest: str, head: list[str], body: bytes, chunked: bool
) -> None:
    lines = [f"{method} {path}?{name}={SECRET}&{rest} HTTP/1.1", "Host: x", "Connection: close", *head]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    else:
        lines.append(f"Content-Length: {len(body)}")
    answer = the_door.raw("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
    assert answer.status in (200, 400, 403, 404, 405, 413, 415)
    row = the_door.last()
    assert row.id == answer.headers["x-request-id"]
    assert (row.status, row.handshake) == (answer.status, 1)
    assert SECRET not in repr(row)
    f"{row.path}{row.query}{row.headers}{row.word}{row.host}".encode()
    assert "\0" not in row.path + row.query + row.headers + row.word
    assert "Traceback" not in (the_door.data / "log").read_text()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(max_size=400))
def test_bytes_that_are_no_http_break_nothing(the_door: Door, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", the_door.port), 5) as connection:
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):  # it may well hang up on this
            connection.recv(100)
    assert the_door.post().status_code == 200
