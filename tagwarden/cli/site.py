"""`tagwarden site`: the membership businesses on this server."""

from typing import Annotated

import typer

from tagwarden.accounts import sites, staff_accounts
from tagwarden.accounts.models import Site
from tagwarden.cli import find, show

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help="Add, change and list sites."
)
MailFrom = Annotated[str, typer.Option(help="The address its mails come from, as in hello@example.com.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the business is called.")],
    host: Annotated[str, typer.Option(help="Its host name, as in members.example.com.")],
    timezone: Annotated[str, typer.Option(help="Its time zone, as in America/Chicago.")] = "UTC",
    public_url: Annotated[str, typer.Option(help="What its links begin with; https://HOST if left out.")] = "",
    mail_from: MailFrom = "",
) -> None:
    """Add a site."""
    site = sites.add_site(name, host=host, timezone=timezone, public_url=public_url, mail_from=mail_from)
    show.say(f"Site {site.pk}: {site.name}, at {site.public_url}")
    link = staff_accounts.set_up_link(site)
    if link:
        show.say("", "Sign in once with this link, within 24 hours, when the server runs:", f"  {link}")
    show.say("", f"Next: tagwarden connection add {site.host} --crm CRM --credentials-file FILE")


@app.command("set")
def set_site(site: Annotated[str, typer.Argument(help="Host, name or number.")], mail_from: MailFrom) -> None:
    """Change a site's sender."""
    found = find.site(site)
    sites.set_mail_from(found, mail_from)
    show.say(f"Mails of {found.name} come from {found.mail_from}.")


@app.command("list")
def list_sites(json: Json = False) -> None:
    """List the sites."""
    rows = [
        {
            "id": site.pk,
            "name": site.name,
            "host": site.host,
            "public_url": site.public_url,
            "timezone": site.timezone,
            "currency": site.currency,
            "mail_from": site.mail_from,
            "created": site.created,
        }
        for site in Site.objects.order_by("pk")
    ]
    columns = {"id": "Site", "name": "Name", "public_url": "Address", "timezone": "Time zone"}
    show.listing(rows, columns, json=json, empty="No sites yet. Add one with: tagwarden site add NAME --host HOST")
