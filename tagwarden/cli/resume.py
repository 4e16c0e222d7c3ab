"""`tagwarden resume`: what a restore held goes on."""

from typing import Annotated

import typer

from tagwarden.accounts import audit
from tagwarden.accounts.models import Site
from tagwarden.cli import find, show
from tagwarden.journal import restores

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def resume(site: Annotated[str, typer.Option(help="Only this site's.")] = "") -> None:
    """Let out the mails, charges and CRM writes that are held since a restore. Safe to repeat.

    A mail or charge that may have gone out before the restore isn't sent by itself: it becomes unknown, to be looked
    at and redelivered by hand.
    """
    for one in [find.site(site)] if site else Site.objects.order_by("pk"):
        resumed = restores.resume(one.pk)
        if resumed.was_held:
            audit.note("restore-resumed", one.name, site=one, effects=resumed.effects, unknown=resumed.unknown)
        show.say(f"{one.name}: {resumed.sentence}")
