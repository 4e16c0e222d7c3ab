"""Which site a request is for: by its Host header, and by nothing else."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseNotFound

from tagwarden.accounts.models import Site


def site_of_host(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: puts `request.site`; a host that belongs to no site is answered with 404."""

    def middleware(request: HttpRequest) -> HttpResponse:
        host = request.META.get("HTTP_HOST", "").rsplit(":", 1)[0].lower()
        site = Site.objects.filter(host=host).first()
        if site is None:
            return HttpResponseNotFound(
                f"No site is set up for the host “{host}”. Add one with: tagwarden site add NAME --host {host}\n",
                content_type="text/plain; charset=utf-8",
            )
        request.site = site  # type: ignore[assignment]  # ours, not django.contrib.sites
        return get_response(request)

    return middleware
