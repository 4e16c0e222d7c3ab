"""Crashes once for all tests here, which then look at what is left; a table at the end says what happened."""

import os
import random
from collections.abc import Iterator

import pytest

from tests.crash.place import Place, fresh_database
from tests.crash.rounds import Rounds, Story, wanted
from tests.sandbox.conftest import running

MEMBERS = 240
_stories: list[Story] = []


@pytest.fixture(scope="session")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rounds]:
    """All rounds are over, the server runs, everything is settled and what was given up has been redelivered."""
    data = tmp_path_factory.mktemp("crash")
    server_url = os.environ.get("DATABASE_URL", "")
    seed = wanted("CRASH_SEED", random.SystemRandom().randrange(1_000_000))
    story = Story("PostgreSQL" if server_url else "SQLite", seed)
    _stories.append(story)
    with running(data / "crm.sqlite3", MEMBERS) as crm, fresh_database(data, server_url) as database:
        place = Place(data, crm, database, MEMBERS)
        try:
            rounds = Rounds(place, story)
            rounds.run(wanted("CRASH_ROUNDS", 4), wanted("CRASH_HITS", 2))
            yield rounds
        finally:
            place.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for story in _stories:
        terminalreporter.section("crash rounds")
        for line in story.lines():
            terminalreporter.write_line(line)
