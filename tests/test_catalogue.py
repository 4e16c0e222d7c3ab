"""A command and a CRM are a file each, found by its name. Each has its shape, its page and its tests."""

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tagwarden.core import catalogue
from tagwarden.core.outcome import Needs
from tagwarden.core.wire import Param
from tagwarden.crms import base as crm_base
from tagwarden.crms import sandbox
from tagwarden.journal import store
from tests.conftest import DATA

ROOT = Path(__file__).parents[1]
OPERATIONS = catalogue.listed("tagwarden.operations")
CRMS = catalogue.listed("tagwarden.crms")


def _faults_of_operation(word: str, module: ModuleType | SimpleNamespace) -> list[str]:
    """What a command's module lacks of the shape that operations/base.py asks for."""
    params = getattr(module, "PARAMS", None)
    good = {
        "its name is a word in small letters": re.fullmatch(r"[a-z]{3,40}", word),
        "its docstring begins with aal_ and the word": (module.__doc__ or "").startswith(f"aal_{word}: "),
        "PLAIN is what people call it": getattr(module, "PLAIN", "").strip(),
        "PARAMS are core.wire.Param": isinstance(params, dict) and all(isinstance(p, Param) for p in params.values()),
        "NEEDS is a core.outcome.Needs": isinstance(getattr(module, "NEEDS", None), Needs),
        "PRIORITY is a class of the lane": getattr(module, "PRIORITY", None) in store.PRIORITIES,
        "either run or REFRESH": hasattr(module, "run") != (getattr(module, "REFRESH", False) is True),
        "run takes params, member, ctx": not hasattr(module, "run")
        or list(inspect.signature(module.run).parameters) == ["params", "member", "ctx"],
    }
    return [rule for rule, kept in good.items() if not kept]


def _faults_of_crm(name: str, module: ModuleType | SimpleNamespace) -> list[str]:
    """What an adapter's module lacks of the shape that crms/base.py asks for."""
    found = getattr(module, "Crm", None)
    if not (isinstance(found, type) and issubclass(found, crm_base.Crm)):
        return ["Crm is a class on crms.base.Crm"]
    good = {
        "its name is a word in small letters": re.fullmatch(r"[a-z]{3,40}", name),
        "every method is there": not inspect.isabstract(found),
        "label is its name as people write it": getattr(found, "label", "").strip(),
        "its docstring names the credentials": "Credentials: {" in (found.__doc__ or ""),
        "id_pattern can be read": re.compile(found.id_pattern),
        "bulk_size lies between 1 and 1,000": 1 <= found.bulk_size <= 1_000,
    }
    return [rule for rule, kept in good.items() if not kept]


@pytest.mark.parametrize("word", OPERATIONS)
def test_a_command_has_its_shape(word: str) -> None:
    assert _faults_of_operation(word, OPERATIONS[word]) == []


@pytest.mark.parametrize("word", OPERATIONS)
def test_a_command_has_its_page_and_its_tests(word: str) -> None:
    page = ROOT / "docs" / "operations" / f"{word}.md"
    assert page.read_text().startswith(f"# aal_{word}")
    assert f'"aal_{word}"' in (ROOT / "tests" / "operations" / f"test_{word}.py").read_text()


@pytest.mark.parametrize("name", CRMS)
def test_a_crm_has_its_shape(name: str) -> None:
    assert _faults_of_crm(name, CRMS[name]) == []


@pytest.mark.parametrize("name", CRMS)
def test_a_crm_has_its_page(name: str) -> None:
    page = ROOT / "docs" / ("sandbox.md" if name == "sandbox" else f"crms/{name}.md")
    assert CRMS[name].Crm.label.lower() in page.read_text().lower()


def test_what_is_wrong_with_a_command_is_said() -> None:
    wrong = SimpleNamespace(
        __doc__="pause", PLAIN=" ", PARAMS=[], NEEDS="contact", PRIORITY=7, run=lambda member: member
    )
    assert len(_faults_of_operation("Pause", wrong)) == 7
    both = SimpleNamespace(**vars(OPERATIONS["updateuser"]) | {"run": lambda params, member, ctx: None})
    assert _faults_of_operation("updateuser", both) == ["either run or REFRESH"]


def test_what_is_wrong_with_a_crm_is_said() -> None:
    class Half(crm_base.Crm):
        label = " "
        bulk_size = 0

    assert len(_faults_of_crm("acme", SimpleNamespace(Crm=Half))) == 4
    assert _faults_of_crm("acme", SimpleNamespace(Crm=object)) == ["Crm is a class on crms.base.Crm"]


# Adding is dropping a file in.


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package in a folder of its own."""
    shutil.copytree(ROOT / "tagwarden", tmp_path / "tagwarden", ignore=shutil.ignore_patterns("__pycache__", "static"))
    return tmp_path / "tagwarden"


def _listed(copy: Path, folder: str) -> subprocess.CompletedProcess[str]:
    code = f"from tagwarden.core import catalogue; print(*catalogue.listed('tagwarden.{folder}'))"
    environ = {"DJANGO_SETTINGS_MODULE": "tagwarden.settings", "TAGWARDEN_DATA": str(DATA)}
    return subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); {code}"],
        cwd=copy.parent,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command_dropped_in_appears(copy: Path) -> None:
    source = (copy / "operations" / "updateuser.py").read_text()
    (copy / "operations" / "newword.py").write_text(source.replace("aal_updateuser", "aal_newword"))

    assert _listed(copy, "operations").stdout.split() == sorted([*OPERATIONS, "newword"])


def test_a_crm_dropped_in_appears(copy: Path) -> None:
    shutil.copy(inspect.getfile(sandbox), copy / "crms" / "acme.py")

    assert _listed(copy, "crms").stdout.split() == sorted([*CRMS, "acme"])


def test_a_broken_file_stops_the_start_and_is_named(copy: Path) -> None:
    (copy / "operations" / "newword.py").write_text("PARAMS = {")

    start = _listed(copy, "operations")

    assert start.returncode != 0
    assert "operations/newword.py" in start.stderr
