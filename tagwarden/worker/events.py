"""From the events in a native hook to what they ask for: a trigger's command, or a refresh of the contact."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tagwarden.connections import handshakes, triggers
from tagwarden.connections.models import Handshake, Trigger
from tagwarden.core.errors import Permanent
from tagwarden.core.hooks import Arrived, Event, Happened
from tagwarden.core.names import plain
from tagwarden.crms import base

log = logging.getLogger(__name__)

REFRESH = "updateuser"  # what an event runs that is no trigger's


@dataclass(frozen=True, slots=True)
class Listening:
    """What a connection's hooks are read with. `scopes`: handshake → the commands it may run, none: all."""

    crm: type[base.Crm]
    triggers: Sequence[Trigger] = ()
    scopes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wish:
    """One command for one contact. `trigger`: which asked for it, None: the contact is only refreshed.

    `contact` is empty where only the e-mail is told. `events`: those that ask for it.
    """

    contact: str
    email: str
    trigger: Trigger | None
    events: tuple[Event, ...]

    @property
    def command(self) -> str:
        return self.trigger.command if self.trigger else REFRESH

    @property
    def params(self) -> dict[str, object]:
        """As the job has them: those of the command, and which trigger it was."""
        return {**self.trigger.params, triggers.PARAM: self.trigger.pk} if self.trigger else {}


def listening(crms: Mapping[int, type[base.Crm]]) -> dict[int, Listening]:
    """Connection → what its hooks are read with. `crms`: connection → its adapter."""
    by_connection = triggers.of(crms)
    scopes: dict[int, dict[int, tuple[str, ...]]] = {}
    for handshake in Handshake.objects.filter(connection__in=by_connection).exclude(scopes=""):
        scopes.setdefault(handshake.connection_id, {})[handshake.pk] = handshakes.scopes_of(handshake)
    return {
        connection: Listening(crm, by_connection.get(connection, ()), scopes.get(connection, {}))
        for connection, crm in crms.items()
    }


def read(arrived: Arrived, handshake: int, place: Listening) -> list[Event]:
    """What the hook tells. Raises Permanent `signature-wrong` or `hook-not-understood`."""
    secrets = [secret for trigger in _of(handshake, place) for secret in triggers.secrets_of(trigger)]
    try:
        return place.crm.events(arrived, secrets)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        log.exception("the hook broke the adapter that reads it")
        raise Permanent("hook-not-understood", crm=place.crm.label) from error


def wishes(events: Iterable[Event], handshake: int, place: Listening) -> list[Wish]:
    """What these events ask for: of each contact every trigger's command once, and a refresh if one is no trigger's.

    `handshake`: what took the call, 0 if no call brought them. An event that names nobody is passed over.
    """
    own = _of(handshake, place)
    allowed = own or [one for one in place.triggers if _may_run(one.command, handshake, place)]
    asked: dict[tuple[str, int], list[Event]] = {}
    for event in events:
        who = event.contact or event.email.strip().casefold()
        fitting = [trigger.pk for trigger in allowed if _fits(trigger, event, is_its_own=bool(own))]
        for number in (fitting or [0]) if who else ():
            asked.setdefault((who, number), []).append(event)
    by_number = {trigger.pk: trigger for trigger in allowed}
    return [
        Wish(told[0].contact, told[0].email.strip(), by_number.get(number), tuple(told))
        for (_, number), told in asked.items()
    ]


def _of(handshake: int, place: Listening) -> list[Trigger]:
    """The trigger whose hook calls at that handshake, or called there before its rotation."""
    return [one for one in place.triggers if handshake and handshake in (one.handshake_id, one.former_id)]


def _may_run(command: str, handshake: int, place: Listening) -> bool:
    words = place.scopes.get(handshake, ())
    return not words or command in words


def _fits(trigger: Trigger, event: Event, *, is_its_own: bool) -> bool:
    """Some hooks don't say which tag it was, nor even what happened: where it came in says it."""
    if not event.tag and not event.tag_name:
        return is_its_own and event.happened != Happened.TAG_REMOVED
    if event.happened != trigger.happened:
        return False
    return event.tag == trigger.tag if event.tag else plain(event.tag_name) == plain(trigger.tag_name)
