"""From a delivery to its jobs: what intake does with each call, and *Redeliver* with one not understood before."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

from tagwarden.connections import connect
from tagwarden.connections.models import Connection
from tagwarden.core import wire
from tagwarden.journal import store
from tagwarden.worker.dispatch import stream_of

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


def places(connections: Iterable[int]) -> dict[int, Place]:
    """Connection → its place."""
    return {connection.pk: _place(connection) for connection in Connection.objects.filter(pk__in=set(connections))}


def _place(connection: Connection) -> Place:
    crm = connect.adapter_class(connection.crm)
    return Place(
        crm=crm.label,
        secret=connection.options.password_field,
        id_pattern=crm.id_pattern,
        bulk_lag_ms=round(crm.bulk_lag.total_seconds() * 1000),
        release_delay_ms=connection.options.release_delay * 1000,
    )


def jobs_of(
    arrived: Arrived, place: Place, words: Mapping[str, ModuleType], *, word: str = "", by_staff: bool = False
) -> list[store.NewJob]:
    """The jobs of a delivery, at least one: a call that can't be understood is a job that has failed with its reason.

    `word`: a corrected command chosen by staff. `by_staff`: redelivered, so that what the door held against the call
    (a revoked secret, GET) does not count any more.
    """
    if arrived.kind == "hook":
        return [_failed(arrived, "hook-not-understood", {"crm": place.crm})]
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
    commanded = _of_delivery(arrived) | _commanded(arrived, call, place, words[call.word])
    return [
        store.NewJob(key=f"{arrived.id}:{n}", contact=contact, **commanded)
        for n, contact in enumerate(call.contacts, start=1)
    ]


def not_readable(arrived: Arrived, error: Exception) -> store.NewJob:
    """The job of a delivery that we broke on: failed, to be redelivered by a version that reads it."""
    return _failed(arrived, "internal-error", {"error": type(error).__name__})


def _failed(arrived: Arrived, reason: str, detail: dict[str, object], contact: str = "") -> store.NewJob:
    return store.NewJob(
        key=f"{arrived.id}:1",
        contact=contact,
        command="",
        outcome="failed",
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


def _commanded(arrived: Arrived, call: wire.Call, place: Place, command: ModuleType) -> dict[str, Any]:
    """What the command adds to each job."""
    job = {
        "command": call.word,
        "params": call.params,
        "stream": stream_of(command),
        "priority": command.PRIORITY,
    }
    if not getattr(command, "RELEASE", False):
        return job
    return job | {
        "release": str(call.params.get("release", "")),
        "release_delay_ms": place.release_delay_ms,
        "due": arrived.received + place.bulk_lag_ms,  # so that one bulk read settles it
    }
