"""Where Django is set up for the command line: the one place that imports a module of ours late.

`tagwarden --help`, `serve` and `sandbox` need no Django, and models can't be imported before it is set up.
"""

import importlib
import os
import tempfile
from pathlib import Path
from types import ModuleType

import django

from tagwarden.core import crypto
from tagwarden.core.env import env


def late(module: str) -> ModuleType:
    """That module, imported only where it is needed: it brings much with it."""
    return importlib.import_module(module)


def with_django(module: str) -> ModuleType:
    """That module, imported after Django is set up. Raises SettingsError if there are no keys yet."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagwarden.settings")
    crypto.read_keys(env().keys_file)
    django.setup()
    return late(module)


def for_help(module: str) -> ModuleType:
    """That module, for its help only: a machine without keys makes do with some that are thrown away."""
    if env().keys_file.exists():
        return with_django(module)
    with tempfile.TemporaryDirectory(prefix="tagwarden-") as folder:
        os.environ["TAGWARDEN_KEYS_FILE"] = str(Path(folder) / "keys")
        env.cache_clear()
        crypto.make_keys(env().keys_file)
        return with_django(module)
