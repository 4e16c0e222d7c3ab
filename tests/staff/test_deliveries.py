"""The list of deliveries: counts, filters, search, pages, releases as one row."""

import re

import pytest
from django.test import Client

from tagwarden.connections.models import Connection
from tagwarden.staff import deliveries
from tests.staff import story
from tests.staff.story import Journal, Try, crm_call


def _rows(client: Client, query: str = "") -> list[str]:
    text = client.get(f"/staff/deliveries/?{query}").content.decode()
    return re.findall(r'<tr id="row-.*?</tr>', text, re.DOTALL)


def _counts(client: Client, query: str = "") -> dict[str, str]:
    text = client.get(f"/staff/deliveries/?{query}").content.decode()
    strip = text[text.index('id="counts"') : text.index("</nav>", text.index('id="counts"'))]
    cells = re.findall(r'class="n">([\d,]+)</span>.*?(?:</svg></span>|class="word">)([A-Z][A-Za-z ]+)</span>', strip)
    return {word: n for n, word in cells}


def test_the_newest_call_stands_on_top_with_what_became_of_it(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    story.contact(connection, "27418", "Marta Oliveira")
    journal.call(connection, "updateuser", "1", ago=60)
    journal.call(connection, "updateuser", "27418", ago=5, detail={"gained": ["Module 3"], "lost": []})
    first = _rows(staff)[0]
    assert "Marta Oliveira" in first
    assert "Gained <b>Module 3</b>." in first


def test_a_waiting_job_with_an_open_attempt_is_in_hand(staff: Client, journal: Journal, connection: Connection) -> None:
    journal.call(connection, "updateuser", "1", outcome="waiting", tries=[Try(0.4, took=None)])
    assert "In hand" in _rows(staff)[0]


def test_a_failed_step_tells_its_reason_in_the_row_of_its_call(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    job = journal.call(connection, "updateuser", "1")
    journal.effect(job, "field-set", "f", outcome="failed", reason="crm-field-missing", detail={"field": "Level"})
    row = _rows(staff)[0]
    assert "Failed" in row
    assert "The field “<b>Level</b>” is gone from Sandbox CRM." in row


def test_values_from_outside_are_escaped(staff: Client, journal: Journal, connection: Connection) -> None:
    detail = {"spelled": "<script>alert(1)</script>", "nearest": "aal_updateuser"}
    journal.call(connection, "", "1", outcome="failed", reason="operation-unknown", detail=detail)
    assert "<script>alert" not in staff.get("/staff/deliveries/").content.decode()


def test_the_calls_of_a_release_are_one_row_and_count_singly(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    journal.release(connection, "Module 3", {"done": 70, "waiting": 28, "failed": 2})
    assert len(_rows(staff)) == 1
    assert "72 of 100 finished" in _rows(staff)[0]
    assert _counts(staff) | {"All": "100", "Done": "70", "Waiting": "28", "Failed": "2"} == _counts(staff)


def test_what_needs_somebody_is_not_folded_into_a_release(
    staff: Client, journal: Journal, connection: Connection
) -> None:
    journal.release(connection, "Module 3", {"done": 70, "failed": 2})
    assert len(_rows(staff, "outcome=failed")) == 2
    assert len(_rows(staff, "outcome=done")) == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("command=updateuser", {"1", "2"}),
        ("command=-", {"3"}),
        ("connection=Other", {"2"}),
        ("q=mai@example.com", {"2"}),
        ("q=mai+nh", {"2"}),
        ("q=3", {"3"}),
        ("outcome=failed", {"3"}),
        ("span=all", {"1", "2", "3", "4"}),
        ("", {"1", "2", "3"}),
    ],
)
def test_filters_choose_rows_and_counts_alike(
    query: str, expected: set[str], staff: Client, journal: Journal, connection: Connection
) -> None:
    other = Connection.objects.create(site=connection.site, crm="sandbox", name="Other")
    story.contact(other, "2", "Mai Nhung", "mai@example.com")
    journal.call(connection, "updateuser", "1")
    journal.call(other, "updateuser", "2")
    journal.call(connection, "", "3", outcome="failed", reason="operation-missing")
    journal.call(connection, "updateuser", "4", ago=3 * 86_400)
    found = _rows(staff, query)
    assert {re.search(r"(?:Sandbox CRM|Other) (\d)", row)[1] for row in found} == expected
    assert _counts(staff, query)["Failed" if "outcome" in query else "All"] == str(len(expected))


def test_a_delivery_is_found_by_its_number(staff: Client, journal: Journal, connection: Connection) -> None:
    job = journal.call(connection, "updateuser", "1", ago=40 * 86_400)
    journal.call(connection, "updateuser", "2")
    assert len(_rows(staff, f"q={job.delivery}")) == 1


def test_pages_by_key_leave_nothing_out_and_show_nothing_twice(
    staff: Client, journal: Journal, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PAGE", 3)
    for n in range(7):
        journal.call(connection, "updateuser", str(1000 + n), ago=100)  # all of one moment
    journal.release(connection, "Module 3", {"done": 1}, ago=100)
    journal.release(connection, "Module 4", {"done": 1}, ago=90)
    seen, address = [], ""
    while True:
        text = staff.get(f"/staff/deliveries/?{address}").content.decode()
        seen += re.findall(r'<tr id="(row-[^"]+)"', text)
        older = re.search(r'href="\?([^"]*before=[^"]+)">Older', text)
        if not older:
            break
        address = older[1].replace("&amp;", "&")
    assert len(seen) == len(set(seen)) == 9


def test_three_failures_of_one_reason_make_a_note(staff: Client, journal: Journal, connection: Connection) -> None:
    for n in range(3):
        journal.call(
            connection, "updateuser", str(n), outcome="failed", reason="crm-overloaded", detail={"status": 503}
        )
    text = staff.get("/staff/deliveries/").content.decode()
    assert "3 failures have one reason:" in text
    assert "3 failures" not in staff.get("/staff/deliveries/?outcome=done").content.decode()


def test_no_hit_says_so_and_offers_to_clear(staff: Client, journal: Journal, connection: Connection) -> None:
    journal.call(connection, "updateuser", "1")
    text = staff.get("/staff/deliveries/?q=nobody").content.decode()
    assert "No call fits these filters." in text
    assert "Clear" in text


def test_an_unchanged_page_is_not_sent_again(staff: Client, journal: Journal, connection: Connection) -> None:
    journal.call(connection, "updateuser", "1")
    first = staff.get("/staff/deliveries/", headers={"hx-request": "true"})
    again = {"hx-request": "true", "x-live": first["X-Live"]}
    assert staff.get("/staff/deliveries/", headers=again).status_code == 204
    journal.call(connection, "updateuser", "2", ago=1, outcome="waiting")
    changed = staff.get("/staff/deliveries/", headers=again)
    assert (changed.status_code, changed["X-Live-Pace"]) == (200, "2")


def test_a_page_never_shows_a_database_key_or_more_than_a_few_queries(
    staff: Client, journal: Journal, connection: Connection, django_assert_max_num_queries: object
) -> None:
    for n in range(30):
        calls = [Try(0.1, calls=[crm_call("Read the contact")])]
        journal.call(connection, "updateuser", str(n), tries=calls)
    with django_assert_max_num_queries(23):  # type: ignore[operator]  # a fixture that is a context manager
        staff.get("/staff/deliveries/")
