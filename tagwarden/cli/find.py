"""From what somebody typed to the one row it means, or a sentence."""

from pathlib import Path

import typer
from django.db.models import Q

from tagwarden.accounts.models import Site
from tagwarden.connections.models import Connection, Handshake
from tagwarden.core.errors import SettingsError
from tagwarden.journal.models import Delivery, Job
from tagwarden.members.models import Member


def site(text: str) -> Site:
    """By host, name or number. Raises SettingsError, as all here do, if it is none or not clear which."""
    wanted = Q(host=text.lower()) | Q(name__iexact=text)
    if text.isdecimal():
        wanted |= Q(pk=int(text))
    found = list(Site.objects.filter(wanted)[:2])
    if len(found) == 1:
        return found[0]
    if found:
        raise SettingsError(f"Several sites go by “{text}”. Name the one you mean by its host.")
    raise SettingsError(f"There is no site “{text}”. `tagwarden site list` shows all.")


def connection(text: str) -> Connection:
    """By its number."""
    found = Connection.objects.select_related("site").filter(pk=_number(text)).first()
    if found is None:
        raise SettingsError(f"There is no connection {text}. `tagwarden connection list` shows all.")
    return found


def handshake(text: str) -> Handshake:
    """By its number."""
    found = Handshake.objects.select_related("connection__site").filter(pk=_number(text)).first()
    if found is None:
        raise SettingsError(f"There is no handshake {text}. `tagwarden handshake list` shows all.")
    return found


def jobs(text: str) -> list[Job]:
    """The listed jobs of a delivery, or one job: by its id, or the beginning of it."""
    if len(text) < 4:
        raise SettingsError("Give at least the first 4 characters of the id.")
    exact = Job.objects.filter(Q(delivery=text) | Q(key=text), root=None)
    found = list(exact) or list(_by_beginning(text))
    if not found:
        raise SettingsError(f"There is no delivery {text}. `tagwarden delivery list` shows the latest.")
    return found


def _by_beginning(text: str) -> list[Job]:
    deliveries = list(Delivery.objects.filter(pk__startswith=text).values_list("pk", flat=True)[:2])
    if len(deliveries) == 1:
        return list(Job.objects.filter(delivery=deliveries[0], root=None).order_by("pk"))
    loose = list(Job.objects.filter(key__startswith=text, delivery=None, root=None)[:2])
    if len(deliveries) + len(loose) > 1:
        raise SettingsError(f"Several deliveries begin with {text}. Give more of the id.")
    return loose


def member(text: str) -> Member:
    """By the account's id, or by e-mail."""
    rows = Member.objects.select_related("account", "site")
    found: list[Member] = list(rows.filter(Q(account__login=text) | Q(account__email__iexact=text))[:2])
    if len(found) == 1:
        return found[0]
    if found:
        raise SettingsError(f"{text} is a member of several sites. Give the id from `tagwarden member list`.")
    raise SettingsError(f"There is no member {text}. `tagwarden member list` shows all.")


def content(path: Path) -> str:
    """What stands in a file, without the line break at its end."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read.") from error


def changes(pairs: list[str]) -> dict[str, str]:
    """name=value pairs as a mapping. Raises BadParameter, which is wrong usage, on anything else."""
    for pair in pairs:
        if "=" not in pair:
            raise typer.BadParameter(f"“{pair}” is not name=value.")
    return dict(pair.split("=", 1) for pair in pairs)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
