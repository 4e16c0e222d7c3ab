"""The real receiver on the real server, with a few pages of our own behind it in place of Django.

Started by conftest.py as `python tests/receiver/harness.py PORT`.
"""

import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse

import django

from tagwarden import rsgi

CLOSED = {"times": 0}


class _Closing(list[bytes]):
    def close(self) -> None:
        CLOSED["times"] += 1


def kill_writer() -> None:
    """What no error of SQLite is: something that the writer can't go on after."""
    thread = next(each for each in threading.enumerate() if each.name == "spool-writer")
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(MemoryError))


def pages(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """/kill-writer kills the spool's writer at its next step, /slow takes a second, /big streams 5 MiB.

    All others tell what they were given, and how many answers were closed.
    """
    path = environ["PATH_INFO"]
    if path == "/kill-writer":
        kill_writer()
    if path == "/broken":
        raise RuntimeError("this page always breaks")
    if path == "/big":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return (b"x" * 65_536 for _ in range(80))
    if path == "/slow":
        time.sleep(1)
    told = {name: value for name, value in environ.items() if isinstance(value, str)}
    told["body"] = environ["wsgi.input"].read().decode("latin-1")
    told["closed"] = str(CLOSED["times"])
    start_response("201 Created", [("Content-Type", "application/json"), ("X-Page", "yes")])
    return _Closing([json.dumps(told).encode()])


def start() -> Any:
    """In place of Django's application; Django itself is set up, since commands import rules and these models."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagwarden.settings")
    django.setup()
    return pages


application = rsgi.Front(pages=start)

if __name__ == "__main__":
    rsgi.serve("127.0.0.1", int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else f"{__file__}:application")
