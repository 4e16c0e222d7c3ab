"""Each CRM of the catalogue, as the contract suite meets it: a server that imitates it, and how an adapter is opened.

A fake's admin API is the same for all (tests/fakes/base.py); the sandbox CRM's is its model.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tagwarden.core import catalogue
from tagwarden.crms import base
from tests.crms.conftest import FakeServer, running_fake
from tests.fakes import activecampaign, keap, kit, ontraport
from tests.sandbox.conftest import QUIET, Crm, running


@dataclass(frozen=True)
class Place:
    """How to come to a CRM."""

    credentials: Mapping[str, str]
    settles_after: float = 0  # seconds of the fake's clock after which a write shows everywhere
    most_calls: int = 10  # that a release of 1,000 may take
    settings: Mapping[str, object] = field(default_factory=dict)  # of its fake
    # What test_faults.py calls a fault → this fake's name of it.
    faults: Mapping[str, str] = field(default_factory=dict)
    often: float = 0.3  # the share of faulty calls: nine tries in a row fail once in fifty thousand jobs


PLACES = {
    "activecampaign": Place(
        {"api_key": activecampaign.API_KEY},
        most_calls=11,
        faults={"401 expired": "", "401 revoked": "403", "403 flapping": "403"},  # it has no tokens, and no 401
    ),
    "keap": Place(
        {"token": keap.SERVICE_KEY},
        most_calls=6,
        # A key doesn't run out, and no 403 that goes away by itself is known of Keap; tokens that end: test_keap.py.
        faults={"401 expired": "", "401 revoked": "401-revoked", "403 flapping": ""},
    ),
    "kit": Place(
        {"api_key": kit.API_KEY},
        most_calls=2,
        faults={"401 expired": "", "401 revoked": "401-invalid", "403 flapping": ""},  # a key doesn't run out
        often=0.15,  # a contact is two calls
    ),
    "ontraport": Place(
        {"app_id": ontraport.APP_ID, "api_key": ontraport.API_KEY},
        settles_after=61,
        most_calls=21,  # 50 contacts in a call
        settings={"told_reset": 1},
        # Keys don't run out, and no 403 that goes away by itself is known of Ontraport.
        faults={"401 expired": "", "401 revoked": "401", "403 flapping": ""},
    ),
    "sandbox": Place({"api_key": "sandbox-key"}, most_calls=11),
}


class Server:
    """A running CRM with what tests do behind the vendor's API: make people, tag them, look at the truth."""

    def __init__(self, name: str, fake: FakeServer | Crm) -> None:
        self.name, self.place, self.fake = name, PLACES[name], fake
        self.kind: type[base.Crm] = catalogue.listed("tagwarden.crms")[name].Crm

    def adapter(self, **credentials: str) -> base.Crm:
        """An adapter of its own, with the good credentials unless others are given."""
        chosen = credentials or self.place.credentials
        return self.kind(base_url=self.fake.url, credentials=chosen)

    def change(self, **settings: object) -> None:
        self.fake.set(**settings)

    def person(self, email: str, **more: Any) -> str:
        """A new contact's id. `more`: first_name, last_name, tags (names), fields (by label)."""
        return str(self._post("/admin/contacts", contacts=[{"email": email, **more}])["ids"][0])

    def people(self, count: int, **more: Any) -> list[str]:
        made = [{"email": f"p{n}-{id(more)}@example.com", **more} for n in range(count)]
        return [str(id_) for id_ in self._post("/admin/contacts", contacts=made)["ids"]]

    def tag(self, name: str, *contacts: str, remove: bool = False) -> None:
        self._post("/admin/tag", tag=name, contacts=[int(one) for one in contacts], remove=remove)

    def delete(self, contact: str) -> None:
        assert self.fake.admin.delete(f"/admin/contacts/{contact}").is_success

    def merge(self, contact: str) -> str:
        """The contact is gone and lives on as a new one with its address and tags, whose id this gives.

        The sandbox only deletes it.
        """
        if isinstance(self.fake, Crm):
            self.delete(contact)
            return contact
        truth = self.fake.truth(contact)
        into = self.person(truth["email"], fields=truth["fields"])
        self._post("/admin/merge", **{"from": int(contact), "into": int(into)})
        return into

    def keep_to_limits(self) -> None:
        """Calls over the vendor's limits are refused from now on."""
        self.change(**{"rate_limit": 50} if isinstance(self.fake, Crm) else {"limits": True})

    def settle(self) -> None:
        """All that was written shows everywhere from now on."""
        if self.place.settles_after:
            self._post("/admin/clock", seconds=self.place.settles_after)

    def truth(self, contact: str) -> tuple[set[str], dict[str, str]]:
        """Names of the tags, label → value of the fields."""
        if isinstance(self.fake, Crm):
            found = self.fake.contact(int(contact))
            return {tag["name"] for tag in found["tags"]}, found["fields"]
        found = self.fake.truth(contact)
        return set(found["tags"]), found["fields"]

    def calls(self) -> int:
        calls: int = self.fake.counters()["calls"]
        return calls

    def forget_calls(self) -> None:
        self.fake.admin.post("/admin/counters/reset")

    def _post(self, path: str, **content: Any) -> dict[str, Any]:
        answer = self.fake.admin.post(path, json=content)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextlib.contextmanager
def server(name: str, folder: Path) -> Iterator[Server]:
    """The CRM of that name, running."""
    starts: dict[str, Callable[[], contextlib.AbstractContextManager[FakeServer | Crm]]] = {
        "sandbox": lambda: running(folder / "crm.sqlite3", 0)
    }
    start = starts.get(name, lambda: running_fake(name))
    with start() as fake:
        if isinstance(fake, Crm):
            fake.set(**QUIET)
        else:
            fake.set(limits=False, **PLACES[name].settings)
        yield Server(name, fake)
