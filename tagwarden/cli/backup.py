"""`tagwarden backup`: all that must survive, in one file, made while calls come in."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tagwarden import __version__
from tagwarden.cli import archive, database, init, show
from tagwarden.core import clock, crypto
from tagwarden.core.env import env
from tagwarden.journal import schema
from tagwarden.spool import copying
from tagwarden.spool.log import Position, spool_folder, spool_id

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to make, as in backup.tar.")],
    with_keys: Annotated[bool, typer.Option("--with-keys", help="Put the key file in, too.")] = False,
) -> None:
    """Put the spool and the main database into one file, while calls come in.

    Without the key file, which opens what is stored encrypted: keep a copy of that apart, or use --with-keys and
    guard the backup as you guard the server.
    """
    file = file.absolute()
    made = show.iso(clock.now())
    with archive.writing(file) as writer, _bars() as bars:
        last = _add_spool(writer, bars)
        _add_database(writer, bars)
        if with_keys:
            writer.add(env().keys_file, archive.KEYS)
        writer.finish(_manifest(made, last))
    show.facts(
        {
            "Backup": f"{file}, {file.stat().st_size / 1e6:,.1f} MB",
            "Database": init.database_name(env()),
            "Key file": "in it: whoever has this file can read every secret" if with_keys else "not in it",
        }
    )


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(40), TextColumn("{task.percentage:>3.0f} %"))
    return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True, highlight=False))


def _add_spool(writer: archive.Writer, bars: Progress) -> Position | None:
    """Before the database, which then knows all calls that were carried out of it. Gives the last call in it."""
    folder = spool_folder(env().data)
    bar = bars.add_task("Spool   ", total=max(1, len(copying.segments(folder))))
    last = None
    for segment in copying.copy(folder, writer.staging):
        last = copying.end_of(segment) or last
        writer.move(segment, f"{archive.SPOOL}/{segment.name}")
        bars.advance(bar)
    bars.update(bar, completed=bars.tasks[0].total)
    return last


def _add_database(writer: archive.Writer, bars: Progress) -> None:
    bar = bars.add_task("Database", total=None)
    saved = writer.staging / archive.DATABASE[database.kind()]
    database.save(saved, lambda done, total: bars.update(bar, completed=done, total=total))
    writer.move(saved, saved.name)
    bars.update(bar, completed=1, total=1)


def _manifest(made: str, last: Position | None) -> archive.Manifest:
    lookup, sealed = archive.proof(crypto.read_keys(env().keys_file))
    return archive.Manifest(
        form=archive.FORM,
        version=__version__,
        made=made,
        database=database.kind(),
        schema=sorted(schema.applied()),
        spool=spool_id(spool_folder(env().data)),
        segment=last.segment if last else "",
        row=last.row if last else 0,
        lookup=lookup,
        sealed=sealed,
    )
