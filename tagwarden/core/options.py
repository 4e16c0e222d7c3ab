"""Typed options of a site and of a connection, stored as JSON, edited by page and command line.

A stored option that this version does not know is kept and ignored, so that a downgrade loses nothing.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from tagwarden.core.errors import SettingsError
from tagwarden.core.outcome import CrmTag


@dataclass(frozen=True)
class SiteOptions:
    """Choices of a site's owner."""

    create_members_on_refresh: bool = False  # updateuser and batchsync make members of unknown contacts


@dataclass(frozen=True)
class ConnectionOptions:
    """Choices for one connection. `…_field`: the label of a field in the CRM; an empty one maps nothing."""

    release_delay: int = 300  # seconds from the first batchsync call to the first read
    parallel: int = 4  # calls to the CRM at a time
    reserve: int = 20  # percent of the CRM's rate limit that is left to the owner's other tools
    sweep_hours: int = 24  # from one drift check to the next; 0: none
    email_field: str = ""  # empty, as with the names: the CRM's own
    first_name_field: str = ""
    last_name_field: str = ""
    password_field: str = "Password"  # a label
    username_field: str = "Username"
    points_field: str = "Points"
    coupon_field: str = "Coupon"
    team_field: str = "Team"
    genpass_done_tag: CrmTag | None = None  # put on once the password is in the CRM
    batchsync_done_tag: CrmTag | None = None  # put on as soon as a contact is synced


Options = TypeVar("Options", SiteOptions, ConnectionOptions)

LONGEST_LABEL = 120
_LIMITS = {"release_delay": (0, 3600), "parallel": (1, 32), "reserve": (0, 90), "sweep_hours": (0, 720)}


def tag_options() -> set[str]:
    """The options of a connection that name a tag of its CRM."""
    return {name for name, kind in get_type_hints(ConnectionOptions).items() if kind == CrmTag | None}


def _read(name: str, kind: type, text: str) -> object:
    if kind is str:
        if len(text) > LONGEST_LABEL:
            raise SettingsError(f"{name} must be shorter than {LONGEST_LABEL} characters.")
        return text.strip()
    if kind is bool:
        if text.lower() not in {"yes", "no", "true", "false", "on", "off"}:
            raise SettingsError(f"{name} must be yes or no, not “{text}”.")
        return text.lower() in {"yes", "true", "on"}
    low, high = _LIMITS[name]
    try:
        number = int(text)
    except ValueError as error:
        raise SettingsError(f"{name} must be a whole number, not “{text}”.") from error
    if not low <= number <= high:
        raise SettingsError(f"{name} must lie between {low} and {high}.")
    return number


def load(kind: type[Options], stored: str) -> Options:
    """The options in a stored JSON text; defaults where it is silent."""
    known = {field.name for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {name: value for name, value in json.loads(stored or "{}").items() if name in known}
    for name in tag_options() & values.keys():
        values[name] = values[name] and CrmTag(**values[name])
    return kind(**values)


def change(kind: type[Options], stored: str, changes: Mapping[str, str | CrmTag | None]) -> str:
    """The stored JSON text with these changes: texts, or tags as the CRM has them (None: no tag any more).

    Raises SettingsError with a sentence on a bad name or value.
    """
    hints = get_type_hints(kind)
    content: dict[str, Any] = json.loads(stored or "{}")
    for name, text in changes.items():
        if name not in hints:
            raise SettingsError(f"There is no option {name}. Known are {', '.join(sorted(hints))}.")
        content[name] = _read(name, hints[name], text) if isinstance(text, str) else text and text._asdict()
    return json.dumps(content, sort_keys=True)
