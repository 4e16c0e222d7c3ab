"""Chromium of the system, the server of the tests, and somebody who is signed in."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tagwarden.accounts.models import Account
from tagwarden.staff import upgrading
from tests.browser import scene
from tests.browser.scene import Scene

os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # playwright's loop runs in the thread of the test

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDE, PHONE = 1280, 390
PICTURES = Path(__file__).parents[2] / "docs" / "img"

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def northlight(transactional_db: None) -> Scene:
    """The site on a busy morning."""
    upgrading.last_look.forget()
    return scene.busy()


@pytest.fixture
def open_page(browser: Browser, live_server: LiveServer) -> Iterator[Open]:
    """Opens a path, signed in as an account if one is given, at a width, light or dark."""
    contexts: list[BrowserContext] = []

    def opened(
        path: str, *, account: Account | None = None, width: int = WIDE, dark: bool = False, script: bool = True
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            has_touch=width <= 760,
            java_script_enabled=script,
            base_url=f"http://localhost:{live_server.thread.port}",
        )
        contexts.append(context)
        if account:
            context.add_cookies([_session(account)])
        page = context.new_page()
        page.set_default_timeout(10_000)
        answer = page.goto(path)
        assert answer is not None
        assert answer.ok, f"{path} answered {answer.status}"
        return page

    yield opened
    for context in contexts:
        context.close()


def _session(account: Account) -> dict[str, str]:
    session = SessionStore()
    session[SESSION_KEY] = str(account.pk)
    session[BACKEND_SESSION_KEY] = "tagwarden.accounts.sign_in.EmailOnSite"
    session[HASH_SESSION_KEY] = account.get_session_auth_hash()
    session.save()
    return {"name": "tagwarden", "value": session.session_key, "domain": "localhost", "path": "/"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures go: docs/img only when asked for by UPDATE_SCREENSHOTS=1."""
    return PICTURES if os.environ.get("UPDATE_SCREENSHOTS") == "1" else tmp_path
