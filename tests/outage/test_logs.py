"""The log of a whole server: each line by itself, each part by its name, a call found by its id, and no secret."""

import json
from pathlib import Path

import httpx
import pytest

from tests.crash.place import Database, Place, until
from tests.sandbox.conftest import QUIET, Crm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
GREETING = 4  # lines for people with which `serve` begins, on standard output
PASSWORD = "Tr0ub4dor-and-3"


def test_with_json_each_line_of_each_part_is_an_object(tmp_path: Path, small_crm: Crm) -> None:
    small_crm.set(**QUIET)
    place = Place(tmp_path, small_crm, Database(tmp_path), 10)
    try:
        place.start(TAGWARDEN_LOG_FORMAT="json", TAGWARDEN_LOG_LEVEL="DEBUG")
        place.until_open()
        url = place.address("updateuser")
        id_ = httpx.post(url, data={"contactId": "1", "password": PASSWORD}).json()["delivery"]
        httpx.post(f"{place.url}/?aal_updateuser={PASSWORD}", data={"contactId": "1"})
        httpx.get(f"{place.url}/sign-in/{PASSWORD}/")
        until(lambda: f'jobs: 1", "deliveries": ["{id_}"]' in place.log.read_text(), 30, "the call is done")
        place.stop()
    finally:
        place.close()

    text = place.log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if not line.startswith(("Tagwarden", "  "))]
    assert len(text.splitlines()) - len(lines) == GREETING
    assert {"serve", "web", "intake", "worker"} <= {line["part"] for line in lines}
    assert {line["part"] for line in lines if id_ in line.get("deliveries", ())} == {"intake", "worker"}
    for secret in (place.secret, "sandbox-key", PASSWORD):
        assert secret not in text
