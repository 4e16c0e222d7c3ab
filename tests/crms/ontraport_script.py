"""What the tests of Ontraport's adapter share: samples, rows as Ontraport gives them, and a server that says what it is
told.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tagwarden.crms.ontraport import Crm
from tests.crms.scripted import Answer, Asked, Scripted, scripted

PAGE = 50  # rows in a list, at most
SAMPLES = Path(__file__).parent / "samples" / "ontraport"


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def envelope(data: Any) -> dict[str, Any]:
    return {"code": 0, "data": data, "account_id": 50}


FIELDS: dict[str, Any] = {
    "firstname": {"alias": "First Name", "type": "text", "editable": "1"},
    "spent": {"alias": "Total Spent", "type": "price", "editable": "0"},
    "country": {"alias": "Country", "type": "country", "editable": "1"},
    "f1557": {"alias": "Losung", "type": "text", "editable": None},
    "f1558": {"alias": "Points", "type": "numeric", "editable": "1"},
    "f1560": {"alias": "Level", "type": "drop", "editable": "1", "options": {"3": "Gold", "4": "Silver"}},
    "f1561": {"alias": "Interests", "type": "list", "editable": "1", "options": ["Yoga", "Tea"]},
    "f1568": {"alias": "Company", "type": "parent", "editable": None, "parent_object": "10000"},
}
TAGS = [
    {"tag_id": "15", "tag_name": "Gold", "object_type_id": "0"},
    {"tag_id": "22", "tag_name": "Module 3", "object_type_id": "0"},
    {"tag_id": "30", "tag_name": "Order tag", "object_type_id": "146"},
]


def row(contact: int, **more: Any) -> dict[str, Any]:
    """As a list gives it."""
    usual = {"id": str(contact), "email": f"p{contact}@example.com", "firstname": "Pat", "lastname": None}
    return usual | {"contact_cat": "*/*15*/*"} | more


def page(first: int, count: int = PAGE) -> dict[str, Any]:
    return envelope([row(contact) for contact in range(first, first + count)])


class Ontraport:
    """A server that answers as Ontraport would. A call is named as in "GET Contacts"."""

    def __init__(self, server: Scripted) -> None:
        self.server, self.url, self.asked = server, server.url, server.asked

    def on(self, call: str, *bodies: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Bytes and texts as they are, all else as JSON; one after the other, the last one again and again."""
        contents = [body.encode() if isinstance(body, str) else body for body in bodies]
        self.server.on(_whole(call), *(Answer(content, status, headers or {}) for content in contents))

    def to(self, call: str) -> list[Asked]:
        """What came of that call."""
        return [asked for asked in self.asked if f"{asked.method} {asked.path}" == _whole(call)]


def _whole(call: str) -> str:
    return call.replace(" ", " /1/", 1)


@pytest.fixture
def server() -> Iterator[Ontraport]:
    """With two tags of contacts, one of orders, and a field of each kind."""
    with scripted() as bare:
        found = Ontraport(bare)
        found.on("GET objects/meta", envelope({"0": {"name": "Contact", "fields": FIELDS}}))
        found.on("GET Tags", envelope(TAGS))
        yield found


@pytest.fixture
def crm(server: Ontraport) -> Iterator[Crm]:
    with closing(Crm(base_url=server.url, credentials={"app_id": "2_1_abc", "api_key": "key-1"})) as adapter:
        yield adapter
