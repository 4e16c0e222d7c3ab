"""UUIDs of version 7: unique over machines, and sorted by the time they were made."""

import os
import threading
import time

_lock = threading.Lock()
_last = 0


def uuid7() -> str:
    """A fresh one as text, in lower case with hyphens. In one process each is greater than the one before."""
    global _last
    with _lock:
        # 48 bits of milliseconds, 12 of their fraction; made to grow even if the clock stands or goes back.
        now = time.time_ns()
        _last = stamp = max((now // 1_000_000) << 12 | (now % 1_000_000) * 4096 // 1_000_000, _last + 1)
    moment, random = f"{stamp:015x}", os.urandom(8).hex()
    variant = "89ab"[int(random[0], 16) & 3]
    return f"{moment[:8]}-{moment[8:12]}-7{moment[12:]}-{variant}{random[1:4]}-{random[4:]}"
