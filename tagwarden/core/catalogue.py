"""Name → module, from a folder's own listing: adding a command or a CRM is adding a file."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType


@cache
def listed(package: str) -> dict[str, ModuleType]:
    """The modules of a package by file name, without `base`.

    `package`: dotted name, e.g. "tagwarden.operations". Everything is imported at once, so that a broken
    file stops the start with its name, not the first webhook on Monday.
    """
    parent = importlib.import_module(package)
    names = sorted(m.name for m in pkgutil.iter_modules(parent.__path__) if m.name != "base")
    return {name: importlib.import_module(f"{package}.{name}") for name in names}
