"""`tagwarden sweep`: drift checks and what they mended."""

from typing import Annotated, Any

import typer

from tagwarden.cli import find, show
from tagwarden.core.errors import SettingsError
from tagwarden.journal import diagnosis
from tagwarden.members import sweeps
from tagwarden.members.models import Sweep

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="List and show drift checks.",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_FIGURES = ("members", "read", "gained", "lost", "would_lose", "suspects", "gone", "moved", "unread", "listed", "calls")


@app.command("list")
def list_sweeps(
    site: Annotated[str, typer.Option(help="Only this site's.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most, newest first.")] = 20,
    json: Json = False,
) -> None:
    """List drift checks, newest first."""
    found = Sweep.objects.select_related("connection__site").order_by("-asked", "-pk")
    if site:
        found = found.filter(connection__site=find.site(site))
    chosen = list(found[:limit])
    rows = _rows(chosen)
    shown = [
        row | {"asked": show.clock_time(one.asked, one.connection.site.zone), "connection": one.connection.name}
        for row, one in zip(rows, chosen, strict=True)
    ]
    columns = {"id": "Drift check", "connection": "Connection", "asked": "Asked for", "state": "State"}
    columns |= {"members": "Contacts", "read": "Read", "gained": "Given", "lost": "Taken away", "calls": "Calls"}
    empty = (
        "No drift checks yet. The first comes a day after a connection was made; `tagwarden connection sweep ID` asks."
    )
    show.listing(rows if json else shown, columns, json=json, empty=empty)


@app.command("show")
def show_sweep(sweep: Annotated[str, typer.Argument(help="The drift check's number.")], json: Json = False) -> None:
    """Show a drift check and what it mended."""
    number = int(sweep) if sweep.isascii() and sweep.isdecimal() and len(sweep) < 19 else 0
    found = Sweep.objects.select_related("connection__site").filter(pk=number).first()
    if found is None:
        raise SettingsError(f"There is no drift check {sweep}. `tagwarden sweep list` shows the latest.")
    row = _rows([found])[0] | {"findings": _findings(found)}
    if json:
        show.as_json(row)
        return
    zone = found.connection.site.zone
    show.facts(
        {
            "Drift check": row["id"],
            "Connection": f"{found.connection.pk}, {found.connection.name}",
            "Asked for": show.clock_time(found.asked, zone),
            "State": row["state"],
            "Ended": show.clock_time(found.finished, zone),
            **{_LABELS[name]: f"{row[name]:,}" for name in _FIGURES if row[name] or name in _ALWAYS},
        }
    )
    show.say("")
    columns = {"contact": "Contact", "tag": "Tag", "what": "What happened"}
    show.listing(row["findings"], columns, json=False, empty="Nobody gained or lost a tag by it.")


_ALWAYS = ("members", "read", "gained", "lost", "calls")
_LABELS = {
    "members": "To read",
    "read": "Read",
    "gained": "Tags given",
    "lost": "Tags taken away",
    "would_lose": "Would lose a tag",
    "suspects": "Left out",
    "gone": "Gone at the CRM",
    "moved": "Merged there",
    "unread": "Not read for certain",
    "listed": "In the CRM's list",
    "calls": "Calls",
}


def _rows(chosen: list[Sweep]) -> list[dict[str, Any]]:
    standings = diagnosis.standings(one.key for one in chosen)
    return [
        {
            "id": one.pk,
            "site": one.connection.site_id,
            "connection": one.connection_id,
            "state": sweeps.shown(one, standings.get(one.key, "")),
            "feed": one.feed,
            "asked": one.asked,
            "started": one.started,
            "finished": one.finished,
            **{name: getattr(one, name) for name in _FIGURES},
        }
        for one in chosen
    ]


def _findings(sweep: Sweep) -> list[dict[str, str]]:
    rows = sweep.findings.order_by("what", "pk").values_list("contact__external_id", "tag__name", "what")
    return [{"contact": contact, "tag": tag, "what": what} for contact, tag, what in rows]
