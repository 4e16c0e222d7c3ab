"""One member: which tags they hold, and where each of them came from."""

from collections.abc import Iterable
from typing import Any

from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from tagwarden.journal import store
from tagwarden.journal.models import Job, Release
from tagwarden.members.models import Contact, ContactTag, Member, Source
from tagwarden.staff import frame, rows
from tagwarden.staff.gate import StaffRequest, staff_only

LATEST = 8
TAKEN_AWAY = 20
ICONS = {
    Source.FIRST_READ: "received",
    Source.CALL: "deliveries",
    Source.RELEASE: "releases",
    Source.ORDER: "order",
    Source.SWEEP: "sweep",
    Source.STAFF: "person",
    Source.OURS: "effects",
}
CAME = {
    Source.FIRST_READ: "Was there when the contact was first read",
    Source.CALL: "Came with a call",
    Source.RELEASE: "Came with a release",
    Source.ORDER: "Bought here",
    Source.SWEEP: "Found by a sweep; the CRM sent no call",
    Source.STAFF: "By hand",
    Source.OURS: "Written by Tagwarden",
}


def _found(request: StaffRequest, login: str) -> Member:
    members = Member.objects.for_site(request.site).select_related("account", "made_password")
    member: Member | None = members.filter(account__login=login).first()
    if member is None:
        raise Http404
    return member


def _contacts(request: StaffRequest, member: Member) -> list[Contact]:
    """The member's contacts, the primary one first."""
    contacts = Contact.objects.for_site(request.site).filter(member=member).order_by("-primary", "pk")
    return list(contacts)


@require_safe
@staff_only
def member(request: StaffRequest, login: str) -> HttpResponse:
    """Tags, tags taken away, contacts, latest calls."""
    one = _found(request, login)
    contacts = _contacts(request, one)
    people = rows.People(request.site, [])
    jobs = _jobs(request, contacts)
    tags = _tags(contacts)
    sources = _Sources(request, (ref for tag in tags for ref in (tag.ref, tag.until_ref)))
    context = {
        "member": one,
        "account": one.account,
        "contacts": [{"contact": contact, "crm": people.crm(contact.connection_id)} for contact in contacts],
        "tags": [sources.of(tag) for tag in tags if tag.until is None],
        "taken_away": [sources.of(tag) for tag in tags if tag.until is not None][:TAKEN_AWAY],
        "jobs": jobs,
        "password": _password(one),
    }
    waiting = any(job.standing == "waiting" for job in jobs)
    return frame.page(request, "staff/member.html", context, pace=frame.MOVING if waiting else frame.QUIET)


def _password(member: Member) -> str:
    """Whether the member has one, and for one that genpass made, whether the CRM has it."""
    if not member.account.has_usable_password():
        return "None yet"
    made = getattr(member, "made_password", None)
    if made is None:
        return "Set"
    if made.reached:
        return "Made here; the CRM has it"
    return "Made here; on its way to the CRM" if made.sealed else "Made here; it never reached the CRM"


def _tags(contacts: list[Contact]) -> list[ContactTag]:
    """All tags of these contacts, the newest first; those taken away by when that was."""
    tags = [tag for contact in contacts for tag in contact.held_tags.select_related("tag")]
    return sorted(tags, key=lambda tag: (tag.until or tag.since, tag.pk), reverse=True)


def _jobs(request: StaffRequest, contacts: list[Contact]) -> list[Job]:
    found: list[Job] = []
    for contact in contacts:
        of_it = Job.objects.for_site(request.site).filter(
            connection=contact.connection_id, contact=contact.external_id, root=None
        )
        found += of_it.order_by("-received")[:LATEST]
    return sorted(found, key=lambda job: job.received, reverse=True)[:LATEST]


class _Sources:
    """Where tags came from, with the jobs and releases that their rows name."""

    def __init__(self, request: StaffRequest, refs: Iterable[str]) -> None:
        keys = {ref for ref in refs if ref}
        self.jobs = {job.key: job for job in Job.objects.for_site(request.site).filter(key__in=keys)}
        ids = {job.release for job in self.jobs.values() if job.release}
        self.releases = {r.pk: r for r in Release.objects.for_site(request.site).filter(pk__in=ids)}

    def of(self, tag: ContactTag) -> dict[str, Any]:
        """A tag with its source and, if it is gone, with what took it away."""
        source, ref = (tag.source, tag.ref) if tag.until is None else (tag.until_source, tag.until_ref)
        job = self.jobs.get(ref)
        release = self.releases.get(job.release) if job and job.release else None
        words = rows.release_title(release) if release else CAME.get(Source(source), "") if source else ""
        return {
            "tag": tag,
            "icon": ICONS.get(Source(source), "deliveries") if source else "",
            "came": words,
            "job": job,
        }


@require_POST
@staff_only
def refresh(request: StaffRequest, login: str) -> HttpResponse:
    """Reads all contacts of this member again, before all else."""
    one = _found(request, login)
    contacts = [contact for contact in _contacts(request, one) if contact.state == Contact.State.LIVE]
    key = ""
    for contact in contacts:
        key = store.refresh_contact(
            site=request.site.pk,
            connection=contact.connection_id,
            contact=contact.external_id,
            account=request.user.pk,
        )
    back = reverse("member", args=[login])
    if not contacts:
        return frame.answer(request, "This member has no contact at a CRM to read.", back=back)
    return frame.answer(
        request, "Being read again.", link=reverse("delivery", args=[key]), word="See the call", back=back
    )
