"""A running server with a thousand members, to take its database or its supervisor away from."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crash.place import Database, Place
from tests.outage.cluster import Cluster, binaries
from tests.sandbox.conftest import QUIET, Crm, running


@pytest.fixture(scope="session")
def big_crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    with running(tmp_path_factory.mktemp("outage-crm") / "crm.sqlite3", 1000) as crm:
        yield crm


@pytest.fixture(scope="session")
def small_crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    with running(tmp_path_factory.mktemp("small-crm") / "crm.sqlite3", 10) as crm:
        yield crm


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    cluster = Cluster()
    yield cluster
    cluster.remove()


def _started(stack: ExitStack, data: Path, crm: Crm, url: str, members: int) -> Place:
    crm.set(**QUIET)
    place = Place(data, crm, Database(data, url), members)
    stack.callback(place.close)
    place.start()
    place.until_open()
    return place


@pytest.fixture
def on_sqlite(tmp_path: Path, big_crm: Crm) -> Iterator[Place]:
    """A running server on SQLite with 1,000 members."""
    with ExitStack() as stack:
        yield _started(stack, tmp_path, big_crm, "", 1000)


@pytest.fixture
def on_postgresql(tmp_path: Path, big_crm: Crm, cluster: Cluster) -> Iterator[Place]:
    """A running server on a PostgreSQL of its own with 1,000 members."""
    with ExitStack() as stack:
        yield _started(stack, tmp_path, big_crm, cluster.url, 1000)


@pytest.fixture
def small(tmp_path: Path, small_crm: Crm) -> Iterator[Place]:
    """A running server on SQLite with ten members."""
    with ExitStack() as stack:
        yield _started(stack, tmp_path, small_crm, "", 10)


@pytest.fixture
def small_on_postgresql(tmp_path: Path, small_crm: Crm, cluster: Cluster) -> Iterator[Place]:
    """A running server on a PostgreSQL of its own with ten members."""
    with ExitStack() as stack:
        yield _started(stack, tmp_path, small_crm, cluster.url, 10)
