"""A call as the spool keeps it."""

from tagwarden.core.uuid7 import uuid7
from tagwarden.spool.log import Row


def row(body: bytes = b"526") -> Row:
    return Row(
        id=uuid7(),
        received=1,
        kind="call",
        handshake=1,
        site=1,
        connection=1,
        method="POST",
        path="/",
        query="aal_updateuser=***",
        headers="[]",
        body=body,
        address="127.0.0.1",
        host="northlight.example",
        word="aal_updateuser",
        status=200,
        reason="",
    )
