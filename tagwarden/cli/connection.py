"""`tagwarden connection`: a site's links to its CRMs."""

import json as json_module
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from tagwarden.cli import find, migrate, show, trigger
from tagwarden.connections import connect, findings, handshakes, setup
from tagwarden.connections.models import Connection
from tagwarden.core import mapping
from tagwarden.core.errors import SettingsError
from tagwarden.members.models import Contact
from tagwarden.worker import sweeps

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Add, list, test and set connections to CRMs.",
)
app.add_typer(trigger.app, name="trigger")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Number = Annotated[str, typer.Argument(help="The connection's number.")]
Credentials = Annotated[Path | None, typer.Option(help="File with the CRM's key, as a JSON object; see docs/crms.")]


@app.command()
def add(
    site: Annotated[str, typer.Argument(help="The site, by host, name or number.")],
    crm: Annotated[str, typer.Option(help="Which CRM, as in sandbox.")],
    name: Annotated[str, typer.Option(help="What to call it; the CRM's name if left out.")] = "",
    base_url: Annotated[str, typer.Option(help="The CRM's address, if it isn't the usual one.")] = "",
    credentials_file: Credentials = None,
) -> None:
    """Add a connection to a CRM, with a first handshake."""
    secrets = _credentials(credentials_file) if credentials_file else {}
    link = setup.add_connection(find.site(site), crm, name=name, base_url=base_url, credentials=secrets)
    migrate.fill_door()
    secret = handshakes.reveal(link.handshakes.get())
    show.say(
        f"Connection {link.pk}: {link.name}, for {link.site.name}",
        f"Handshake  {secret}",
        f"Refresh    {setup.webhook_url(link, 'updateuser', {}, secret)}",
        "",
        f"Next: tagwarden connection test {link.pk}",
    )


@app.command("list")
def list_connections(json: Json = False) -> None:
    """List the connections."""
    rows = [_row(link) for link in Connection.objects.select_related("site").order_by("pk")]
    columns = {"id": "Connection", "name": "Name", "crm": "CRM", "site": "Site", "active": "On"}
    empty = "No connections yet. Add one with: tagwarden connection add SITE --crm CRM"
    show.listing(rows, columns, json=json, empty=empty)


@app.command("show")
def show_connection(connection: Number, json: Json = False) -> None:
    """Show a connection."""
    link = find.connection(connection)
    row = _row(link) | _counts(link)
    if json:
        show.as_json(row)
        return
    options = [f"{name}={value}" for name, value in row["options"].items()]
    show.facts(
        {
            "Connection": link.pk,
            "Name": link.name,
            "Site": link.site.name,
            "CRM": link.crm,
            "Address": link.base_url,
            "On": link.active,
            "Contacts": f"{row['contacts']:,}",
            "Handshakes": f"{row['handshakes']:,}",
            "Triggers": f"{row['triggers']:,}",
            "Hooks": link.hooks_finding,
            "Options": options,
        }
    )


@app.command("test")
def look_at(connection: Number, json: Json = False) -> None:
    """Ask the CRM for everything that the connection needs, and say what to do about what is missing."""
    found = list(findings.look(find.connection(connection)))
    if json:
        show.as_json([{"check": one.check, "ok": one.ok, "finding": one.sentence} for one in found])
    else:
        rows = [{"check": one.check, "state": "ok" if one.ok else "failed", "finding": one.sentence} for one in found]
        show.listing(rows, {"check": "Check", "state": "", "finding": "Finding"}, json=False, empty="")
    if not all(one.ok for one in found):
        raise typer.Exit(1)


@app.command("set")
def set_options(
    connection: Number,
    changes: Annotated[list[str] | None, typer.Argument(help="Changes as name=value.")] = None,
    credentials_file: Credentials = None,
) -> None:
    """Change a connection: name, base_url, active (yes or no), and its options."""
    link = find.connection(connection)
    secrets = _credentials(credentials_file) if credentials_file else None
    wanted = find.changes(changes or [])
    if not wanted and secrets is None:
        raise typer.BadParameter("Say what to change, as in release_delay=300.")
    setup.change(link, wanted, credentials=secrets)
    names = [*wanted, *(["credentials"] if secrets is not None else [])]
    show.say(f"Connection {link.pk}: {', '.join(names)} set.")


@app.command()
def fields(
    connection: Number,
    create: Annotated[bool, typer.Option("--create", help="Make in the CRM what is missing there.")] = False,
    json: Json = False,
) -> None:
    """Show which fields of the CRM are mapped to what, and whether they are there."""
    link = find.connection(connection)
    labels = mapping.labels(link.options)
    with closing(connect.open_crm(link)) as crm:
        missing = [label for label in labels.values() if not crm.has_field(label)]
        for label in missing if create else ():
            crm.make_field(label)
    state = {True: "made now" if create else "missing", False: "there"}
    rows = [{"id": name, "label": label, "state": state[label in missing]} for name, label in labels.items()]
    show.listing(rows, {"id": "Option", "label": "Field", "state": "In the CRM"}, json=json, empty="Nothing is mapped.")
    if missing and not create and not json:
        show.say("", f"Make what is missing with: tagwarden connection fields {link.pk} --create")


@app.command()
def sweep(connection: Number) -> None:
    """Ask for a drift check now: all members are read, and what differs is mended."""
    link = find.connection(connection)
    if not link.active:
        raise SettingsError(f"Connection {link.pk} is switched off: tagwarden connection set {link.pk} active=yes")
    asked = sweeps.start(link)
    if asked is None:
        raise SettingsError(f"A drift check of connection {link.pk} is under way. `tagwarden sweep list` shows it.")
    page = f"{link.site.public_url.rstrip('/')}/staff/drift-checks/{asked.slug}/"
    show.say(
        f"Drift check {asked.pk} of connection {link.pk} is asked for.",
        f"Watch it: tagwarden sweep show {asked.pk}, or {page}",
    )


def _credentials(path: Path) -> dict[str, str]:
    try:
        content = json_module.loads(find.content(path))
    except ValueError as error:
        raise SettingsError(f"{path} holds no JSON.") from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise SettingsError(f'{path} must hold a JSON object of texts, as in {{"api_key": "…"}}.')
    return content


def _row(link: Connection) -> dict[str, Any]:
    return {
        "id": link.pk,
        "site": link.site.host,
        "name": link.name,
        "crm": link.crm,
        "base_url": link.base_url,
        "active": link.active,
        "options": {name: getattr(value, "name", value) for name, value in vars(link.options).items()},
        "created": link.created,
    }


def _counts(link: Connection) -> dict[str, Any]:
    return {
        "contacts": Contact.objects.filter(connection=link).count(),
        "handshakes": link.handshakes.filter(revoked=None).count(),
        "triggers": link.triggers.count(),
        "hooks_checked": link.hooks_checked,
        "hooks_finding": link.hooks_finding,
    }
