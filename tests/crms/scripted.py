"""A server that answers as it is told, for answers that no fake gives by itself. It keeps what it was asked."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Asked:
    """One call that came."""

    method: str
    path: str
    query: dict[str, str]
    raw_query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What a call is answered. `content`: bytes as they are, anything else as JSON."""

    content: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_bytes(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


class Scripted:
    """`answers`: "METHOD /path" → the answers it gives one after the other; the last one again and again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[Asked] = []

    def on(self, call: str, *answers: Any) -> None:
        """Anything that is no Answer is a 200 with that content."""
        self.answers[call] = [one if isinstance(one, Answer) else Answer(one) for one in answers]

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        waiting = self.answers.get(f"{asked.method} {asked.path}")
        if not waiting:
            return Answer({"unexpected": f"{asked.method} {asked.path}"}, status=418)
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def calls(self) -> list[str]:
        return [f"{asked.method} {asked.path}" for asked in self.asked]


@contextlib.contextmanager
def scripted() -> Iterator[Scripted]:
    """Such a server, on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def __getattr__(self, name: str) -> Callable[[], None]:
            if name.startswith("do_"):  # whatever the method
                return self._any
            raise AttributeError(name)

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            answer = server.answer(Asked(self.command, parts.path, query, parts.query, headers, body))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            content = answer.as_bytes()
            if answer.status != 204:
                self.send_header("content-length", str(len(content)))
            self.end_headers()
            if answer.status != 204:
                self.wfile.write(content)

        def log_request(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Scripted(f"http://127.0.0.1:{http.server_address[1]}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
