"""`tagwarden release`: batch syncs with their progress."""

from typing import Annotated, Any

import typer
from django.db.models import Count

from tagwarden.accounts.models import Site
from tagwarden.cli import find, show
from tagwarden.core.errors import SettingsError
from tagwarden.journal.models import Job, Release

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
    rows = [_row(release) for release in found[:limit]]
    shown = [row | {"opened": show.clock_time(row["opened"], _zone(row["site"]))} for row in rows]
    columns = {"id": "Release", "name": "Name", "opened": "Opened", "calls": "Calls", "done": "Done"}
    columns |= {"waiting": "Waiting", "failed": "Failed", "not_members": "Not members"}
    empty = "No releases yet. The first batchsync call opens one."
    show.listing(rows if json else shown, columns, json=json, empty=empty)


@app.command("show")
def show_release(release: Annotated[str, typer.Argument(help="The release's number.")], json: Json = False) -> None:
    """Show a release and how far it is."""
    found = Release.objects.filter(pk=int(release) if release.isdecimal() else 0).first()
    if found is None:
        raise SettingsError(f"There is no release {release}. `tagwarden release list` shows the latest.")
    row = _row(found)
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
            "Calls": f"{row['calls']:,}, for {show.count(row['contacts'], 'contact')}",
            **{label: f"{row[key]:,}" for key, label in _FIGURES.items()},
        }
    )


_FIGURES = {
    "done": "Done",
    "not_members": "Not members",
    "failed": "Failed",
    "waiting": "Waiting",
}


def _row(release: Release) -> dict[str, Any]:
    """The figures add up to the calls; failed counts refused and unknown too, waiting counts held."""
    jobs = Job.objects.filter(release=release.pk, root=None)
    counts = {tuple(row[:2]): row[2] for row in jobs.values_list("standing", "reason").annotate(Count("pk"))}
    not_members = sum(n for (_, reason), n in counts.items() if reason == "not-a-member")

    def standing(*words: str) -> int:
        return sum(n for (word, reason), n in counts.items() if word in words and reason != "not-a-member")

    return {
        "id": release.pk,
        "name": release.name,
        "site": release.site,
        "connection": release.connection,
        "opened": release.opened,
        "reads_at": release.reads_at,
        "closed": release.closed,
        "calls": sum(counts.values()),
        "contacts": jobs.values("contact").distinct().count(),
        "done": standing("done", "no-op"),
        "not_members": not_members,
        "failed": standing("failed", "refused", "unknown"),
        "waiting": standing("waiting", "held"),
    }


def _zone(site: int) -> Any:
    return Site.objects.get(pk=site).zone
