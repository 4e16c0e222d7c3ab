"""`tagwarden connection trigger`: tags that run a command when somebody gets them."""

from typing import Annotated, Any

import typer

from tagwarden.cli import find, migrate, show
from tagwarden.connections import triggers
from tagwarden.connections.models import Trigger
from tagwarden.core.errors import SettingsError, TagwardenError

app = typer.Typer(
    no_args_is_help=True,
    help="Let a tag run a command, where the CRM tells when somebody gets it.",
)
Number = Annotated[str, typer.Argument(help="The connection's number.")]


@app.command()
def add(
    connection: Number,
    tag: Annotated[str, typer.Option(help="The tag's name in the CRM; made there if it is missing.")],
    command: Annotated[str, typer.Option(help="The command that it runs, as in genpass.")],
    params: Annotated[list[str] | None, typer.Argument(help="Parameters as name=value.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the tag on; else it comes off when all is done.")] = False,
) -> None:
    """Let a tag run a command, and set up the hook for it in the CRM."""
    link = find.connection(connection)
    wanted = find.changes(params or [])
    made = triggers.add(link, tag=tag, command=command, params=wanted, take_off=not keep)
    migrate.fill_door()  # before the hook is made: some CRMs try the address at once
    try:
        triggers.set_up(made)
    except TagwardenError:
        triggers.undo(made)
        migrate.fill_door()
        raise
    show.say(f"Trigger {made.pk}: whoever gets the tag {made.tag_name} in {link.name} runs {made.command}.")
    show.say("The tag comes off again when all is done." if made.take_off else "The tag stays on.")


@app.command("list")
def list_triggers(
    connection: Number, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List a connection's triggers, and how their hooks are."""
    link = find.connection(connection)
    rows = [_row(one) for one in Trigger.objects.filter(connection=link).order_by("pk")]
    columns = {"id": "Trigger", "tag": "Tag", "command": "Command", "take_off": "Comes off", "state": "Hook"}
    empty = f"No triggers yet. Add one with: tagwarden connection trigger add {link.pk} --tag TAG --command COMMAND"
    show.listing(rows, columns | {"finding": "Finding"}, json=json, empty=empty)


@app.command()
def remove(connection: Number, trigger: Annotated[str, typer.Argument(help="The trigger's number.")]) -> None:
    """Take a trigger away, and its hook in the CRM. The tag stays."""
    link = find.connection(connection)
    number = int(trigger) if trigger.isascii() and trigger.isdecimal() and len(trigger) < 19 else 0
    rows = Trigger.objects.select_related("connection__site", "handshake__connection__site", "former")
    found = rows.filter(connection=link, pk=number).first()
    if found is None:
        raise SettingsError(f"There is no trigger {trigger}. `tagwarden connection trigger list {link.pk}` shows all.")
    gone = triggers.remove(found)
    migrate.fill_door()
    show.say(f"Trigger {number} is removed.")
    if not gone:
        show.say(f"{link.name} couldn’t be told. Its hook may stay there; what it calls is refused from now on.")


def _row(one: Trigger) -> dict[str, Any]:
    return {
        "id": one.pk,
        "happened": one.happened,
        "tag": one.tag_name,
        "tag_id": one.tag,
        "command": one.command,
        "params": one.params,
        "take_off": one.take_off,
        "handshake": one.handshake_id,
        "state": one.state,
        "finding": one.finding,
        "created": one.created,
    }
