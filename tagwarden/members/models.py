"""Members, the CRM contacts they are, and the tags these hold."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.db import models


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
        rows = Contact.objects.filter(connection=connection, external_id__in=list(contacts), member__isnull=False)
        found = rows.select_related("member__account", "member__made_password")
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
