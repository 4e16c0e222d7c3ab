"""The web pages."""

from aiohttp import web

from tagwarden.sandbox.faults import Behaviour
from tagwarden.sandbox.fire import Firings
from tagwarden.sandbox.state import State


class Pages:
    def __init__(self, state: State, behaviour: Behaviour, firings: Firings) -> None:
        self._state = state
        self._behaviour = behaviour
        self._firings = firings

    def routes(self) -> list[web.RouteDef]:
        return []
