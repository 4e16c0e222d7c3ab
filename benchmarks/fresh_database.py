"""Importing this gives the process an empty database of its own, before any model is imported.

A temporary folder with SQLite in it, or the empty database that DATABASE_URL names.
"""

import os
import tempfile
from pathlib import Path

import django
from django.core.management import call_command

from tagwarden.core.crypto import make_keys

DATA = Path(tempfile.mkdtemp(prefix="tagwarden-bench-"))
os.environ |= {
    "TAGWARDEN_DATA": str(DATA),
    "DJANGO_SETTINGS_MODULE": "tagwarden.settings",
    "TAGWARDEN_LOG_LEVEL": "ERROR",
}
make_keys(DATA / "keys")
django.setup()
call_command("migrate", verbosity=0)
