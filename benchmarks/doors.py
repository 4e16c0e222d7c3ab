"""Two doors to compare the product's with, on the same server with the same flags.

`hello` answers and does nothing else: what the server can do at all. `parse_only` is the product's receiver with
everything but the spool: what understanding a call costs.

    python -m benchmarks.doors hello|parse_only PORT
"""

import asyncio
import gc
import os
import sys

import django
from granian.rsgi import HTTPProtocol, Scope

from tagwarden import rsgi
from tagwarden.core import crypto, wire
from tagwarden.core.env import env
from tagwarden.core.proxy import Proxies
from tagwarden.receiver.app import Receiver
from tagwarden.receiver.body import BodyReader
from tagwarden.spool.door import DoorTable, door_path
from tagwarden.spool.log import Row


class Hello:
    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        protocol.response_bytes(200, [("content-type", "application/json")], b'{"ok":true}')


class Nowhere:
    """A group commit that keeps nothing."""

    async def append(self, row: Row) -> None:
        pass


def _words() -> wire.Words | None:
    """The commands as the server knows them, which has set Django up before."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagwarden.settings")
    django.setup()
    return rsgi._words()


class ParseOnly:
    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        keys = crypto.read_keys(env().keys_file)
        self._receiver = Receiver(
            door=DoorTable(door_path(env().data), keys.digest),
            commit=Nowhere(),  # type: ignore[arg-type]
            words=_words(),
            proxies=Proxies(()),
            bodies=BodyReader(loop),
            loop=loop,
        )
        gc.collect()
        gc.freeze()  # as the product does

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._receiver.close()

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        await self._receiver.handle(scope, protocol)


hello, parse_only = Hello(), ParseOnly()

if __name__ == "__main__":
    rsgi.build_server("127.0.0.1", int(sys.argv[2]), f"benchmarks.doors:{sys.argv[1]}").serve()
