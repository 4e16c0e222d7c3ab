"""The sandbox CRM: a pretend CRM with a server and a file of its own, to try all with no account anywhere.

Also `python -m tagwarden.sandbox.crm --port N --file F --contacts N --webhook-url U`.
"""

import argparse
import logging
from pathlib import Path

from aiohttp import web

from tagwarden.core.errors import SettingsError
from tagwarden.sandbox.admin import Admin
from tagwarden.sandbox.api import Api
from tagwarden.sandbox.faults import Behaviour
from tagwarden.sandbox.fire import Firings
from tagwarden.sandbox.guard import guard, is_loopback
from tagwarden.sandbox.pages import Pages
from tagwarden.sandbox.state import State

DEFAULT_KEY = "sandbox-key"
_log = logging.getLogger(__name__)


def make_app(state: State, key: str = DEFAULT_KEY) -> web.Application:
    """The whole server over that state, which it closes when it stops."""
    behaviour, firings = Behaviour(state), Firings(state)
    pages = Pages(state, behaviour, firings)
    app = web.Application(middlewares=[guard, pages.framed], client_max_size=32 * 1024 * 1024)
    app.add_subapp("/api/", Api(state, behaviour, key).app())
    app.add_subapp("/admin/", Admin(state, behaviour, firings).app())
    app.add_routes(pages.routes())

    async def stop_firing(_: web.Application) -> None:
        await firings.stop()

    async def close(_: web.Application) -> None:
        state.close()

    app.on_shutdown.append(stop_firing)
    app.on_cleanup.append(close)
    return app


def serve(*, host: str, port: int, file: Path, contacts: int, webhook_url: str = "", key: str = DEFAULT_KEY) -> None:
    """Serves until SIGTERM or SIGINT.

    `host`: a loopback address, since the admin API has no log-in. `contacts`: how many invented ones to make
    in all; those in the file count. `webhook_url`: what the page for firing offers. Raises SettingsError with
    a sentence if host or port can't be used.
    """
    if not is_loopback(host):
        raise SettingsError(f"The sandbox CRM listens on this machine only, not on {host}. Use 127.0.0.1.")
    state = State(file)
    state.fill(contacts)
    if webhook_url:
        state.remember("webhook-url", webhook_url)
    _log.info("Sandbox CRM at http://%s:%s/", host, port)
    try:
        web.run_app(make_app(state, key), host=host, port=port, access_log=None, print=None, shutdown_timeout=1)
    except OSError as error:
        raise SettingsError(f"The sandbox CRM can't listen on {host}:{port}: {error.strerror}.") from error


def main() -> None:
    """The command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m tagwarden.sandbox.crm", description="The sandbox CRM.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--contacts", type=int, default=0)
    parser.add_argument("--webhook-url", default="")
    parser.add_argument("--key", default=DEFAULT_KEY)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        serve(**vars(given))
    except SettingsError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
