"""Numbers in plain words."""


def count(number: int, one: str, many: str = "") -> str:
    """1 call, 1,240 calls"""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
