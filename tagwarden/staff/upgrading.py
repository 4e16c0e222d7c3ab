"""Pages say 503 *being upgraded* while the database's schema is not this version's, or is not there."""

import threading
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from tagwarden.journal import schema

LOOK_AGAIN = 1.0  # seconds


class _LastLook:
    """The last verdict, for a second: one thread looks, the others take what is known."""

    def __init__(self) -> None:
        self.fits, self.at, self.busy = True, float("-inf"), threading.Lock()

    def __call__(self) -> bool:
        if time.monotonic() - self.at > LOOK_AGAIN and self.busy.acquire(blocking=self.at < 0):
            try:
                self.fits, self.at = schema.fits(), time.monotonic()
            finally:
                self.busy.release()
        return self.fits

    def forget(self) -> None:
        self.at = float("-inf")


last_look = _LastLook()


def _being_upgraded() -> HttpResponse:
    return HttpResponse(
        render_to_string("upgrading.html"), status=503, headers={"Retry-After": "5", "Cache-Control": "no-store"}
    )


def while_upgrading(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if last_look():
            response = get_response(request)
            if response.status_code != 500:
                return response
            last_look.forget()  # a database that went away in the middle of a page is no mistake of the page
            if last_look():
                return response
        return _being_upgraded()

    return middleware
