"""Every line about a delivery names it: intake's, the adapter's in its thread, the rule's, the journal's."""

import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType

import pytest
from django.conf import settings

from tagwarden.core import logs
from tagwarden.core.env import env
from tagwarden.core.outcome import Needs, done
from tests.worker.conftest import Road

Lines = Callable[[], list[dict[str, object]]]
OF_THE_ROAD = ("tagwarden.", "httpx")  # httpx: what a CRM's adapter does, in a thread of the pool


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was logged so far, with everything switched on."""
    config = logs.config(replace(env(), log_format="json", log_level="DEBUG"))
    config["loggers"]["httpx"] = {"level": "DEBUG"}
    config["handlers"]["stderr"]["stream"] = written = io.StringIO()
    logging.config.dictConfig(config)

    def told() -> list[dict[str, object]]:
        found = [json.loads(line) for line in written.getvalue().splitlines()]
        written.seek(0)
        written.truncate()
        return [line for line in found if str(line["logger"]).startswith(OF_THE_ROAD)]

    yield told
    logging.config.dictConfig(settings.LOGGING)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def said(lines: list[dict[str, object]]) -> set[tuple[object, object]]:
    return {(line["logger"], line["message"]) for line in lines}


def test_each_line_of_a_call_names_it(transactional_db: None, road: Road, lines: Lines) -> None:
    road.enrol(1)
    lines()
    (call,) = road.call("aal_updateuser", 1)
    road.work()
    told = lines()
    assert [line for line in told if line.get("deliveries") != [call]] == []
    assert ("tagwarden.worker.intake", "calls carried into the journal: 1") in said(told)
    assert ("tagwarden.journal.leases", "updateuser: done, jobs: 1") in said(told)
    assert "httpx" in {line["logger"] for line in told}


def test_the_line_of_a_rule_names_its_own_call_amid_a_batch(
    transactional_db: None, road: Road, lines: Lines, commands: Callable[..., ModuleType]
) -> None:
    def run(params: object, member: object, context: object) -> object:
        logging.getLogger("tagwarden.operations.greet").info("a rule speaks of %s", context.contact)  # type: ignore[attr-defined]  # a Context
        return done()

    commands("greet", run, NEEDS=Needs.CONTACT)
    road.enrol(1, 2)
    calls = dict(zip(("1", "2"), road.call("aal_greet", 1, 2), strict=True))
    road.work()
    told = {line["message"]: line["deliveries"] for line in lines() if line["logger"] == "tagwarden.operations.greet"}
    assert told == {f"a rule speaks of {contact}": [call] for contact, call in calls.items()}


def test_what_failed_for_good_is_a_warning_with_its_reason(transactional_db: None, road: Road, lines: Lines) -> None:
    contact = road.crm.admin.post("/admin/contacts", json={"count": 1}).json()["ids"][0]
    road.enrol(contact)
    road.crm.admin.delete(f"/admin/contacts/{contact}")
    (call,) = road.call("aal_updateuser", contact)
    road.work()
    (warning,) = [line for line in lines() if line["level"] == "WARNING"]
    assert warning["deliveries"] == [call]
    assert warning["message"] == "updateuser: failed (contact-deleted), jobs: 1"


def test_no_line_holds_a_secret(transactional_db: None, road: Road, lines: Lines) -> None:
    road.enrol(1)
    road.call("aal_updateuser", 1, query="&password=Tr0ub4dor")
    road.work()
    text = json.dumps(lines())
    assert text.count("deliveries") > 2
    for secret in ("sandbox-key", "Tr0ub4dor"):
        assert secret not in text
