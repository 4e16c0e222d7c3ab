"""A fake Keap inside the test's own process, and two clients to call it by."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from aiohttp import web

from tests.crms.conftest import FakeServer, running_fake
from tests.fakes import keap

_people = itertools.count(1)


class Keap:
    """A fake and two clients with one key: `v1` and `v2`."""

    def __init__(self, server: FakeServer, key: str) -> None:
        self.server = server
        headers = {"Authorization": f"Bearer {key}"}
        self.v1 = httpx.Client(base_url=server.url + keap.V1, headers=headers, timeout=30)
        self.v2 = httpx.Client(base_url=server.url + keap.V2, headers=headers, timeout=30)

    def person(self, **more: Any) -> int:
        """A new contact with an e-mail of its own."""
        email = more.pop("email", f"person.{next(_people)}@example.com")
        ids: list[int] = self.server.post("/admin/contacts", contacts=[{"email": email, **more}])["ids"]
        return ids[0]

    def label(self, label: str) -> str:
        """The custom field of that label, made if it isn't there."""
        return str(self.server.post("/admin/field", label=label)["id"])

    def tag(self, name: str, *contacts: int) -> str:
        """The tag of that name, now on these contacts."""
        return str(self.server.post("/admin/tag", tag=name, contacts=list(contacts))["id"])

    def clock(self, seconds: float = 0) -> float:
        """What the fake's clock shows after it was moved on."""
        now: float = self.server.post("/admin/clock", seconds=seconds)["now"]
        return now

    def found(self, filter_: str, **more: str | int) -> list[dict[str, Any]]:
        """The contacts of a v2 filter, which is encoded as the documentation wants it."""
        asked = "".join(f"&{name}={quote(str(value))}" for name, value in more.items())
        answer = self.v2.get(f"/contacts?filter={quote(filter_, safe='')}{asked}")
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["contacts"]
        return rows


@contextmanager
def opened(server: FakeServer, key: str = keap.SERVICE_KEY) -> Iterator[Keap]:
    crm = Keap(server, key)
    try:
        yield crm
    finally:
        crm.v1.close()
        crm.v2.close()


class Inside(FakeServer):
    """The same without a process."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.admin = httpx.Client(base_url=self.url, timeout=60)


@contextmanager
def served(contacts: int = 3) -> Iterator[Keap]:
    """A fake of one test's own, its clock at a standstill: a process a test would take longer than the test."""
    with _loop() as loop:
        runner, port = asyncio.run_coroutine_threadsafe(_begun(contacts), loop).result(20)
        server = Inside(port)
        try:
            server.set(speed=0)
            with opened(server) as crm:
                yield crm
        finally:
            server.admin.close()
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread, which ends even if the fake fails while it is taken down."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _begun(contacts: int) -> tuple[web.AppRunner, int]:
    fake = keap.Fake()
    fake.fill(contacts)
    runner = web.AppRunner(fake.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with running_fake("keap", 25) as running:
        yield running


@pytest.fixture
def crm(server: FakeServer) -> Iterator[Keap]:
    """Shared by the tests, so without limits, and with each setting at its default."""
    server.set(**asdict(keap.Settings()) | {"limits": False})
    with opened(server) as one:
        yield one


@pytest.fixture
def own() -> Iterator[Keap]:
    with served() as one:
        yield one
