"""The demo's sample site: Northlight Studio, with all contacts of the sandbox CRM as members."""

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.db import transaction
from django.urls import reverse

from tagwarden.accounts import sign_in, sites
from tagwarden.accounts.models import Account, Site
from tagwarden.cli import migrate
from tagwarden.connections import connect, handshakes, setup
from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.mapping import mapped
from tagwarden.journal.models import Release
from tagwarden.members import enrol
from tagwarden.members.models import ContactTag, Source
from tagwarden.staff import rows

RELEASE_DELAY = 4  # seconds that a release collects calls, here; 300 is usual


@dataclass
class Filled:
    """The sample site, as the demo needs it."""

    site: Site
    connection: Connection
    owner: Account

    @property
    def release_delay(self) -> int:
        """Seconds for which a release collects calls."""
        return self.connection.options.release_delay

    def release_url(self, name: str) -> str:
        """The webhook that the CRM fires."""
        secret = handshakes.reveal(self.connection.handshakes.get())
        return setup.webhook_url(self.connection, "batchsync", {"release": name}, secret)

    def sign_in_link(self) -> str:
        """A one-time link to the staff pages."""
        return sign_in.make_link(self.owner, site=self.site, lives=timedelta(hours=24))

    def release_page(self) -> str:
        """Where staff watch the release; the list of releases while there is none."""
        release = Release.objects.filter(connection=self.connection.pk).order_by("-pk").first()
        where = reverse("release", args=[rows.slug(release)]) if release else reverse("releases")
        return f"{self.site.public_url}{where}"

    def holders(self, tag: str) -> int:
        """How many members hold that tag now."""
        held = ContactTag.objects.filter(tag__connection=self.connection, tag__name=tag, until=None)
        return held.filter(contact__member__isnull=False).count()


def fill(*, public_url: str, crm_url: str) -> Filled:
    """Makes the site, its owner and its connection, and members of all contacts that the CRM has."""
    site = sites.add_site("Northlight Studio", host="127.0.0.1", timezone=_zone(), public_url=public_url)
    owner = Account.objects.create(
        site=site,
        email="owner@northlight.example",
        first_name="Mara",
        last_name="Lind",
        role=Account.Role.OWNER,
    )
    link = setup.add_connection(
        site, "sandbox", name="Sandbox CRM", base_url=crm_url, credentials={"api_key": "sandbox-key"}
    )
    setup.change(link, {"release_delay": str(RELEASE_DELAY)})
    migrate.fill_door()
    for page in connect.open_crm(link).everybody():
        with transaction.atomic():
            enrol.enrol(
                connection=link.pk,
                site=site.pk,
                snapshots=[mapped(snapshot, link.options) for snapshot in page],
                source=Source.FIRST_READ,
                ref="",
                now=clock.now(),
            )
    return Filled(site, link, owner)


def _zone() -> str:
    """This machine's time zone, or UTC if it can't be told."""
    if name := os.environ.get("TZ", "").lstrip(":"):
        return name if _is_zone(name) else "UTC"
    _, _, name = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")
    return name if name and _is_zone(name) else "UTC"


def _is_zone(name: str) -> bool:
    return Path("/usr/share/zoneinfo", name).is_file()
