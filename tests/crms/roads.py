"""The whole road below the door, with any CRM of the catalogue at its other end."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from django.conf import settings

from tagwarden.accounts.models import Site
from tagwarden.connections.models import Connection
from tagwarden.core import catalogue, clock
from tagwarden.core.mapping import mapped
from tagwarden.members import enrol
from tests.crms.places import Server, server
from tests.worker.conftest import Road

CRMS = list(catalogue.listed("tagwarden.crms"))
LONG_AGO_MS = 20 * 60_000  # before what any CRM's lists may still leave out


@pytest.fixture(params=CRMS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each CRM of the catalogue, one after the other."""
    with server(request.param, tmp_path_factory.mktemp(request.param)) as found:
        yield found


class CrmRoad(Road):
    """A road to that server."""

    server: Server

    def enrol_all(self) -> None:
        """Makes members of all contacts there, as the lists have them now."""
        self.server.settle()
        for page in self.adapter.everybody():
            enrol.enrol(
                connection=self.connection.pk,
                site=self.site.pk,
                snapshots=[mapped(snapshot, self.connection.options) for snapshot in page],
                source="first",
                ref="",
                now=clock.now(),
            )

    def long_ago(self, word: str, *contacts: str) -> list[str]:
        """Calls that came in so long ago that the CRM's lists show what was there then."""
        received = clock.now_ms() - LONG_AGO_MS
        return self.carry(*[self.row(word, contact, received=received) for contact in contacts])


@contextmanager
def road_to(running: Server, site: Site, folder: Path) -> Iterator[CrmRoad]:
    """A connection to that server, and the road that leads there."""
    connection = Connection.objects.create(
        site=site,
        crm=running.name,
        name=running.kind.label,
        base_url=running.fake.url,
        credentials=settings.KEYS.encrypt(json.dumps(dict(running.place.credentials))),
        options_json=json.dumps({"release_delay": 0}),
    )
    with closing(running.adapter()) as adapter:
        road = CrmRoad(site, connection, running.fake, folder, adapter=adapter)  # type: ignore[arg-type]  # url, admin
        road.server = running
        yield road
        road.close()
