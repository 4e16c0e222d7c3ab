"""Who may see what: every address, for everybody who should not."""

import ast
from pathlib import Path

import pytest
from django.test import Client
from django.urls import URLPattern

from tagwarden.accounts.models import Account, Site
from tagwarden.connections.models import Connection
from tagwarden.members.models import Member
from tagwarden.staff import rows
from tagwarden.urls import urlpatterns
from tests.staff import story
from tests.staff.conftest import SignedIn
from tests.staff.story import Journal

STAFF = Path(rows.__file__).parent
FOR_EVERYBODY = {"home", "staff", "link", "sign-in", "sign-out", "appearance", "member-sign-in", "member-sign-out"}
BY_BUTTON = {"redeliver", "redeliver-alike", "run-again", "redeliver-release", "refresh", "resume"}
BY_BUTTON |= {"sweep-approve", "sweep-dismiss"}
GUARDED = [p for p in urlpatterns if isinstance(p, URLPattern) and p.name not in FOR_EVERYBODY]


@pytest.fixture
def addresses(journal: Journal, connection: Connection, bob: Member) -> dict[str, str]:
    """An address of each kind that exists on Northlight Studio."""
    job = journal.call(connection, "updateuser", "526", outcome="failed", reason="crm-overloaded")
    release = journal.release(connection, "Module 3", {"done": 1, "not-a-member": 1})
    names = {"number": job.key, "slug": rows.slug(release), "login": bob.account.login}
    of_sweep = names | {"slug": story.sweep(connection).slug}
    paths = {p.name: "/" + str(p.pattern).replace("<str:", "{").replace(">", "}") for p in GUARDED}
    return {name: path.format(**(of_sweep if "drift" in path else names)) for name, path in paths.items()}


def _ask(client: Client, name: str, address: str) -> int:
    answer = client.post(address) if name in BY_BUTTON else client.get(address)
    return answer.status_code


@pytest.mark.parametrize("name", [p.name for p in GUARDED])
def test_an_address_is_shut_to_all_but_staff_of_its_site(
    name: str, addresses: dict[str, str], alice: Account, bob: Member, charlie: Account, site: Site, signed_in: SignedIn
) -> None:
    address = addresses[name]
    stranger = Client(headers={"host": site.host})
    asked = stranger.post(address) if name in BY_BUTTON else stranger.get(address)
    assert (asked.status_code, asked["Location"].split("?")[0]) == (302, "/staff/sign-in/")
    assert _ask(signed_in(bob.account), name, address) == 403
    assert _ask(signed_in(charlie, site.host), name, address) == 403
    in_own_house = _ask(signed_in(charlie), name, address)
    assert in_own_house in ({404} if "{" in _pattern(name) else {200, 302})
    assert _ask(signed_in(alice), name, address) in {200, 302}


def _pattern(name: str) -> str:
    return next(str(p.pattern) for p in GUARDED if p.name == name).replace("<", "{")


@pytest.mark.parametrize("name", sorted(BY_BUTTON))
def test_what_acts_is_never_done_by_looking(name: str, addresses: dict[str, str], staff: Client) -> None:
    assert staff.get(addresses[name]).status_code == 405


def test_what_acts_wants_the_forms_token(addresses: dict[str, str], alice: Account) -> None:
    client = Client(enforce_csrf_checks=True, headers={"host": alice.site.host})
    client.force_login(alice, backend="tagwarden.accounts.sign_in.EmailOnSite")
    assert client.post(addresses["redeliver"]).status_code == 403


def test_a_list_shows_nothing_of_another_site(
    journal: Journal, connection: Connection, charlie: Account, other_site: Site, signed_in: SignedIn
) -> None:
    journal.call(connection, "updateuser", "526526")
    story.member(connection, "526526", "Marta Oliveira")
    theirs = Connection.objects.create(site=other_site, crm="sandbox", name="Theirs")
    Journal(other_site).call(theirs, "updateuser", "1")
    client = signed_in(charlie)
    for address in ("/staff/deliveries/?q=526526", "/staff/deliveries/?span=all", "/staff/members/?q=Marta"):
        assert "Sandbox CRM" not in client.get(address).content.decode()
        assert "Marta Oliveira" not in client.get(address).content.decode()


def test_an_operator_may_look_everywhere(site: Site, signed_in: SignedIn) -> None:
    operator = Account.objects.create(email="ops@example.com", role=Account.Role.OPERATOR)
    assert signed_in(operator, site.host).get("/staff/members/").status_code == 200


def test_a_host_of_no_site_is_a_404(db: None) -> None:
    assert Client(headers={"host": "elsewhere.example"}).get("/staff/deliveries/").status_code == 404


def _unscoped(source: str) -> list[int]:
    """Lines where a manager is touched otherwise than by `.objects.for_site(…)`."""
    tree = ast.parse(source)
    scoped = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "for_site" and isinstance(node.value, ast.Attribute)
    }
    managers = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in {"objects", "_default_manager"}]
    return [node.lineno for node in managers if id(node) not in scoped]


@pytest.mark.parametrize("module", sorted(path.name for path in STAFF.glob("*.py")))
def test_pages_reach_rows_only_through_their_site(module: str) -> None:
    assert not _unscoped((STAFF / module).read_text())


def test_the_check_itself_finds_an_unscoped_manager() -> None:
    assert _unscoped("Job.objects.filter(pk=1)") == [1]
    assert _unscoped("Job.objects.for_site(site).filter(pk=1)") == []
