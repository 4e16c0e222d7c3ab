"""A CRM with hooks of its own, for tests: the sandbox's, with a little event format beside it.

A hook's body is JSON: {"events": [{"id": "1", "email": "…", "tag": "3", "tag_name": "…", "ref": "…"}]}; no events:
only the address is tried. A header `x-signature` must be one of the secrets, if there are any.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from tagwarden.connections.models import Connection
from tagwarden.core import catalogue
from tagwarden.core.errors import Permanent, TagwardenError
from tagwarden.core.hooks import Arrived, Event, Happened, Hook
from tagwarden.crms import sandbox


class Crm(sandbox.Crm):
    """Credentials: {"api_key": "…"}."""

    cannot: ClassVar = {"tagged": "No list by tag.", "changed": "No list of changes."}
    there: ClassVar[dict[str, Hook]] = {}  # the hooks set up at the CRM, by id
    log: ClassVar[list[Event]] = []
    asked_since: ClassVar[list[datetime]] = []
    refuses: ClassVar[dict[str, TagwardenError]] = {}  # method → what it raises
    signs: ClassVar[bool] = False

    @classmethod
    def events(cls, arrived: Arrived, secrets: Sequence[str]) -> list[Event]:
        if secrets and arrived.headers.get("x-signature") not in secrets:
            raise Permanent("signature-wrong", crm=cls.label)
        try:
            rows = json.loads(arrived.body)
        except ValueError:
            raise Permanent("hook-not-understood", crm=cls.label) from None
        return [_event(row) for row in rows["events"]]

    def hooks(self) -> list[Hook]:
        self._perhaps("hooks")
        return [replace(hook, secret="") for hook in self.there.values()]

    def make_hook(self, url: str, happened: Happened, tag: str = "") -> Hook:
        self._perhaps("make_hook")
        number = str(len(self.there) + 1)
        secret = f"secret-{number}" if self.signs else ""
        self.there[number] = Hook(number, url, happened, tag, secret=secret)
        return self.there[number]

    def revive_hook(self, hook: Hook) -> Hook:
        self._perhaps("revive_hook")
        self.there[hook.id] = replace(self.there[hook.id], alive=True)
        return replace(self.there[hook.id], secret="")

    def remove_hook(self, hook: Hook) -> None:
        self._perhaps("remove_hook")
        self.there.pop(hook.id, None)

    def missed(self, since: datetime) -> list[Event]:
        self.asked_since.append(since)
        return list(self.log)

    def _perhaps(self, method: str) -> None:
        if method in self.refuses:
            raise self.refuses[method]


def _event(row: dict[str, Any]) -> Event:
    return Event(
        happened=Happened(row.get("happened", "tag-added")),
        contact=row.get("id", ""),
        email=row.get("email", ""),
        tag=row.get("tag", ""),
        tag_name=row.get("tag_name", ""),
        ref=row.get("ref", ""),
    )


@pytest.fixture
def hooked(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> type[Crm]:
    """Northlight Studio's CRM has hooks: this adapter, with nothing set up at its CRM."""
    fresh = {"there": {}, "log": [], "asked_since": [], "refuses": {}, "signs": False, "__doc__": Crm.__doc__}
    crm = type("Crm", (Crm,), fresh)
    monkeypatch.setitem(catalogue.listed("tagwarden.crms"), "hooked", SimpleNamespace(Crm=crm))  # type: ignore[arg-type]
    Connection.objects.filter(pk=connection.pk).update(crm="hooked")
    connection.crm = "hooked"
    return crm


def body(*events: dict[str, str]) -> bytes:
    """What such a hook posts."""
    return json.dumps({"events": list(events)}).encode()
