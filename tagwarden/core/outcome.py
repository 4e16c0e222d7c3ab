"""What a command is given and what it gives back: plain values, no database and no network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How a finished job ended. The words are the wire form in the journal."""

    DONE = "done"
    NO_OP = "no-op"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Needs(StrEnum):
    """What the network step must fetch before a command can run."""

    NOTHING = "nothing"
    CONTACT = "contact"


class CrmTag(NamedTuple):
    """A tag as the CRM has it: its id there and its name today."""

    external_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one read of the CRM said of a contact.

    `tags` is None where the answer carried no tag list: missing is not empty.
    `started` is the moment at which the read began, in UTC; `seen_until` is the one up to which it shows everything,
    earlier than that where the read may lag. `password` is what the field mapped as password holds: it is used at
    once and kept nowhere.
    """

    contact: str
    started: datetime
    seen_until: datetime
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    tags: frozenset[CrmTag] | None = None
    password: str = field(default="", repr=False)

    def with_tags(self, tags: Iterable[CrmTag]) -> "Snapshot":
        """The same answer, with what we know better laid over its tags."""
        return replace(self, tags=frozenset(tags))


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing to do outside. It becomes a job whose command is `command`.

    `step` names it among its siblings; `after` is the step that must be done first.
    """

    command: str
    step: str
    params: Mapping[str, str] = field(default_factory=dict)
    after: str = ""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A command that this command asks for. It becomes a job of its own."""

    command: str
    step: str
    params: Mapping[str, object] = field(default_factory=dict)
    contact: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, why, and what it asks for."""

    kind: Kind
    reason: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    effects: tuple[Effect, ...] = ()
    follow_ups: tuple[FollowUp, ...] = ()


def done(*, effects: tuple[Effect, ...] = (), follow_ups: tuple[FollowUp, ...] = (), **detail: object) -> Outcome:
    """It happened."""
    return Outcome(Kind.DONE, "", detail, effects, follow_ups)


def no_op(reason: str, **detail: object) -> Outcome:
    """Understood, and there was nothing to do."""
    return Outcome(Kind.NO_OP, reason, detail)


def refused(reason: str, **detail: object) -> Outcome:
    """A rule said no."""
    return Outcome(Kind.REFUSED, reason, detail)


def failed(reason: str, **detail: object) -> Outcome:
    """It did not work; somebody can mend it."""
    return Outcome(Kind.FAILED, reason, detail)


def unknown(reason: str, **detail: object) -> Outcome:
    """It may have happened; look before repeating."""
    return Outcome(Kind.UNKNOWN, reason, detail)
