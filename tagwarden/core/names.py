"""What a CRM calls its tags and fields: id → name, kept for a while, since answers often hold the ids only."""

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from tagwarden.core import clock

KNOWN_FOR = timedelta(minutes=10)
ASKED_AGAIN_AFTER = timedelta(seconds=20)  # for an id or name that is not among them


class Names:
    """Asked for when first needed, when they are old, and when one is missing."""

    def __init__(self, ask: Callable[[], Mapping[str, str]]) -> None:
        self._ask = ask
        self._names: Mapping[str, str] = {}
        self._asked: datetime | None = None
        self._lock = threading.Lock()

    def of(self, ids: Iterable[str]) -> dict[str, str]:
        """Id → name of those the CRM knows. Raises what asking raises."""
        wanted = set(ids)
        known = self._known(lambda names: wanted <= names.keys()) if wanted else {}
        return {id_: known[id_] for id_ in wanted if id_ in known}

    def id_of(self, name: str) -> str | None:
        """The id of that name, whatever its case; the lowest if several have it. None: the CRM has no such name."""
        wanted = plain(name)
        known = self._known(lambda names: wanted in map(plain, names.values()))
        return min((id_ for id_, other in known.items() if plain(other) == wanted), key=_by_number, default=None)

    def all(self) -> Mapping[str, str]:
        """Id → name of all."""
        return self._known(lambda names: True)

    def forget(self) -> None:
        """Something was made, renamed or found missing: asked for anew the next time."""
        with self._lock:
            self._asked = None

    def _known(self, enough: Callable[[Mapping[str, str]], bool]) -> Mapping[str, str]:
        with self._lock:  # so that several threads ask once
            age = KNOWN_FOR if self._asked is None else clock.now() - self._asked
            if age >= KNOWN_FOR or (age >= ASKED_AGAIN_AFTER and not enough(self._names)):
                self._names, self._asked = dict(self._ask()), clock.now()
            return self._names


def plain(name: str) -> str:
    """The name of a tag, a field or a choice as it is compared: whatever its case, without blanks around it."""
    return name.strip().casefold()


def _by_number(id_: str) -> tuple[int, str]:
    return (int(id_) if id_.isdigit() else 0, id_)
