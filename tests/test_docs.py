"""What the documents say is what there is. docs/cli.md and docs/install.md: tests/cli/test_docs.py."""

import importlib.util
import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest

from scripts import troubleshooting
from tagwarden.core import catalogue, reasons
from tagwarden.core.outcome import Kind, done
from tagwarden.journal.models import State
from tests.test_catalogue import _faults_of_operation

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", _CODE.sub("", page.read_text()))


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", _CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _ours(link: str) -> bool:
    return not link.startswith(("http://", "https://", "mailto:"))


# Links.


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in filter(_ours, _links(page)):
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_every_page_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    left = [DOCS / "index.md"]
    while left:
        page = left.pop()
        if page in seen:
            continue
        seen.add(page)
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in _links(page) if _ours(link)]
        left += [target for target in targets if target.suffix == ".md" and target.exists()]
    assert [_name(page) for page in PAGES if page not in seen] == []


# Reasons and commands.


def test_troubleshooting_has_every_reason_as_the_code_says_it() -> None:
    said = (DOCS / "troubleshooting.md").read_text()
    assert said == troubleshooting.page(), "run: python -m scripts.troubleshooting"
    assert re.findall(r"^## (.*)$", said, re.MULTILINE) == list(reasons.REASONS)


def test_every_reason_says_what_happened_and_what_to_do() -> None:
    for code, reason in reasons.REASONS.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert len(code) <= 40, "the journal's column"
        for sentence in (reason.title, reason.help):
            assert sentence[0] in "“{…" or sentence[0].isupper(), code
            assert sentence[-1] in ".?…}", code
            assert "!" not in sentence, code


@pytest.mark.parametrize("word", catalogue.listed("tagwarden.operations"))
def test_a_commands_page_names_its_parameters_and_only_reasons_there_are(word: str) -> None:
    text = (DOCS / "operations" / f"{word}.md").read_text()
    table = re.findall(r"^\| `(\w+)` \|", text.split("## When to use it")[0], re.MULTILINE)
    assert table == list(catalogue.listed("tagwarden.operations")[word].PARAMS)
    named = re.findall(r"^\| [\w-]+ \| (.*) \| ", text.split("## Outcomes")[1], re.MULTILINE)
    for code in re.findall(r"`([a-z-]+)`", " ".join(named)):
        assert code in reasons.REASONS, code


@pytest.mark.parametrize("name", catalogue.listed("tagwarden.crms"))
def test_a_crms_page_shows_the_credentials_that_its_adapter_reads(name: str) -> None:
    adapter = catalogue.listed("tagwarden.crms")[name].Crm
    page = DOCS / ("sandbox.md" if name == "sandbox" else f"crms/{name}.md")
    for key in re.findall(r'"(\w+)":', adapter.__doc__.split("Credentials:")[1]):
        assert f'"{key}"' in page.read_text(), key


def test_the_example_of_a_command_is_a_command(tmp_path: Path) -> None:
    page = (ROOT / "ADDING_AN_OPERATION.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "welcome.py").write_text(example)
    spec = importlib.util.spec_from_file_location("welcome", tmp_path / "welcome.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert _faults_of_operation("welcome", module) == []
    outcome = module.run({"tagId": 3}, None, None)
    assert (outcome.kind, outcome.effects[0].params) == (Kind.DONE, {"tag": "3"})
    assert done().kind == outcome.kind


def test_the_glossary_has_every_state_and_outcome() -> None:
    glossary = (DOCS / "glossary.md").read_text()
    for word in [*Kind, *State.values]:
        assert f"*{word}*" in glossary, word


# Decisions.


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [page.name[:5] for page in DECISIONS] == [f"{n:04}-" for n in range(1, len(DECISIONS) + 1)]


@pytest.mark.parametrize("page", DECISIONS, ids=_name)
def test_a_decision_has_its_four_parts(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Question", "Choice", "Why", "What it costs"]


def test_every_dependency_is_explained_and_no_other() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[\[<>=;~! ]", line)[0].lower() for line in wanted}
    rows = re.findall(r"^\| ([a-z0-9, -]+) \|", (DOCS / "decisions" / "0010-dependencies.md").read_text(), re.MULTILINE)
    explained = {name.strip() for row in rows[1:] for name in row.split(",") if name.strip("- ")}
    assert explained == names


# The first page.


def test_the_readme_names_the_scripts_that_are_there() -> None:
    readme = (ROOT / "README.md").read_text()
    for script in set(re.findall(r"\./(scripts/\w+)", readme)):
        assert (ROOT / script).stat().st_mode & 0o111, script
    assert {"./scripts/demo", "./scripts/test"} <= set(re.findall(r"\./scripts/\w+", readme))


def test_the_readme_says_what_it_is_in_five_lines() -> None:
    head = (ROOT / "README.md").read_text().split("\n\n")
    assert len(head[1].splitlines()) == 5


def test_contributing_names_every_station() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## Where things are")[1].split("## Habits")[0]
    stations = {path.name for path in (ROOT / "tagwarden").iterdir() if (path / "__init__.py").exists()}
    named = set(re.findall(r"`(\w+)/`", table)) - {"templates", "static"}
    assert named == stations
