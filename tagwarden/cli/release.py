"""`tagwarden release`: batch syncs with their progress."""

from typing import Annotated, Any

import typer

from tagwarden.accounts.models import Site
from tagwarden.cli import find, show
from tagwarden.core import words
from tagwarden.core.errors import SettingsError
from tagwarden.journal import diagnosis
from tagwarden.journal.diagnosis import Figures
from tagwarden.journal.models import Release

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="List and show batch syncs with their progress.",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_releases(
    site: Annotated[str, typer.Option(help="Only this site's.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most, newest first.")] = 20,
    json: Json = False,
) -> None:
    """List releases, newest first."""
    found = Release.objects.order_by("-opened", "-pk")
    if site:
        found = found.filter(site=find.site(site).pk)
    releases = list(found[:limit])
    figures = diagnosis.figures(one.pk for one in releases)
    rows = [_row(one, figures[one.pk]) for one in releases]
    shown = [row | {"opened": show.clock_time(row["opened"], _zone(row["site"]))} for row in rows]
    columns = {
        "id": "Release",
        "name": "Name",
        "opened": "Opened",
        "contacts": "Contacts",
        "synced": "Synced",
    }
    columns |= {"waiting": "Waiting", "failed": "Failed", "not_members": "Not members"}
    empty = "No releases yet. The first batchsync call opens one."
    show.listing(rows if json else shown, columns, json=json, empty=empty)


@app.command("show")
def show_release(release: Annotated[str, typer.Argument(help="The release's number.")], json: Json = False) -> None:
    """Show a release and how far it is."""
    found = Release.objects.filter(pk=int(release) if release.isdecimal() else 0).first()
    if found is None:
        raise SettingsError(f"There is no release {release}. `tagwarden release list` shows the latest.")
    row = _row(found, diagnosis.figures([found.pk])[found.pk])
    if json:
        show.as_json(row)
        return
    zone = _zone(row["site"])
    state = f"closed {show.clock_time(found.closed, zone)}" if found.closed else "open"
    show.facts(
        {
            "Release": f"{row['id']}, {row['name']}" if row["name"] else row["id"],
            "Opened": show.clock_time(found.opened, zone),
            "State": state,
            "Reading": f"from {show.clock_time(found.reads_at, zone)}",
            "Calls": f"{row['calls']:,}, for {words.count(row['contacts'], 'contact')}",
            **{label: f"{row[key]:,}" for key, label in _LABELS.items()},
        }
    )


_LABELS = {"synced": "Synced", "not_members": "Not members", "failed": "Failed", "waiting": "Waiting"}


def _row(release: Release, figures: Figures) -> dict[str, Any]:
    return {
        "id": release.pk,
        "name": release.name,
        "site": release.site,
        "connection": release.connection,
        "opened": release.opened,
        "reads_at": release.reads_at,
        "closed": release.closed,
        "calls": release.calls,
        "contacts": figures.contacts,
        **{key: getattr(figures, key) for key in _LABELS},
    }


def _zone(site: int) -> Any:
    return Site.objects.get(pk=site).zone
