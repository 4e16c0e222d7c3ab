"""A lock on a file, for what may be there only once. When its process ends, however it ends, it is free."""

import fcntl
import os
import time
from pathlib import Path

HANDOVER = 15.0  # seconds a new process waits until the one before has left


class Taken(Exception):
    """Another process holds the lock. `holder`: its process id, or "unknown"."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def take(path: Path, wait: float = 0) -> int:
    """The descriptor of the file, locked; close it to let go. The file is made if need be.

    Waits so many seconds for another process to leave, then raises Taken. Raises OSError.
    """
    until = time.monotonic() + wait
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise Taken(holder) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor
