"""Whether the database has this version's schema: while it has not, pages, intake and worker wait."""

from functools import cache

from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

OURS = {"accounts", "connections", "members", "journal", "procrastinate"}  # the last on PostgreSQL only


@cache
def _of_this_version() -> frozenset[tuple[str, str]]:
    return frozenset(key for key in MigrationLoader(None).disk_migrations if key[0] in OURS)


def fits() -> bool:
    """Whether the database can be reached and has exactly this version's migrations of our own apps."""
    try:
        applied = MigrationRecorder(connection).applied_migrations()
    except DatabaseError:
        connection.close()
        return False
    return {key for key in applied if key[0] in OURS} == _of_this_version()
