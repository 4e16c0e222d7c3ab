"""What the door lets through, at its longest, fits the journal: a call that doesn't would hold up all after it."""

import pytest

from tests.worker.conftest import Road

LONGEST = {
    "a release's name": ("aal_batchsync", f"&release={'x' * 200}", {}),
    "a method": ("aal_updateuser", "", {"method": "M" * 20, "status": 405, "reason": "method-not-allowed"}),
    "a host": ("aal_updateuser", "", {"host": "h" * 255}),
    "an address": ("aal_updateuser", "", {"address": "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%interface16char"}),
    "a path and headers": (
        "aal_updateuser",
        "",
        {"path": "/" + "p" * 8_191, "headers": '[["x", "' + "h" * 32_000 + '"]]'},
    ),
    "a body": ("aal_updateuser", "", {"body": b"contactId=1&x=" + b"b" * 65_000}),
    "an id": ("aal_updateuser", "", {"body": b"contactId=" + b"9" * 18}),
    "an id of another form": ("aal_updateuser", "", {"body": b"contactId=" + b"9" * 1_000, "status": 400}),
    "a command": ("aal_" + "w" * 1_000, "", {"status": 404}),
    "a stranger's command": ("aal_" + "w" * 1_000, "", {"kind": "stranger", "status": 403, "path": "/" + "p" * 8_191}),
}


@pytest.mark.parametrize("what", LONGEST)
def test_it_is_carried(road: Road, what: str) -> None:
    word, query, changed = LONGEST[what]

    road.call(word, 1, query=query, **changed)

    assert road.intake.carry() == 0
