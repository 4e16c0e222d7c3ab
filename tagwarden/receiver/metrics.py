"""What /metrics tells, as Prometheus reads it. Who may read it is asked here, too.

What this process counts comes from memory, what workers count from their last heartbeat, what the journal keeps from
its counters: nothing is counted when somebody asks.
"""

import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from granian.rsgi import Scope
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tagwarden import __version__
from tagwarden.core.health import Check, Vitals
from tagwarden.core.proxy import is_loopback
from tagwarden.core.tally import Spread
from tagwarden.receiver.app import Receiver
from tagwarden.spool.group_commit import GroupCommit
from tagwarden.spool.log import Backlog

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REFUSED = (
    b"Metrics are read from this machine itself, past no proxy; from elsewhere with the token that "
    b"TAGWARDEN_METRICS_TOKEN holds, as Authorization: Bearer.\n"
)
_OF_PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_COUNTED_BY_WORKERS = {
    "attempts": "Tries of jobs that ended, by what came of them.",
    "crm_calls": "Calls to CRMs by connection and HTTP status; 0: no answer.",
}


def may_read(scope: Scope, token: str) -> bool:
    """With a token: who sends it. Without one: who asks on this machine and comes through no proxy."""
    headers = dict(scope.headers.items())
    if token:
        return hmac.compare_digest(headers.get("authorization", "").encode(), f"Bearer {token}".encode())
    named = headers.get("host") or scope.authority or ""
    through_proxy = any(name in headers for name in _OF_PROXIES)
    return is_loopback(scope.client) and is_loopback(named) and not through_proxy


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to tell. None: not known now."""

    receiver: Receiver
    commit: GroupCommit
    checks: Sequence[Check]
    vitals: Vitals | None
    backlog: Backlog | None
    oldest: float | None
    standings: Mapping[tuple[int, str], int] | None


def text(seen: Seen) -> bytes:
    """Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(seen))
    return generate_latest(registry)


class _Told(Collector):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        yield _gauge("info", "This server.", {"version": __version__}, 1)
        yield _by_label("check_ok", "1: well, 0: a finding.", "check", {c.name: c.ok for c in self._seen.checks})
        yield from _of_receiver(self._seen)
        yield from _of_spool(self._seen)
        if self._seen.vitals and self._seen.vitals.fits:
            yield from _of_work(self._seen.vitals)
            yield from _of_workers(self._seen.vitals)
        if self._seen.standings is not None:
            yield _standings(self._seen.standings)


def _of_receiver(seen: Seen) -> Iterator[Metric]:
    answers = CounterMetricFamily(
        "tagwarden_deliveries", "Calls answered by this process.", labels=("status", "reason")
    )
    for (status, reason), n in sorted(seen.receiver.answered.items()):
        answers.add_metric((str(status), reason), n)
    yield answers
    yield _histogram("answer_seconds", "From a call's head to its answer, on disk.", seen.receiver.seconds)


def _of_spool(seen: Seen) -> Iterator[Metric]:
    record, state = seen.commit.record, seen.commit.state()
    yield _histogram("spool_batch_rows", "Calls put on disk together.", record.batches)
    yield _histogram("spool_commit_seconds", "Time to put a batch on disk.", record.seconds)
    yield _gauge("spool_queued_bytes", "What waits for the disk in memory.", {}, state.queued_bytes)
    if seen.backlog:
        yield _gauge("spool_backlog_rows", "Calls on this disk, not in the journal yet.", {}, seen.backlog.rows)
        yield _gauge("spool_backlog_age_seconds", "For how long the oldest of them waits.", {}, seen.oldest or 0)
    for check in seen.checks:
        if check.name == "disk" and isinstance(free := check.figures.get("free_bytes"), int):
            yield _gauge("disk_free_bytes", "Room in the data folder.", {}, free)


def _of_work(vitals: Vitals) -> Iterator[Metric]:
    yield _gauge("oldest_due_seconds", "For how long the oldest due work waits.", {}, vitals.oldest_due or 0)
    failed = dict(vitals.failed)
    yield _by_label("failed_last_hour", "Jobs that failed within the last hour.", "reason", failed)


def _of_workers(vitals: Vitals) -> Iterator[Metric]:
    ages = GaugeMetricFamily(
        "tagwarden_heartbeat_age_seconds", "Since the last sign of life.", labels=("kind", "process")
    )
    families: dict[str, CounterMetricFamily] = {}
    for beat in vitals.heartbeats:
        ages.add_metric((beat.kind, beat.name), beat.age)
        for name, labels, n in beat.counts:
            if name in _COUNTED_BY_WORKERS:
                told = {"process": beat.name, **labels}
                family = families.setdefault(name, _counter(name, tuple(told)))
                family.add_metric(tuple(told.values()), n)
    yield ages
    yield from families.values()


def _counter(name: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(f"tagwarden_{name}", _COUNTED_BY_WORKERS[name], labels=labels)


def _standings(standings: Mapping[tuple[int, str], int]) -> Metric:
    family = GaugeMetricFamily(
        "tagwarden_jobs", "Listed jobs of the last seven days by how they stand.", labels=("connection", "standing")
    )
    for (connection, standing), n in standings.items():
        family.add_metric((str(connection), standing), n)
    return family


def _gauge(name: str, help_: str, labels: Mapping[str, str], value: float) -> Metric:
    family = GaugeMetricFamily(f"tagwarden_{name}", help_, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family


def _by_label(name: str, help_: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"tagwarden_{name}", help_, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _histogram(name: str, help_: str, spread: Spread) -> Metric:
    reached = list(accumulate(spread.counts))
    bounds = [*map(str, map(float, spread.bounds)), "+Inf"]
    return HistogramMetricFamily(
        f"tagwarden_{name}", help_, buckets=list(zip(bounds, reached, strict=True)), sum_value=spread.sum
    )
