"""How quiet the machine was beside a figure."""

import time


def yardstick() -> float:
    """Milliseconds of a fixed Python loop; the same machine, undisturbed, always takes about the same."""
    began = time.perf_counter()
    sum(n * n for n in range(1_000_000))
    return (time.perf_counter() - began) * 1000
