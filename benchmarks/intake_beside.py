"""Carries deliveries into the journal at a steady pace until it is ended, as the intake beside a receiver does.

    python -m benchmarks.intake_beside SITE CONNECTION A_SECOND

The environment names the database. Its calls have a command that doesn't exist, so that they leave no work behind.
"""

import json
import sys
import time

import django

django.setup()

from tagwarden.core import clock  # noqa: E402  # needs django.setup()
from tagwarden.core.env import env  # noqa: E402
from tagwarden.core.uuid7 import uuid7  # noqa: E402
from tagwarden.spool import log as spool  # noqa: E402
from tagwarden.worker.intake import Intake  # noqa: E402


def row(site: int, connection: int, contact: int) -> spool.Row:
    """A call as the receiver puts it on disk."""
    return spool.Row(
        id=str(uuid7()),
        received=clock.now_ms(),
        kind="call",
        handshake=1,
        site=site,
        connection=connection,
        method="POST",
        path="/",
        query="aal_nosuch=***",
        headers=json.dumps([["content-type", "application/x-www-form-urlencoded"]]),
        body=f"contactId={contact}".encode(),
        address="127.0.0.1",
        host="bench.example",
        word="aal_nosuch",
        status=200,
        reason="",
    )


def main(site: int, connection: int, a_second: int) -> None:
    writer, intake = spool.SpoolWriter(spool.spool_folder(env().data)), Intake(env().data)
    began, written = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) * a_second) - written
        writer.append([row(site, connection, written + n) for n in range(due)])
        written += due
        if not intake.carry():
            time.sleep(0.02)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
