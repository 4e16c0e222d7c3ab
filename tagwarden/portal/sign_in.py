"""Members sign in by e-mail and password, see that they are in, and sign out."""

from django.contrib import auth
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from tagwarden.accounts import sign_in
from tagwarden.accounts.models import Account, Site


class MemberRequest(HttpRequest):
    """A request to a site's own pages."""

    site: Site  # type: ignore[assignment]  # ours, not django.contrib.sites


@never_cache
@sensitive_post_parameters("password")
def sign_in_page(request: MemberRequest) -> HttpResponse:
    """GET shows the form, POST signs in. Ten wrong passwords lock the pair of e-mail and address for 15 minutes."""
    context = {"site": request.site, "title": f"Sign in to {request.site.name}"}
    if request.method != "POST":
        return render(request, "portal/sign_in.html", context)
    tried = sign_in.by_password(request, site=request.site)
    if tried.account is None:
        return render(request, "portal/sign_in.html", context | tried.shown(), status=tried.status)
    return redirect("staff" if tried.account.is_staff_member else "home")


@never_cache
@require_safe
def home(request: MemberRequest) -> HttpResponse:
    """A member's first page; staff are led to theirs, others to the sign-in."""
    account = request.user
    if not isinstance(account, Account):
        return redirect("member-sign-in")
    if account.is_staff_member:
        return redirect("staff")
    if account.site_id != request.site.pk:
        auth.logout(request)
        return redirect("member-sign-in")
    return render(request, "portal/home.html", {"site": request.site, "account": account, "title": request.site.name})


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    auth.logout(request)
    return redirect("member-sign-in")
