"""`tagwarden restore`: a backup becomes the data again. Safe to repeat, also after a crash in the middle."""

import shutil
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from tagwarden.cli import archive, init, loading, show
from tagwarden.cli.archive import Manifest
from tagwarden.core import clock, crypto, failpoints, locks, words
from tagwarden.core.env import Env, env
from tagwarden.core.errors import SettingsError
from tagwarden.spool import copying
from tagwarden.spool.log import spool_folder, spool_id

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `tagwarden backup` made.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace the main database that is there.")] = False,
) -> None:
    """Put a backup back, while the server is stopped.

    The spool that is there stays, and fills in what came after the backup. Mails, charges and what is written to
    CRMs are held until `tagwarden resume`, or until staff press Resume.
    """
    manifest = archive.read_manifest(file)
    init.make_folder(env())
    with ExitStack() as held:
        _nobody_else(held, env())
        _put_keys(file, manifest)
        database = loading.with_django("tagwarden.cli.database")
        _check(database, manifest, replace)
        show.say(*_plan(file, manifest))
        _put_back(file, manifest, database)
    loading.with_django("tagwarden.cli.migrate").migrate()
    show.say(
        "",
        "Done. Start the server: calls that came after the backup are filled in from the spool.",
        "Look at them, then press Resume on a staff page, or run `tagwarden resume`. Until then nothing is sent out.",
    )


def _nobody_else(held: ExitStack, settings: Env) -> None:
    """Locks what a server of this data folder would lock. Raises SettingsError if one runs."""
    spool = spool_folder(settings.data)
    files = [settings.data / "worker.lock", *([spool / "lock", spool / "intake.lock"] if spool.exists() else [])]
    for file in files:
        try:
            held.callback(_unlock, locks.take(file))
        except locks.Taken as taken:
            raise SettingsError(
                f"The server of {settings.data} is running (process {taken.holder}). Stop it, then restore."
            ) from None


def _unlock(descriptor: int) -> None:
    with open(descriptor):
        pass


def _put_keys(file: Path, manifest: Manifest) -> None:
    """The keys that open the backup: those that are here, or else those in it. Raises SettingsError."""
    path = env().keys_file
    if not path.exists():
        content = archive.keys_in(file)
        if content is None:
            raise SettingsError(
                f"There is no key file at {path}, and none in this backup. Without it stored credentials and "
                "handshakes can't be read: put the copy there that was kept apart, then restore."
            )
        crypto.put_keys(path, content)
    if not archive.opens(crypto.read_keys(path), manifest):
        raise SettingsError(
            f"The key file {path} isn't the one this backup was made under, so stored credentials and handshakes "
            "couldn't be read. Put that one there, then restore. Nothing was changed."
        )


def _check(database: ModuleType, manifest: Manifest, replace: bool) -> None:
    """Raises SettingsError if this backup doesn't go into this database."""
    if manifest.database != database.kind():
        raise SettingsError(
            f"This backup is of a {_NAMES[manifest.database]} database, and DATABASE_URL says "
            f"{_NAMES[database.kind()]}. Set it to the same kind, then restore."
        )
    newer = set(manifest.schema) - loading.with_django("tagwarden.journal.schema").of_this_version()
    if newer:
        raise SettingsError(f"This backup was made by Tagwarden {manifest.version}, a newer one. Install that first.")
    if not (replace or database.is_empty() or init.restoring(env()).exists()):
        raise SettingsError(
            f"There is a main database already: {init.database_name(env())}. With --replace it is replaced, and what "
            "is only in there is lost."
        )
    if others := database.others():
        raise SettingsError(
            f"{words.count(others, 'other connection')} to the database {'is' if others == 1 else 'are'} open. "
            "Stop web and worker on every machine, then restore."
        )


_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def _plan(file: Path, manifest: Manifest) -> Sequence[str]:
    there = spool_folder(env().data).exists()
    return (
        f"Backup    {file}, made {manifest.made} by Tagwarden {manifest.version}",
        f"Database  put back: {init.database_name(env())}",
        f"Spool     {'stays; what it lacks is laid beside' if there else 'put back'}: {spool_folder(env().data)}",
        f"Key file  stays: {env().keys_file}",
    )


def _put_back(file: Path, manifest: Manifest, database: ModuleType) -> None:
    """Spool, then database. The folder that says a restore is under way is the first thing made, and the last to go."""
    staging = init.restoring(env())
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _unpack(file, staging)
        failpoints.reach(failpoints.UNPACKED)
        _put_spool(staging / archive.SPOOL, manifest)
        failpoints.reach(failpoints.SPOOL_BACK)
        database.put_back(staging / archive.DATABASE[manifest.database], _marks())
    except SettingsError:  # the backup is no good, and nothing was replaced: the server may go on with what it has
        shutil.rmtree(staging)
        raise
    failpoints.reach(failpoints.DATABASE_BACK)
    shutil.rmtree(staging)


def _unpack(file: Path, staging: Path) -> None:
    try:
        archive.unpack(file, staging)
    except (OSError, tarfile.TarError) as error:
        raise SettingsError(f"{file} can't be unpacked: {error}.") from error


def _marks() -> list[str]:
    """What the saved database is told, by the spool that is there now."""
    folder = spool_folder(env().data)
    last = copying.end(folder)
    marks: list[str] = loading.with_django("tagwarden.journal.restores").marks(
        now=clock.now_ms(),
        spool=spool_id(folder),
        segment=last.segment if last else "",
        row=last.row if last else 0,
    )
    return marks


def _put_spool(saved: Path, manifest: Manifest) -> None:
    folder = spool_folder(env().data)
    if folder.exists():
        laid = copying.lay_beside(saved, folder)
        show.say(f"Laid beside the spool that is there: {', '.join(laid)}." if laid else "The spool lacked nothing.")
    elif manifest.spool:
        copying.put_back(saved, folder, manifest.spool)
