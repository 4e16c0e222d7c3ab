"""The sandbox CRM that comes in the box (docs/sandbox.md). It is reached over HTTP like any vendor."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from tagwarden.core.errors import NeedsSetting, Permanent
from tagwarden.core.outcome import CrmTag, Snapshot
from tagwarden.core.ratelimit import Limit, Said
from tagwarden.crms import base


class Crm(base.Crm):
    """Credentials: {"api_key": "…"}."""

    label = "Sandbox CRM"
    default_url = "http://127.0.0.1:8099"  # where `tagwarden sandbox` stands unless told otherwise
    needed = (frozenset({"api_key"}),)
    cannot: ClassVar = {
        "tagged": "The sandbox CRM has no list by tag.",
        "changed": "The sandbox CRM has no list of changes.",
        "hooks": "The sandbox CRM fires webhooks from its own page only.",
    }
    paste = (
        "In the Sandbox CRM open the page Webhooks and paste {url} as the address.",
        "There it is fired for one contact, or for 1,000 at once; the contact's id is sent along as contactId.",
    )
    bulk_lag = timedelta(seconds=2)  # its lists may run this far behind, where lag is switched on
    limits = (Limit(50, seconds=1),)  # unless its settings say otherwise, and then its headers do

    def headers(self, credentials: Mapping[str, str]) -> dict[str, str]:
        return {"Authorization": f"Bearer {credentials.get('api_key', '')}"}

    def said(self, headers: Mapping[str, str]) -> tuple[Said, ...]:
        limit, remaining, reset = (
            base.number(headers, f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset")
        )
        return (Said(1, limit, remaining, reset),)

    def check(self) -> str:
        _, answer = self.ask("GET", "/api/ping", what="Try the key")
        return str(answer["account"])

    def contact(self, contact: str) -> Snapshot:
        moments = base.began(self.one_lag)
        try:
            call, answer = self.ask("GET", f"/api/contacts/{contact}", what="Read the contact")
        except base.Refused as error:
            raise self._named(error, contact=contact) from error
        snapshot = _snapshot(answer["contact"], moments)
        call.found = _found(snapshot)
        return snapshot

    def contacts(self, contacts: Sequence[str]) -> dict[str, Snapshot]:
        moments = base.began(self.bulk_lag)
        call, answer = self.ask(
            "GET", "/api/contacts", what=_together(len(contacts)), params={"ids": ",".join(contacts)}
        )
        snapshots = [_snapshot(row, moments) for row in answer["contacts"]]
        call.found = f"{len(snapshots)} found"
        return {snapshot.contact: snapshot for snapshot in snapshots}

    def page(self, cursor: str) -> tuple[list[Snapshot], str]:
        number, moments = int(cursor or 1), base.began(self.bulk_lag)
        call, answer = self.ask(
            "GET",
            "/api/contacts",
            what="Read the list of contacts",
            params={"page": number, "per_page": self.page_size},
        )
        snapshots = [_snapshot(row, moments) for row in answer["contacts"]]
        call.found = f"{len(snapshots)} found"
        return snapshots, str(number + 1) if number < answer["pages"] else ""

    def by_email(self, email: str) -> list[Snapshot]:
        moments = base.began(self.bulk_lag)
        _, answer = self.ask("GET", "/api/contacts", what="Look for the address", params={"email": email})
        return [_snapshot(row, moments) for row in answer["contacts"]]

    def list_tags(self) -> dict[str, str]:
        _, answer = self.ask("GET", "/api/tags", what="Read the list of tags")
        return {str(row["id"]): row["name"] for row in answer["tags"]}

    def make_tag(self, name: str) -> str:
        _, answer = self.ask("POST", "/api/tags", what=f"Make the tag {name}", json={"name": name})
        return str(answer["tag"]["id"])

    def add_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        return self._write_tag("POST", tag, contacts, f"Add the tag for {len(contacts)}")

    def remove_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        return self._write_tag("DELETE", tag, contacts, f"Take the tag off {len(contacts)}")

    def _write_tag(self, method: str, tag: str, contacts: Sequence[str], what: str) -> set[str]:
        ids = [int(contact) for contact in contacts]
        try:
            _, answer = self.ask(method, f"/api/tags/{tag}/contacts", what=what, json={"ids": ids})
        except base.Refused as error:
            raise self._named(error, tag=tag) from error
        return {str(contact) for contact in answer["done"]}

    def set_fields(self, contact: str, values: Mapping[str, str]) -> None:
        path, what = f"/api/contacts/{contact}/fields", f"Write {', '.join(values)}"
        try:
            named = {self.field_names.all()[id_]: value for id_, value in self.field_ids(values).items()}
            self.ask("PUT", path, what=what, json={"fields": named})
        except base.Refused as error:
            self.field_names.forget()
            raise self._named(error, contact=contact) from error

    def list_fields(self) -> dict[str, str]:
        _, answer = self.ask("GET", "/api/fields", what="Read the list of fields")
        return {str(row["id"]): row["label"] for row in answer["fields"]}

    def make_field(self, label: str) -> None:
        self.ask("POST", "/api/fields", what=f"Make the field {label}", json={"label": label})

    def _named(self, error: base.Refused, **detail: object) -> Permanent | NeedsSetting:
        """The sandbox's own error words as reason codes."""
        words = error.body if isinstance(error.body, dict) else {}
        match words.get("error"):
            case "contact_not_found":
                return Permanent("contact-not-found", crm=self.label, **detail)
            case "tag_not_found":
                return NeedsSetting("crm-tag-missing", crm=self.label, **detail)
            case "field_not_found":
                return NeedsSetting("crm-field-missing", crm=self.label, field=words.get("label"), **detail)
        return error


def _together(contacts: int) -> str:
    return "Read the contact" if contacts == 1 else f"Read {contacts} contacts together"


def _found(snapshot: Snapshot) -> str:
    if snapshot.tags is None:
        return "The answer came without tags"
    name = f"{snapshot.first_name} {snapshot.last_name}".strip() or snapshot.email
    tags = "1 tag" if len(snapshot.tags) == 1 else f"{len(snapshot.tags)} tags"
    return f"Found {name} with {tags}"


def _snapshot(row: Mapping[str, Any], moments: Mapping[str, Any]) -> Snapshot:
    tags = row.get("tags")
    return Snapshot(
        contact=str(row["id"]),
        email=row.get("email", ""),
        first_name=row.get("first_name", ""),
        last_name=row.get("last_name", ""),
        fields=row.get("fields", {}),
        tags=None if tags is None else frozenset(CrmTag(str(tag["id"]), tag["name"]) for tag in tags),
        **moments,
    )
