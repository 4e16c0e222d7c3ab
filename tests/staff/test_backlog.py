"""Calls that are on disk and not listed yet: the page says how many, of this site only."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.test import Client

from tagwarden.accounts.models import Account, Site
from tagwarden.core import clock
from tagwarden.core.env import env
from tagwarden.core.uuid7 import uuid7
from tagwarden.journal import sql, store
from tagwarden.spool import log as spool
from tagwarden.staff import backlog
from tests.staff.conftest import SignedIn

Arrive = Callable[..., None]


@pytest.fixture
def arrive(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arrive]:
    """Calls to a site come in and are not carried."""
    monkeypatch.setenv("TAGWARDEN_DATA", str(tmp_path))
    monkeypatch.setenv("TAGWARDEN_KEYS_FILE", str(env().keys_file))
    env.cache_clear()
    writer = spool.SpoolWriter(spool.spool_folder(env().data))

    def arrive(site: Site | None, calls: int, ago: int = 10) -> None:
        empty = {"query": "", "headers": "[]", "body": b"", "address": "", "host": "", "word": "", "reason": ""}
        row = {"kind": "call", "handshake": 1, "connection": 1, "method": "POST", "path": "/", "status": 200, **empty}
        received, number = clock.now_ms() - ago * 1000, site.pk if site else None
        writer.append([spool.Row(id=uuid7(), received=received, site=number, **row) for _ in range(calls)])  # type: ignore[arg-type]  # mixed

    yield arrive
    writer.close()
    monkeypatch.undo()
    env.cache_clear()


def said(client: Client) -> str:
    page = client.get("/staff/deliveries/").content.decode()
    return (
        page.split('id="backlog" data-live>')[1].split("</div>")[0].replace('<p class="soft">', "").replace("</p>", "")
    )


def test_calls_that_wait_are_counted_for_their_site_only(
    site: Site, other_site: Site, charlie: Account, staff: Client, signed_in: SignedIn, arrive: Arrive
) -> None:
    assert said(staff) == ""
    arrive(site, 1)
    assert said(staff) == "1 call is safe on disk and not listed yet."
    arrive(other_site, 3)
    arrive(None, 2)  # strangers
    arrive(site, 1239)
    assert said(staff) == "1,240 calls are safe on disk and not listed yet."
    assert said(signed_in(charlie)) == "3 calls are safe on disk and not listed yet."


def test_what_was_carried_is_not_counted(site: Site, staff: Client, arrive: Arrive) -> None:
    arrive(site, 5)
    folder = spool.spool_folder(env().data)
    third = spool.read_after(folder, None, 3)[-1][0]
    store.record(deliveries=[], jobs=[], spool=spool.spool_id(folder), segment=third.segment, line=third.row)
    assert said(staff) == "2 calls are safe on disk and not listed yet."


def test_calls_that_only_just_came_are_not_worth_a_word(site: Site, staff: Client, arrive: Arrive) -> None:
    arrive(site, 5, ago=0)
    assert said(staff) == ""


def test_of_very_many_it_says_at_least_how_many(
    site: Site, staff: Client, arrive: Arrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "LOOKED_AT", 4)
    arrive(site, 5)
    assert said(staff) == "More than 4 calls are safe on disk and not listed yet."


def test_over_midnight_the_next_segment_is_counted(site: Site, arrive: Arrive) -> None:
    arrive(site, 2)
    folder = spool.spool_folder(env().data)
    end = spool.read_after(folder, None, 10)[-1][0]
    store.record(deliveries=[], jobs=[], spool=spool.spool_id(folder), segment=end.segment, line=end.row)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=1)):
        arrive(site, 3)
        assert backlog.of_site(site) == backlog.Backlog(3, False)


def test_a_spool_that_cant_be_read_leaves_the_page_as_it_is(site: Site, staff: Client, arrive: Arrive) -> None:
    arrive(site, 2)
    (segment,) = spool.spool_folder(env().data).glob("*.sqlite")
    segment.write_bytes(b"no database at all, only text" * 100)
    assert said(staff) == ""
    assert sql.rows("select 1") == [(1,)]
