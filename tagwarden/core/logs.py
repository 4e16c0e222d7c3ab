"""What log lines look like, as text or as JSON, and which deliveries they concern.

Whoever works for a delivery says so once, by `concerning`; every line logged meanwhile names it, whoever logs it.
"""

import json
import logging
import logging.config
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from tagwarden.core.env import Env

NAMED = 20  # deliveries that a line names; of more it says how many
FORMS = {"text": "tagwarden.core.logs.Text", "json": "tagwarden.core.logs.Json"}
QUIET = {  # parts of others that say too much
    "httpx": "WARNING",
    "httpcore": "WARNING",
    "axes": "WARNING",
    "procrastinate": "CRITICAL",
    "psycopg.pool": "ERROR",
}

_concerned: ContextVar[tuple[str, ...]] = ContextVar("concerned", default=())
_part = "cli"
# A net below those who keep secrets out of their lines: what stands in our own addresses.
_SECRETS = re.compile(r"(\baal_\w+=|/hooks/|(?<!/staff)/sign-in/)[^&/?\s\"'#]+", re.IGNORECASE)


def set_up(settings: Env, part: str) -> None:
    """How this process logs. `part`: what it is of the server: serve, web, intake or worker."""
    global _part
    _part = part
    logging.config.dictConfig(config(settings))


def config(settings: Env) -> dict[str, Any]:
    """For logging.config.dictConfig: one handler, on standard error."""
    quiet = {name: {"level": level} for name, level in QUIET.items()}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": FORMS[settings.log_format]}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": settings.log_level},
        "loggers": quiet | {"_granian": {"handlers": [], "propagate": True}},
    }


@contextmanager
def concerning(deliveries: Iterable[str]) -> Iterator[None]:
    """Lines of this thread concern these deliveries meanwhile. A thread that is handed the context says so, too."""
    token = _concerned.set(tuple(dict.fromkeys(deliveries)))
    try:
        yield
    finally:
        _concerned.reset(token)


def from_now_on(delivery: str) -> None:
    """Lines of this task concern that delivery, to its end."""
    _concerned.set((delivery,))


def masked(text: str) -> str:
    """The text without the secrets that stand in addresses of ours."""
    return _SECRETS.sub(r"\1***", text)


class Text(logging.Formatter):
    """A line to read, with the deliveries at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        line, names = super().formatMessage(record), _concerned.get()
        more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        return f"{line} [{', '.join(names[:NAMED])}{more}]" if names else line

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class Json(logging.Formatter):
    """One JSON object a line; the keys are described in docs/operating.md."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "part": _part,
            "process": record.process,
            "message": masked(record.getMessage()),
        }
        if names := _concerned.get():
            line["deliveries"] = names[:NAMED]
            if len(names) > NAMED:
                line["deliveries_left_out"] = len(names) - NAMED
        if record.exc_info:
            line["error"] = masked(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)
