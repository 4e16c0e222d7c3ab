"""The fake ActiveCampaign's importer and webhooks do what the facts say. Sections named are those of the facts."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import pytest

from tests.crms.test_fake_activecampaign import SAMPLES, Ac, account
from tests.sandbox import conftest as sandbox
from tests.sandbox.conftest import Receiver

receiver = sandbox.receiver


@pytest.fixture(scope="module")
def shared() -> Iterator[Ac]:
    with account(20) as ac:
        yield ac


@pytest.fixture
def ac(shared: Ac) -> Iterator[Ac]:
    """The fake without limits, lag and faults, with a clock that stands still, and without hooks."""
    shared.fake.set(**shared.defaults | {"limits": False, "speed": 0})
    yield shared
    for hook in shared.get("/webhooks", limit=100)["webhooks"]:
        shared.api.delete(f"/webhooks/{hook['id']}")
    flushed(shared)


def subscribe(ac: Ac, url: str, *sources: str, events: tuple[str, ...] = ("contact_tag_added",)) -> str:
    answer = ac.post("/webhooks", webhook={"name": "n", "url": url, "events": events, "sources": sources or ["admin"]})
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["webhook"]["id"]
    return made


def flushed(ac: Ac) -> list[dict[str, Any]]:
    """What was sent since the last time, once all of it has left."""
    sent: list[dict[str, Any]] = ac.fake.post("/admin/hooks/flush")["sent"]
    return sent


def imported(ac: Ac, *contacts: dict[str, Any]) -> dict[str, Any]:
    """An import of these, seen through to its end."""
    batch = ac.post("/import/bulk_import", contacts=contacts).json()["batchId"]
    ac.fake.post("/admin/clock", seconds=5)
    found: dict[str, Any] = ac.get("/import/info", batchId=batch)
    return found


# --- the importer ------------------------------------------------------------------------------------------------


def test_an_import_takes_effect_later(ac: Ac) -> None:
    """Section 1.5: queued at once, done after a while; tags by name are made, values are set by id."""
    field = ac.field("Imported")
    person = {
        "email": "late@example.com",
        "first_name": "L",
        "tags": ["Brand new"],
        "fields": [{"id": field, "value": "v"}],
    }
    answer = ac.post("/import/bulk_import", contacts=[person, {"email": "other@example.com"}]).json()
    assert (list(answer), answer["Success"]) == (["Success", "queued_contacts", "batchId", "message"], 1)
    assert (answer["queued_contacts"], answer["message"]) == (2, "Contact import queued")
    ac.fake.post("/admin/clock", seconds=4)
    assert ac.get("/import/info", batchId=answer["batchId"])["success"] == []
    assert ac.get("/contacts", email="late@example.com")["contacts"] == []
    ac.fake.post("/admin/clock", seconds=1)
    info = ac.get("/import/info", batchId=answer["batchId"])
    assert (info["status"], len(info["success"]), info["failure"]) == ("completed", 2, [])
    truth = ac.fake.truth(info["success"][0])
    assert (truth["first_name"], truth["tags"], truth["fields"]) == ("L", ["Brand new"], {"Imported": "v"})


def test_an_import_is_done_without_another_call(ac: Ac, receiver: Receiver) -> None:
    """Section 1.5: nobody has to ask; here by a clock that runs a hundred times as fast."""
    receiver.answers = answers = Always(200)
    ac.fake.post("/admin/automations", tag="By itself", url=receiver.url)
    ac.fake.set(speed=100)
    ac.post("/import/bulk_import", contacts=[{"email": "itself@example.com", "tags": ["By itself"]}])
    assert answers.asked.wait(10)


def test_an_import_only_adds_tags(ac: Ac) -> None:
    """Section 1.5: known people are met by their address."""
    one = ac.person("adds@example.com", tags=["Had"])
    assert imported(ac, {"email": "Adds@example.com", "tags": ["Got"]})["success"] == [str(one)]
    assert ac.fake.truth(one)["tags"] == ["Got", "Had"]


def test_an_import_names_the_addresses_it_could_not_take(ac: Ac) -> None:
    """Section 1.5."""
    info = imported(ac, {"email": "no@domain"}, {"email": "o'hara@example.com"}, {"email": "fine@example.com"})
    assert (info["failure"], len(info["success"])) == (["no@domain", "o'hara@example.com"], 1)


@pytest.mark.parametrize(
    "contacts",
    [
        [{"email": f"{n}@example.com"} for n in range(251)],
        [{"email": "big@example.com", "fields": [{"id": 1, "value": "x" * 400_000}]}],
        [{"email": "fine@example.com"}, {"email": "wrong"}],
        [],
    ],
    ids=["251 contacts", "400,000 bytes", "no address", "nobody"],
)
def test_an_import_has_bounds(ac: Ac, contacts: list[dict[str, Any]]) -> None:
    """Section 1.5: 250 contacts and 400,000 bytes; what is refused is refused as a whole."""
    answer = ac.post("/import/bulk_import", contacts=contacts)
    assert (answer.status_code, answer.json()["success"]) == (400, 0)
    assert list(answer.json()) == ["success", "message", "failureReasons"]


def test_250_contacts_fit_into_one_import(ac: Ac) -> None:
    """Sections 0 (5) and 1.5."""
    people = [{"email": f"fits{n}@example.com", "tags": ["Fits"]} for n in range(250)]
    assert len(imported(ac, *people)["success"]) == 250


@pytest.mark.parametrize(("people", "calls"), [(1, 20), (2, 100)])
def test_the_importer_answers_its_own_limit_by_400(ac: Ac, people: int, calls: int) -> None:
    """Section 1.5: 20 calls with one contact or 100 with several a minute. Not a 429."""
    ac.fake.post("/admin/clock", seconds=61)
    ac.fake.set(limits=True, import_seconds=10_000)
    contacts = [{"email": f"n{n}@example.com"} for n in range(people)]
    for done in range(calls):
        if done % 5 == 0:
            ac.fake.post("/admin/clock", seconds=1)  # the account's limit of 5 a second
        assert ac.post("/import/bulk_import", contacts=contacts).status_code == 200
    ac.fake.post("/admin/clock", seconds=1)
    answer = ac.post("/import/bulk_import", contacts=contacts)
    assert (answer.status_code, answer.json()["message"]) == (400, "Rate limit exceeded.")
    ac.fake.post("/admin/clock", seconds=61)
    assert ac.post("/import/bulk_import", contacts=contacts).status_code == 200


def test_an_import_starts_automations_unless_told_not_to(ac: Ac, receiver: Receiver) -> None:
    """Sections 1.2 and 1.5: automations run; global hooks do not fire."""
    subscribe(ac, receiver.url, "public", "admin", "api", "system")
    series = ac.fake.post("/admin/automations", tag="Starts", url=receiver.url)["id"]
    imported(ac, {"email": "runs@example.com", "tags": ["Starts"]})
    imported(ac, {"email": "quiet@example.com", "tags": ["Starts"], "exclude_automations": True})
    assert [(one["automation"], one["event"], one["outcome"]) for one in flushed(ac)] == [(series, "automation", "200")]
    (body,) = receiver.bodies
    assert dict(parse_qsl(body.decode()))["contact[email]"] == "runs@example.com"


# --- bodies ------------------------------------------------------------------------------------------------------


def test_the_automation_hook_byte_for_byte(ac: Ac, receiver: Receiver) -> None:
    """Section 1.2 (a), webhook-automation.form: no type, no time; fields by personalisation tag in lower case."""
    sample = (SAMPLES / "webhook-automation.form").read_bytes()
    told = parse_qs(sample.decode())
    fields = {name[16:-1]: told[name][0] for name in told if name.startswith("contact[fields]")}
    ac.person(
        told["contact[email]"][0],
        id=27760,
        first_name="Pat",
        last_name="Example",
        phone="+33 6 00 00 00 00",
        orgname="Example Org",
        customer_acct_name="Example Org",
        tags=["Clicksend Test"],
        fields={name.replace("_", " ").title(): value for name, value in fields.items()},
    )
    event = {"kind": "automation", "seriesid": 929}
    fired = ac.fake.post("/admin/fire", url=receiver.url, contacts=[27760], event=event)
    assert fired["statuses"] == {"200": 1}
    assert receiver.bodies == [sample]


def test_the_global_hook_byte_for_byte(ac: Ac, receiver: Receiver) -> None:
    """Section 1.2 (b), webhook-global-contact_tag_added.form: fields by id."""
    sample = (SAMPLES / "webhook-global-contact_tag_added.form").read_bytes()
    told = dict(parse_qsl(sample.decode(), keep_blank_values=True))
    while (number := ac.field(f"Label {len(ac.get('/fields', limit=100)['fields']) + 1}")) < 39:
        pass
    ac.person(
        told["contact[email]"],
        id=123456,
        first_name="Robert",
        phone=told["contact[phone]"],
        tags=told["contact[tags]"].split(", "),
        fields={f"Label {number}": told["contact[fields][39]"]},
    )
    at = datetime.fromisoformat(told["date_time"]).timestamp()
    event = {"kind": "contact_tag_added", "tag": told["tag"], "initiated_from": "admin", "at": at}
    ac.fake.post("/admin/fire", url=receiver.url, contacts=[123456], event=event)
    assert receiver.bodies == [sample]


def test_empty_fields_may_stand_in_the_automation_hook(ac: Ac, receiver: Receiver) -> None:
    """Section 1.2 (a)."""
    ac.field("Never filled")
    ac.fake.set(empty_fields_in_hooks=True)
    ac.fake.post("/admin/fire", url=receiver.url, contacts=[3], event={})
    assert "contact[fields][never_filled]" in parse_qs(receiver.bodies[0].decode(), keep_blank_values=True)


# --- subscriptions -----------------------------------------------------------------------------------------------


def test_hooks_are_made_listed_changed_and_deleted(ac: Ac) -> None:
    """Section 1.2."""
    given = {"name": "Mine", "url": "https://site.example/hooks/x", "events": ["update"], "sources": ["public"]}
    made = ac.post("/webhooks", webhook=given)
    hook = made.json()["webhook"]
    assert made.status_code == 201
    assert list(hook) == ["cdate", "listid", "name", "url", "events", "sources", "links", "id"]
    assert hook == hook | given | {"listid": "0", "links": []}
    assert ac.get("/webhooks", **{"filters[url]": given["url"]})["webhooks"] == [hook]
    assert ac.get(f"/webhooks/{hook['id']}")["webhook"] == hook
    changed = ac.api.put(f"/webhooks/{hook['id']}", json={"webhook": {"sources": ["public", "admin"]}})
    assert changed.json()["webhook"] == hook | {"sources": ["public", "admin"]}
    assert ac.api.delete(f"/webhooks/{hook['id']}").json() == {}
    assert ac.get("/webhooks")["webhooks"] == []
    assert ac.api.get(f"/webhooks/{hook['id']}").status_code == 404
    assert ac.post("/webhooks", webhook=given | {"events": []}).status_code == 422
    assert "contact_tag_added" in ac.get("/webhook/events")["webhookEvents"]


def test_a_hook_fires_by_itself_when_a_tag_changes(ac: Ac, receiver: Receiver) -> None:
    """Section 1.2 (b): only on a real change, with the tags as they are then."""
    hook = subscribe(ac, receiver.url, events=("contact_tag_added", "contact_tag_removed"))
    ac.tag("Fires", 4)
    ac.tag("Fires", 4)
    ac.fake.post("/admin/tag", tag="Fires", contacts=[4], remove=True)
    sent = flushed(ac)
    assert [(one["event"], str(one["hook"]), one["outcome"]) for one in sent] == [
        ("contact_tag_added", hook, "200"),
        ("contact_tag_removed", hook, "200"),
    ]
    assert sorted(receiver.bodies) == sorted(one["body"].encode() for one in sent)
    added, removed = (dict(parse_qsl(one["body"], keep_blank_values=True)) for one in sent)
    assert (added["type"], added["tag"], added["contact[id]"], added["initiated_from"]) == (
        "contact_tag_added",
        "Fires",
        "4",
        "admin",
    )
    assert "Fires" in added["contact[tags]"].split(", ")
    assert "Fires" not in removed["contact[tags]"].split(", ")


def test_a_hook_tells_of_changes_and_of_lists(ac: Ac, receiver: Receiver) -> None:
    """Section 1.2 (b): the same body without `tag`."""
    subscribe(ac, receiver.url, events=("update", "subscribe", "unsubscribe"))
    ac.fake.admin.patch("/admin/contacts/5", json={"first_name": "Other"})
    ac.fake.admin.patch("/admin/contacts/5", json={"lists": [1, 2]})
    ac.fake.admin.patch("/admin/contacts/5", json={"lists": [2]})
    sent = flushed(ac)
    assert [one["event"] for one in sent] == ["update", "subscribe", "unsubscribe"]
    assert "tag=" not in sent[0]["body"]
    assert "contact%5Bfirst_name%5D=Other" in sent[0]["body"]


def test_our_own_writes_echo_only_with_the_source_api(ac: Ac, receiver: Receiver) -> None:
    """Sections 1.2 and 5."""
    tag = ac.tag("Echo")
    without = subscribe(ac, receiver.url, "public", "admin", "system")
    echo = subscribe(ac, receiver.url, "api")
    ac.post("/contactTags", contactTag={"contact": 6, "tag": tag})
    assert [str(one["hook"]) for one in flushed(ac)] == [echo]
    ac.fake.set(admin_source="system")
    ac.tag("Echo", 7)
    (sent,) = flushed(ac)
    assert str(sent["hook"]) == without
    assert "initiated_from=system" in sent["body"]


def test_a_hook_that_fails_is_not_sent_again(ac: Ac, receiver: Receiver) -> None:
    """Sections 0 (2) and 1.2."""
    subscribe(ac, receiver.url)
    receiver.answers = Always(503)
    ac.tag("Fails", 8)
    assert [one["outcome"] for one in flushed(ac)] == ["503"]
    receiver.answers = Always(200)
    ac.fake.post("/admin/clock", seconds=86_400)
    assert flushed(ac) == []
    assert len(receiver.bodies) == 1


def test_a_410_ends_a_hook_until_it_is_made_anew(ac: Ac, receiver: Receiver) -> None:
    """Section 1.2: it stays listed; a change does not wake it."""
    hook = subscribe(ac, receiver.url)
    receiver.answers = Always(410)
    ac.tag("Ends", 9)
    assert [one["outcome"] for one in flushed(ac)] == ["410"]
    receiver.answers = Always(200)
    ac.api.put(f"/webhooks/{hook}", json={"webhook": {"name": "again"}})
    ac.tag("Ends", 10)
    assert flushed(ac) == []
    assert [one["id"] for one in ac.get("/webhooks")["webhooks"]] == [hook]
    ac.api.delete(f"/webhooks/{hook}")
    subscribe(ac, receiver.url)
    ac.tag("Ends", 11)
    assert [one["outcome"] for one in flushed(ac)] == ["200"]


def test_a_hook_may_come_twice(ac: Ac, receiver: Receiver) -> None:
    """Section 1.2: at least once, with nothing to tell the two apart."""
    subscribe(ac, receiver.url)
    ac.fake.set(duplicate_rate=1)
    ac.tag("Twice", 12)
    assert len(flushed(ac)) == 2
    first, second = receiver.bodies
    assert first == second


def test_nobody_waits_longer_than_five_seconds(ac: Ac, receiver: Receiver) -> None:
    """Section 1.2. Here a fifth of a second; the five are the default."""
    assert ac.defaults["hook_timeout_seconds"] == 5
    ac.fake.set(hook_timeout_seconds=0.2)
    subscribe(ac, receiver.url)
    receiver.silent.set()
    began = time.monotonic()
    ac.tag("Slow", 13)
    assert [one["outcome"] for one in flushed(ac)] == ["timeout"]
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("url", "outcome"),
    [
        ("https://example.com/hooks/x", "not this machine"),
        ("https://127.0.0.1:8443/hooks/x", "not port 443"),
        ("http://127.0.0.1:9/", "ClientConnectorError"),
    ],
)
def test_a_hook_that_cannot_be_sent_says_why(ac: Ac, url: str, outcome: str) -> None:
    """Section 1.2: https on port 443 only. The fake itself sends to this machine only."""
    subscribe(ac, url)
    ac.tag(f"Cannot {outcome}", 14)
    assert [one["outcome"] for one in flushed(ac)] == [outcome]


class Always(dict[bytes, int]):
    """The same answer to every body."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self._status = status
        self.asked = threading.Event()

    def get(self, *_: object) -> int:  # type: ignore[override]
        self.asked.set()
        return self._status
