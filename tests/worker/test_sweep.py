"""Drift checks: what the CRM forgot to send is found and mended, in both directions, and nobody is locked out by it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
import time_machine
from django.db import transaction
from django.db.models import F
from django.test import Client

from tagwarden.accounts.models import Account
from tagwarden.connections.models import Connection
from tagwarden.core import clock, failpoints
from tagwarden.core.outcome import Snapshot
from tagwarden.crms import base
from tagwarden.crms.sandbox import Crm as Adapter
from tagwarden.journal import leases, store
from tagwarden.journal.models import Attempt, Job
from tagwarden.members import enrol
from tagwarden.members import sweeps as rules
from tagwarden.members.models import Contact, ContactTag, Sweep, SweepFinding
from tagwarden.worker import sweeps
from tagwarden.worker.engine_embedded import Engine
from tests.journal.test_leases import new_job
from tests.sandbox.conftest import Crm, running
from tests.worker.conftest import Road, nothing_left_open

MANY = 1_000
SOME = 300


@pytest.fixture(scope="module")
def crm_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    with running(tmp_path_factory.mktemp("crm") / "crm.sqlite3", MANY) as crm:
        yield crm


@pytest.fixture
def by_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members by id cost more calls than the list of all contacts, from 250 members on."""
    monkeypatch.setattr(Adapter, "bulk_size", 25)


def enrol_many(road: Road, last: int, first: int = 1) -> None:
    """Members of the contacts from `first` to `last` since an hour, as the CRM has them now."""
    ids = [str(contact) for contact in range(first, last + 1)]
    snapshots = [
        one for at in range(0, len(ids), 100) for one in Adapter.contacts(road.adapter, ids[at : at + 100]).values()
    ]
    for at in range(0, len(snapshots), 250):
        enrol.enrol(
            connection=road.connection.pk,
            site=road.site.pk,
            snapshots=snapshots[at : at + 250],
            source="first",
            ref="",
            now=clock.now(),
        )
    hour = timedelta(hours=1)
    ContactTag.objects.update(since=F("since") - hour)
    Contact.objects.update(read_started_at=F("read_started_at") - hour)
    road.crm.admin.post("/admin/counters/reset")


def set_tag(road: Road, name: str, contacts: list[int], *, remove: bool = False) -> None:
    """At the CRM, without a call to us."""
    road.crm.admin.post("/admin/tag", json={"tag": name, "contacts": contacts, "remove": remove})


def fresh_tag(road: Road, name: str, contacts: list[int]) -> str:
    """That tag is on these contacts only: the CRM's process serves many tests."""
    road.crm.admin.post("/admin/tag", json={"tag": name, "contacts": "all", "remove": True})
    set_tag(road, name, contacts)
    return name


def here(road: Road) -> dict[str, set[str]]:
    held: dict[str, set[str]] = {}
    for contact, tag in ContactTag.objects.filter(until=None).values_list("contact__external_id", "tag__name"):
        held.setdefault(contact, set()).add(tag)
    return held


def differ(road: Road) -> int:
    """How many members hold other tags here than at the CRM."""
    ids = list(Contact.objects.exclude(member=None).values_list("external_id", flat=True))
    there: dict[str, set[str]] = {}
    for at in range(0, len(ids), 100):
        for row in road.crm.in_bulk(*map(int, ids[at : at + 100])):
            there[str(row["id"])] = {tag["name"] for tag in row["tags"]}
    held = here(road)
    return sum(held.get(contact, set()) != tags for contact, tags in there.items())


def start(road: Road) -> Sweep:
    sweep = sweeps.start(road.connection)
    assert sweep is not None
    return sweep


def swept(road: Road) -> Sweep:
    """A sweep from its beginning to its end."""
    sweep = start(road)
    road.work()
    sweep.refresh_from_db()
    return sweep


def kinds(road: Road) -> dict[str, int]:
    counted: dict[str, int] = road.crm.counters()["reads_by_kind"]
    return counted


@pytest.mark.parametrize("feed", ["list", "ids"])
def test_it_works(road: Road, feed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if feed == "list":
        monkeypatch.setattr(Adapter, "bulk_size", 50)
    fresh_tag(road, "Base", list(range(1, MANY + 1)))
    fresh_tag(road, "Module 3", [])
    enrol_many(road, MANY)
    set_tag(road, "Module 3", list(range(1, 26)))
    set_tag(road, "Base", list(range(101, 126)), remove=True)
    assert differ(road) == 50
    road.crm.admin.post("/admin/counters/reset")

    sweep = swept(road)

    calls = road.crm.counters()["calls"]
    print(f"\n{MANY} members, 50 of them differ: {calls} calls by {feed}")
    assert differ(road) == 0
    assert (sweep.state, sweep.feed, sweep.read, sweep.gained, sweep.lost) == ("finished", feed, MANY, 25, 25)
    assert sweep.calls == calls == 10 + 1  # pages, and a second look at whoever would lose a tag
    assert sweep.suspects == sweep.unread == sweep.gone == 0
    gone = ContactTag.objects.filter(tag__name="Base", until__isnull=False)
    assert set(gone.values_list("until_source", "until_ref")) == {("sweep", sweep.key)}
    assert Job.objects.get(key=sweep.key).standing == "done"
    road.work(nothing_left_open)


def test_twice_changes_nothing(road: Road) -> None:
    fresh_tag(road, "Base", list(range(1, 31)))
    enrol_many(road, 60)
    set_tag(road, "Base", [31, 32, 33])
    set_tag(road, "Base", [1, 2], remove=True)
    first = swept(road)
    before = list(ContactTag.objects.order_by("pk").values_list("pk", "since", "until"))

    second = swept(road)

    assert (first.gained, first.lost) == (3, 2)
    assert (second.gained, second.lost, second.findings.count()) == (0, 0, 0)
    assert list(ContactTag.objects.order_by("pk").values_list("pk", "since", "until")) == before


# --- missing is not empty ----------------------------------------------------------------------------------------


def test_a_list_cut_in_half_takes_nothing_from_anybody_and_says_whom_it_left_out(
    road: Road, by_list: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_tag(road, "Base", list(range(1, SOME + 1)))
    enrol_many(road, SOME)
    before, whole = here(road), Adapter.page

    def half(self: Adapter, cursor: str) -> tuple[list[Snapshot], str]:
        snapshots, following = whole(self, cursor)
        return snapshots, following if cursor == "" else ""

    monkeypatch.setattr(Adapter, "page", half)
    sweep = swept(road)

    assert here(road) == before
    assert not ContactTag.objects.exclude(until=None).exists()
    assert (sweep.state, sweep.suspects, sweep.read, sweep.unread) == ("finished", SOME - 200, SOME, 0)


@pytest.mark.parametrize("feed", ["list", "ids"])
def test_answers_without_tags_take_nothing(road: Road, feed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if feed == "list":
        monkeypatch.setattr(sweeps, "_list_costs", lambda *_: 0)
    fresh_tag(road, "Base", list(range(1, 101)))
    enrol_many(road, 100)
    before = here(road)
    road.crm.set(faults=["missing-tags"], fault_rate=1)

    sweep = swept(road)

    assert here(road) == before
    assert (sweep.state, sweep.lost) == ("finished", 0)
    assert sweep.unread > 20
    assert sweep.read + sweep.unread == 100


def test_an_answer_without_tags_says_nothing_of_them(road: Road) -> None:
    fresh_tag(road, "Base", [1])
    enrol_many(road, 1)
    (answer,) = road.adapter.contacts(["1"]).values()
    sweep = rules.open_one(connection=road.connection.pk, key="clock:sweep:1:1", now=clock.now())
    silent = [replace(answer, tags=None)]
    assert rules.absorb(sweep, site=road.site.pk, snapshots=silent, now=clock.now()) == []
    assert sweep.read == 0
    assert "Base" in road.tags(1)


def test_what_we_wrote_makes_no_tag_list_of_an_answer_that_has_none(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_tag(road, "Base", [1])
    enrol_many(road, 2)
    (answer,) = road.adapter.contacts(["1"]).values()
    silent = replace(answer, tags=None)
    monkeypatch.setattr(sweeps, "_list_costs", lambda *_: 0)
    monkeypatch.setattr(
        Adapter, "page", lambda self, cursor: ([replace(silent, **base.began(timedelta(minutes=5)))], "")
    )
    writing = {"tag": "99", "name": "Welcome"}
    later = clock.now_ms() + 3_600_000
    job = new_job(road.connection, command="tag-add", stream="effect", params=writing, priority=store.EFFECT, due=later)
    with transaction.atomic():
        store.add([job])

    sweep = start(road)
    road.work(lambda: Job.objects.filter(command="sweep", outcome="done").exists())

    sweep.refresh_from_db()
    assert (sweep.listed, sweep.read, sweep.suspects, sweep.findings.count()) == (1, 0, 2, 0)


def test_rows_left_out_of_bulk_answers_are_read_alone(road: Road) -> None:
    fresh_tag(road, "Base", list(range(1, 41)))
    enrol_many(road, 40)
    set_tag(road, "Base", [7], remove=True)
    road.crm.set(faults=["missing-rows"], fault_rate=1)

    sweep = swept(road)

    assert "Base" not in road.tags(7)
    assert (sweep.state, sweep.lost, sweep.unread) == ("finished", 1, 0)
    assert sweep.suspects > 10


def test_a_contact_that_is_gone_is_flagged_and_keeps_its_access(road: Road) -> None:
    made = road.crm.admin.post("/admin/contacts", json={"count": 1}).json()["ids"][0]
    fresh_tag(road, "Base", [1, 2, made])
    enrol_many(road, 2)
    road.enrol(made)
    road.crm.admin.delete(f"/admin/contacts/{made}")

    sweep = swept(road)
    again = swept(road)

    assert Contact.objects.get(external_id=str(made)).state == "deleted"
    assert "Base" in road.tags(made)
    assert (sweep.gone, sweep.lost, again.gone, again.suspects) == (1, 0, 0, 0)
    assert again.calls == 1, "who was gone before is asked for with the others, and not alone"


def test_one_that_was_gone_and_is_back_is_live_again(road: Road) -> None:
    enrol_many(road, 3)
    Contact.objects.filter(external_id="2").update(state="deleted")
    swept(road)
    assert set(Contact.objects.values_list("state", flat=True)) == {"live"}


# --- what comes in between ---------------------------------------------------------------------------------------


@pytest.fixture
def after_page(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Does something between the read of the first page and what is made of it."""

    def hook(act: Callable[[], None]) -> None:
        whole, acts = Adapter.page, [act]

        def page(self: Adapter, cursor: str) -> tuple[list[Snapshot], str]:
            answer = whole(self, cursor)
            while acts:
                acts.pop()()
            return answer

        monkeypatch.setattr(Adapter, "page", page)

    return hook


def test_a_tag_that_is_back_before_the_end_is_not_taken_away(road: Road, by_list: None, after_page: Any) -> None:
    fresh_tag(road, "Base", list(range(1, 121)))
    enrol_many(road, 120)
    set_tag(road, "Base", [1, 2], remove=True)
    after_page(lambda: set_tag(road, "Base", [1]))

    sweep = swept(road)

    assert ("Base" in road.tags(1), "Base" in road.tags(2)) == (True, False)
    assert (sweep.lost, sweep.findings.filter(what="missing").count()) == (1, 0)


def test_a_tag_that_we_wrote_meanwhile_is_neither_missing_nor_given_back(road: Road, by_list: None) -> None:
    """As an effect would, between a page's read and its transaction."""
    fresh_tag(road, "Base", [2])
    enrol_many(road, 2)
    read_at = clock.now()
    shown = {one.contact: one for one in road.adapter.contacts(["1", "2"]).values()}
    rows = {row.external_id: row for row in Contact.objects.all()}
    base_tag = ContactTag.objects.get(until=None, tag__name="Base").tag
    ContactTag.objects.create(contact=rows["1"], tag=base_tag, since=clock.now(), source="ours")
    ContactTag.objects.filter(contact=rows["2"], tag=base_tag).update(until=clock.now(), until_source="ours")
    sweep = rules.open_one(connection=road.connection.pk, key="clock:sweep:1:1", now=read_at)

    missing = rules.absorb(sweep, site=road.site.pk, snapshots=list(shown.values()), now=clock.now())

    assert missing == []
    assert ("Base" in road.tags(1), "Base" in road.tags(2)) == (True, False)


def test_a_list_that_lags_gives_nothing_back_and_takes_nothing_away(road: Road) -> None:
    fresh_tag(road, "Base", [1])
    enrol_many(road, 60)
    as_it_was = road.adapter.contacts([str(contact) for contact in range(1, 61)]).values()
    set_tag(road, "Base", [1], remove=True)
    set_tag(road, "Base", [2])
    road.call("aal_updateuser", 1)
    road.call("aal_updateuser", 2)
    road.work()
    assert ("Base" in road.tags(1), "Base" in road.tags(2)) == (False, True)
    moments = base.began(timedelta(minutes=5))
    lagging = [replace(one, **moments) for one in as_it_was]
    sweep = rules.open_one(connection=road.connection.pk, key="clock:sweep:1:1", now=moments["started"])

    missing = rules.absorb(sweep, site=road.site.pk, snapshots=lagging, now=clock.now())

    assert (sweep.read, sweep.gained, missing) == (60, 0, [])
    assert ("Base" in road.tags(1), "Base" in road.tags(2)) == (False, True)


def test_a_contact_in_hand_is_left_to_its_own_call(road: Road, by_list: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh_tag(road, "Module 3", [])
    enrol_many(road, SOME)
    set_tag(road, "Module 3", [1, 2])
    busy = [{"1"}]  # while the first page is applied
    monkeypatch.setattr(leases, "contacts_in_hand", lambda lane: busy.pop(0) if busy else set())

    sweep = start(road)
    road.work(lambda: Job.objects.filter(command="sweep", outcome="done").count() == 1)
    assert ("Module 3" in road.tags(1), "Module 3" in road.tags(2)) == (False, True)
    road.work()

    sweep.refresh_from_db()
    assert "Module 3" in road.tags(1), "it was read by id at the end"
    assert (sweep.suspects, sweep.unread) == (1, 0)


def test_urgent_work_goes_between_two_pages(road: Road, by_list: None) -> None:
    enrol_many(road, SOME)
    sweep = start(road)
    road.work(lambda: Job.objects.filter(command="sweep", outcome="done").count() == 2)

    (delivery,) = road.call("aal_updateuser", 1)
    road.work(lambda: road.job(delivery).outcome == "done")

    sweep.refresh_from_db()
    assert sweep.state == "running"
    road.work()
    sweep.refresh_from_db()
    assert sweep.state == "finished"


# --- crashes and troubles ------------------------------------------------------------------------------------------


class Died(BaseException):
    """The process, here only the engine's turn."""


@pytest.mark.parametrize(
    ("point", "read_again"), [(failpoints.NETWORK_AND_TRANSACTION, 1), (failpoints.AFTER_TRANSACTION, 0)]
)
def test_a_crash_repeats_at_most_one_page(
    road: Road, by_list: None, monkeypatch: pytest.MonkeyPatch, point: str, read_again: int
) -> None:
    fresh_tag(road, "Base", list(range(1, SOME + 1)))
    fresh_tag(road, "Module 3", [])
    enrol_many(road, SOME)
    set_tag(road, "Module 3", [1, 150, 250, 300])
    set_tag(road, "Base", [2, 299], remove=True)
    came_by: list[str] = []

    def reach(name: str) -> None:
        came_by.append(name)
        if name == point and came_by.count(name) == 3:
            raise Died

    monkeypatch.setattr(failpoints, "reach", reach)
    sweep = start(road)
    with pytest.raises(Died):
        road.work()
    road.engine._adapters.close()
    leases.take_over_all()
    road.engine = Engine()
    road.work()

    sweep.refresh_from_db()
    assert (sweep.state, sweep.gained, sweep.lost, sweep.read, sweep.calls) == ("finished", 4, 2, SOME, 11)
    assert kinds(road)["list"] == 10 + read_again
    assert differ(road) == 0
    assert Attempt.objects.filter(result="crash").count() == read_again
    road.work(nothing_left_open)


def test_a_page_is_tried_again_on_the_ladder(road: Road, by_list: None, monkeypatch: pytest.MonkeyPatch) -> None:
    enrol_many(road, 300)
    whole, refusals = Adapter.page, [503, 503]

    def page(self: Adapter, cursor: str) -> tuple[list[Snapshot], str]:
        if cursor == "2" and refusals:
            raise base.Retryable("crm-overloaded", crm=self.label, status=refusals.pop())
        return whole(self, cursor)

    monkeypatch.setattr(Adapter, "page", page)
    assert swept(road).state == "finished"
    assert Attempt.objects.filter(reason="crm-overloaded", result="retry").count() == 2


def test_a_list_that_cannot_be_gone_on_with_is_given_up_not_the_sweep(
    road: Road, by_list: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_tag(road, "Module 3", [])
    enrol_many(road, 300)
    set_tag(road, "Module 3", [1, 299])

    whole = Adapter.page

    def page(self: Adapter, cursor: str) -> tuple[list[Snapshot], str]:
        if cursor == "3":
            raise base.Refused(self.label, httpx.Response(400, json={"error": "cursor_too_old"}))
        return whole(self, cursor)

    monkeypatch.setattr(Adapter, "page", page)
    sweep = swept(road)
    assert (sweep.state, sweep.feed, sweep.gained, sweep.read, sweep.suspects) == ("finished", "ids", 2, 300, 0)


def test_a_list_of_mostly_strangers_is_read_once_and_not_to_its_end(road: Road, by_list: None) -> None:
    enrol_many(road, 160)  # by id seven calls, the list at least two: it has ten

    first, second = swept(road), swept(road)

    assert (first.feed, first.read, first.suspects) == ("ids", 160, 0)
    assert (second.feed, second.listed, second.calls) == ("ids", 0, math.ceil(160 / 25))


def test_where_reading_by_id_took_more_than_was_reckoned_the_list_is_read_the_next_time(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a CRM that can't be asked for ids, and whose adapter reads its list for them."""
    enrol_many(road, 400)
    monkeypatch.setattr(Adapter, "bulk_size", 100)
    whole = Adapter.contacts

    def dear(self: Adapter, contacts: Any) -> dict[str, Snapshot]:
        for cursor in ("1", "2", "3"):
            self.page(cursor)
        return whole(self, contacts)

    monkeypatch.setattr(Adapter, "contacts", dear)
    first, second = swept(road), swept(road)
    assert (first.feed, first.calls, first.read) == ("ids", 16, 400)
    assert (second.feed, second.calls, second.read) == ("list", 10, 400)


def test_an_answer_that_breaks_us_is_left_out_alone(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh_tag(road, "Module 3", [])
    enrol_many(road, 5)
    set_tag(road, "Module 3", [1, 2, 3])
    absorb = rules.absorb

    def broken(sweep: Sweep, *, snapshots: Any, **rest: Any) -> Any:
        found = absorb(sweep, snapshots=snapshots, **rest)
        if any(one.contact == "2" for one in snapshots):
            raise ValueError
        return found

    monkeypatch.setattr(rules, "absorb", broken)
    sweep = swept(road)
    assert [("Module 3" in road.tags(contact)) for contact in (1, 2, 3)] == [True, False, True]
    assert (sweep.state, sweep.read, sweep.gained, sweep.unread) == ("finished", 4, 2, 1)


# --- the guard -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(road: Road) -> Sweep:
    """Of 100 members 21 would lose a tag."""
    fresh_tag(road, "Base", list(range(1, 101)))
    enrol_many(road, 100)
    set_tag(road, "Base", list(range(1, 22)), remove=True)
    return swept(road)


def test_it_stops_where_too_many_would_lose_a_tag(road: Road, stopped: Sweep) -> None:
    assert (stopped.state, stopped.would_lose, stopped.lost) == ("stopped", 21, 0)
    assert not ContactTag.objects.exclude(until=None).exists()
    job = Job.objects.get(command="sweep", outcome="refused")
    assert (job.reason, Job.objects.get(key=stopped.key).standing) == ("sweep-stopped", "refused")
    assert sweeps.under_way(road.connection.pk) is None


def test_staff_may_have_them_taken_away_and_who_has_the_tag_again_keeps_it(
    road: Road, stopped: Sweep, alice: Account, client: Client
) -> None:
    set_tag(road, "Base", [1])
    client.force_login(alice, backend="tagwarden.accounts.sign_in.EmailOnSite")
    client.post(f"/staff/drift-checks/{stopped.slug}/take-away/", headers={"host": road.site.host})

    road.work()

    stopped.refresh_from_db()
    assert (stopped.state, stopped.lost, stopped.decided_by) == ("finished", 20, alice)
    assert ("Base" in road.tags(1), "Base" in road.tags(2), "Base" in road.tags(21)) == (True, False, False)
    assert Job.objects.get(key=stopped.key).standing == "done"


def test_or_dismiss_it(road: Road, stopped: Sweep, alice: Account, client: Client) -> None:
    client.force_login(alice, backend="tagwarden.accounts.sign_in.EmailOnSite")
    client.post(f"/staff/drift-checks/{stopped.slug}/dismiss/", headers={"host": road.site.host})

    road.work()

    assert not ContactTag.objects.exclude(until=None).exists()
    (job,) = Job.objects.filter(command="sweep")
    assert (job.outcome, job.reason) == ("no-op", "sweep-dismissed")


def test_redelivered_without_a_decision_it_stops_again(road: Road, stopped: Sweep) -> None:
    store.redeliver(list(Job.objects.values_list("pk", flat=True)), account=None)
    road.work()
    stopped.refresh_from_db()
    assert (stopped.state, stopped.lost) == ("stopped", 0)
    assert not ContactTag.objects.exclude(until=None).exists()


def test_twenty_may_lose_theirs(road: Road) -> None:
    fresh_tag(road, "Base", list(range(1, 101)))
    enrol_many(road, 100)
    set_tag(road, "Base", list(range(1, 21)), remove=True)
    assert swept(road).lost == 20


def test_the_next_one_takes_its_place(road: Road, stopped: Sweep, alice: Account) -> None:
    set_tag(road, "Base", list(range(1, 22)))

    again = swept(road)

    stopped.refresh_from_db()
    assert (stopped.state, again.state, again.lost) == ("replaced", "finished", 0)
    assert not rules.approve(stopped, alice)


# --- when it starts ------------------------------------------------------------------------------------------------


def test_the_clock_starts_one_a_day(connection: Connection) -> None:
    with time_machine.travel(connection.created, tick=False) as now:
        now.shift(timedelta(hours=23, minutes=59))
        assert sweeps.start_due() == 0
        now.shift(timedelta(minutes=1))
        assert (sweeps.start_due(), sweeps.start_due()) == (1, 0)
        job = Job.objects.get(command="sweep")
        assert (job.source, job.priority, job.key) == ("clock", 30, Sweep.objects.get().key)

        now.shift(timedelta(days=2))
        assert sweeps.start_due() == 0, "one is under way"
        Job.objects.update(state="finished", standing="failed")
        assert sweeps.start_due() == 1
        assert set(Sweep.objects.values_list("state", flat=True)) == {"replaced", "running"}


@pytest.mark.parametrize("change", [{"options_json": '{"sweep_hours": 0}'}, {"active": False}])
def test_it_can_be_switched_off(connection: Connection, change: dict[str, Any]) -> None:
    Connection.objects.update(**change)
    with time_machine.travel(connection.created + timedelta(days=9), tick=False):
        assert sweeps.start_due() == 0


def test_a_step_of_one_that_is_over_does_nothing(road: Road) -> None:
    enrol_many(road, 3)
    sweep = start(road)
    Sweep.objects.update(state="replaced")
    road.work()
    assert Job.objects.get(key=sweep.key).reason == "sweep-over"
    assert road.crm.counters()["calls"] == 0


def test_a_site_without_members_costs_no_call(road: Road) -> None:
    sweep = swept(road)
    assert (sweep.state, sweep.calls, SweepFinding.objects.count()) == ("finished", 0, 0)
