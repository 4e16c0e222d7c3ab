"""What becomes of each command when the CRM fails in each of the ways CRMs fail: a table for each CRM.

A fault that passes must end right, however often the CRM was asked: the member has the tags that the CRM has, and
after genpass the password in the CRM's field signs her in. One that stays must end as a dead letter that says why.
"""

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tagwarden.accounts.models import Site
from tagwarden.connections import setup
from tagwarden.core.ratelimit import Limit
from tagwarden.journal.models import Attempt, Delivery, Job
from tagwarden.members.models import Contact, ContactTag, MadePassword, Member
from tests.crms.places import Server
from tests.crms.roads import CrmRoad, road_to, running
from tests.worker.conftest import quick_ladder

__all__ = ["quick_ladder", "running"]

WORDS = ("genpass", "updateuser", "batchsync")
RIGHT = "right"
OFTEN: dict[str, Any] = {"fault_rate": 0.5, "seed": 5}  # at most: see Place.often
QUIET: dict[str, Any] = {"fault_rate": 0, "faults": [], "lag_seconds": 0}
# What happens → what the fake is told. A fault that a CRM does not know stands in its place as "".
FAULTS: dict[str, dict[str, Any]] = {
    "429": OFTEN | {"faults": ["429"]},
    "503 HTML": OFTEN | {"faults": ["503"]},
    "time-out": OFTEN | {"faults": ["timeout"]},
    "cut body": OFTEN | {"faults": ["cut"]},
    "401 expired": {"fault_rate": 0.3, "seed": 5, "faults": ["401 expired"]},
    "401 revoked": {"fault_rate": 1, "faults": ["401 revoked"]},
    "403 flapping": {"fault_rate": 0.3, "seed": 5, "faults": ["403 flapping"]},
    "connection reset": OFTEN | {"faults": ["reset"]},
    "lag": {"lag_seconds": 1},
    "duplicate rows": OFTEN | {"faults": ["duplicate-rows"]},
    "missing rows": OFTEN | {"faults": ["missing-rows"]},
    "missing tag key": OFTEN | {"faults": ["missing-tags"]},
    "deleted": {},
    "merged": {},
}
GONE = {"contact-not-found", "contact-deleted"}
# What stays wrong → reasons with which it may end. All else must end right.
STAYS = {"401 revoked": {"crm-key-refused", "crm-link-lost"}, "deleted": GONE}
# A merged contact is gone, or lives on as the one with the same address: either may be right for a CRM.
EITHER = {"merged": GONE}
COUNT = count(1)
MANY = (Limit(100_000, seconds=1),)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(400)]


@pytest.fixture
def road(
    running: Server, site: Site, tmp_path: Path, quick_ladder: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CrmRoad]:
    quick_ladder(0.0002)  # the last rung is ten hours: some jobs may come to it here
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # argon2 takes 0.2 s a password
    monkeypatch.setattr(running.kind, "timeout", httpx.Timeout(0.5))
    monkeypatch.setattr(running.kind, "pause", min(running.kind.pause, timedelta(seconds=0.2)))
    # Hundreds of calls fail here: test_release.py keeps to the limits. Some adapters choose theirs when they are made.
    monkeypatch.setattr(running.kind, "limits", property(lambda _: MANY, lambda *_: None))
    for lag in ("one_lag", "bulk_lag"):
        monkeypatch.setattr(running.kind, lag, min(getattr(running.kind, lag), timedelta(seconds=2)))
    with road_to(running, site, tmp_path) as found:
        setup.change(found.connection, {"password_field": "Losung", "username_field": ""})
        yield found


def _named(running: Server, fault: str) -> dict[str, Any] | None:
    """The settings of that fault with this fake's own names; None if this CRM has no such fault."""
    told = dict(FAULTS[fault])
    if told.get("fault_rate") == OFTEN["fault_rate"]:
        told["fault_rate"] = running.place.often
    if running.name == "sandbox" and fault == "duplicate rows":
        return None
    if fault == "lag" and not running.kind.bulk_lag:  # its lists are up to date, and so is what it answers of one
        return None
    names = [running.place.faults.get(name, name) for name in told.get("faults", [])]
    if any(name == "" for name in names) or set(names) & {"401 expired", "401 revoked", "403 flapping"}:
        return None
    return told | ({"faults": names} if names else {})


def _people(running: Server, road: CrmRoad, fault: str) -> dict[str, list[str]]:
    """Whom each command is called for: two members, several members, and one who is none yet."""
    made = {"updateuser": _made(running, fault, 2), "batchsync": _made(running, fault, 5)}
    road.enrol_all()
    return {"genpass": _made(running, fault, 1)} | made


def _made(running: Server, fault: str, many: int) -> list[str]:
    new = {"tags": ["Member"], "fields": {"Losung": "", "Town": fault}}
    return [running.person(f"f{next(COUNT)}@example.com", **new) for _ in range(many)]


def _table_of(running: Server, road: CrmRoad, fault: str) -> dict[str, str]:
    """Command → how its jobs ended under that fault."""
    told = _named(running, fault)
    if told is None:
        return dict.fromkeys(WORDS, "–")
    people = _people(running, road, fault)
    everybody = [one for ids in people.values() for one in ids]
    running.tag("Module 1", *everybody)
    if fault != "lag":
        running.settle()
    living = _end(running, fault, everybody)
    running.change(**told)
    deliveries = {word: _call(road, fault, word, ids) for word, ids in people.items()}
    road.work(seconds=90)
    running.change(**QUIET)
    running.settle()
    ids = {word: [living[contact] for contact in people[word]] for word in WORDS}
    return {word: _ended(running, road, word, deliveries[word], ids[word]) for word in WORDS}


def _end(running: Server, fault: str, contacts: list[str]) -> dict[str, str]:
    """Deletes or merges them, if that is the fault. Contact → as what it lives on."""
    if fault == "deleted":
        for contact in contacts:
            running.delete(contact)
    return {contact: running.merge(contact) if fault == "merged" else contact for contact in contacts}


def _call(road: CrmRoad, fault: str, word: str, contacts: list[str]) -> list[str]:
    long_ago = fault in {"deleted", "merged"}  # else genpass looks for ten minutes whether they come
    return road.long_ago(f"aal_{word}", *contacts) if long_ago else road.call(f"aal_{word}", *contacts)


def _ended(running: Server, road: CrmRoad, word: str, deliveries: list[str], contacts: list[str]) -> str:
    jobs = [road.job(delivery) for delivery in deliveries]
    wrong = {f"{job.standing} {job.reason}".strip() for job in jobs if job.standing not in {"done", "no-op"}}
    if wrong:
        return ", ".join(sorted(wrong))
    for contact in contacts:
        tags, fields = running.truth(contact)
        if road.tags(contact) != tags:
            return f"tags differ: {road.tags(contact) ^ tags}"
        if word == "genpass" and not _signs_in(contact, fields["Losung"]):
            return "the password doesn't sign in"
    return RIGHT


def _signs_in(contact: str, password: str) -> bool:
    return Member.objects.get(contacts__external_id=contact).account.check_password(password)


def _is_well(fault: str, word: str, ended: str) -> bool:
    reason = ended.split(" ")[-1]
    if ended in {RIGHT, "–"} and fault not in STAYS:
        return True
    if fault in STAYS:
        return ended == "–" or (ended.startswith("failed ") and reason in STAYS[fault])
    return reason in EITHER.get(fault, set())


def test_each_fault_ends_right_or_says_why(
    running: Server, road: CrmRoad, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    table = {fault: _table_of(running, road, fault) for fault in FAULTS}
    with capsys.disabled():
        print(f"\n{running.kind.label:18} " + " ".join(f"{word:32}" for word in WORDS))
        for fault, row in table.items():
            print(f"{fault:18} " + " ".join(f"{row[word]:32}" for word in WORDS))

    assert [
        f"{fault} × {word}: {ended}"
        for fault, row in table.items()
        for word, ended in row.items()
        if not _is_well(fault, word, ended)
    ] == []
    assert not Job.objects.filter(state="held").exclude(reason="sibling-not-done").exists()
    _no_secret_is_left(running, caplog.text)


def _no_secret_is_left(running: Server, log: str) -> None:
    """Neither our key nor anybody's password stands in what is kept, or in the log."""
    rows = [model.objects.values_list() for model in (Attempt, Delivery, Job, Contact, ContactTag, MadePassword)]
    kept = log + "".join(str(list(one)) for one in rows)
    written = {row["value"] for row in running.fake.writes() if row["what"] == "field-set" and row.get("value")}
    assert len(written) > 1 or running.name == "sandbox", "the fake saw no password"
    found = [secret for secret in [*written, *running.place.credentials.values()] if secret in kept]
    assert found == []
