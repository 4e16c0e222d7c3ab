"""How the fake ActiveCampaign writes a contact, a tag, a field, a value: key by key as in the samples.

Almost every scalar is a string. Dates carry the account's zone, and the stamps named "utc" show its local digits too:
the captured contact does so (facts, section 1.3, "clock trap").
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.fakes.activecampaign_ledger import Ledger
from tests.fakes.book import Contact

ZONE = ZoneInfo("America/Chicago")
NO_DATE, NO_TIME = "0000-00-00", "0000-00-00 00:00:00"
_NOUNS = (
    *("bounceLogs", "contactAutomations", "contactData", "contactGoals", "contactLists", "contactLogs"),
    *("contactTags", "contactDeals", "deals", "fieldValues", "geoIps", "notes", "organization", "plusAppend"),
    *("trackingLogs", "scoreValues", "accountContacts", "automationEntryCounts"),
)


def local(at: float) -> str:
    """A moment with the account's offset."""
    return datetime.fromtimestamp(at, UTC).astimezone(ZONE).isoformat(timespec="seconds")


def digits(at: float) -> str:
    """The same moment's local digits, without the offset."""
    return datetime.fromtimestamp(at, UTC).astimezone(ZONE).strftime("%Y-%m-%d %H:%M:%S")


class Rows:
    """Rows for one request: `origin` is the address under which the caller found us, e.g. http://127.0.0.1:9101."""

    def __init__(self, ledger: Ledger, origin: str) -> None:
        self._ledger = ledger
        self._base = f"{origin}/api/3"

    # --- contacts ----------------------------------------------------------------------------------------------

    def listed(self, contact: Contact) -> dict[str, Any]:
        """A row of GET /contacts. Half of the people have nulls where the others have zero dates."""
        head = self._head(contact)
        del head["orgname"]
        return {
            **head,
            "email_domain": "",
            **self._middle(contact),
            "scoreValues": [],
            "links": self._links("contacts", contact.id, _NOUNS[:16]),
            "id": str(contact.id),
            "organization": None,
        }

    def whole(self, contact: Contact, lists: list[str]) -> dict[str, Any]:
        """The `contact` of GET /contacts/{id}; `lists` are the ids of its list rows."""
        created, updated = digits(contact.created), digits(contact.updated)
        return {
            **self._head(contact),
            "emailDomain": "",
            **self._middle(contact),
            "created_utc_timestamp": created,
            "updated_utc_timestamp": updated,
            "created_timestamp": created,
            "updated_timestamp": updated,
            "created_by": "0",
            "updated_by": "0",
            "email_empty": contact.email == "",
            "contactAutomations": [],
            "contactLists": lists,
            "fieldValues": [str(row.id) for _, _, row in self._ledger.values_of(contact)],
            "geoIps": [],
            "deals": [],
            "accountContacts": [],
            "links": self._contact_links(contact.id),
            "id": str(contact.id),
            "organization": None,
        }

    def written(self, contact: Contact) -> dict[str, Any]:
        """The `contact` that POST /contact/sync, POST /contacts and PUT /contacts/{id} give back."""
        return {
            "email": contact.email,
            "phone": self._ledger.details[contact.id].phone,
            "firstName": contact.first_name,
            "lastName": contact.last_name,
            "email_empty": contact.email == "",
            "cdate": local(contact.created),
            "udate": local(contact.updated),
            "orgid": "",
            "orgname": "",
            "links": self._contact_links(contact.id),
            "hash": _hash(contact.email),
            "fieldValues": [str(row.id) for _, _, row in self._ledger.values_of(contact)],
            "id": str(contact.id),
            "organization": "",
        }

    def _head(self, contact: Contact) -> dict[str, Any]:
        nulls, details = contact.id % 2 == 0, self._ledger.details[contact.id]
        return {
            "cdate": local(contact.created),
            "email": contact.email,
            "phone": details.phone,
            "firstName": contact.first_name,
            "lastName": contact.last_name,
            "orgid": "0",
            "orgname": details.orgname,
            "segmentio_id": "",
            "bounced_hard": "0",
            "bounced_soft": "0",
            "bounced_date": None if nulls else NO_DATE,
            "ip": "0",
            "ua": None if nulls else "",
            "hash": _hash(contact.email),
            "socialdata_lastcheck": None if nulls else NO_TIME,
            "email_local": "",
        }

    def _middle(self, contact: Contact) -> dict[str, Any]:
        nulls = contact.id % 2 == 0
        return {
            "sentcnt": "0",
            "rating_tstamp": None if nulls else NO_DATE,
            "gravatar": "0",
            "deleted": "1" if contact.deleted else "0",
            "anonymized": "0",
            "adate": None if nulls else local(contact.updated),
            "udate": local(contact.updated),
            "edate": None,
            "deleted_at": None if nulls else NO_TIME,
        }

    def list_rows(self, contact: Contact) -> list[dict[str, Any]]:
        """The `contactLists` of one contact."""
        lists = self._ledger.details[contact.id].lists or {}
        return [self._list_row(contact, number, at, contact.id * 100 + number) for number, at in lists.items()]

    def _list_row(self, contact: Contact, number: int, at: float, row: int) -> dict[str, Any]:
        nouns = ("automation", "list", "contact", "form", "autosyncLog", "campaign", "unsubscribeAutomation", "message")
        return {
            "contact": str(contact.id),
            "list": str(number),
            "form": None,
            "seriesid": "0",
            "sdate": local(at),
            "udate": None,
            "status": str(self._ledger.details[contact.id].status),
            "responder": "1",
            "sync": "0",
            "unsubreason": "",
            "campaign": None,
            "message": None,
            "first_name": "",
            "last_name": "",
            "ip4Sub": "0",
            "sourceid": "3",
            "autosyncLog": None,
            "ip4_last": "0",
            "ip4Unsub": "0",
            "created_timestamp": digits(at),
            "updated_timestamp": digits(at),
            "created_by": None,
            "updated_by": None,
            "unsubscribeAutomation": None,
            "links": self._links("contactLists", row, nouns),
            "id": str(row),
            "automation": None,
        }

    # --- tags and fields ---------------------------------------------------------------------------------------

    def tag(self, tag: int) -> dict[str, Any]:
        note = self._ledger.tag_notes[tag]
        return {
            "tagType": note.kind,
            "tag": self._ledger.tags[tag],
            "description": note.description,
            "cdate": local(note.created),
            "links": self._links("tags", tag, ("contactGoalTags",)),
            "id": str(tag),
        }

    def link(self, link: int) -> dict[str, Any]:
        """A row of `contactTags` in lists; creating one answers with fewer keys (`new_link`)."""
        contact, tag, at = self._ledger.links[link]
        return {
            "contact": str(contact),
            "tag": str(tag),
            "cdate": local(at),
            "created_timestamp": digits(at),
            "updated_timestamp": digits(at),
            "links": self._links("contactTags", link, ("tag", "contact")),
            "id": str(link),
        }

    def new_link(self, link: int) -> dict[str, Any]:
        contact, tag, at = self._ledger.links[link]
        return {
            "cdate": local(at),
            "contact": str(contact),
            "id": str(link),
            "links": {"contact": f"/{link}/contact", "tag": f"/{link}/tag"},
            "tag": str(tag),
        }

    def field(self, field: int) -> dict[str, Any]:
        note = self._ledger.field_notes[field]
        return {
            "title": self._ledger.fields[field],
            "descript": note.description,
            "type": note.kind,
            "isrequired": "0",
            "perstag": note.perstag,
            "defval": None,
            "show_in_list": "0",
            "rows": "0",
            "cols": "0",
            "visible": "1",
            "service": "",
            "ordernum": str(field),
            "cdate": local(note.created),
            "udate": local(note.created),
            "options": [],
            "relations": [str(number) for number, (of, _, _) in self._ledger.relations.items() if of == field],
            "links": self._links("fields", field, ("options", "relations")),
            "id": str(field),
        }

    def relation(self, relation: int) -> dict[str, Any]:
        field, to, at = self._ledger.relations[relation]
        return {
            "field": str(field),
            "relid": str(to),
            "dorder": "0",
            "cdate": local(at),
            "links": [],
            "id": str(relation),
        }

    def values(self, contact: Contact, only: Iterable[int] | None = None) -> list[dict[str, Any]]:
        """The `fieldValues` of one contact: those of the fields `only`, or all that have a row."""
        rows, number = [], str(contact.id)
        for field, value, row in self._ledger.values_of(contact):
            if only is not None and field not in only:
                continue
            rows.append(
                {"contact": number, "field": str(field), "value": value}
                | {"cdate": local(row.created), "udate": local(row.updated), "created_by": "0", "updated_by": "0"}
                | {"links": self._links("fieldValues", row.id, ("owner", "field"))}
                | {"id": str(row.id), "owner": number}
            )
        return rows

    def _contact_links(self, contact: int) -> dict[str, str]:
        links = self._links("contacts", contact, _NOUNS)
        links["contactAutomations"] += "?limit=1000&orders%5Blastdate%5D=DESC"
        return links

    def _links(self, noun: str, number: int, nouns: Iterable[str]) -> dict[str, str]:
        return {one: f"{self._base}/{noun}/{number}/{one}" for one in nouns}


def _hash(email: str) -> str:
    return hashlib.md5(email.encode(), usedforsecurity=False).hexdigest()
