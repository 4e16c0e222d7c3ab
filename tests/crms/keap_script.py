"""What the tests of Keap's adapter share: samples, rows as Keap gives them, and a server that says what it is told."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tagwarden.crms.keap import Crm
from tests.crms.scripted import Scripted, scripted

SAMPLES = Path(__file__).parent / "samples" / "keap"
V1, V2 = "/crm/rest/v1", "/crm/rest/v2"
CONTACTS, MODEL, TAGS = f"GET {V2}/contacts", f"GET {V2}/contacts/model", f"GET {V2}/tags"


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def row(contact: int, **more: Any) -> dict[str, Any]:
    """A row as v2 gives it."""
    return {"id": str(contact), "email_addresses": [{"email": f"p{contact}@example.com", "field": "EMAIL1"}]} | more


def page(*rows: Any, token: Any = "") -> dict[str, Any]:
    return {"contacts": list(rows), "next_page_token": token}


@pytest.fixture
def server() -> Iterator[Scripted]:
    """With two tags and the fields of the sample."""
    with scripted() as found:
        found.on(MODEL, sample("v2-contacts-model-200.composed.json"))
        found.on(
            TAGS, {"tags": [{"id": "91", "name": "Gold"}, {"id": "105", "name": "Module 3"}], "next_page_token": ""}
        )
        yield found


@pytest.fixture
def crm(server: Scripted) -> Iterator[Crm]:
    with closing(Crm(base_url=server.url, credentials={"token": "KeapAK-1"})) as adapter:
        yield adapter
