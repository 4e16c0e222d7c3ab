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
    random = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    number = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0x2 << 62 | random
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
