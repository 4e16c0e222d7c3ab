"""A site's links to its CRMs, and the secrets of the webhooks that come from there."""

from typing import ClassVar

from django.db import models

from tagwarden.core import options


class Connection(models.Model):
    """A site's link to one account at a CRM. `credentials` is a JSON object, encrypted."""

    site = models.ForeignKey("accounts.Site", on_delete=models.PROTECT, related_name="connections")
    crm = models.CharField(max_length=40)  # the adapter's file name
    name = models.CharField(max_length=120)
    base_url = models.CharField(max_length=300, blank=True)
    credentials = models.TextField(blank=True)
    options_json = models.TextField(default="{}")
    active = models.BooleanField(default=True)
    created = models.DateTimeField(auto_now_add=True)
    renewing_until = models.BigIntegerField(default=0)  # ms: until then somebody renews its tokens
    hooks_checked = models.DateTimeField(null=True)  # when its hooks at the CRM were last looked at
    hooks_finding = models.TextField(blank=True)  # what was found then beside its triggers, in sentences

    def __str__(self) -> str:
        return self.name

    @property
    def options(self) -> options.ConnectionOptions:
        return options.load(options.ConnectionOptions, self.options_json)


class Handshake(models.Model):
    """The secret in a webhook's URL: `digest` to look it up, `sealed` to show it to its owner again."""

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="handshakes")
    name = models.CharField(max_length=120)
    digest = models.CharField(max_length=64, unique=True)
    sealed = models.TextField()
    scopes = models.CharField(max_length=400, blank=True)  # commands, comma-separated; empty: all
    get_allowed = models.BooleanField(default=False)
    imported = models.BooleanField(default=False)
    created = models.DateTimeField(auto_now_add=True)
    revoked = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name


class HandshakeUse(models.Model):
    """When a handshake last ran a command."""

    handshake = models.ForeignKey(Handshake, on_delete=models.CASCADE, related_name="uses")
    word = models.CharField(max_length=40)
    last_used = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["handshake", "word"], name="one_row_per_handshake_and_word")
        ]


class Trigger(models.Model):
    """A tag that runs a command when somebody gets it, told by a hook that we set up at the CRM.

    `former`: the handshake before the last rotation, whose calls may still be under way. `sealed_secrets`: those
    that the hook's signature may be made with, encrypted.
    """

    class State(models.TextChoices):
        """How its hook was when it was last looked at."""

        NEW = "new"
        ALIVE = "alive"
        REVIVED = "revived"
        MADE_AGAIN = "made-again"
        BROKEN = "broken"

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="triggers")
    handshake = models.ForeignKey(Handshake, on_delete=models.PROTECT, related_name="triggers")
    former = models.ForeignKey(Handshake, null=True, on_delete=models.SET_NULL, related_name="former_triggers")
    happened = models.CharField(max_length=20)  # core.hooks.Happened
    tag = models.CharField(max_length=64)  # its id at the CRM
    tag_name = models.CharField(max_length=255)
    command = models.CharField(max_length=40)
    params = models.JSONField(default=dict)
    take_off = models.BooleanField(default=True)
    hook = models.CharField(max_length=120, blank=True)  # its id at the CRM
    sealed_secrets = models.TextField(blank=True)
    state = models.CharField(max_length=12, choices=State, default=State.NEW)
    finding = models.TextField(blank=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["connection", "happened", "tag"], name="one_trigger_per_tag")
        ]

    def __str__(self) -> str:
        return self.tag_name


class ToldEvent(models.Model):
    """An event that ran a trigger: `ref` is the trigger's number and the vendor's id of the event. Kept for 30 days."""

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="+")
    ref = models.CharField(max_length=120)
    seen = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["connection", "ref"], name="one_row_per_event")]
        indexes: ClassVar = [models.Index(fields=["seen"], name="told_event_seen")]


class Door(models.Model):
    """One row: raised with every change of a handshake, so that the door tables are filled anew."""

    version = models.BigIntegerField(default=1)
