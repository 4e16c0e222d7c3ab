"""The journal's tables, to read in pages and to migrate. Written by `journal/store.py` and its parts only.

Moments are milliseconds since 1970 in UTC, the same on SQLite and PostgreSQL; the field turns them into aware
datetimes here. Site, connection, handshake and account are plain numbers: the journal outlives what they name.
"""

from datetime import datetime
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from tagwarden.core import clock


class Instant(models.BigIntegerField):  # type: ignore[type-arg]  # can't be subscripted at run time
    """A moment, kept as milliseconds since 1970."""

    def from_db_value(self, value: int | None, expression: object, connection: object) -> datetime | None:
        return None if value is None else clock.from_ms(value)

    def get_prep_value(self, value: Any) -> Any:
        return clock.to_ms(value) if isinstance(value, datetime) else super().get_prep_value(value)

    def to_python(self, value: Any) -> Any:
        return value if value is None or isinstance(value, datetime) else clock.from_ms(int(value))


class OfSite(models.QuerySet[Any]):
    """Rows that pages may see: always one site's."""

    def for_site(self, site: Any) -> "OfSite":
        return self.filter(site=site.pk)


class Delivery(models.Model):
    """One HTTP call as it came, its handshake replaced by `***`. Every delivery has at least one job."""

    id = models.CharField(max_length=36, primary_key=True)  # UUIDv7, also X-Request-Id
    site = models.BigIntegerField()
    connection = models.BigIntegerField()
    handshake = models.BigIntegerField()
    received = Instant()
    kind = models.CharField(max_length=8)  # call | hook
    method = models.CharField(max_length=20)
    path = models.TextField()
    query = models.TextField()
    headers = models.TextField()  # JSON list of pairs
    body = models.BinaryField()
    body_size = models.IntegerField()
    address = models.CharField(max_length=64)
    host = models.CharField(max_length=255)
    status = models.SmallIntegerField()  # what we answered

    objects = OfSite.as_manager()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["site", "received"], name="delivery_site_received")]


class State(models.TextChoices):
    """Where a job is. *In hand* is a waiting job with an open attempt."""

    WAITING = "waiting"
    HELD = "held"
    FINISHED = "finished"


class Standing(models.TextChoices):
    """What the list shows of a job and all its children: the worst of them, or how far they are."""

    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    WAITING = "waiting"
    HELD = "held"
    NO_OP = "no-op"
    DONE = "done"


class Job(models.Model):
    """One command for one contact, or one effect: the unit of work.

    `stream` says which jobs of a contact keep their order among one another: commands do, effects do, refreshes
    take no part. `turn` is a job's place in it.
    """

    key = models.CharField(max_length=120, unique=True)
    delivery = models.CharField(max_length=36, null=True)
    parent = models.BigIntegerField(null=True)
    root = models.BigIntegerField(null=True)  # null: this is a root, listed among the deliveries
    step = models.CharField(max_length=40)
    after = models.CharField(max_length=120, null=True)  # key of a sibling that must be done first
    site = models.BigIntegerField()
    connection = models.BigIntegerField()  # 0: none
    lane = models.BigIntegerField()
    contact = models.CharField(max_length=64)
    stream = models.CharField(max_length=8)  # refresh | command | effect | find
    command = models.CharField(max_length=40)
    params = models.TextField(default="{}")  # JSON
    source = models.CharField(max_length=8)  # webhook hook staff leader member order clock api sweep
    account = models.BigIntegerField(null=True)  # who pressed the button
    received = Instant()
    turn = Instant()
    due = Instant()
    priority = models.SmallIntegerField()
    state = models.CharField(max_length=8, choices=State)
    outcome = models.CharField(max_length=8, default="")
    reason = models.CharField(max_length=40, default="")
    detail = models.TextField(default="{}")  # JSON: fills the reason's sentence, or what changed
    standing = models.CharField(max_length=8, choices=Standing)
    tries = models.SmallIntegerField(default=0)
    crashes = models.SmallIntegerField(default=0)
    release = models.BigIntegerField(null=True)
    finished = Instant(null=True)

    objects = OfSite.as_manager()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["lane", "priority", "due"], condition=Q(state="waiting"), name="job_due"),
            models.Index(fields=["lane", "contact"], condition=Q(state="waiting"), name="job_waiting_contact"),
            models.Index(fields=["lane", "contact"], condition=Q(stream="effect"), name="job_effect_contact"),
            models.Index(fields=["site", "command"], condition=Q(state="held"), name="job_held"),
            models.Index(fields=["delivery"], name="job_delivery"),
            models.Index(fields=["root"], condition=Q(root__isnull=False), name="job_root"),
            models.Index(fields=["release", "standing"], condition=Q(release__isnull=False), name="job_release"),
            models.Index(fields=["site", "received"], condition=Q(root__isnull=True), name="job_list"),
            models.Index(
                fields=["site", "standing", "received"],
                condition=Q(root__isnull=True),
                name="job_list_standing",
            ),
            models.Index(fields=["site", "contact", "received"], name="job_contact"),
            models.Index(
                fields=["site", "reason"],
                condition=Q(outcome__in=["failed", "refused", "unknown"]),
                name="job_reason",
            ),
            models.Index(fields=["reason"], condition=Q(state="held"), name="job_held_reason"),
            models.Index(fields=["finished"], condition=Q(outcome="failed"), name="job_failed"),
        ]


class Attempt(models.Model):
    """One try of a job. Open while the job is in hand; one left open under a lost lease is a crash."""

    job = models.BigIntegerField()
    token = models.CharField(max_length=32)
    worker = models.CharField(max_length=80)
    started = Instant()
    sent = models.BooleanField(default=False)  # an effect's call may have left
    ended = Instant(null=True)
    # An outcome, or retry | settling | paused | crash | given-back | found.
    result = models.CharField(max_length=10, default="")
    reason = models.CharField(max_length=40, default="")
    detail = models.TextField(default="{}")
    calls = models.TextField(default="[]")  # JSON: what we asked the CRM and what came of it

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["job"], name="attempt_job"),
            models.Index(fields=["token"], condition=Q(ended__isnull=True), name="attempt_open"),
        ]


class Lane(models.Model):
    """The jobs of one connection, or of a site without one. One worker at a time drains it, under its lease."""

    site = models.BigIntegerField()
    connection = models.BigIntegerField()  # 0: the site's own lane
    next_due = Instant(null=True)
    token = models.CharField(max_length=32, default="")
    until = Instant(default=0)
    worker = models.CharField(max_length=80, default="")
    paused_until = Instant(default=0)
    budget = models.TextField(default="{}")
    breaker = models.TextField(default="{}")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["site", "connection"], name="one_lane_per_connection")]
        indexes: ClassVar = [models.Index(fields=["next_due"], condition=Q(next_due__isnull=False), name="lane_due")]


class Release(models.Model):
    """One batch sync that staff can watch: all batchsync calls of a connection under one name."""

    site = models.BigIntegerField()
    connection = models.BigIntegerField()
    name = models.CharField(max_length=200)  # as long as a parameter may be
    opened = Instant()
    reads_at = Instant()
    last_call = Instant()
    delay_ms = models.BigIntegerField()
    calls = models.IntegerField(default=0)
    closed = Instant(null=True)

    objects = OfSite.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["connection", "name"], condition=Q(closed__isnull=True), name="one_open_release"
            )
        ]
        indexes: ClassVar = [models.Index(fields=["site", "opened"], name="release_list")]


class SpoolPosition(models.Model):
    """How far a receiver's spool was carried into the journal."""

    spool = models.CharField(max_length=36, primary_key=True)
    segment = models.CharField(max_length=40)
    line = models.BigIntegerField()
    moved = Instant()


class Heartbeat(models.Model):
    """A process that works: worker or intake. It says every few seconds that it is alive, and what it counted."""

    name = models.CharField(max_length=120, primary_key=True)
    kind = models.CharField(max_length=8)  # worker | intake
    host = models.CharField(max_length=64)
    pid = models.IntegerField()
    started = Instant()
    seen = Instant()  # by the database's clock
    counts = models.TextField(default="[]")  # JSON: core/tally.counts()


class Restore(models.Model):
    """When a site's data came out of a backup. Its effects are held until somebody resumed."""

    site = models.BigIntegerField(primary_key=True)
    moment = Instant()
    resumed = Instant(null=True)

    objects = OfSite.as_manager()


class Stranger(models.Model):
    """A call with a command but a secret nobody knows. Only the last 200 a site are kept."""

    site = models.BigIntegerField()  # by the Host header; 0: no site of ours
    received = Instant()
    word = models.CharField(max_length=60)
    path = models.TextField()
    address = models.CharField(max_length=64)
    host = models.CharField(max_length=255)

    objects = OfSite.as_manager()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["site", "received"], name="stranger_list")]


class Counter(models.Model):
    """How many listed jobs of an hour stand how, so that no page has to count the journal."""

    site = models.BigIntegerField()
    hour = models.IntegerField()  # hours since 1970
    connection = models.BigIntegerField()
    command = models.CharField(max_length=40)
    standing = models.CharField(max_length=8)  # or: stranger
    n = models.BigIntegerField()

    objects = OfSite.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["site", "hour", "connection", "command", "standing"], name="one_counter_row"
            )
        ]
