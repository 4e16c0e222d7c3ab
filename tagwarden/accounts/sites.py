"""Making a site, and changing it."""

import re
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from tagwarden.accounts import audit
from tagwarden.accounts.models import Site
from tagwarden.core.errors import SettingsError

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:]+\]", re.ASCII)


def add_site(name: str, *, host: str, timezone: str = "UTC", public_url: str = "", mail_from: str = "") -> Site:
    """A new site.

    `host`: what stands in its address, without port. `timezone`: an IANA name. `public_url`: what links begin
    with; https://<host> if left out. `mail_from`: the address its mails come from; without one none leaves.
    Raises SettingsError with a sentence on a bad value or a host in use.
    """
    host = host.strip().lower()
    if not _HOST.fullmatch(host):
        raise SettingsError(f"“{host}” is no host name. Give it alone, as in members.example.com.")
    url = public_url.strip().rstrip("/") or f"https://{host}"
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise SettingsError(f"“{url}” is no web address. It must start with https://.")
    with transaction.atomic():
        if Site.objects.filter(host=host).exists():
            raise SettingsError(f"There is a site with the host {host} already.")
        sender = _address(mail_from) if mail_from else ""
        values = {"timezone": _zone(timezone), "public_url": url, "mail_from": sender}
        site = Site.objects.create(name=_name(name), host=host, **values)
        audit.note("site-added", site.name, site=site)
    return site


def set_mail_from(site: Site, address: str) -> None:
    """The address that the site's mails come from. Raises SettingsError with a sentence if it is none."""
    site.mail_from = _address(address)
    with transaction.atomic():
        site.save(update_fields=["mail_from"])
        audit.note("mail-from-set", site.mail_from, site=site)


def _address(text: str) -> str:
    try:
        validate_email(text.strip())
    except ValidationError as error:
        raise SettingsError(f"“{text}” is no e-mail address. Give it alone, as in hello@example.com.") from error
    return text.strip()


def _name(text: str) -> str:
    text = " ".join(text.split())
    if not 0 < len(text) <= 120:
        raise SettingsError("A site's name has 1 to 120 characters.")
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise SettingsError(f"“{text}” is no time zone. Write it as in America/Chicago.") from error
    return text
