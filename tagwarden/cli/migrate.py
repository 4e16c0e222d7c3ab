"""Bringing the database to this version's schema, by one process at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management import call_command
from django.db import connection

from tagwarden.cli.init import restoring
from tagwarden.connections import handshakes
from tagwarden.core.env import env
from tagwarden.core.errors import SettingsError
from tagwarden.spool import door

_LOCK = 7_438_120_551  # any number, the same in every version


def migrate() -> None:
    """Migrates under a lock that other machines respect too, and fills this machine's door table.

    Raises SettingsError while a restore is under way here, or wasn't finished: nothing works on half of its data.
    """
    if restoring(env()).exists():
        raise SettingsError(
            f"A restore is under way, or was cut off: {restoring(env())}. Run the same `tagwarden restore` again."
        )
    with _locked():
        call_command("migrate", interactive=False, verbosity=0)
    fill_door()


def fill_door() -> None:
    """Tells this machine's door at once which handshakes there are.

    Intake does so too, but later: a webhook may come first, and a CRM that was refused doesn't call again.
    """
    door.fill(door.door_path(env().data), handshakes.door_entries())


@contextmanager
def _locked() -> Iterator[None]:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(%s)", [_LOCK])
            try:
                yield
            finally:
                cursor.execute("select pg_advisory_unlock(%s)", [_LOCK])
        return
    with open(env().data / "migrate.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
