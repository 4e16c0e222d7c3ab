"""One port for both: webhooks go to the receiver, everything else to Django in a few threads.

The only place that knows the two. Django stays ordinary WSGI here; nothing of it is needed to take a webhook.
"""

import asyncio
import contextlib
import importlib
import io
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.types import WSGIApplication

from granian.constants import HTTPModes, Interfaces, Loops, TaskImpl
from granian.http import HTTP1Settings
from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope  # type: ignore[attr-defined]  # has them unsaid
from granian.server.mp import MPServer

from tagwarden.core import catalogue, crypto, locks, logs, orphans, wire
from tagwarden.core.env import env
from tagwarden.core.errors import SettingsError
from tagwarden.core.proxy import Proxies
from tagwarden.receiver.app import Receiver
from tagwarden.receiver.body import BodyReader, SenderLeft
from tagwarden.receiver.monitor import Journal, Monitor
from tagwarden.spool.door import DoorTable, door_path
from tagwarden.spool.group_commit import GroupCommit
from tagwarden.spool.log import SpoolWriter, spool_folder

PAGE_THREADS = 8
LARGEST_PAGE_BODY = 2 << 20
SENT_WHOLE = 1 << 20  # longer answers are streamed, piece by piece
SLOWEST_PIECE = 30  # seconds a reader may take for one piece

_FORWARDED = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"}
_TEXT = [("content-type", "text/plain; charset=utf-8")]
_UPGRADING = "Tagwarden is being upgraded. Webhooks are taken meanwhile.\n"

log = logging.getLogger(__name__)


def _django() -> WSGIApplication | None:
    """Django's application, or None if it can't start. Not imported at the top: the door opens without it,
    too.
    """
    try:
        application: WSGIApplication = importlib.import_module("tagwarden.wsgi").application
    except Exception:
        log.exception("The pages can't start; webhooks are taken all the same.")
        return None
    return application


def _journal() -> Journal:
    """What asks the main database how things are. Not imported at the top, as Django isn't."""
    journal: Any = importlib.import_module("tagwarden.journal.vitals")
    return journal  # type: ignore[no-any-return]  # a module is taken for its functions


def _words() -> wire.Words | None:
    """The commands and their parameters, or None if they can't be read: then intake judges the calls."""
    try:
        modules = catalogue.listed("tagwarden.operations")
    except Exception:
        log.exception("The commands can't be read; calls with a known handshake are taken unseen.")
        return None
    return {word: module.PARAMS for word, module in modules.items()}


class Front:
    """What granian calls: receiver first, then those who watch, then pages.

    `pages`: makes the WSGI application behind, None if it can't start.
    """

    def __init__(self, pages: Callable[[], WSGIApplication | None] = _django) -> None:
        self._application = pages

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        orphans.leave_with_parent()
        try:
            self._open(loop)
        except SettingsError as error:
            log.critical("%s", error)
            os._exit(78)

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        settings = env()
        logs.set_up(settings, "web")
        proxies = Proxies(settings.trusted_proxies)
        keys = crypto.read_keys(settings.keys_file)
        writer = SpoolWriter(spool_folder(settings.data), wait=locks.HANDOVER)
        bodies = BodyReader(loop)
        application = self._application()
        self._pages = Pages(application, proxies, bodies)
        self._commit = GroupCommit(writer, loop)
        door = DoorTable(door_path(settings.data), keys.digest)
        self._receiver = Receiver(
            door=door,
            commit=self._commit,
            words=_words(),
            proxies=proxies,
            bodies=bodies,
            loop=loop,
        )
        self._monitor = Monitor(
            settings=settings,
            door=door,
            commit=self._commit,
            receiver=self._receiver,
            journal=_journal() if application else None,
        )

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """After the last request: what is queued is put on disk, then the process leaves."""
        self._receiver.close()
        self._monitor.close()
        self._commit.stop()
        self._pages.close()

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        if await self._receiver.handle(scope, protocol):
            return
        try:
            if await self._monitor.handle(scope, protocol):
                return
            await self._pages.handle(scope, protocol)
        except (ProtocolClosed, SenderLeft):
            return  # nobody is there to be answered
        except Exception:
            log.exception("A page broke.")
            with contextlib.suppress(ProtocolClosed):
                protocol.response_str(500, _TEXT, "Tagwarden made a mistake here. Webhooks are taken.\n")


class Pages:
    """A WSGI application in a few threads. `application`: None if it can't start; then pages say 503."""

    def __init__(self, application: WSGIApplication | None, proxies: Proxies, bodies: BodyReader) -> None:
        self._application = application
        self._proxies = proxies
        self._bodies = bodies
        self._threads = ThreadPoolExecutor(PAGE_THREADS, thread_name_prefix="page")

    async def handle(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answers the request. Raises ProtocolClosed or SenderLeft if the reader left."""
        if self._application is None:
            protocol.response_str(503, [*_TEXT, ("retry-after", "10")], _UPGRADING)
            return
        body, problem = await self._bodies.read(protocol, dict(scope.headers.items()), LARGEST_PAGE_BODY)
        if problem == "too-large":
            protocol.response_str(413, _TEXT, f"A page takes at most {LARGEST_PAGE_BODY >> 20} MiB.\n")
        elif problem:
            protocol.response_str(408, _TEXT, "What was sent stopped arriving.\n")
        else:
            loop = asyncio.get_running_loop()
            page = _Page(protocol, loop)
            environ = _environ(scope, body, self._proxies)
            await loop.run_in_executor(self._threads, page.answer, self._application, environ)

    def close(self) -> None:
        """Waits for the pages in hand."""
        self._threads.shutdown()


class _Page:
    """One answer of the application, made and sent from one thread."""

    def __init__(self, protocol: HTTPProtocol, loop: asyncio.AbstractEventLoop) -> None:
        self._protocol = protocol
        self._loop = loop
        self._status = 500
        self._headers: list[tuple[str, str]] = []

    def answer(self, application: WSGIApplication, environ: dict[str, Any]) -> None:
        parts = application(environ, self._start)
        try:
            self._send(parts)
        finally:
            close = getattr(parts, "close", None)
            if close:  # Django gives back its database connection here
                close()

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: object = None, /) -> Any:
        self._status = int(status.split(" ", 1)[0])
        self._headers = [(name.lower(), value) for name, value in headers]
        return None  # the old write() is not offered; Django doesn't use it

    def _send(self, parts: Iterable[bytes]) -> None:
        whole: list[bytes] = []
        size = 0
        stream: Any = None
        for part in parts:
            if stream is None:
                whole.append(part)
                size += len(part)
                if size > SENT_WHOLE:
                    stream = self._protocol.response_stream(self._status, self._headers)
                    self._piece(stream, b"".join(whole))
            else:
                self._piece(stream, part)
        if stream is None:
            self._protocol.response_bytes(self._status, self._headers, b"".join(whole))

    def _piece(self, stream: Any, piece: bytes) -> None:
        """Sends one piece and waits until it is taken, so that a slow reader doesn't fill our memory."""
        sending = asyncio.run_coroutine_threadsafe(_sent(stream, piece), self._loop)
        sending.result(SLOWEST_PIECE)


async def _sent(stream: Any, piece: bytes) -> None:
    await stream.send_bytes(piece)


def _environ(scope: Scope, body: bytes, proxies: Proxies) -> dict[str, Any]:
    """The request as WSGI has it. Address and scheme are the client's; a proxy's own headers stay behind."""
    pairs: list[tuple[str, str]] = scope.headers.items()
    told = {name: ",".join(value for key, value in pairs if key == name) for name, _ in pairs}
    host = told.get("host") or scope.authority or "localhost"
    name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdecimal() else (host, "", "")
    scheme = proxies.scheme(scope.client, scope.scheme, told.get("x-forwarded-proto", ""))
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode("utf-8", "replace").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": name,
        "SERVER_PORT": port or ("443" if scheme == "https" else "80"),
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": proxies.client(scope.client, told.get("x-forwarded-for", "")),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "CONTENT_TYPE": told.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
    }
    return environ | _http_headers(pairs, host)


def _http_headers(pairs: list[tuple[str, str]], host: str) -> dict[str, str]:
    """Headers under their WSGI names. One with an underscore could pass for another and is left out."""
    headers = {"HTTP_HOST": host}
    for name, value in pairs:
        if "_" in name or name in _FORWARDED or name in ("host", "proxy", "content-type", "content-length"):
            continue
        key = "HTTP_" + name.upper().replace("-", "_")
        joint = "; " if name == "cookie" else ","
        headers[key] = f"{headers[key]}{joint}{value}" if key in headers else value
    return headers


# Starting.


def build_server(host: str, port: int, target: str = "tagwarden.rsgi:application") -> MPServer:
    """The server of that application, with the flags that were measured; tests/receiver/test_start.py holds
    them.

    One worker and uvloop: a second worker would be a second spool, and asyncio's loop lost SIGTERM now and
    then. `backpressure` counts connections in hand, stalled ones as well, so it is high; what is queued is
    bounded by bytes and time in the group commit. A worker that died comes back (`respawn_failed_workers` is
    off by default); one that waits for a stalled sender when it shall stop is ended after 10 s, for what was
    promised is on disk by then.
    """
    return MPServer(
        target,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=1,
        runtime_threads=1,
        loop=Loops.uvloop,
        task_impl=TaskImpl.asyncio,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=30_000, max_buffer_size=128 * 1024),
        websockets=False,
        backlog=2048,
        backpressure=4096,
        log_access=False,
        log_dictconfig=logs.config(env()),
        respawn_failed_workers=True,
        workers_kill_timeout=10,
    )


def serve(host: str, port: int, target: str = "tagwarden.rsgi:application") -> None:
    """Takes webhooks and shows pages on that address until SIGTERM.

    Raises SettingsError with a sentence if keys or spool can't be used, or another process has the spool.
    Waits with the port shut while the door table was never filled: a call that can't be told from a wrong one
    would be lost.
    """
    settings = env()
    keys = crypto.read_keys(settings.keys_file)
    SpoolWriter(spool_folder(settings.data)).close()
    door = DoorTable(door_path(settings.data), keys.digest)
    if not door.was_ever_filled:
        log.warning("The table of handshakes was never filled; the port opens when it is.")
    while not door.was_ever_filled:
        time.sleep(0.2)
        door.refresh()
    _raise_file_limit()
    build_server(host, port, target).serve()


def _raise_file_limit() -> None:
    """A connection is an open file; many systems start with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(hard, 8192)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


application = Front()
