"""Requests of adapters against the vendors' own descriptions: paths, parameters and bodies are what is published."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime

import pytest

from tagwarden.core.errors import TagwardenError
from tagwarden.core.hooks import Happened, Hook
from tagwarden.crms import base
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
