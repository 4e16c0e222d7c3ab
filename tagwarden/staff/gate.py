"""Who may open a page of staff: somebody signed in who works for the site of the request, or an operator."""

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django_htmx.middleware import HtmxDetails

from tagwarden.accounts.models import Account, Site


class StaffRequest(HttpRequest):
    """A request that came through the gate."""

    site: Site  # type: ignore[assignment]  # ours, not django.contrib.sites
    user: Account
    htmx: HtmxDetails


View = Callable[..., HttpResponse]


def works_for(account: Account, site: Site) -> bool:
    """Whether that account may see that site's pages."""
    return account.role == Account.Role.OPERATOR or (account.is_staff_member and account.site_id == site.pk)


def staff_only(view: View) -> View:
    """Signed out: to the sign-in page. Signed in, but not staff of this site: 403."""

    @wraps(view)
    def gate(request: StaffRequest, *args: object, **kwargs: object) -> HttpResponse:
        if not getattr(request.user, "is_authenticated", False):
            return _to_sign_in(request)
        if not works_for(request.user, request.site):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return gate


def _to_sign_in(request: StaffRequest) -> HttpResponse:
    if request.htmx:  # a script's request: the page itself must go there, not the script
        return HttpResponse(status=204, headers={"HX-Redirect": reverse("sign-in")})
    return redirect_to_login(request.get_full_path())
