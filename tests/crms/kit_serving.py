"""The fake Kit inside the test, and somebody at the other end of its webhooks."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web

from tests.fakes import kit

SAMPLES = Path(__file__).parent / "samples" / "kit"
KEY = {"X-Kit-Api-Key": kit.API_KEY}
TOKEN = {"Authorization": f"Bearer {kit.ACCESS_TOKEN}"}


def sample(name: str) -> Any:
    return json.loads((SAMPLES / name).read_text())


class Kit:
    """A running fake: `api` with the key, `app` with an OAuth token, `bare` without, `admin` to steer it."""

    def __init__(self, url: str, stack: contextlib.ExitStack) -> None:
        self.url = url
        self.api, self.app, self.bare = (self._client(stack, headers) for headers in (KEY, TOKEN, {}))
        self.admin = self._client(stack, {})

    def _client(self, stack: contextlib.ExitStack, headers: dict[str, str]) -> httpx.Client:
        return stack.enter_context(httpx.Client(base_url=self.url, headers=headers, verify=False))

    def set(self, **settings: object) -> None:
        assert self.admin.put("/admin/settings", json=settings).is_success

    def post(self, path: str, **content: Any) -> dict[str, Any]:
        answer = self.admin.post(path, json=content)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def person(self, email: str = "ann@example.com", **more: Any) -> int:
        found: int = self.post("/admin/contacts", contacts=[{"email": email, **more}])["ids"][0]
        return found

    def people(self, count: int, **more: Any) -> list[int]:
        people = [{"email": f"p{n}@example.com", **more} for n in range(count)]
        found: list[int] = self.post("/admin/contacts", contacts=people)["ids"]
        return found

    def tag(self, name: str, *contacts: int, remove: bool = False) -> int:
        found: int = self.post("/admin/tag", tag=name, contacts=list(contacts), remove=remove)["id"]
        return found

    def field(self, label: str) -> int:
        found: int = self.post("/admin/field", label=label)["id"]
        return found

    def names(self, tags: dict[str, str] | None = None, fields: dict[str, str] | None = None) -> None:
        self.post("/admin/names", tags=tags or {}, fields=fields or {})

    def later(self, seconds: float) -> float:
        """Moves the clock on; what it shows then."""
        return float(self.post("/admin/clock", seconds=seconds)["now"])

    def stand_at(self, moment: float) -> None:
        """Stops the clock there."""
        self.set(speed=0)
        self.later(moment - self.later(0) + 0.001)

    def truth(self, contact: int) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.get(f"/admin/contacts/{contact}").json()
        return found

    def read(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self.api.get(path, params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def flush(self) -> list[dict[str, Any]]:
        """All deliveries attempted since the last flush."""
        found: list[dict[str, Any]] = self.post("/admin/hooks/flush")["happened"]
        return found


@contextlib.contextmanager
def serving() -> Iterator[Kit]:
    """An empty account of one's own, on a port of its own."""
    loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    ports: list[int] = []

    async def serve() -> None:
        runner = web.AppRunner(kit.Fake().app(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports.append(runner.addresses[0][1])
        ready.set()
        await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        with contextlib.ExitStack() as stack:
            yield Kit(f"http://127.0.0.1:{ports[0]}", stack)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@dataclass
class Heard:
    """One webhook as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Takes webhooks and answers 200, or what stands next in `answers`: status and headers."""

    url: str
    heard: list[Heard] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int) -> bool:
        """Whether so many have come, within 10 s."""
        with self.came:
            return self.came.wait_for(lambda: len(self.heard) >= count, 10)

    def take(self) -> list[Heard]:
        """What came since the last time."""
        found, self.heard = self.heard, []
        return found


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with receiver.came:
                receiver.heard.append(Heard(self.path, dict(self.headers), body))
                status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
                receiver.came.notify_all()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_request(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
