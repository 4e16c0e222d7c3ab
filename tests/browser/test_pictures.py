"""Every page as people see it: its picture, what axe says of it, and whether it fits a narrow screen."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tagwarden.staff import rows
from tests.browser import scene
from tests.browser.conftest import PHONE, WIDE, Open
from tests.browser.scene import Scene
from tests.staff.story import Try

PAGES = {
    "signin": lambda _: "/staff/sign-in/",
    "deliveries": lambda _: "/staff/deliveries/",
    "delivery-failed": lambda s: f"/staff/deliveries/{s.failed.key}/",
    "delivery-done": lambda s: f"/staff/deliveries/{s.done.key}/",
    "delivery-misspelled": lambda s: f"/staff/deliveries/{s.misspelled.key}/",
    "releases": lambda _: "/staff/releases/",
    "release": lambda s: f"/staff/releases/{_slug(s)}/",
    "not-members": lambda s: f"/staff/releases/{_slug(s)}/not-members/",
    "drift-checks": lambda _: "/staff/drift-checks/",
    "drift-check": lambda s: f"/staff/drift-checks/{s.drifted.slug}/",
    "drift-check-stopped": lambda s: f"/staff/drift-checks/{s.stopped.slug}/",
    "members": lambda _: "/staff/members/",
    "member": lambda s: f"/staff/members/{s.priya.account.login}/",
    "member-signin": lambda _: "/sign-in/",
    "welcome": lambda _: "/",
}
SIGNED_OUT = {"signin", "member-signin"}
IN_DOCS_DARK = {("deliveries", WIDE), ("delivery-failed", WIDE), ("delivery-failed", PHONE)}
NOT_IN_DOCS = {"not-members", "drift-checks", "delivery-misspelled", "member-signin", "welcome", "mail-held"}
LOOKS = [(WIDE, False), (PHONE, False), (WIDE, True), (PHONE, True)]


def _slug(northlight: Scene) -> str:
    return rows.slug(northlight.release)


def _look(page: Page, pictures: Path, name: str, width: int, *, dark: bool) -> None:
    page.evaluate("document.fonts.ready")
    if name not in NOT_IN_DOCS and (not dark or (name, width) in IN_DOCS_DARK):
        page.screenshot(path=pictures / f"staff-{name}-{width}{'-dark' if dark else ''}.png", full_page=True)
    findings = Axe().run(page)
    assert findings.violations_count == 0, findings.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_well_to_look_at(name: str, northlight: Scene, open_page: Open, pictures: Path) -> None:
    member = northlight.priya.account if name == "welcome" else northlight.ana
    account = None if name in SIGNED_OUT else member
    for width, dark in LOOKS:
        page = open_page(PAGES[name](northlight), account=account, width=width, dark=dark)
        _look(page, pictures, name, width, dark=dark)
    page = open_page(PAGES[name](northlight), account=account, width=320)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways at 320"


def test_a_mail_that_waits_for_a_mail_server(northlight: Scene, open_page: Open, pictures: Path) -> None:
    letter = {"to": "a.very.long.address@harbour.example", "subject": "Module 3 is open", "text": "Hello Åsa,\n" * 9}
    held = northlight.journal.mail(letter, "held", Try(0.1, result="held", reason="no-smtp"), reason="no-smtp")
    for width, dark in LOOKS:
        page = open_page(f"/staff/deliveries/{held.key}/", account=northlight.ana, width=width, dark=dark)
        page.get_by_text("The mail “Module 3 is open”").click()
        _look(page, pictures, "mail-held", width, dark=dark)


def test_before_the_first_call(transactional_db: None, open_page: Open, pictures: Path) -> None:
    _, ana, _ = scene.empty()
    for width, dark in LOOKS:
        page = open_page("/staff/deliveries/", account=ana, width=width, dark=dark)
        _look(page, pictures, "deliveries-empty", width, dark=dark)
