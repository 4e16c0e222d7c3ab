"""After any number of crashes nothing promised is lost, nothing is done twice, and all books agree."""

from collections import Counter, defaultdict

import pytest
from django.contrib.auth.hashers import check_password

from tests.crash.fill import DONE_TAG
from tests.crash.rounds import Rounds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # each wait inside has a bound of its own
EXPLAINED = {  # by the CRM's faults, by our own deaths, or by a contact that is no member
    *("crm-paused", "crm-overloaded", "crm-unreachable", "crm-answer-broken", "tags-missing", "row-missing"),
    *("crm-settling", "worker-died", "not-a-member", "password-handed-over", ""),
}


def test_every_call_answered_200_is_in_the_journal_with_one_job(aftermath: Rounds) -> None:
    rows = aftermath.place.database.rows("select delivery, count(*) from journal_job where root is null group by 1")
    jobs = dict(rows)
    deliveries = {row[0] for row in aftermath.place.database.rows("select id from journal_delivery")}
    answered = aftermath.senders.answered
    assert len(set(answered)) == len(answered)
    assert [call for call in answered if call not in deliveries] == []
    assert [call for call in deliveries if jobs.get(call) != 1] == []
    aftermath.story.figures |= {"calls answered 200": len(answered), "calls kept": len(deliveries)}


def test_every_call_on_disk_was_carried_once(aftermath: Rounds) -> None:
    spooled = aftermath.place.spool_ids()
    deliveries = {row[0] for row in aftermath.place.database.rows("select id from journal_delivery")}
    assert max(Counter(spooled).values()) == 1
    assert set(spooled) == deliveries


def test_every_job_has_one_outcome(aftermath: Rounds) -> None:
    """Also those that were given up and redelivered: it was done once."""
    database = aftermath.place.database
    good = "outcome in ('done', 'no-op') and state = 'finished' and standing = outcome and finished is not null"
    jobs = {row[0] for row in database.rows("select id from journal_job")}
    assert jobs - {row[0] for row in database.rows(f"select id from journal_job where {good}")} == set()
    idle = "select id from journal_job where after is not null and outcome = 'no-op'"  # ended with the step before
    jobs -= {row[0] for row in database.rows(idle)}
    ended = Counter(
        row[0] for row in database.rows("select job from journal_attempt where result in ('done', 'no-op')")
    )
    assert {job: ended[job] for job in jobs if ended[job] != 1} == {}
    crashed = "select count(*), count(distinct job) from journal_attempt where result = 'crash'"
    attempts, of_jobs = database.rows(crashed)[0]
    aftermath.story.figures |= {"jobs": len(jobs), "crashes seen in attempts": f"{attempts}, of {of_jobs} jobs"}


def test_nothing_is_left_in_hand(aftermath: Rounds) -> None:
    assert aftermath.place.open_work() == {}


def test_the_counters_are_what_a_count_of_the_journal_gives(aftermath: Rounds) -> None:
    columns = "site, connection, command, standing"
    database = aftermath.place.database
    kept = database.rows(
        f"select hour, {columns}, n from journal_counter where n <> 0 and standing <> 'stranger' order by 1, 2, 3, 4, 5"
    )
    counted = database.rows(
        f"select received / 3600000, {columns}, count(*) from journal_job where root is null "
        "group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5"
    )
    assert kept == counted


def test_every_release_is_closed_and_knows_its_calls(aftermath: Rounds) -> None:
    database = aftermath.place.database
    kept = database.rows("select id, calls from journal_release order by id")
    counted = database.rows("select release, count(*) from journal_job where release is not null group by 1 order by 1")
    assert kept == counted
    assert database.one("select count(*) from journal_job where command = 'batchsync' and release is null") == 0


def test_whatever_went_wrong_is_explained_by_a_fault(aftermath: Rounds) -> None:
    reasons = aftermath.place.database.rows("select reason, count(*) from journal_attempt group by 1")
    assert {reason: n for reason, n in reasons if reason not in EXPLAINED} == {}
    assert set(aftermath.story.redelivered) <= EXPLAINED


def test_no_call_was_turned_away_by_a_running_server(aftermath: Rounds) -> None:
    """A call meets a closed port or a dying server, never a refusal."""
    assert {status for status in aftermath.senders.statuses if status.isdecimal()} == {"200"}


def test_members_have_the_tags_that_calls_told_of(aftermath: Rounds) -> None:
    here, there = aftermath.place.tags_here(), aftermath.place.tags_there(aftermath.senders.joined)
    told = set(there) - aftermath.senders.stale
    assert len(told) > len(there) / 4
    assert {contact: (here[contact], there[contact]) for contact in told if here[contact] != there[contact]} == {}


def test_after_one_more_release_all_members_have_the_tags_of_the_crm(aftermath: Rounds) -> None:
    aftermath.refresh_all()
    assert aftermath.place.tags_here() == aftermath.place.tags_there(aftermath.senders.joined)


def test_the_password_in_the_crm_signs_everybody_in_who_joined(aftermath: Rounds) -> None:
    joined, hashed = aftermath.senders.joined, aftermath.place.hashed_passwords()
    in_field = {row["id"]: row["fields"]["Password"] for row in aftermath.place.there(joined)}
    assert joined
    assert [contact for contact in joined if not check_password(in_field[contact], hashed[contact])] == []
    aftermath.story.figures["joined, and can sign in"] = len(joined)


def test_everybody_who_joined_has_one_account(aftermath: Rounds) -> None:
    database = aftermath.place.database
    accounts = database.one("select count(*) from accounts_account where role = 'member'")
    people = aftermath.place.members + len(aftermath.senders.joined)
    assert accounts == database.one("select count(*) from members_contact") == people


def test_the_tag_that_the_mail_waits_for_came_once_and_after_the_password(aftermath: Rounds) -> None:
    of_password, of_tag = defaultdict(list), defaultdict(list)
    for write in aftermath.place.crm.writes():
        if write["changed"] and write["detail"] == "Password":
            of_password[write["contact"]].append(write["id"])
        elif write["what"] == "tag-add" and write["detail"] == DONE_TAG:
            of_tag[write["contact"]].append((write["id"], write["changed"]))
    joined = aftermath.senders.joined
    assert set(of_tag) == set(joined)
    assert {contact: of_tag[contact] for contact in joined if sum(new for _, new in of_tag[contact]) != 1} == {}
    too_early = {c for c in joined if not of_password[c] or min(of_tag[c])[0] < max(of_password[c])}
    assert too_early == set()
    aftermath.story.figures["passwords written anew by a repeat"] = sum(len(of_password[c]) - 1 for c in joined)


def test_it_still_ends_cleanly(aftermath: Rounds) -> None:
    assert aftermath.place.stop() == 0
