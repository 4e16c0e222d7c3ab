"""The button on the note that stands above all pages after a restore: what is held goes on."""

from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from tagwarden.accounts import audit
from tagwarden.journal import restores
from tagwarden.staff import frame
from tagwarden.staff.gate import StaffRequest, staff_only


@require_POST
@staff_only
def resume(request: StaffRequest) -> HttpResponse:
    """Lets out this site's held mails, charges and CRM writes."""
    site = request.site
    resumed = restores.resume(site.pk)
    if resumed.was_held:
        detail = {"effects": resumed.effects, "unknown": resumed.unknown}
        audit.note("restore-resumed", site.name, site=site, account=request.user, **detail)
    unknown = f"{reverse('deliveries')}?outcome=unknown&span=all"
    link = {"link": unknown, "word": "See them"} if resumed.unknown else {}
    return frame.answer(request, resumed.sentence, back=reverse("deliveries"), **link)
