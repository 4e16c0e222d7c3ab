"""What the command line prints: tables and facts for people, JSON for scripts, one sentence for a refusal."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]
_WIDTH_OF_PIPES = 200  # so that a table in a pipe or a file isn't cut to 80 columns
_STYLES = {"failed": "bold red", "refused": "bold yellow", "unknown": "bold magenta"}


def _console(*, stderr: bool = False) -> Console:
    """What comes from outside is shown as it is: no markup, no colours guessed from digits."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH_OF_PIPES
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def say(*lines: str) -> None:
    """Lines for people, on standard output, never broken: they may hold an address to copy."""
    for line in lines:
        print(line, flush=True)  # noqa: T201  # this is where the command line prints


def hint(*lines: str) -> None:
    """Lines for people beside an output that scripts may take: on standard error."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)  # noqa: T201  # as above


def refuse(sentence: str) -> NoReturn:
    """Says why not, and leaves with 1."""
    hint(sentence)
    raise SystemExit(1)


def as_json(content: object) -> None:
    """Content as JSON; moments become ISO 8601 in UTC."""
    say(json.dumps(content, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: object) -> str:
    return iso(value) if isinstance(value, datetime) else str(value)


def iso(moment: datetime) -> str:
    """2026-11-24T15:04:12.345Z"""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock_time(moment: datetime | None, zone: tzinfo) -> str:
    """24 Nov 2026, 09:04:12 CST"""
    return f"{moment.astimezone(zone):%-d %b %Y, %H:%M:%S %Z}" if moment else ""


def listing(rows: Sequence[Row], columns: Mapping[str, str], *, json: bool, empty: str) -> None:
    """A list. `columns`: key → heading, for people; JSON has every key. `empty`: said if there is none."""
    if json:
        as_json(rows)
    elif not rows:
        say(empty)
    else:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for heading in columns.values():
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(_cell(row[key]) for key in columns))
        _console().print(table)


def _cell(value: object) -> Text:
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, (list, tuple)):
        return Text(", ".join(map(str, value)))
    text = "" if value is None else str(value)
    return Text(text, style=_STYLES.get(text, ""))


def facts(pairs: Mapping[str, object]) -> None:
    """Label and value, one a line; empty ones are left out."""
    shown = {label: _cell(value) for label, value in pairs.items() if value not in (None, "", [], ())}
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in shown.items():
        table.add_row(Text(label, style="dim"), value)
    _console().print(table)
