"""A new handshake works within a second, a revoked one stops within a second, and nothing is restarted for that.

Made and revoked in the database only, as a page does it, or a command on another machine; intake tells the door.
"""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.crash.place import Place, until

CHANGE = """
import json, sys, time
from tagwarden.connections import handshakes
from tagwarden.connections.models import Connection, Handshake
secret, wish = {arguments}
if wish == "make":
    handshakes.import_secret(Connection.objects.get(), "new", secret)
else:
    handshakes.revoke(Handshake.objects.get(name="new"))
print(json.dumps(time.time()))
"""


class Caller:
    """Calls with a secret, again and again, and remembers when it was answered what."""

    def __init__(self, place: Place, secret: str) -> None:
        self.answers: list[tuple[float, int]] = []
        self._url = f"{place.url}/?aal_updateuser={secret}"
        self._over = threading.Event()

    def run(self) -> None:
        with httpx.Client() as client:
            while not self._over.wait(0.02):
                answer = client.post(self._url, data={"contactId": "1"})
                self.answers.append((time.time(), answer.status_code))

    @contextmanager
    def calling(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def last(self) -> int:
        return self.answers[-1][1] if self.answers else 0

    def first(self, status: int) -> float:
        return next(moment for moment, answered in self.answers if answered == status)


def change(place: Place, secret: str, wish: str) -> float:
    """Makes or revokes it in the database. Returns the moment at which that was committed."""
    code = CHANGE.format(arguments=json.dumps([secret, wish]))
    return float(place._run("django", "shell", "--no-imports", "-c", code).splitlines()[-1])


def test_it_works_and_stops_within_a_second(small: Place, capsys: pytest.CaptureFixture[str]) -> None:
    secret = secrets.token_urlsafe(24)
    caller = Caller(small, secret)
    with caller.calling():
        until(lambda: caller.last() == 403, 10, "a secret that nobody made is refused")
        strangers = "select count(*) from journal_stranger"
        until(lambda: small.database.one(strangers), 20, "intake has started and carries what comes")
        made = change(small, secret, "make")
        until(lambda: caller.last() == 200, 5, "it works")
        revoked = change(small, secret, "revoke")
        until(lambda: caller.last() == 403, 5, "it stops")

    works_after = caller.first(200) - made
    last_good = max(moment for moment, answered in caller.answers if answered == 200)
    stops_after = last_good - revoked
    with capsys.disabled():
        print(
            f"\na new handshake worked after {works_after:.2f} s, "
            f"a revoked one stopped after {max(stops_after, 0):.2f} s"
        )
    assert works_after < 1
    assert stops_after < 1
