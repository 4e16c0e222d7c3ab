"""From a delivery to its jobs: what intake does with each call, and *Redeliver* with one not understood before."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

from tagwarden.connections import connect, triggers
from tagwarden.connections.models import Connection
from tagwarden.core import clock, hooks, wire
from tagwarden.core.errors import Permanent
from tagwarden.journal import store
from tagwarden.worker import events
from tagwarden.worker.dispatch import FIND, stream_of

# Found at the door; nothing that is read from the call afterwards changes it.
_DOOR_REASONS = {403, 405, 413, 415}


@dataclass(frozen=True, slots=True)
class Place:
    """What a connection adds to the reading of its calls; times in ms. `secret`: label of the password's field."""

    crm: str
    secret: str
    id_pattern: str
    bulk_lag_ms: int
    release_delay_ms: int
    listening: events.Listening


class Arrived(NamedTuple):
    """A delivery, from the spool or from the journal; `received` in ms, `reason` as the door answered."""

    id: str
    site: int
    connection: int
    received: int
    kind: str
    method: str
    query: str
    headers: str
    body: bytes
    status: int
    reason: str
    handshake: int


def places(connections: Iterable[int]) -> dict[int, Place]:
    """Connection → its place."""
    found = list(Connection.objects.filter(pk__in=set(connections)))
    listening = events.listening({one.pk: connect.adapter_class(one.crm) for one in found})
    return {connection.pk: _place(connection, listening[connection.pk]) for connection in found}


def _place(connection: Connection, listening: events.Listening) -> Place:
    crm = listening.crm
    return Place(
        crm=crm.label,
        secret=connection.options.password_field,
        id_pattern=crm.id_pattern,
        bulk_lag_ms=round(crm.bulk_lag.total_seconds() * 1000),
        release_delay_ms=connection.options.release_delay * 1000,
        listening=listening,
    )


def jobs_of(
    arrived: Arrived, place: Place, words: Mapping[str, ModuleType], *, word: str = "", by_staff: bool = False
) -> list[store.NewJob]:
    """The jobs of a delivery, at least one: a call that can't be understood is a job that has failed with its reason.

    `word`: a corrected command chosen by staff. `by_staff`: redelivered, so that what the door held against the call
    (a revoked secret, GET) does not count any more. A hook's events are remembered, in the caller's transaction.
    """
    if arrived.kind == "hook" and not word:
        return _of_hook(arrived, place, words, by_staff)
    call = wire.understand(
        query=arrived.query,
        headers=headers_of(arrived.headers),
        body=arrived.body,
        words={name: command.PARAMS for name, command in words.items()},
        id_pattern=place.id_pattern,
        word=word,
    )
    if finding := _finding(arrived, call, by_staff):
        detail = {"crm": place.crm, "spelled": call.spelled, "word": call.word, **finding.detail}
        return [_failed(arrived, finding.reason, detail, call.contacts[0] if call.contacts else "")]
    commanded = _of_delivery(arrived) | _commanded(arrived.received, call.word, call.params, place, words)
    return [
        store.NewJob(key=f"{arrived.id}:{n}", contact=contact, **commanded)
        for n, contact in enumerate(call.contacts, start=1)
    ]


def not_readable(arrived: Arrived, error: Exception) -> store.NewJob:
    """The job of a delivery that we broke on: failed, to be redelivered by a version that reads it."""
    return _failed(arrived, "internal-error", {"error": type(error).__name__})


def _failed(arrived: Arrived, reason: str, detail: dict[str, object], contact: str = "") -> store.NewJob:
    return _ended(arrived, "failed", reason, detail, contact)


def _ended(arrived: Arrived, outcome: str, reason: str, detail: dict[str, object], contact: str = "") -> store.NewJob:
    return store.NewJob(
        key=f"{arrived.id}:1",
        contact=contact,
        command="",
        outcome=outcome,
        reason=reason,
        detail=detail,
        **_of_delivery(arrived),
    )


def _of_delivery(arrived: Arrived) -> dict[str, Any]:
    """What all jobs of that delivery have in common."""
    return {
        "delivery": arrived.id,
        "site": arrived.site,
        "connection": arrived.connection,
        "received": arrived.received,
        "source": arrived.kind if arrived.kind == "hook" else "webhook",
    }


@lru_cache(maxsize=256)
def headers_of(text: str) -> Mapping[str, str]:
    """The kept headers, by name in lower case. Calls of one CRM have few different ones."""
    return dict(json.loads(text or "[]"))


def _finding(arrived: Arrived, call: wire.Call, by_staff: bool) -> wire.Finding | None:
    cut_off = arrived.status == 413
    if arrived.status in _DOOR_REASONS and (cut_off or not by_staff):
        same = call.finding if call.finding and call.finding.reason == arrived.reason else None
        return same or wire.Finding(arrived.reason, {"method": arrived.method}, arrived.status)
    return call.finding


def _commanded(
    received: int, word: str, params: Mapping[str, object], place: Place, words: Mapping[str, ModuleType]
) -> dict[str, Any]:
    """What the command adds to each job. `received` in ms."""
    command = words[word]
    job = {"command": word, "params": params, "stream": stream_of(command), "priority": command.PRIORITY}
    if not getattr(command, "RELEASE", False):
        return job
    return job | {
        "release": str(params.get("release", "")),
        "release_delay_ms": place.release_delay_ms,
        "due": received + place.bulk_lag_ms,  # so that one bulk read settles it
    }


# --- native hooks ----------------------------------------------------------------------------------------------

_CUT = {408: "body-stopped", 413: "too-large", 415: "encoding-not-supported"}  # can't be read whole, ever


def _of_hook(arrived: Arrived, place: Place, words: Mapping[str, ModuleType], by_staff: bool) -> list[store.NewJob]:
    """A job for each command that the hook's events ask for, or one that says why there is none."""
    if arrived.status != 200 and (arrived.status in _CUT or not by_staff):
        return [_ended(arrived, "failed", arrived.reason or _CUT[arrived.status], {"method": arrived.method})]
    try:
        told = events.read(_as_hook(arrived), arrived.handshake, place.listening)
    except Permanent as error:
        return [_ended(arrived, "failed", error.reason, {"crm": place.crm, **error.detail})]
    wishes = events.wishes(told, arrived.handshake, place.listening)
    if not wishes:
        reason = "hook-without-contact" if told else "hook-only-tried"
        return [_ended(arrived, "no-op", reason, {"crm": place.crm})]
    common = _of_delivery(arrived)
    return [
        _unless_told(wish, wished(wish, place, words, key=f"{arrived.id}:{n}", **common), place, words)
        for n, wish in enumerate(wishes, start=1)
    ]


def _as_hook(arrived: Arrived) -> hooks.Arrived:
    return hooks.Arrived(
        query=arrived.query,
        headers=headers_of(arrived.headers),
        body=arrived.body,
        received=clock.from_ms(arrived.received),
    )


def _unless_told(wish: events.Wish, job: store.NewJob, place: Place, words: Mapping[str, ModuleType]) -> store.NewJob:
    """That job, or one that has nothing to do: what changes by an amount doesn't run twice for the same events."""
    if wish.trigger is None or triggers.claim(wish.trigger, [event.ref for event in wish.events]):
        return job
    if not getattr(words.get(wish.command), "DELTA", False):
        return job
    return replace(job, outcome="no-op", reason="told-before", detail={"crm": place.crm}, release=None)


def wished(
    wish: events.Wish, place: Place, words: Mapping[str, ModuleType], *, received: int, **common: Any
) -> store.NewJob:
    """The job of what events ask for. `received` in ms; `common`: its key, and where it belongs."""
    known = wish.command in words
    job = _commanded(received, wish.command, wish.params, place, words) if known else {"command": wish.command}
    if not wish.contact:
        job |= {"stream": FIND, "params": {"email": wish.email, **wish.params}}
    return store.NewJob(contact=wish.contact, received=received, **(common | job))
