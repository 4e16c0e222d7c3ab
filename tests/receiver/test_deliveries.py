"""What each CRM sends, as it sends it: every file of tests/deliveries is recognised, at the door and after it.

A file: a line with its origin, then the request's own bytes, with HANDSHAKE where the secret stands.
"""

import json
from pathlib import Path

import pytest

from tagwarden.core import wire
from tests.receiver.conftest import SECRET, Door

FOLDER = Path(__file__).parents[1] / "deliveries"
WORDS: wire.Words = {"updateuser": {}, "batchsync": {}}

# File → what a command's address makes of it: the contacts and where the first stood, or the finding.
COMMANDS = {
    "activecampaign/contact_tag_added__to_command": (("123456",), "the form as `contact[id]`"),
    "activecampaign/automation__contact": (("27760",), "the form as `contact[id]`"),
    "activecampaign/automation__unresolved": ((), "contact-id-unresolved"),
    "keap/http_post__contact_id": (("1001",), "the form as `contactId`"),
    "keap/http_post__legacy_names": (("1001",), "the form as `Contact0Id`"),
    "keap/http_post__unresolved": ((), "contact-id-unresolved"),
    "keap/resthook__contact_edit_to_command": (("1001", "1002"), "the JSON as `object_keys[].id`"),
    "keap/resthook__tag_applied": (
        ("1001", "1002"),
        "the JSON as `object_keys[].contact_details[].id`",
    ),
    "kit/subscriber__legacy": (("1",), "the JSON as `subscriber.id`"),
    "kit/subscriber_created__to_command": (("987654",), "the JSON as `data.subscriber.id`"),
    "ontraport/automation__pairs": (("526",), "the form as `contact_id`"),
    "ontraport/automation__bare_id": (("526",), "the body"),
    "ontraport/automation__bare_id_line_break": (("526",), "the body"),
    "ontraport/automation__bare_id_as_form_key": (("526",), "the body"),
    "ontraport/automation__unresolved": ((), "contact-id-unresolved"),
    "ontraport/subscription__sub_tag_to_command": (("526",), "the JSON as `data.id`"),
}
HOOKS = {
    "activecampaign/contact_tag_added__global",
    "keap/resthook__contact_edit",
    "keap/resthook__verify",
    "kit/subscriber_created__events",
    "ontraport/subscription__sub_tag",
}


def request(name: str) -> bytes:
    origin, _, rest = (FOLDER / f"{name}.http").read_bytes().partition(b"\n")
    assert origin.startswith(b"# origin: ")
    return rest.replace(b"HANDSHAKE", SECRET.encode())


def test_every_file_is_tested() -> None:
    files = {path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.http")}
    assert files == set(COMMANDS) | HOOKS


@pytest.mark.parametrize("name", COMMANDS)
def test_a_crms_call_is_kept_byte_for_byte_and_understood(the_door: Door, name: str) -> None:
    sent = request(name)
    contacts, where = COMMANDS[name]
    answer = the_door.raw(sent)
    row = the_door.last()
    assert answer.status == row.status == (200 if contacts else 400)
    assert row.id == answer.headers["x-request-id"]
    assert row.body == sent.partition(b"\r\n\r\n")[2]
    call = wire.understand(query=row.query, headers=dict(json.loads(row.headers)), body=row.body, words=WORDS)
    assert call.contacts == contacts
    assert (call.where if contacts else call.finding and call.finding.reason) == where


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_a_vendors_hook_is_kept_byte_for_byte(the_door: Door, name: str) -> None:
    sent = request(name)
    answer = the_door.raw(sent)
    row = the_door.last()
    assert (answer.status, row.kind, row.path) == (200, "hook", "/hooks/***")
    assert row.body == sent.partition(b"\r\n\r\n")[2]
    assert answer.headers["x-hook-secret"] == dict(json.loads(row.headers)).get("x-hook-secret")
