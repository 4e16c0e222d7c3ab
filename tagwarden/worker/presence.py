"""Which workers of this machine live: each keeps a file locked, and the lock of one that died is free.

So what it had in hand need not wait until its lease runs out. Machines that share no data folder know nothing of each
other; there the lease decides.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from tagwarden.core import locks


class Presence:
    """A worker's file in the folder, which must be on a local disk. `name`: unlike that of any other worker, ever."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._file = folder, folder / name
        coming = folder / f".{name}"  # unseen by the others until it is locked
        self._lock = locks.take(coming)
        coming.rename(self._file)

    def bury(self, take_over: Callable[[str], object]) -> None:
        """Hands over the names of those that died. Each is forgotten when that went well, else it comes again."""
        for file in self._folder.glob("[!.]*"):
            if file != self._file:
                with contextlib.suppress(locks.Taken):
                    self._bury(file, take_over)

    def _bury(self, file: Path, take_over: Callable[[str], object]) -> None:
        lock = locks.take(file)
        try:
            take_over(file.name)
            file.unlink(missing_ok=True)
        finally:
            os.close(lock)

    def leave(self) -> None:
        """After a clean stop: nothing was left behind."""
        self._file.unlink(missing_ok=True)
        os.close(self._lock)
