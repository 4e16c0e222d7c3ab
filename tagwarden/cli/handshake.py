"""`tagwarden handshake`: the secrets in the addresses of webhooks."""

from pathlib import Path
from typing import Annotated

import typer

from tagwarden.cli import find, migrate, show
from tagwarden.connections import handshakes, setup, triggers
from tagwarden.connections.models import Connection, Handshake, Trigger
from tagwarden.core import reasons
from tagwarden.core.errors import TagwardenError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Make, list, rotate and revoke the secrets of webhooks.",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Number = Annotated[str, typer.Argument(help="The handshake's number.")]


@app.command()
def add(
    connection: Annotated[str, typer.Argument(help="The connection's number.")],
    name: Annotated[str, typer.Option(help="What to call it.")] = "webhooks",
    scope: Annotated[str, typer.Option(help="The commands it may run, with commas; all if left out.")] = "",
    get: Annotated[bool, typer.Option("--get", help="Take calls that come as GET, too.")] = False,
    import_file: Annotated[Path | None, typer.Option(help="File with a secret of an older system.")] = None,
) -> None:
    """Make a handshake, or take over an older system's."""
    link, words = find.connection(connection), scope.split(",")
    if import_file:
        secret = find.content(import_file)
        made = handshakes.import_secret(link, name, secret, scopes=words, get_allowed=get)
        migrate.fill_door()
        show.say(f"Handshake {made.pk}: {made.name}, taken over")
        if len(secret) < handshakes.SHORTEST_STRONG:
            show.say("It is short and may be guessed. Rotate it when the automations can be changed.")
        return
    made, secret = handshakes.make(link, name, scopes=words, get_allowed=get)
    _say_new(made, secret)


@app.command("list")
def list_handshakes(
    connection: Annotated[str, typer.Argument(help="A connection's number; all if left out.")] = "",
    json: Json = False,
) -> None:
    """List the handshakes, without their secrets."""
    found = Handshake.objects.select_related("connection").order_by("pk")
    if connection:
        found = found.filter(connection=find.connection(connection))
    rows = [
        {
            "id": key.pk,
            "connection": key.connection_id,
            "name": key.name,
            "scopes": list(handshakes.scopes_of(key)),
            "get_allowed": key.get_allowed,
            "imported": key.imported,
            "created": key.created,
            "revoked": key.revoked,
            "last_used": _last_used(key),
        }
        for key in found.prefetch_related("uses")
    ]
    shown = [row | {"scopes": row["scopes"] or "all", "state": "revoked" if row["revoked"] else "live"} for row in rows]
    columns = {
        "id": "Handshake",
        "connection": "Connection",
        "name": "Name",
        "scopes": "Commands",
        "state": "State",
    }
    empty = "No handshakes yet. Make one with: tagwarden handshake add CONNECTION"
    show.listing(rows if json else shown, columns, json=json, empty=empty)


@app.command()
def rotate(handshake: Number) -> None:
    """Make a new handshake beside an old one, which works on until it is revoked."""
    old = find.handshake(handshake)
    made, secret = handshakes.rotate(old)
    _say_new(made, secret)
    for trigger in made.triggers.select_related("connection__site", "handshake__connection__site"):
        _move_hook(trigger)
    show.say("", f"When the automations use it: tagwarden handshake revoke {old.pk}")


@app.command()
def revoke(handshake: Number) -> None:
    """Shut the door to a handshake, within a second."""
    key = find.handshake(handshake)
    done = handshakes.revoke(key)
    migrate.fill_door()
    show.say(f"Handshake {key.pk} is revoked." if done else f"Handshake {key.pk} was revoked already.")


def _move_hook(trigger: Trigger) -> None:
    """The hook of a trigger calls at its new handshake from now on."""
    try:
        triggers.set_up(trigger)
    except TagwardenError as error:
        why = reasons.title(error.reason, {"crm": trigger.connection.name, **error.detail})
        show.say("", f"The hook for the tag {trigger.tag_name} still calls with the old one: {why}")
        show.say("It is made anew within the hour, as long as a worker runs. Revoke the old one only then.")
    else:
        show.say("", f"The hook for the tag {trigger.tag_name} was made anew.")


def _say_new(made: Handshake, secret: str) -> None:
    migrate.fill_door()
    show.say(f"Handshake {made.pk}: {made.name}", f"Secret    {secret}")
    words = handshakes.scopes_of(made) or ("updateuser",)
    for word in words:
        if not any(param.required for param in setup.commands()[word].values()):
            show.say(f"Address   {setup.webhook_url(_connection(made), word, {}, secret)}")


def _connection(made: Handshake) -> Connection:
    return Connection.objects.select_related("site").get(pk=made.connection_id)


def _last_used(key: Handshake) -> str | None:
    moments = [use.last_used for use in key.uses.all()]
    return show.iso(max(moments)) if moments else None
