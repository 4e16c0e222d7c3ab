"""`tagwarden delivery`: the calls that came in, and what became of them."""

from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from django.db.models import Q

from tagwarden.accounts.models import Site
from tagwarden.cli import find, show, story
from tagwarden.core import reasons, words
from tagwarden.core.errors import SettingsError
from tagwarden.journal import store
from tagwarden.journal.models import Job, Standing

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="List, show and redeliver the calls that came in.",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_AT_ONCE = 250


@app.command("list")
def list_deliveries(
    outcome: Annotated[Standing | None, typer.Option(help="Only those that stand so.")] = None,
    contact: Annotated[str, typer.Option(help="Only this contact's.")] = "",
    site: Annotated[str, typer.Option(help="Only this site's.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most, newest first.")] = 50,
    json: Json = False,
) -> None:
    """List calls, newest first. A call for several contacts has a row for each."""
    found = Job.objects.filter(root=None).order_by("-received", "-pk")
    if site:
        found = found.filter(site=find.site(site).pk)
    if outcome:
        found = found.filter(standing=outcome.value)
    if contact:
        found = found.filter(contact=contact)
    rows = [story.line(job) for job in found[:limit]]
    zones: dict[int, ZoneInfo] = {one.pk: one.zone for one in Site.objects.all()}
    shown = [row | {"received": show.clock_time(row["received"], zones[row["site"]])} for row in rows]
    columns = {"id": "Delivery", "received": "Received", "command": "Command", "contact": "Contact"}
    columns |= {"outcome": "Outcome", "title": "What became of it"}
    empty = "No calls fit." if outcome or contact or site else "No calls yet."
    show.listing(rows if json else shown, columns, json=json, empty=empty)


@app.command("show")
def show_delivery(
    delivery: Annotated[str, typer.Argument(help="The delivery's id, or the beginning of it.")],
    json: Json = False,
) -> None:
    """Show a call: what came, the tries, and what became of it."""
    jobs = find.jobs(delivery)
    content = story.whole(jobs)
    if json:
        show.as_json(content)
        return
    story.tell(content, Site.objects.get(pk=jobs[0].site).zone)


@app.command()
def redeliver(
    deliveries: Annotated[list[str] | None, typer.Argument(help="Ids, or the beginnings of them.")] = None,
    reason: Annotated[str, typer.Option(help="All that ended with this reason.")] = "",
    site: Annotated[str, typer.Option(help="With --reason: only this site's.")] = "",
    word: Annotated[str, typer.Option("--as", help="The command meant, for calls that were not understood.")] = "",
) -> None:
    """Try calls again. Of those that are done only the effects that aren't settled go on."""
    if bool(deliveries) == bool(reason):
        raise typer.BadParameter("Give ids, or --reason.")
    ids = _of_reason(reason, site) if reason else [job.pk for text in deliveries or [] for job in find.jobs(text)]
    again = 0
    for start in range(0, len(ids), _AT_ONCE):
        again += store.redeliver(ids[start : start + _AT_ONCE], account=None, word=word.removeprefix("aal_"))
    if not again:
        raise SettingsError("There is nothing to redeliver: all of it is done or on its way.")
    show.say(f"{words.count(again, 'job')} put back to waiting.")


def _of_reason(reason: str, site: str) -> list[int]:
    if reason not in reasons.REASONS:
        raise typer.BadParameter(f"There is no reason {reason}; `tagwarden delivery list --json` shows them.")
    found = Job.objects.filter(Q(outcome__in=["failed", "refused", "unknown"]), reason=reason)
    if site:
        found = found.filter(site=find.site(site).pk)
    return list(found.order_by("pk").values_list("pk", flat=True))
