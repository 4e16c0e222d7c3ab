"""From a delivery to its jobs: what intake does with each call, and *Redeliver* with one not understood before."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType

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


@dataclass(frozen=True, slots=True)
class Arrived:
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
    first = _first(arrived)
    if arrived.kind == "hook":
        return [replace(first, outcome="failed", reason="hook-not-understood", detail={"crm": place.crm})]
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
        contact = call.contacts[0] if call.contacts else ""
        return [replace(first, contact=contact, outcome="failed", reason=finding.reason, detail=detail)]
    commanded = _commanded(first, call, place, words[call.word])
    return [
        replace(commanded, key=f"{arrived.id}:{n}", contact=contact) for n, contact in enumerate(call.contacts, start=1)
    ]


def not_readable(arrived: Arrived, error: Exception) -> store.NewJob:
    """The job of a delivery that we broke on: failed, to be redelivered by a version that reads it."""
    return replace(_first(arrived), outcome="failed", reason="internal-error", detail={"error": type(error).__name__})


def _first(arrived: Arrived) -> store.NewJob:
    return store.NewJob(
        key=f"{arrived.id}:1",
        delivery=arrived.id,
        site=arrived.site,
        connection=arrived.connection,
        command="",
        received=arrived.received,
        source=arrived.kind if arrived.kind == "hook" else "webhook",
    )


def headers_of(text: str) -> dict[str, str]:
    """The kept headers, by name in lower case."""
    return dict(json.loads(text or "[]"))


def _finding(arrived: Arrived, call: wire.Call, by_staff: bool) -> wire.Finding | None:
    cut_off = arrived.status == 413
    if arrived.status in _DOOR_REASONS and (cut_off or not by_staff):
        same = call.finding if call.finding and call.finding.reason == arrived.reason else None
        return same or wire.Finding(arrived.reason, {"method": arrived.method}, arrived.status)
    return call.finding


def _commanded(first: store.NewJob, call: wire.Call, place: Place, command: ModuleType) -> store.NewJob:
    job = replace(
        first,
        command=call.word,
        params=call.params,
        stream=stream_of(command),
        priority=command.PRIORITY,
    )
    if not getattr(command, "RELEASE", False):
        return job
    return replace(
        job,
        release=str(call.params.get("release", "")),
        release_delay_ms=place.release_delay_ms,
        due=job.received + place.bulk_lag_ms,  # so that one bulk read settles it
    )
