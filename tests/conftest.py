"""What all tests share: a data folder of their own, people, and no way out of this machine.

Alice owns Northlight Studio, Bob is a member there, Charlie owns another site.
"""

import json
import os
import shutil
import sys
import tempfile
from ipaddress import ip_address
from pathlib import Path

import django
import pytest

from tagwarden.core.crypto import make_keys

# Before Django reads its settings: never the developer's own data, and what is started here inherits it. So do the
# processes among which tests are divided: they have a folder in common, and a database each.
DIVIDED = "PYTEST_XDIST_WORKER" in os.environ
DATA = Path(os.environ["TAGWARDEN_DATA"] if DIVIDED else tempfile.mkdtemp(prefix="tagwarden-tests-"))
os.environ["TAGWARDEN_DATA"] = str(DATA)
os.environ["DJANGO_SETTINGS_MODULE"] = "tagwarden.settings"
os.environ.pop("TAGWARDEN_KEYS_FILE", None)
make_keys(DATA / "keys")
django.setup()

from tagwarden.accounts.models import Account, Site  # noqa: E402  # models need django.setup()
from tagwarden.connections.models import Connection  # noqa: E402
from tagwarden.core import clock, crypto  # noqa: E402
from tagwarden.core.env import env  # noqa: E402
from tagwarden.members.models import Contact, Member  # noqa: E402

MARKERS = {"tests/browser": "browser", "tests/crash": "crash"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks by what a test uses: `database` runs on SQLite and on PostgreSQL, `browser` needs chromium."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if item.get_closest_marker("django_db") or fixtures & {"db", "transactional_db", "live_server"}:
            item.add_marker("database")
        where = item.path.relative_to(config.rootpath).as_posix()
        for folder, marker in MARKERS.items():
            if where.startswith(folder):
                item.add_marker(marker)
    if not env().on_postgresql:
        elsewhere = [item for item in items if item.get_closest_marker("postgresql")]
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]


def pytest_unconfigure() -> None:
    if not DIVIDED:
        shutil.rmtree(DATA, ignore_errors=True)


def _only_loopback(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect" or not isinstance(address := arguments[1], tuple):
        return
    host = str(address[0])
    if host == "localhost" or ip_address(host.split("%")[0]).is_loopback:
        return
    raise RuntimeError(f"A test tried to reach {host}; tests talk to this machine only.")


sys.addaudithook(_only_loopback)


@pytest.fixture
def site(db: None) -> Site:
    """Northlight Studio."""
    return Site.objects.create(
        name="Northlight Studio",
        host="northlight.example",
        public_url="http://northlight.example",
        timezone="America/Chicago",
    )


@pytest.fixture
def other_site(db: None) -> Site:
    """Charlie's, where nobody of Northlight Studio may look."""
    return Site.objects.create(name="Harbour Yoga", host="harbour.example", public_url="http://harbour.example")


@pytest.fixture
def connection(site: Site) -> Connection:
    """Northlight Studio's connection to a sandbox CRM that isn't running."""
    keys = crypto.read_keys(DATA / "keys")
    return Connection.objects.create(
        site=site,
        crm="sandbox",
        name="Sandbox CRM",
        base_url="http://127.0.0.1:9",
        credentials=keys.encrypt(json.dumps({"api_key": "sandbox-key"})),
    )


@pytest.fixture
def alice(site: Site) -> Account:
    """The owner of Northlight Studio."""
    return Account.objects.create(
        site=site,
        email="alice@northlight.example",
        first_name="Alice",
        last_name="Moreau",
        role=Account.Role.OWNER,
    )


@pytest.fixture
def bob(site: Site, connection: Connection) -> Member:
    """A member of Northlight Studio: contact 526 at its CRM."""
    account = Account.objects.create(
        site=site, email="bob@example.com", first_name="Bob", last_name="Okafor", role=Account.Role.MEMBER
    )
    member = Member.objects.create(account=account, site=site)
    Contact.objects.create(
        connection=connection,
        external_id="526",
        member=member,
        email=account.email,
        first_name=account.first_name,
        last_name=account.last_name,
        read_started_at=clock.now(),
    )
    return member


@pytest.fixture
def charlie(other_site: Site) -> Account:
    """The owner of another site."""
    return Account.objects.create(
        site=other_site,
        email="charlie@harbour.example",
        first_name="Charlie",
        last_name="Lindqvist",
        role=Account.Role.OWNER,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder of one's own with keys in it, for tests that start processes."""
    make_keys(tmp_path / "keys")
    return tmp_path
