"""The command line: finds the command's module, runs it, and turns every refusal into a sentence."""

import sys
import traceback
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated

import typer

from tagwarden import __version__
from tagwarden.cli import loading, show
from tagwarden.core.env import env
from tagwarden.core.errors import SettingsError, TagwardenError
from tagwarden.core.reasons import REASONS, advice, title


@dataclass(frozen=True, slots=True)
class Command:
    """A command's module in `tagwarden.cli`, and its line in the list of commands."""

    module: str
    help: str
    django: bool = True
    hidden: bool = False


COMMANDS = {
    "init": Command("init", "Make keys, database and the first staff account. Safe to repeat.", django=False),
    "serve": Command("serve", "Run everything: webhooks, pages and the work behind them.", django=False),
    "web": Command("web", "Run webhooks and pages only, with the work elsewhere.", django=False),
    "worker": Command("worker", "Run the work only, with webhooks and pages elsewhere.", django=False),
    "demo": Command("demo", "Watch a release of 1,000 contacts, with a pretend CRM.", django=False),
    "sandbox": Command("sandbox", "Run the pretend CRM as a server of its own.", django=False),
    "site": Command("site", "Add, change and list sites."),
    "connection": Command("connection", "Add, list, test and set connections to CRMs."),
    "handshake": Command("handshake", "Make, list, rotate and revoke the secrets of webhooks."),
    "webhook-url": Command("webhook_url", "Print the address to paste into the CRM."),
    "delivery": Command("delivery", "List, show and redeliver the calls that came in."),
    "member": Command("member", "List and show members."),
    "release": Command("release", "List and show batch syncs with their progress."),
    "sweep": Command("sweep", "List and show drift checks."),
    "doctor": Command("doctor", "Check everything, and say what to do."),
    "backup": Command("backup", "Put all that must survive into one file."),
    "restore": Command("restore", "Put a backup back.", django=False),
    "resume": Command("resume", "Let out what is held since a restore."),
    "part": Command("part", "Run one part of a server; serve and web start these.", django=False, hidden=True),
}


def main() -> None:
    """The entry point. Leaves with 0 (well), 1 (a finding or refusal) or 2 (wrong usage)."""
    name, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    try:
        if name in COMMANDS:
            _load(COMMANDS[name], wants_help="--help" in rest or not rest).app(rest, prog_name=f"tagwarden {name}")
        else:
            _index()(prog_name="tagwarden")
    except Exception as error:
        show.refuse(_sentence(error))


def _load(command: Command, *, wants_help: bool) -> ModuleType:
    module = f"tagwarden.cli.{command.module}"
    if not command.django:
        return loading.late(module)
    return loading.for_help(module) if wants_help else loading.with_django(module)


def _index() -> typer.Typer:
    """The list of commands, for `--help` and for a word that is none."""
    index = typer.Typer(add_completion=False, no_args_is_help=True, help="Membership and courses, driven by your CRM.")
    index.callback()(_root)
    for name, command in COMMANDS.items():
        index.command(name, help=command.help, hidden=command.hidden)(_nothing)
    return index


def _print_version(wanted: bool) -> None:
    if wanted:
        show.say(f"tagwarden {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and leave."),
    ] = False,
) -> None:
    """The options of `tagwarden` itself."""


def _nothing() -> None:
    """Stands for a command in the index; main() runs the real one."""


def _sentence(error: Exception) -> str:
    """What to tell the operator. The traceback of a mistake of ours is shown on the log level DEBUG only."""
    if isinstance(error, SettingsError):
        return str(error)
    if isinstance(error, TagwardenError) and error.reason in REASONS:
        return f"{title(error.reason, error.detail)} {advice(error.reason, error.detail)}"
    trouble = _database_trouble(error)
    if trouble:
        return trouble
    if env().log_level == "DEBUG":
        traceback.print_exception(error)
    first_line = next(iter(str(error).splitlines()), "")
    return (
        f"Tagwarden made a mistake here ({type(error).__name__}: {first_line}). "
        "With TAGWARDEN_LOG_LEVEL=DEBUG it says where; please report that."
    )


def _database_trouble(error: Exception) -> str:
    """A sentence if the database is the cause, else "". Named by class: Django may not be there to ask."""
    if type(error).__name__ not in {"OperationalError", "ProgrammingError"}:
        return ""
    text = str(error).strip()
    if any(sign in text for sign in ("no such table", "no such column", "does not exist", "has no column")):
        return "The database isn't set up, or is older than this version. Run `tagwarden init`."
    return f"The database can't be reached or is busy: {next(iter(text.splitlines()), '')}."
