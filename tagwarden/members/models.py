"""Members, the CRM contacts they are, and the tags these hold."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, ClassVar

from django.db import models

from tagwarden.core.sql import Dialect


@models.ForeignObject.register_lookup
@models.Field.register_lookup
class _Among(models.Lookup):
    """`field__among=…`: `__in` for a set, which may be empty, as one parameter.

    Measured: Django takes longer to write a list of a hundred parameters than the database takes to answer.
    """

    lookup_name = "among"

    def get_prep_lookup(self) -> list[Any]:
        return list(self.rhs)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, params = self.process_lhs(compiler, connection)
        dialect = Dialect(connection.vendor)
        return dialect.among(column), (*params, dialect.values(self.rhs))


class OfSite(models.QuerySet[Any]):
    """Rows that pages may see: always one site's."""

    def for_site(self, site: Any) -> "OfSite":
        return self.filter(**{self.model.SITE_PATH: site.pk})


class Member(models.Model):
    """Somebody with a place on a site. Signs in by their account."""

    account = models.OneToOneField("accounts.Account", on_delete=models.PROTECT, related_name="member")
    site = models.ForeignKey("accounts.Site", on_delete=models.PROTECT, related_name="members")
    created = models.DateTimeField(auto_now_add=True)

    SITE_PATH = "site"
    objects = OfSite.as_manager()

    def __str__(self) -> str:
        return str(self.account)

    @classmethod
    def of_contacts(cls, connection: int, contacts: Iterable[str]) -> "dict[str, Member]":
        """Contact id → its member, with account and the password that we made."""
        found = Contact.of_members(connection, contacts).select_related("member__account", "member__made_password")
        return {contact.external_id: contact.member for contact in found if contact.member}


class MadePassword(models.Model):
    """A password that we made for a member and hand over to the CRM. `sealed` is empty once that is done or given up.

    Whether the member has signed in with it says the account's `last_login`.
    """

    member = models.OneToOneField(Member, primary_key=True, on_delete=models.CASCADE, related_name="made_password")
    made = models.DateTimeField()
    sealed = models.TextField(blank=True)
    reached = models.DateTimeField(null=True)  # when the CRM confirmed it


class Contact(models.Model):
    """A person in a CRM, as the last read showed them.

    `read_started_at` is when that read began: a read that began earlier is not applied any more.
    """

    class State(models.TextChoices):
        LIVE = "live"
        DELETED = "deleted"
        MERGED = "merged"

    connection = models.ForeignKey("connections.Connection", on_delete=models.PROTECT, related_name="contacts")
    external_id = models.CharField(max_length=64)
    member = models.ForeignKey(Member, null=True, on_delete=models.SET_NULL, related_name="contacts")
    primary = models.BooleanField(default=True)
    email = models.CharField(max_length=254, blank=True)
    first_name = models.CharField(max_length=120, blank=True)
    last_name = models.CharField(max_length=120, blank=True)
    fields = models.JSONField(default=dict)
    read_started_at = models.DateTimeField(null=True)
    state = models.CharField(max_length=8, choices=State, default=State.LIVE)
    merged_into = models.ForeignKey("self", null=True, on_delete=models.SET_NULL)
    created = models.DateTimeField(auto_now_add=True)

    SITE_PATH = "connection__site"
    objects = OfSite.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["connection", "external_id"], name="one_contact_per_connection_and_id")
        ]

    def __str__(self) -> str:
        return self.external_id

    @classmethod
    def of_members(cls, connection: int, contacts: Iterable[str]) -> "models.QuerySet[Contact]":
        """Those of these contacts (ids at the CRM) that belong to a member here."""
        return cls.objects.filter(connection=connection, external_id__among=set(contacts), member__isnull=False)

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()


class Tag(models.Model):
    """A tag of a CRM. Everything refers to this row, so that a rename there breaks nothing here."""

    connection = models.ForeignKey("connections.Connection", on_delete=models.CASCADE, related_name="tags")
    external_id = models.CharField(max_length=64)
    name = models.CharField(max_length=255)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["connection", "external_id"], name="one_tag_per_connection_and_id")
        ]

    def __str__(self) -> str:
        return self.name


class Source(models.TextChoices):
    """Why a tag came or went. `ref` beside it names the job."""

    FIRST_READ = "first", "there when the contact was first read"
    CALL = "call", "a webhook"
    RELEASE = "release", "a release"
    ORDER = "order", "an order"
    SWEEP = "sweep", "found by a sweep"
    STAFF = "staff", "by hand"
    OURS = "ours", "written by Tagwarden"


class ContactTag(models.Model):
    """A contact held a tag from `since` until `until` (null: holds it now), and why it came and went.

    No index leads with the tag: one tag put on everybody would write each of its pages anew (measured).
    """

    contact = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="held_tags", db_index=False)
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="holders", db_index=False)
    since = models.DateTimeField()
    source = models.CharField(max_length=8, choices=Source)
    ref = models.CharField(max_length=80, blank=True)
    until = models.DateTimeField(null=True)
    until_source = models.CharField(max_length=8, choices=Source, blank=True)
    until_ref = models.CharField(max_length=80, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["contact", "tag"], condition=models.Q(until__isnull=True), name="one_live_row_per_tag"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["contact", "until"], condition=models.Q(until__isnull=False), name="tags_taken_away")
        ]


class Sweep(models.Model):
    """One drift check of a connection: every member's contact is read, and what differs here is mended.

    It is worked step by step (worker/sweeps.py): `step` counts them, `phase` and `cursor` say where the next begins.
    `read` counts contacts of members, `listed` all that the list held, `gained` and `lost` tags, `would_lose` members.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        STOPPED = "stopped"  # too many would lose a tag: staff decide
        FINISHED = "finished"
        DISMISSED = "dismissed"  # staff decided that nothing is taken away
        REPLACED = "replaced"  # a later one began before this one was through or decided

    class Phase(models.TextChoices):
        LIST = "list", "reading the list of all contacts"
        IDS = "ids", "reading members by id"
        LOSSES = "losses", "looking again before tags are taken away"

    connection = models.ForeignKey("connections.Connection", on_delete=models.CASCADE, related_name="sweeps")
    key = models.CharField(max_length=80, unique=True)  # its first job's
    asked = models.DateTimeField()
    started = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)  # when it came to an end, or stopped
    state = models.CharField(max_length=9, choices=State, default=State.RUNNING)
    feed = models.CharField(max_length=4, blank=True)  # list | ids
    phase = models.CharField(max_length=6, choices=Phase, default=Phase.IDS)
    cursor = models.TextField(blank=True)
    step = models.IntegerField(default=0)
    members = models.IntegerField(default=0)  # contacts of members when it began
    listed = models.IntegerField(default=0)
    read = models.IntegerField(default=0)
    gained = models.IntegerField(default=0)
    lost = models.IntegerField(default=0)
    suspects = models.IntegerField(default=0)
    gone = models.IntegerField(default=0)  # flagged: the CRM has no such contact any more
    moved = models.IntegerField(default=0)  # merged there, and followed
    unread = models.IntegerField(default=0)
    would_lose = models.IntegerField(default=0)
    calls = models.IntegerField(default=0)
    bulk_calls = models.IntegerField(default=0)  # of these, the reads of many by id
    decided_by = models.ForeignKey("accounts.Account", null=True, on_delete=models.SET_NULL, related_name="+")

    SITE_PATH = "connection__site"
    objects = OfSite.as_manager()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["connection", "asked"], name="sweep_list")]

    def __str__(self) -> str:
        return self.key

    @property
    def slug(self) -> str:
        """Its name in addresses."""
        return f"{self.key.rpartition(':')[2]}-{sha256(self.key.encode()).hexdigest()[:6]}"


class SweepFinding(models.Model):
    """A tag that a sweep gave, found missing at the CRM, or took away."""

    class What(models.TextChoices):
        GAINED = "gained"
        MISSING = "missing"  # held here, not there: nothing was taken away for it (yet)
        LOST = "lost"

    sweep = models.ForeignKey(Sweep, on_delete=models.CASCADE, related_name="findings", db_index=False)
    contact = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="+", db_index=False)
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="+", db_index=False)
    what = models.CharField(max_length=7, choices=What)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["sweep", "contact", "tag"], name="one_finding_a_tag")]
