"""Requests of Kit's adapter against Kit's own description of its API, which is read from the folder of OPENAPI_DIR."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tagwarden.core.errors import TagwardenError
from tagwarden.crms.kit import Crm as Kit
from tests.crms.prism import Complaints, description, prism

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CREDENTIALS = {
    "key": {"api_key": "kit_key"},
    "oauth": {"client_id": "a", "client_secret": "b", "access_token": "c", "refresh_token": "d"},
}
# Its bodies are documented, and missing in the file.
WITHOUT_BODY = ("/v4/bulk/tags/subscribers", "/v4/tags/{tag_id}/subscribers")


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the mock stands."""
    folder = tmp_path_factory.mktemp("prism")
    mended = folder / "kit.json"
    mended.write_text(json.dumps(_mended(description("kit.json"))))
    with prism(mended, folder / "kit.log") as address:
        yield address


def _mended(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    for path in WITHOUT_BODY:
        methods = content["paths"].get(path, {})
        if "delete" in methods and "requestBody" in methods.get("post", {}):
            methods["delete"]["requestBody"] = methods["post"]["requestBody"]
    return content


@pytest.fixture(params=CREDENTIALS)
def kit(request: pytest.FixtureRequest, kits: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kit]:
    monkeypatch.setattr(Kit, "timeout", 60)
    with closing(Kit(base_url=kits, credentials=CREDENTIALS[request.param])) as adapter:
        yield adapter


KIT: dict[str, Callable[[Kit], object]] = {
    "check": lambda crm: crm.check(),
    "contact": lambda crm: crm.contact("240"),
    "contacts": lambda crm: crm.contacts([str(n) for n in range(240, 260)]),
    "page": lambda crm: crm.page("WzFd="),
    "changed": lambda crm: next(crm.changed(datetime(2026, 1, 1, tzinfo=UTC))),
    "by_email": lambda crm: crm.by_email("ada+x@example.com"),
    "tagged": lambda crm: next(crm.tagged("5")),
    "list_tags": lambda crm: crm.list_tags(),
    "list_fields": lambda crm: crm.list_fields(),
    "make_tag": lambda crm: crm.make_tag("Welcome & more"),
    "add_tag": lambda crm: crm.add_tag("5", ["240"]),
    "remove_tag": lambda crm: crm.remove_tag("5", ["240"]),
    "make_field": lambda crm: crm.make_field("Member Password"),
    "set_fields": lambda crm: crm.set_fields("240", {"Last name": "x"}),
}


@pytest.mark.parametrize("what", KIT)
def test_what_is_asked_of_kit_is_what_it_publishes(kit: Kit, what: str) -> None:
    """The mock's answers are examples that may be of no use; only our requests are looked at."""
    complaints = Complaints(kit.http)
    with suppress(TagwardenError, StopIteration):
        KIT[what](kit)
    assert complaints.told == []
    assert complaints.calls


def test_what_kit_does_not_publish_is_complained_of(kit: Kit) -> None:
    """That the mock looks at all."""
    complaints = Complaints(kit.http)
    kit.http.request("POST", "/v4/subscribers", json={"first_name": 5})
    assert complaints.told
