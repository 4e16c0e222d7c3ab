"""Whether the database has this version's schema: while it has not, pages, intake and worker wait."""

from functools import cache

from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

OURS = {"accounts", "connections", "members", "journal", "procrastinate"}  # the last on PostgreSQL only


@cache
def of_this_version() -> frozenset[str]:
    """The migrations of our own apps that this version brings, as "app.name"."""
    return frozenset(f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations if app in OURS)


def fits() -> bool:
    """Whether the database can be reached and has exactly this version's migrations of our own apps."""
    try:
        return applied() == of_this_version()
    except DatabaseError:
        connection.close()
        return False


def applied() -> set[str]:
    """The migrations of our own apps that the database has, as "app.name". Raises DatabaseError."""
    return {f"{app}.{name}" for app, name in MigrationRecorder(connection).applied_migrations() if app in OURS}
