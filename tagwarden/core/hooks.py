"""What CRMs tell by themselves: the events in a native hook, and the hooks that are set up at a CRM."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tagwarden.core import clock


class Happened(StrEnum):
    """What a CRM can tell of a contact, whatever the vendor calls it."""

    CREATED = "contact-created"
    CHANGED = "contact-changed"
    TAG_ADDED = "tag-added"
    TAG_REMOVED = "tag-removed"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A call to /hooks/<handshake>, as it came; header names in lower case. `query` is without the secret.

    `received`: when it came in. A signature's own time is compared with that: the call may be read much later, after
    an outage of the database or when staff redeliver it.
    """

    query: str
    headers: Mapping[str, str]
    body: bytes
    received: datetime = field(default_factory=clock.now)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one contact. `tag` is its id at the CRM, `tag_name` its name, where the hook says so.

    `contact` may be empty where only the e-mail is told.
    """

    happened: Happened
    contact: str
    email: str = ""
    tag: str = ""
    tag_name: str = ""
    at: datetime | None = None
    ref: str = ""  # the vendor's own id of the event: the same event told twice has the same


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook that is set up at a CRM. `secret`: only known in the answer that made it."""

    id: str
    url: str
    happened: Happened
    tag: str = ""
    alive: bool = True
    secret: str = ""
