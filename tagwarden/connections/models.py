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


class Door(models.Model):
    """One row: raised with every change of a handshake, so that the door tables are filled anew."""

    version = models.BigIntegerField(default=1)
