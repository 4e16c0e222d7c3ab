"""The deliveries' filters: they live in the address, so that a view can be sent to somebody."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from django.db.models import Count, Q, Sum

from tagwarden.accounts.models import Site
from tagwarden.core import clock
from tagwarden.journal.models import Counter, Job, OfSite
from tagwarden.members.models import Contact
from tagwarden.staff import words
from tagwarden.staff.frame import HOUR_MS, first_hour

SPANS = {
    "1h": (1, "Last hour"),
    "24h": (24, "Last 24 hours"),
    "7d": (7 * 24, "Last 7 days"),
    "30d": (30 * 24, "Last 30 days"),
    "all": (0, "Any time"),
}
NOT_UNDERSTOOD = "-"
MOST_CONTACTS = 50  # found by one search


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked for; every field as it stands in the address."""

    outcome: str = ""
    q: str = ""
    command: str = ""
    connection: str = ""
    span: str = ""

    @property
    def active(self) -> bool:
        return self != Filter()

    def address(self, **changes: str) -> str:
        """The query string of this filter with these changes; what is usual is left out."""
        wanted, usual = replace(self, **changes), Filter()
        fields = {name: getattr(wanted, name) for name in self.__slots__}
        return urlencode({name: value for name, value in fields.items() if value != getattr(usual, name)})

    @property
    def usual_span(self) -> str:
        """Without a choice: the last day; somebody who searches looks for all there is."""
        return "all" if self.q else "24h"

    @property
    def hours(self) -> int:
        """How long the span is; 0: any time."""
        return SPANS[self.span or self.usual_span][0]

    @property
    def since(self) -> datetime | None:
        """The first moment of the span; whole hours, as the counters have them."""
        return clock.from_ms(first_hour(self.hours) * HOUR_MS) if self.hours else None


def read(query: Mapping[str, str]) -> Filter:
    """The filter in an address. What isn't known is passed over."""
    outcome, span = query.get("outcome", ""), query.get("span", "")
    return Filter(
        outcome=outcome if outcome in words.STANDINGS else "",
        q=query.get("q", "").strip()[:254].replace("\0", ""),
        command=query.get("command", "")[:40].replace("\0", ""),
        connection=query.get("connection", "")[:120].replace("\0", ""),
        span=span if span in SPANS else "",
    )


def connections(site: Site, chosen: Filter) -> list[int] | None:
    """The connections of that name; None: any."""
    if not chosen.connection:
        return None
    return list(site.connections.filter(name=chosen.connection).values_list("pk", flat=True))


def jobs(site: Site, chosen: Filter) -> OfSite:
    """The root jobs that fit, but for the outcome."""
    found = _without_care(Job.objects.for_site(site).filter(root=None), chosen)
    if chosen.since:
        found = found.filter(received__gte=chosen.since)
    if (only := connections(site, chosen)) is not None:
        found = found.filter(connection__in=only)
    if chosen.command:
        found = found.filter(command="" if chosen.command == NOT_UNDERSTOOD else chosen.command)
    return found.filter(_search(site, chosen.q)) if chosen.q else found


def _without_care(rows: OfSite, chosen: Filter) -> OfSite:
    """Without the clock's own care (hooks, drift checks) in which all was well, unless it is asked for."""
    return rows if chosen.command else rows.exclude(command__in=words.CARE, standing="done")


def _search(site: Site, text: str) -> Q:
    """By number of a delivery, id of a contact, start of an e-mail, or name."""
    found = Q(contact=text)
    if len(text) >= 32:
        found |= Q(delivery=text.lower()) | Q(key=text)
    named = Q(email__istartswith=text)
    parts = text.split()
    if parts:
        by_name = Q()
        for part in parts[:4]:
            by_name &= Q(first_name__istartswith=part) | Q(last_name__istartswith=part)
        named |= by_name
    contacts = Contact.objects.for_site(site).filter(named).order_by("-pk")[:MOST_CONTACTS]
    ids: dict[int, list[str]] = {}
    for connection, contact in contacts.values_list("connection", "external_id"):
        ids.setdefault(connection, []).append(contact)
    for connection, of_it in ids.items():
        found |= Q(connection=connection, contact__in=of_it)
    return found


def counts(site: Site, chosen: Filter) -> dict[str, int]:
    """Standing → how many; "" is all of them. From the counters, but for a search, which few rows fit."""
    if chosen.q:
        found = jobs(site, chosen).order_by().values_list("standing").annotate(n=Count("pk"))
    else:
        found = _counters(site, chosen).values_list("standing").annotate(n=Sum("n"))
    by_standing = {standing: max(0, n) for standing, n in found if standing in words.STANDINGS}
    return {"": sum(by_standing.values()), **by_standing}


def _counters(site: Site, chosen: Filter) -> OfSite:
    counters = _without_care(Counter.objects.for_site(site), chosen)
    if chosen.hours:
        counters = counters.filter(hour__gte=first_hour(chosen.hours))
    if (only := connections(site, chosen)) is not None:
        counters = counters.filter(connection__in=only)
    if chosen.command:
        counters = counters.filter(command="" if chosen.command == NOT_UNDERSTOOD else chosen.command)
    return counters
