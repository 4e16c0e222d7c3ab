"""The calls that are safe on this machine's disk and not in the journal yet, so that no list shows them."""

import logging
import sqlite3
from dataclasses import dataclass

from tagwarden.accounts.models import Site
from tagwarden.core import clock
from tagwarden.core.env import env
from tagwarden.core.errors import SettingsError
from tagwarden.journal import store
from tagwarden.spool import log as spool

WORTH_A_WORD_MS = 2_000  # usually a call is listed long before
LOOKED_AT = 20_000  # rows that are gone through for one site's

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backlog:
    """A site's calls. `more`: there may be more of them than were counted."""

    calls: int
    more: bool


def of_site(site: Site) -> Backlog | None:
    """What waits here of that site's calls for two seconds or longer; None if nothing does.

    Of this machine: each that takes calls has a spool of its own.
    """
    folder = spool.spool_folder(env().data)
    reached = store.position(spool.spool_id(folder))
    position = spool.Position(*reached) if reached else None
    try:
        waiting = spool.backlog(folder, position)
        if waiting.oldest is None or clock.now_ms() - waiting.oldest < WORTH_A_WORD_MS:
            return None
        calls = spool.calls_of(folder, position, site.pk, LOOKED_AT)
    except (sqlite3.Error, OSError, SettingsError) as error:
        log.warning("the spool can't be read, so the page doesn't say what waits in it: %s", error)
        return None
    return Backlog(calls, waiting.rows > LOOKED_AT) if calls else None
