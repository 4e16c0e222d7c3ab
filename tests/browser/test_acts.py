"""What staff do on the pages, by mouse, by keyboard, and without script."""

import re

from playwright.sync_api import Page, expect

from tagwarden.journal.models import Job
from tagwarden.staff import rows
from tests.browser import scene
from tests.browser.conftest import Open
from tests.browser.scene import Scene


def test_signing_in_leads_to_the_page_that_was_asked_for(northlight: Scene, open_page: Open) -> None:
    page = open_page("/staff/members/")
    page.get_by_label("E-mail").fill("ANA@northlight.example")
    page.get_by_label("Password").fill(scene.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Members")


def test_redeliver_works_by_a_click_and_the_page_follows(northlight: Scene, open_page: Open) -> None:
    page = open_page(f"/staff/deliveries/{northlight.failed.key}/", account=northlight.ana)
    page.get_by_role("button", name="Redeliver this call").click()
    expect(page.get_by_text("Redelivered. It runs before all else.")).to_be_visible()
    expect(page.locator("#chip")).to_have_text("Waiting")
    expect(page.get_by_text("Mend it")).to_have_count(0)
    assert Job.objects.filter(root=northlight.failed.pk, state="waiting", command="field-set").exists()


def test_a_misspelled_call_is_redelivered_with_the_right_word(northlight: Scene, open_page: Open) -> None:
    page = open_page(f"/staff/deliveries/{northlight.misspelled.key}/", account=northlight.ana)
    expect(page.get_by_label("Command")).to_have_value("batchsync")
    page.get_by_role("button", name="Redeliver this call").click()
    expect(page.get_by_text("Redelivered.")).to_be_visible()
    assert '"word":"batchsync"' in Job.objects.get(pk=northlight.misspelled.pk).params


def test_a_release_grows_without_reload_and_never_shrinks(northlight: Scene, open_page: Open) -> None:
    page = open_page(f"/staff/releases/{rows.slug(northlight.release)}/", account=northlight.ana)
    page.evaluate("window.stayed = true")
    expect(page.locator(".great .n")).to_have_text("733")
    northlight.journal.finish(northlight.release, 100)
    expect(page.locator(".great .n")).to_have_text("833")
    grown = _bar(page)
    synced = Job.objects.filter(release=northlight.release.pk, standing="done").values_list("pk", flat=True)[:50]
    Job.objects.filter(pk__in=list(synced)).update(state="waiting", standing="waiting", outcome="", finished=None)
    expect(page.locator(".great .n")).to_have_text("783")
    assert _bar(page) == grown
    northlight.journal.finish(northlight.release, 217)
    expect(page.locator(".great .left")).to_have_text("All finished")
    assert _bar(page) > grown
    assert page.evaluate("window.stayed"), "the page was loaded anew"


def _bar(page: Page) -> float:
    return float(page.get_by_role("progressbar").get_attribute("data-grows") or 0)


def test_new_calls_come_in_at_the_top_and_wait_while_one_reads_further_down(northlight: Scene, open_page: Open) -> None:
    page = open_page("/staff/deliveries/", account=northlight.ana)
    northlight.journal.call(northlight.active, "updateuser", "777001", ago=0)
    expect(page.locator("#rows tr").first).to_contain_text("777001")
    page.evaluate("window.scrollTo(0, 600)")
    northlight.journal.call(northlight.active, "updateuser", "777002", ago=0)
    expect(page.get_by_role("button", name="1 new call")).to_be_visible()
    expect(page.locator("#rows tr").first).to_contain_text("777001")
    page.get_by_role("button", name="1 new call").click()
    expect(page.locator("#rows tr").first).to_contain_text("777002")


def test_a_part_that_is_in_use_is_left_alone(northlight: Scene, open_page: Open) -> None:
    page = open_page(f"/staff/releases/{rows.slug(northlight.release)}/", account=northlight.ana)
    link = page.get_by_role("link", name="Ines Castelo")
    link.focus()
    Job.objects.filter(release=northlight.release.pk, standing="failed").update(standing="done", outcome="done")
    expect(page.locator(".six")).to_contain_text("712")
    expect(link).to_be_focused()


def test_pause_stops_the_looking(northlight: Scene, open_page: Open) -> None:
    page = open_page("/staff/deliveries/", account=northlight.ana)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live-text")).to_have_text("Paused")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    assert not asked


def test_filters_apply_at_once_and_stand_in_the_address(northlight: Scene, open_page: Open) -> None:
    page = open_page("/staff/deliveries/", account=northlight.ana)
    page.get_by_label("Connection").select_option("Keap")
    expect(page).to_have_url(re.compile(r"\?connection=Keap$"))
    expect(page.locator("#rows tr")).to_have_count(3)  # two calls, and a drift check that must be decided
    page.get_by_role("link", name="Clear").click()
    expect(page).to_have_url(re.compile(r"/staff/deliveries/\?$"))


def test_the_keyboard_reaches_everything_with_a_ring_to_be_seen(northlight: Scene, open_page: Open) -> None:
    page = open_page(f"/staff/deliveries/{northlight.failed.key}/", account=northlight.ana)
    wanted = page.evaluate(
        """[...document.querySelectorAll("a, button, select, input, summary")]
           .filter((e) => e.checkVisibility() && e.type !== "hidden" && !e.disabled).length"""
    )
    reached, ringless = set(), []
    for _ in range(wanted + 3):
        page.keyboard.press("Tab")
        here, ring = page.evaluate(
            """(() => { const e = document.activeElement; e.dataset.seen ||= Math.random();
               return [e.tagName === "BODY" ? "" : e.dataset.seen, getComputedStyle(e).outlineStyle]; })()"""
        )
        reached.add(here)
        ringless += [here] if here and ring == "none" else []
    assert len(reached - {""}) >= wanted
    assert not ringless


def test_the_address_to_copy_hides_its_secret_until_asked(transactional_db: None, open_page: Open) -> None:
    _, ana, _ = scene.empty()
    page = open_page("/staff/deliveries/", account=ana)
    shown = page.locator("#secret")
    expect(shown).not_to_contain_text(scene.SECRET)
    page.get_by_role("button", name="Show secret").click()
    expect(shown).to_have_text(scene.SECRET)


def test_the_empty_page_turns_by_itself_at_the_first_call(transactional_db: None, open_page: Open) -> None:
    site, ana, connection = scene.empty()
    page = open_page("/staff/deliveries/", account=ana)
    expect(page.get_by_text("first call", exact=False).first).to_be_visible()
    scene.Journal(site).call(connection, "updateuser", "1", ago=0)
    expect(page.locator("#rows tr")).to_have_count(1)


def test_the_chosen_appearance_is_remembered(northlight: Scene, open_page: Open) -> None:
    page = open_page("/staff/members/", account=northlight.ana)
    page.locator(".me summary").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 18, 17)"


def test_without_script_all_of_it_still_works(northlight: Scene, open_page: Open) -> None:
    page = open_page("/staff/deliveries/", account=northlight.ana, script=False)
    expect(page.get_by_role("link", name="Refresh", exact=True)).to_be_visible()
    page.get_by_label("Connection").select_option("ActiveCampaign")
    page.get_by_role("button", name="Apply").click()
    page.get_by_role("link", name=re.compile("Marta Oliveira")).click()
    page.get_by_role("button", name="Redeliver this call").click()
    expect(page.get_by_text("Redelivered. It runs before all else.")).to_be_visible()
    expect(page.locator("#chip")).to_have_text("Waiting")


def test_nothing_is_blocked_by_the_policy_and_nothing_comes_from_elsewhere(northlight: Scene, open_page: Open) -> None:
    said: list[str] = []
    asked: set[str] = set()
    page = open_page("/staff/sign-in/", account=northlight.ana)
    page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("request", lambda request: asked.add(request.url.split("/")[2]))
    for path in ("/staff/deliveries/", f"/staff/releases/{rows.slug(northlight.release)}/", "/staff/members/"):
        page.goto(path)
        page.wait_for_load_state("networkidle")
    assert not said
    assert len(asked) == 1
