"""`tagwarden member`: the people with a place on a site."""

from typing import Annotated, Any

import typer
from django.db.models import Prefetch, Q

from tagwarden.cli import find, show
from tagwarden.members.models import Contact, ContactTag, Member

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help="List and show members."
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_members(
    site: Annotated[str, typer.Option(help="Only this site's.")] = "",
    search: Annotated[str, typer.Option(help="Part of the e-mail or name, or a contact id.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most, newest first.")] = 50,
    json: Json = False,
) -> None:
    """List members, newest first."""
    found = _members().order_by("-pk")
    if site:
        found = found.filter(site=find.site(site))
    if search:
        found = found.filter(_matches(search)).distinct()
    rows = [_row(member) for member in found[:limit]]
    shown = [row | {"contact_ids": [contact["contact"] for contact in row["contacts"]]} for row in rows]
    columns = {"id": "Member", "name": "Name", "email": "E-mail", "site": "Site", "contact_ids": "Contact"}
    empty = "No members fit." if site or search else "No members yet. They come with your CRM's first calls."
    show.listing(rows if json else shown, columns, json=json, empty=empty)


@app.command("show")
def show_member(
    member: Annotated[str, typer.Argument(help="The id that `list` shows, or the e-mail.")],
    json: Json = False,
) -> None:
    """Show a member, with contacts and tags."""
    found = _members().get(pk=find.member(member).pk)
    row = _row(found) | {"tags": _tags(found)}
    if json:
        show.as_json(row)
        return
    zone = found.site.zone
    show.facts(
        {
            "Member": row["id"],
            "Name": row["name"],
            "E-mail": row["email"],
            "Site": found.site.name,
            "Since": show.clock_time(found.created, zone),
            "Contacts": [f"{one['contact']} ({one['connection']}, {one['state']})" for one in row["contacts"]],
        }
    )
    tags = [tag | {"since": show.clock_time(tag["since"], zone)} for tag in row["tags"]]
    show.say("")
    columns = {"name": "Tag", "since": "Since", "source": "Where it came from", "ref": "By"}
    show.listing(tags, columns, json=False, empty="No tags.")


def _members() -> Any:
    contacts = Prefetch("contacts", queryset=Contact.objects.select_related("connection").order_by("pk"))
    return Member.objects.select_related("account", "site").prefetch_related(contacts)


def _matches(text: str) -> Q:
    account = Q(account__email__icontains=text) | Q(account__first_name__icontains=text)
    return account | Q(account__last_name__icontains=text) | Q(contacts__external_id=text)


def _row(member: Member) -> dict[str, Any]:
    return {
        "id": member.account.login,
        "email": member.account.email,
        "name": f"{member.account.first_name} {member.account.last_name}".strip(),
        "site": member.site.host,
        "created": member.created,
        "contacts": [
            {"connection": one.connection.name, "contact": one.external_id, "state": one.state}
            for one in member.contacts.all()
        ],
    }


def _tags(member: Member) -> list[dict[str, Any]]:
    held = ContactTag.objects.filter(contact__member=member, until=None).select_related("tag")
    return [
        {"name": one.tag.name, "since": one.since, "source": one.get_source_display(), "ref": one.ref}
        for one in held.order_by("tag__name")
    ]
