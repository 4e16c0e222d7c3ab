"""The import contracts can fail: each forbidden import, added to a copy, breaks the one that is meant."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tagwarden"

ONE_WAY = "Imports run one way"
CYCLES = "No cycles at any depth"
BY_NAME = "Adapters and commands are reached by name, through the catalogue"
FRONT_DOOR = "The front door needs no database and no rules"
PLAIN = "Adapters, sandbox and core do without Django"
OUTSIDE = "The sandbox stands outside, as a CRM does"
STARTED = "Only the command line starts the sandbox"
OUTCOME = "Commands and rules return an outcome and write no journal"

# file (made if it isn't there), the line added to it, the contract that breaks
FORBIDDEN = [
    ("crms/keap.py", "from tagwarden.crms import sandbox", BY_NAME),
    ("crms/sandbox.py", "from tagwarden.members import sync", ONE_WAY),
    ("crms/sandbox.py", "from django.core import cache", PLAIN),
    ("crms/base.py", "from tagwarden.journal import store", ONE_WAY),
    ("operations/updateuser.py", "from tagwarden.operations import batchsync", BY_NAME),
    ("operations/updateuser.py", "from tagwarden.crms import sandbox", BY_NAME),
    ("operations/updateuser.py", "from tagwarden.journal import store", OUTCOME),
    ("operations/updateuser.py", "from tagwarden.connections import connect", OUTCOME),
    ("members/sync.py", "from tagwarden.connections import connect", ONE_WAY),
    ("members/sync.py", "from tagwarden.journal import store", OUTCOME),
    ("connections/connect.py", "from tagwarden.members import sync", ONE_WAY),
    ("accounts/sites.py", "from tagwarden.members import models", ONE_WAY),
    ("journal/store.py", "from tagwarden.accounts import models", ONE_WAY),
    ("staff/rows.py", "from tagwarden.worker import retry", ONE_WAY),
    ("staff/rows.py", "from tagwarden.crms import sandbox", BY_NAME),
    ("staff/rows.py", "from tagwarden.operations import updateuser", BY_NAME),
    ("worker/lanes.py", "from tagwarden.staff import rows", ONE_WAY),
    ("worker/lanes.py", "from tagwarden.sandbox import state", STARTED),
    ("receiver/app.py", "from tagwarden.members import sync", FRONT_DOOR),
    ("receiver/app.py", "from tagwarden.operations import base", FRONT_DOOR),
    ("receiver/app.py", "import django", FRONT_DOOR),
    ("spool/log.py", "import django.db", FRONT_DOOR),
    ("spool/log.py", "from tagwarden.journal import store", FRONT_DOOR),
    ("sandbox/state.py", "from tagwarden.journal import store", ONE_WAY),
    ("sandbox/state.py", "from tagwarden.spool import log", OUTSIDE),
    ("sandbox/state.py", "import django.db", PLAIN),
    ("settings.py", "from tagwarden.spool import log", ONE_WAY),
    ("core/clock.py", "from tagwarden.journal import store", ONE_WAY),
    ("core/clock.py", "import django", PLAIN),
    ("core/errors.py", "def late():\n    from tagwarden.core import options\n    return options", CYCLES),
    ("utils/strings.py", "", ONE_WAY),
]


def _copied(folder: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", "*.css", "*.js", "*.html", "*.woff2")
    shutil.copytree(PACKAGE, folder / "tagwarden", ignore=ignored)
    shutil.copy(ROOT / ".importlinter", folder)
    return folder / "tagwarden"


def _broken(folder: Path) -> set[str]:
    """The names of the contracts that are broken there."""
    code = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=folder, env={}, capture_output=True, text=True, check=False
    )
    found = set(re.findall(r"^(\S.*) BROKEN\b", run.stdout, re.MULTILINE))
    assert re.search(r"Contracts: \d+ kept", run.stdout), run.stdout + run.stderr
    assert (run.returncode != 0) == bool(found), run.stdout
    return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package in a folder of its own. Each test leaves it as it found it."""
    return _copied(tmp_path_factory.mktemp("contracts"))


def test_the_package_keeps_its_contracts(copy: Path) -> None:
    assert _broken(copy.parent) == set()


@pytest.mark.parametrize(("name", "line", "contract"), FORBIDDEN, ids=[f"{n}: {line}" for n, line, _ in FORBIDDEN])
def test_a_forbidden_import_breaks_a_contract(copy: Path, name: str, line: str, contract: str) -> None:
    path = copy / name
    before = path.read_text() if path.exists() else None
    new_folder = not path.parent.exists()
    path.parent.mkdir(exist_ok=True)
    if new_folder:
        (path.parent / "__init__.py").touch()

    path.write_text(f"{before or ''}\n{line}\n")
    broken = _broken(copy.parent)

    path.unlink() if before is None else path.write_text(before)
    if new_folder:
        shutil.rmtree(path.parent)
    assert contract in broken


# Imports that no linter sees.

LATE = {  # who imports by name at run time, and says there why
    "core/catalogue.py",
    "cli/loading.py",
    "rsgi.py",
}


def _trees() -> dict[str, ast.Module]:
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def _ours(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.level > 0 or (node.module or "").split(".")[0] == "tagwarden"
    return isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "tagwarden" for alias in node.names)


def test_nothing_of_ours_is_imported_inside_a_function() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    late = [
        f"{name}:{inner.lineno}"
        for name, tree in _trees().items()
        for node in ast.walk(tree)
        if isinstance(node, functions)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom) and _ours(inner)
    ]
    assert late == []


def test_only_the_places_known_for_it_import_by_name_at_run_time() -> None:
    by_name = {
        name
        for name, tree in _trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id) in {"import_module", "__import__"}
    }
    assert by_name == LATE


def test_the_front_door_loads_no_django() -> None:
    code = "import sys, tagwarden.receiver.app; print([m for m in sys.modules if m.split('.')[0] == 'django'])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
