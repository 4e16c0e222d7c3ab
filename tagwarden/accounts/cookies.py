"""Cookies are secure wherever the page came over HTTPS; a server tried out on a plain address works all the same."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def secure_over_https(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware, outside those that set cookies. rsgi.py tells the scheme, from trusted proxies only."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response

    return middleware
