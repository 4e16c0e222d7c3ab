"""Pages to sign in and out: by e-mail and password, or by a single-use link."""

from django.contrib import auth
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from tagwarden.accounts import sign_in
from tagwarden.accounts.models import Account
from tagwarden.staff.gate import StaffRequest

THEMES = ("system", "light", "dark")
YEAR = 365 * 24 * 3600  # seconds


def _onward(request: HttpRequest, account: Account, target: str) -> HttpResponse:
    fits = url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()})
    return HttpResponseRedirect(target if fits else "/staff/" if account.is_staff_member else "/")


@never_cache
@sensitive_post_parameters("password")
def sign_in_page(request: StaffRequest) -> HttpResponse:
    """GET shows the form, POST signs in and leads on, to `next` if that is a page of ours."""
    target = request.POST.get("next", request.GET.get("next", ""))
    context = {"site": request.site, "next": target, "title": "Sign in to Tagwarden"}
    if request.method != "POST":
        return render(request, "staff/sign_in.html", context)
    tried = sign_in.by_password(request, site=request.site)
    if tried.account is None:
        return render(request, "staff/sign_in.html", context | tried.shown(), status=tried.status)
    return _onward(request, tried.account, target)


@never_cache
def link_page(request: StaffRequest, token: str) -> HttpResponse:
    """GET shows a button, since mail scanners open links; POST signs in and uses the link up."""
    context = {"site": request.site, "title": f"Sign in to {request.site.name}"}
    if request.method != "POST":
        return render(request, "staff/link.html", context)
    account = sign_in.use_link(token, site=request.site)
    if account is None:
        return render(request, "staff/link.html", {**context, "used": True}, status=410)
    auth.login(request, account, backend=sign_in.BACKEND)
    return _onward(request, account, "")


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    auth.logout(request)
    return redirect("sign-in")


@require_POST
def appearance(request: HttpRequest) -> HttpResponse:
    """Light, dark or as the system has it, remembered in a cookie."""
    back = request.POST.get("back", "")
    fits = url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()})
    response = HttpResponseRedirect(back if fits else "/staff/")
    theme = request.POST.get("theme", "system")
    response.set_cookie("theme", theme if theme in THEMES else "system", max_age=YEAR, samesite="Lax", httponly=True)
    return response


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The first page: the deliveries."""
    return redirect("deliveries")
