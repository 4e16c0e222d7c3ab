"""After a full run with faults no secret stands readable anywhere: log, database, pages, command line, backup.

The spool is let out: it keeps calls as they came, for its owner alone (0600) and for seven days.
"""

import json
import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.crash.place import Database, Place, until
from tests.outage.cluster import Cluster, binaries
from tests.sandbox.conftest import QUIET, Crm, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SMTP_PASSWORD, TOKEN, WRONG_KEY = "smtp-secret-77q", "metrics-secret-31x", "wrong-key-of-crm-9"
POSTED, CHOSEN, GUESSED = "Posted-along-4711", "In-the-field-before-8", "guessed-at-the-door-2"
SETTINGS = {
    "TAGWARDEN_LOG_LEVEL": "DEBUG",
    "TAGWARDEN_SMTP_URL": f"smtp://studio:{SMTP_PASSWORD}@127.0.0.1:9",  # nobody listens there
    "TAGWARDEN_METRICS_TOKEN": TOKEN,
}


def _joined(place: Place) -> list[int]:
    """New contacts; every other one has a password in the CRM already."""
    people = [
        {"email": f"{uuid4().hex}@example.com", "fields": {"Password": f"{CHOSEN}{n}"} if n % 2 else {}}
        for n in range(6)
    ]
    answer = place.crm.admin.post("/admin/contacts", json={"contacts": people})
    return list(answer.json()["ids"])


def _calls(place: Place, joined: list[int]) -> None:
    for contact in joined:
        data = {"contact[id]": str(contact), "contact[fields][password]": POSTED}
        httpx.post(place.address("genpass"), data=data).raise_for_status()
    httpx.post(place.address("updateuser"), json={"contactId": 1, "Password": POSTED}).raise_for_status()
    httpx.post(place.address("nosuch"), data={"contactId": "1", "password": POSTED})
    httpx.post(f"{place.url}/?aal_updateuser={GUESSED}", data={"contactId": "1"})


def _settled(place: Place) -> None:
    until(lambda: not place.open_work(), 90, lambda: str(place.open_work()))


def _a_refused_key(place: Place, joined: list[int]) -> None:
    """The connection's key is wrong for a while, so that the CRM refuses it."""
    key = place.data / "key.json"
    for content in (WRONG_KEY, "sandbox-key"):
        key.write_text(json.dumps({"api_key": content}))
        place.tagwarden("connection", "set", "1", "--credentials-file", str(key))
        httpx.post(place.address("genpass"), data={"contactId": str(joined[0])}).raise_for_status()
        _settled(place)
    key.unlink()


def _pages(place: Place, passwords: Mapping[str, str]) -> Iterator[str]:
    """What staff, a member and a program see."""
    with httpx.Client(base_url=place.url, follow_redirects=True) as browser:
        form = browser.get("/sign-in/").text
        for email, password in passwords.items():
            token = re.findall(r'csrfmiddlewaretoken" value="([^"]+)', form)[0]
            data = {"csrfmiddlewaretoken": token, "email": email, "password": password}
            yield (form := browser.post("/sign-in/", data=data).text)
    with httpx.Client(base_url=place.url, follow_redirects=True) as browser:
        link = re.findall(r"http\S+/sign-in/\S+", place.run_python(_MAKE_LINK))[0]
        form = browser.get(link).text
        token = re.findall(r'csrfmiddlewaretoken" value="([^"]+)', form)[0]
        deliveries = browser.post(link, data={"csrfmiddlewaretoken": token}).text
        assert "Make member" in deliveries
        yield deliveries
        for page in sorted(set(re.findall(r'href="(/staff/(?:deliveries|members)/[^"?]+)"', deliveries))):
            yield browser.get(page).text
    yield httpx.get(f"{place.url}/health").text
    yield httpx.get(f"{place.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text


_MAKE_LINK = """
from tagwarden.cli import loading
models = loading.with_django("tagwarden.accounts.models")
site = models.Site.objects.get()
owner = models.Account.objects.get(role="owner")
print(loading.with_django("tagwarden.accounts.sign_in").make_link(owner, site=site))
"""


def _stored(database: Database) -> Iterator[str]:
    """All that the main database holds: on SQLite also what was deleted and not overwritten yet."""
    if not database.url:
        for file in database.file.parent.glob("tagwarden.db*"):
            yield file.read_bytes().decode("latin-1")
        return
    for (table,) in database.rows("select tablename from pg_tables where schemaname = 'public'"):
        yield str(database.rows(f'select t::text from "{table}" t'))


def _in_backup(place: Place) -> Iterator[str]:
    file = place.data / "backup.tar"
    place.tagwarden("backup", str(file))
    with tarfile.open(file) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content and not member.name.startswith("spool"):
                yield _plain(member.name, content.read())


def _plain(name: str, content: bytes) -> str:
    """A dump of PostgreSQL is packed."""
    if name.endswith(".dump"):
        tool = [str(Path(binaries() or "") / "pg_restore"), "--file=-"]
        content = subprocess.run(tool, input=content, capture_output=True, check=True).stdout
    return content.decode("latin-1")


def _on_the_command_line(place: Place) -> Iterator[str]:
    yield place.tagwarden("connection", "show", "1", "--json")
    yield place.tagwarden("member", "list", "--json")
    deliveries = place.tagwarden("delivery", "list", "--json")
    yield deliveries
    yield place.tagwarden("delivery", "show", json.loads(deliveries)[0]["id"], "--json")


def _full_run(place: Place) -> None:
    place.start(**SETTINGS)
    place.until_open()
    joined = _joined(place)
    place.crm.set(**QUIET | {"fault_rate": 0.3, "faults": ["503", "429", "cut", "reset"], "seed": 11})
    _calls(place, joined)
    _settled(place)
    place.crm.set(**QUIET)
    _a_refused_key(place, joined)

    passwords = {row["email"]: str(row["fields"]["Password"]) for row in place.crm.in_bulk(*joined)}
    keys = json.loads((place.data / "keys").read_text())
    secrets = {"handshake": place.secret, "CRM's key": "sandbox-key", "wrong key": WRONG_KEY, "guess": GUESSED}
    secrets |= {"mail server": SMTP_PASSWORD, "metrics": TOKEN, "posted": POSTED, "chosen": CHOSEN}
    secrets |= {f"password of {email}": password for email, password in passwords.items()}
    secrets |= {"django key": keys["django"], "lookup key": keys["lookup"], "encryption key": keys["encryption"][0]}
    seen = {
        "pages": "\n".join(_pages(place, passwords)),
        "log": place.log.read_text(),
        "database": "\n".join(_stored(place.database)),
        "backup": "\n".join(_in_backup(place)),
        "command line": "\n".join(_on_the_command_line(place)),
    }
    assert len(set(passwords.values())) == len(joined)
    assert all(len(text) > 500 for text in seen.values())
    assert "genpass" in seen["database"] and "genpass" in seen["backup"]  # noqa: PT018  # it looks at the right thing
    assert {
        (where, name) for where, text in seen.items() for name, secret in secrets.items() if secret in text
    } == set()
    for file in (place.data / "spool").rglob("*.sqlite"):
        assert file.stat().st_mode & 0o077 == 0


@pytest.fixture
def own_crm(tmp_path: Path) -> Iterator[Crm]:
    """People join it, so no other test may share it."""
    with running(tmp_path / "crm.sqlite3", 10) as crm:
        yield crm


def test_none_is_left_on_sqlite(tmp_path: Path, own_crm: Crm) -> None:
    place = Place(tmp_path / "data", own_crm, Database(tmp_path / "data"), 10)
    try:
        _full_run(place)
    finally:
        place.close()


def test_none_is_left_on_postgresql(tmp_path: Path, own_crm: Crm, cluster: Cluster) -> None:
    place = Place(tmp_path / "data", own_crm, Database(tmp_path / "data", cluster.url), 10)
    try:
        _full_run(place)
    finally:
        place.close()
