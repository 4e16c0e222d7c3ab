"""From `connections` to the door table: a new handshake works within a second, a revoked one stops as quickly."""

from pathlib import Path

from tagwarden.connections import handshakes
from tagwarden.spool import door


class Doors:
    """Keeps one machine's door table up to date."""

    def __init__(self, data: Path) -> None:
        self._path = door.door_path(data)
        self._filled_with = -1

    def follow(self) -> bool:
        """Fills the table anew if a handshake changed since the last time. True if it did."""
        version = handshakes.door_version()
        if version == self._filled_with:
            return False
        door.fill(self._path, handshakes.door_entries())
        self._filled_with = version
        return True
