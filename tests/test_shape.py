"""What makes the code easy to find and to read, as far as it can be counted."""

import ast
from pathlib import Path

import pytest

from tagwarden.core import catalogue

PACKAGE = Path(__file__).parents[1] / "tagwarden"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts)
USUAL_LINES = 25  # nine in ten functions are no longer
LONGEST_FUNCTION = 50
LONGEST_FILE = 500


def _functions() -> list[tuple[int, str]]:
    """(lines, place) of every function, shortest first."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return sorted(
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}")
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, functions)
    )


def test_nine_in_ten_functions_fit_on_half_a_screen() -> None:
    functions = _functions()
    lines, where = functions[int(len(functions) * 0.9)]
    print(f"{len(functions)} functions; nine in ten have at most {lines} lines; the longest: {functions[-1]}")
    assert lines <= USUAL_LINES, where


def test_no_function_is_longer_than_a_screen() -> None:
    assert [place for lines, place in _functions() if lines > LONGEST_FUNCTION] == []


def test_no_file_is_long() -> None:
    lengths = {path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in SOURCES}
    print("the longest file:", max(lengths.items(), key=lambda item: item[1]))
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_file_lies_deeper_than_its_station_or_its_adapter() -> None:
    deep = [path.relative_to(PACKAGE).parts for path in SOURCES if len(path.relative_to(PACKAGE).parts) > 2]
    assert [parts for parts in deep if parts[0] != "crms" or len(parts) > 3] == []


def test_no_file_is_named_after_nothing() -> None:
    assert [path for path in SOURCES if path.stem in {"utils", "util", "helpers", "common", "misc", "services"}] == []


@pytest.mark.parametrize("word", catalogue.listed("tagwarden.operations"))
def test_the_file_of_a_command_is_found_by_the_word_on_the_wire(word: str) -> None:
    assert [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob(f"{word}.py")] == [f"operations/{word}.py"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_file_says_in_its_first_line_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), path
