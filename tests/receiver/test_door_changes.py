"""Handshakes come and go while the receiver runs."""

import subprocess
import sys
import time

from tests.receiver.conftest import ROOT, SECRET, Door, until

FRESH = "fresh-0123456789abcdefghijklmnopqrstuvwx"
FILL = """
import sys; from pathlib import Path; from tagwarden.spool import door
door.fill(Path(sys.argv[1]), [door.Entry(d, n, 1, 3, "keap", revoked=r == "1") for n, (d, r) in
    enumerate(a.split(":") for a in sys.argv[2:])])
"""


def fill_from_another_process(own_door: Door, **revoked: int) -> None:
    secrets = {"live": SECRET, "fresh": FRESH}
    entries = [f"{own_door.digest(secrets[name])}:{state}" for name, state in revoked.items()]
    path = str(own_door.data / "door.db")
    subprocess.run([sys.executable, "-c", FILL, path, *entries], check=True, cwd=ROOT, timeout=20)


def test_a_new_handshake_works_at_once(own_door: Door) -> None:
    url = f"/?aal_updateuser={FRESH}"
    assert own_door.post(url).status_code == 403
    fill_from_another_process(own_door, live=0, fresh=0)
    assert own_door.post(url).status_code == 200  # the table is looked at before anybody is refused
    assert own_door.post().status_code == 200


def test_a_revoked_handshake_stops_within_a_second(own_door: Door) -> None:
    assert own_door.post().status_code == 200
    fill_from_another_process(own_door, live=1)
    revoked = time.monotonic()
    until(lambda: own_door.post().status_code == 403, 5)
    assert time.monotonic() - revoked < 1.1  # the last refusal itself takes a tenth
    assert (own_door.last().status, own_door.last().handshake) == (403, 0)


def test_a_handshake_that_was_taken_out_is_a_strangers(own_door: Door) -> None:
    fill_from_another_process(own_door, fresh=0)
    until(lambda: own_door.post().status_code == 403, 5)
    until(lambda: own_door.post() and own_door.last().kind == "stranger", 5)


def test_many_wrong_ones_dont_hold_up_good_ones(own_door: Door) -> None:
    started = time.monotonic()
    for _ in range(20):
        own_door.post("/?aal_updateuser=wrong-0123456789")
    assert time.monotonic() - started < 10
    started = time.monotonic()
    for _ in range(20):
        assert own_door.post().status_code == 200
    assert time.monotonic() - started < 2
