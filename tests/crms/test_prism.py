"""Requests of adapters against the vendors' own descriptions: paths, parameters and bodies are what is published."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tagwarden.core.errors import TagwardenError
from tagwarden.core.hooks import Happened, Hook
from tagwarden.crms import base
from tagwarden.crms.activecampaign import Crm as ActiveCampaign
from tagwarden.crms.keap import Crm as Keap
from tests.crms.prism import Complaints, description, prism

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOOK = Hook("7", "https://members.example.com/hooks/x", Happened.CHANGED)


@pytest.fixture(scope="module")
def keaps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where the mocks of both versions of Keap's API stand. That of v1 is without the vendor's /crm/rest."""
    logs = tmp_path_factory.mktemp("prism")
    with (
        prism(description("keap-v1.json"), logs / "v1.log") as one,
        prism(description("keap-v2.yaml"), logs / "v2.log") as two,
    ):
        yield {"v1": f"{one}/v1", "v2": f"{two}/rest/v2"}


@pytest.fixture
def keap(keaps: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Keap]:
    for version, address in keaps.items():
        monkeypatch.setattr(Keap, version, address)
    monkeypatch.setattr(Keap, "timeout", 60)
    with closing(Keap(base_url="", credentials={"token": "KeapAK-1"})) as adapter:
        yield adapter


# What is asked → how many calls that is at least.
KEAP: dict[str, tuple[Callable[[Keap], object], int]] = {
    "check": (lambda crm: crm.check(), 1),
    "contact": (lambda crm: crm.contact("1001"), 1),
    "contacts": (lambda crm: crm.contacts([str(n) for n in range(1, 251)]), 1),
    "tags of one": (lambda crm: list(crm._pages(f"{crm.v2}/contacts/1001/tags", "tags", what="")), 1),
    "page": (lambda crm: crm.page("abc"), 1),
    "changed": (lambda crm: list(crm.changed(datetime(2026, 1, 1, tzinfo=UTC))), 1),
    "by_email": (lambda crm: crm.by_email("ada+x@example.com"), 1),
    "tagged": (lambda crm: list(crm.tagged("91")), 1),
    "list_tags": (lambda crm: crm.list_tags(), 1),
    "list_fields": (lambda crm: crm.list_fields(), 1),
    "make_tag": (lambda crm: crm.make_tag("Module 3"), 1),
    "add_tag": (lambda crm: crm.add_tag("91", ["1001", "1002"]), 1),
    "remove_tag": (lambda crm: crm.remove_tag("91", ["1001", "1002"]), 1),
    "make_field": (lambda crm: crm.make_field("Member Password"), 1),
    "set_fields": (lambda crm: crm.set_fields("1001", {"Favorite Color": "x"}), 2),
    "hooks": (lambda crm: crm.hooks(), 1),
    "make_hook": (lambda crm: crm.make_hook(HOOK.url, Happened.TAG_ADDED), 2),
    "revive_hook": (lambda crm: crm.revive_hook(HOOK), 1),
    "remove_hook": (lambda crm: crm.remove_hook(HOOK), 1),
}


# Where a description is wrong: v1's calls the content of a field an object. Integrations send texts.
KNOWN = {"set_fields": ["Request body property custom_fields.0.content must be object"]}


@pytest.mark.parametrize("what", KEAP)
def test_what_is_asked_of_keap_is_what_keap_publishes(keap: Keap, what: str) -> None:
    """The mock's answers are examples that may be of no use; only our requests are looked at."""
    complaints, (ask, least) = Complaints(keap.http), KEAP[what]
    with suppress(TagwardenError):
        ask(keap)
    assert complaints.told == KNOWN.get(what, [])
    assert len(complaints.calls) >= least


def test_every_method_of_keaps_adapter_is_tried() -> None:
    ours = {name for name in vars(Keap) if not name.startswith("_") and callable(getattr(Keap, name))}
    tells_or_calculates = {"headers", "calls_for", "events", "said", "meaning", "paused", "again"}
    assert ours - tells_or_calculates <= set(KEAP)
    assert ours <= {name for name in dir(base.Crm) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "{v2}/contacts?page_size=1001", None),
        ("POST", "{v2}/tags/91/contacts:applyTags", {"contact_ids": [1001]}),
        ("POST", "{v2}/contacts/model/customFields", {"label": "x", "field_type": "Text"}),
        ("PATCH", "{v1}/contacts/1001", {"custom_fields": [{"id": "forty-six", "content": {}}]}),
        ("POST", "{v1}/nothing", {}),
    ],
)
def test_what_keap_does_not_publish_is_complained_of(
    keap: Keap, keaps: Mapping[str, str], method: str, path: str, body: object
) -> None:
    """That the mock looks at all."""
    complaints = Complaints(keap.http)
    keap.http.request(method, path.format(**keaps), json=body)
    assert len(complaints.told) == 1


# --- ActiveCampaign: its file is proprietary, so it never lies here; without OPENAPI_DIR these are left out -----------


@pytest.fixture(scope="module")
def activecampaigns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the mock stands."""
    folder = tmp_path_factory.mktemp("prism")
    mended = folder / "activecampaign.json"
    mended.write_text(json.dumps(_mended(description("activecampaign.json"))))
    with prism(mended, folder / "activecampaign.log") as address:
        yield address


def _mended(file: Path) -> dict[str, Any]:
    """The description with its examples of answers read: they are texts that hold JSON, some with a comma too many."""
    content: dict[str, Any] = json.loads(file.read_text())
    operations = (one for path in content["paths"].values() for one in path.values() if isinstance(one, dict))
    answers = (answer for one in operations for answer in one.get("responses", {}).values())
    for media in (media for answer in answers for media in answer.get("content", {}).values()):
        for example in media.get("examples", {}).values():
            with suppress(TypeError, ValueError):  # no text, or one that isn't JSON all the same
                example["value"] = json.loads(re.sub(r",(\s*[\]}])", r"\1", example["value"]))
    return content


@pytest.fixture
def activecampaign(activecampaigns: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ActiveCampaign]:
    monkeypatch.setattr(ActiveCampaign, "paths", "")  # the description's paths are without /api/3
    monkeypatch.setattr(ActiveCampaign, "timeout", 60)
    with closing(ActiveCampaign(base_url=activecampaigns, credentials={"api_key": "a-key"})) as adapter:
        yield adapter


# What is asked → how many calls that is at least.
ACTIVECAMPAIGN: dict[str, tuple[Callable[[ActiveCampaign], object], int]] = {
    "check": (lambda crm: crm.check(), 1),
    "contact": (lambda crm: crm.contact("1"), 1),
    "contacts": (lambda crm: crm.contacts([str(n) for n in range(1, 101)]), 1),
    "page": (lambda crm: crm.page("100"), 1),
    "changed": (lambda crm: next(crm.changed(datetime(2026, 1, 1, tzinfo=UTC))), 1),
    "by_email": (lambda crm: crm.by_email("ada+x@example.com"), 1),
    "tagged": (lambda crm: next(crm.tagged("3")), 1),
    "list_tags": (lambda crm: crm.list_tags(), 1),
    "list_fields": (lambda crm: crm.list_fields(), 1),
    "make_tag": (lambda crm: crm.make_tag("Welcome & more"), 1),
    "add_tag": (lambda crm: crm.add_tag("20", ["1"]), 1),
    "look for a tag": (lambda crm: crm._call("GET", "/tags/20", "Look for the tag"), 1),
    "remove_tag": (lambda crm: crm.remove_tag("20", ["1"]), 1),
    "take a tag off": (lambda crm: crm._delete("/contactTags/1", "Take the tag off"), 1),
    "make_field": (lambda crm: crm.make_field("Title"), 3),
    "set_fields": (lambda crm: crm.set_fields("1", {"Title": "n3w"}), 2),
    "hooks": (lambda crm: crm.hooks(), 1),
    "make_hook": (lambda crm: crm.make_hook(HOOK.url, Happened.TAG_ADDED), 2),
    "revive_hook": (lambda crm: crm.revive_hook(HOOK), 3),
    "remove_hook": (lambda crm: crm.remove_hook(HOOK), 1),
}
# In each contact's `links`, and in no description.
UNDESCRIBED = "GET /contacts/1/contactTags?limit=100&offset=0: 404"


@pytest.mark.parametrize("what", ACTIVECAMPAIGN)
def test_what_is_asked_of_activecampaign_is_what_it_publishes(activecampaign: ActiveCampaign, what: str) -> None:
    """The mock's answers are examples that may be of no use; only our requests are looked at."""
    complaints, (ask, least) = Complaints(activecampaign.http), ACTIVECAMPAIGN[what]
    with suppress(TagwardenError):
        ask(activecampaign)
    assert [told for told in complaints.told if told != UNDESCRIBED] == []
    assert len(complaints.calls) >= least


def test_every_method_of_activecampaigns_adapter_is_tried() -> None:
    ours = {name for name in vars(ActiveCampaign) if not name.startswith("_")}
    methods = {name for name in ours if callable(getattr(ActiveCampaign, name))}
    assert methods - {"headers", "events", "said", "meaning", "again"} <= set(ACTIVECAMPAIGN)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/contactTags", {"contactTag": {"contact": "five", "tag": 20}}),
        ("POST", "/webhooks", {"webhook": {"name": "x", "url": HOOK.url, "events": ["update"]}}),
        ("GET", "/contacts?tagid=gold", None),
        ("POST", "/nothing", {}),
    ],
)
def test_what_activecampaign_does_not_publish_is_complained_of(
    activecampaign: ActiveCampaign, method: str, path: str, body: object
) -> None:
    """That the mock looks at all."""
    complaints = Complaints(activecampaign.http)
    activecampaign.http.request(method, path, json=body)
    assert len(complaints.told) == 1
