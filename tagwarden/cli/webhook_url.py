"""`tagwarden webhook-url`: the address to paste into the CRM."""

from typing import Annotated

import typer

from tagwarden.cli import find, show
from tagwarden.connections import handshakes, setup
from tagwarden.connections.models import Connection, Handshake
from tagwarden.core.errors import SettingsError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def webhook_url(
    connection: Annotated[str, typer.Argument(help="The connection's number.")],
    command: Annotated[str, typer.Argument(help="The command, as in updateuser.")],
    params: Annotated[list[str] | None, typer.Argument(help="Parameters as name=value.")] = None,
    handshake: Annotated[str, typer.Option(help="Number of the handshake to use; else the newest good one.")] = "",
) -> None:
    """Print the address to paste into the CRM.

    The address alone goes to standard output, what to do with it beside it to standard error.
    """
    link = find.connection(connection)
    key = find.handshake(handshake) if handshake else newest(link, command)
    url = setup.webhook_url(link, command, find.changes(params or []), handshakes.reveal(key))
    show.say(url)
    show.hint("", *setup.hints(link, url), "The address holds a secret: anybody who has it can run this command.")


def newest(link: Connection, command: str) -> Handshake:
    """The newest live handshake of that connection which may run that command."""
    word = command.lower().removeprefix("aal_")
    for key in Handshake.objects.filter(connection=link, revoked=None).order_by("-pk"):
        words = handshakes.scopes_of(key)
        if not words or word in words:
            return key
    raise SettingsError(
        f"No live handshake of connection {link.pk} may run {word}. "
        f"Make one with: tagwarden handshake add {link.pk} --scope {word}"
    )
