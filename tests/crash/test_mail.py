"""A mail whose sender is killed just after it left: shown as unknown, and sent again only by a click."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagwarden.core import failpoints
from tests import mailserver
from tests.crash.place import Database, Place, fresh_database, until
from tests.sandbox.conftest import running

pytestmark = pytest.mark.timeout(400)
ADD_A_MAIL = """
from tagwarden.cli import loading
models = loading.with_django("tagwarden.accounts.models")
store = loading.with_django("tagwarden.journal.store")
models.Site.objects.update(mail_from="hello@northlight.example")
letter = {"to": "asa@example.com", "subject": "Once", "text": "Once"}
with store.transaction.atomic():
    store.add([store.NewJob("one-mail", models.Site.objects.get().pk, 0, "mail", 1, stream="effect", params=letter)])
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    server_url = os.environ.get("DATABASE_URL", "")
    with running(tmp_path / "crm.sqlite3", 1) as crm, fresh_database(tmp_path, server_url) as database:
        place = Place(tmp_path, crm, database, 1)
        try:
            yield place
        finally:
            place.close()


def _state(database: Database) -> tuple[str, str, str]:
    return database.rows("select state, outcome, reason from journal_job where key = 'one-mail'")[0]


def test_it_is_unknown_and_left_once(place: Place, tmp_path: Path) -> None:
    hits = tmp_path / "hits"
    with mailserver.listening() as server:
        place.start(TAGWARDEN_SMTP_URL=server.url, TAGWARDEN_FAILPOINT=f"{failpoints.RESULT_AND_TRANSACTION}:1:{hits}")
        place.until_open()
        place.run_python(ADD_A_MAIL)
        until(hits.exists, 90, "the worker dies between the mail and its result")
        assert _state(place.database) == ("waiting", "", "")
        place.kill()

        place.start(TAGWARDEN_SMTP_URL=server.url)
        until(lambda: _state(place.database) == ("finished", "unknown", "mail-unknown"), 90, "it is unknown")
        assert len(server.mails) == 1

        place.tagwarden("delivery", "redeliver", "--reason", "mail-unknown")
        until(lambda: _state(place.database) == ("finished", "done", ""), 90, "it is sent again by a click")
        assert place.stop() == 0
        first, second = server.mails
        assert first["Message-ID"] == second["Message-ID"]
