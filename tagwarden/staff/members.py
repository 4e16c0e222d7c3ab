"""The list of members."""

from typing import Any

from django.db.models import Count, Q
from django.http import HttpResponse
from django.views.decorators.http import require_safe

from tagwarden.members.models import Contact, Member, OfSite
from tagwarden.staff import frame
from tagwarden.staff.gate import StaffRequest, staff_only

PAGE = 50


@require_safe
@staff_only
def members(request: StaffRequest) -> HttpResponse:
    """Newest first, by the login of the last one of the page before."""
    text = request.GET.get("q", "").strip()[:254].replace("\0", "")
    everybody = Member.objects.for_site(request.site)
    found = _search(everybody, text) if text else everybody
    start = everybody.filter(account__login=request.GET.get("before", "")).first()
    if start:
        found = found.filter(created__lte=start.created).exclude(created=start.created, pk__gte=start.pk)
    chosen = list(found.select_related("account").order_by("-created", "-pk")[: PAGE + 1])
    context = {
        "q": text,
        "rows": _rows(request, chosen[:PAGE]),
        "paged": start is not None,
        "older": chosen[PAGE - 1].account.login if len(chosen) > PAGE else "",
    }
    return frame.page(request, "staff/members.html", context)


def _search(everybody: OfSite, text: str) -> OfSite:
    """By the start of first name, last name or e-mail, or by a contact's id."""
    named = Q(account__email__istartswith=text) | Q(contacts__external_id=text)
    by_name = Q()
    for part in text.split()[:4]:
        by_name &= Q(account__first_name__istartswith=part) | Q(account__last_name__istartswith=part)
    return everybody.filter(named | by_name).distinct()


def _rows(request: StaffRequest, chosen: list[Member]) -> list[dict[str, Any]]:
    names = {connection.pk: connection.name for connection in request.site.connections.all()}
    held = Count("held_tags", filter=Q(held_tags__until=None))
    contacts: dict[int, list[Contact]] = {}
    of_them = Contact.objects.for_site(request.site).filter(member__in=chosen).annotate(tags=held).order_by("pk")
    for contact in of_them.exclude(state=Contact.State.MERGED):
        contact.crm = names.get(contact.connection_id, "")
        contacts.setdefault(contact.member_id, []).append(contact)
    return [
        {
            "member": member,
            "account": member.account,
            "contacts": contacts.get(member.pk, []),
            "tags": sum(getattr(contact, "tags", 0) for contact in contacts.get(member.pk, [])),
            "read": max((c.read_started_at for c in contacts.get(member.pk, []) if c.read_started_at), default=None),
        }
        for member in chosen
    ]
