"""What docs/cli.md and docs/install.md promise is what there is."""

import importlib
import re
from pathlib import Path
from typing import Any

import typer

from tagwarden.cli.main import COMMANDS, Command
from tagwarden.core import env, options

DOCS = Path(__file__).parents[2] / "docs"
CLI = (DOCS / "cli.md").read_text()


def _app(command: Command) -> typer.Typer:
    app: typer.Typer = importlib.import_module(f"tagwarden.cli.{command.module}").app
    return app


def _commands() -> dict[str, list[str]]:
    """Each command as typed → its options."""
    found: dict[str, list[str]] = {}
    for name, command in COMMANDS.items():
        if command.hidden:
            continue
        found |= _below(f"tagwarden {name}", typer.main.get_command(_app(command)))
    return found


def _below(typed: str, one: Any) -> dict[str, list[str]]:
    """The same of one command, or of all within a group of commands."""
    below = getattr(one, "commands", None)
    if below:
        return {name: opts for word, sub in below.items() for name, opts in _below(f"{typed} {word}", sub).items()}
    names = [opt for param in one.params for opt in param.opts if opt.startswith("--")]
    return {typed: [opt for opt in names if opt not in ("--help", "--json")]}


def _section(command: str) -> str:
    match = re.search(rf"^### `{re.escape(command)}`$(.*?)(?=^##|\Z)", CLI, re.MULTILINE | re.DOTALL)
    assert match, f"docs/cli.md has no section on {command}"
    return match[1]


def test_every_command_has_a_section_that_names_its_options():
    for command, names in _commands().items():
        if command == "tagwarden web":
            assert "as above" in _section(command)
            continue
        for name in names:
            assert f"`{name}`" in _section(command), f"{command} {name}"


def test_every_section_is_of_a_command_that_exists():
    assert set(re.findall(r"^### `(.*)`$", CLI, re.MULTILINE)) == set(_commands())


def test_the_list_of_commands_says_what_the_commands_say_themselves():
    for name, command in COMMANDS.items():
        click = typer.main.get_command(_app(command))
        if getattr(click, "commands", None) and not command.hidden:
            assert click.help == command.help, name


def test_every_option_of_a_connection_is_described():
    for name in options.ConnectionOptions.__dataclass_fields__:
        assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", _section("tagwarden connection set"), re.MULTILINE)


def test_every_environment_variable_is_described_and_no_other():
    table = re.findall(r"^\| `([A-Z_]+)` \|", (DOCS / "install.md").read_text(), re.MULTILINE)
    assert table == list(env._KNOWN)
