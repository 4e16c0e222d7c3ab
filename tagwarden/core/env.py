"""The process's settings: from the environment only, read once, typed.

An unknown or malformed `TAGWARDEN_*` variable stops the start with a sentence. Any variable may be given as
`…_FILE`, the path of a file that holds the value, so that secrets need not stand in the environment.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_network
from pathlib import Path

from tagwarden.core.errors import SettingsError
from tagwarden.core.smtp import MailServer, mail_server


@dataclass(frozen=True)
class Env:
    """What the operator set. Every field is described in docs/install.md."""

    data: Path
    keys_file: Path
    database_url: str
    smtp_url: MailServer | None
    trusted_proxies: tuple[str, ...]
    retry_scale: float
    log_level: str
    log_format: str
    metrics_token: str = field(repr=False)

    @property
    def on_postgresql(self) -> bool:
        return self.database_url.startswith(("postgresql://", "postgres://"))


def _networks(text: str) -> tuple[str, ...]:
    return tuple(str(ip_network(part.strip(), strict=False)) for part in text.split(",") if part.strip())


def _scale(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError("it must lie between 0 and 1")
    return number


def _database(text: str) -> str:
    if text and not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("it must start with postgresql://, or be left out for SQLite")
    return text


def _log_format(text: str) -> str:
    if text not in {"text", "json"}:
        raise ValueError("it must be text or json")
    return text


def _token(text: str) -> str:
    if text and (len(text) < 16 or not text.isascii() or not text.isprintable() or " " in text):
        raise ValueError("it must be 16 or more plain characters without spaces")
    return text


def _level(text: str) -> str:
    if text.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("it must be DEBUG, INFO, WARNING or ERROR")
    return text.upper()


_KNOWN: dict[str, tuple[str, Callable[[str], object]]] = {
    "TAGWARDEN_DATA": ("./var", lambda text: Path(text).absolute()),
    "TAGWARDEN_KEYS_FILE": ("", lambda text: Path(text).absolute() if text else None),
    "DATABASE_URL": ("", _database),
    "TAGWARDEN_SMTP_URL": ("", mail_server),
    "TAGWARDEN_TRUSTED_PROXIES": ("", _networks),
    "TAGWARDEN_RETRY_SCALE": ("1", _scale),
    "TAGWARDEN_LOG_LEVEL": ("INFO", _level),
    "TAGWARDEN_LOG_FORMAT": ("text", _log_format),
    "TAGWARDEN_METRICS_TOKEN": ("", _token),
}
_FOR_TESTS = {"TAGWARDEN_FAILPOINT"}


def _value(name: str, environ: Mapping[str, str], default: str) -> str:
    path = environ.get(f"{name}_FILE")
    if path is None or name == "TAGWARDEN_KEYS":
        return environ.get(name, default)
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{name}_FILE names {path}, which cannot be read: {error.strerror}.") from error


def read_env(environ: Mapping[str, str]) -> Env:
    """The settings in `environ`. Raises SettingsError with a sentence if one is unknown or malformed."""
    allowed = _FOR_TESTS | {form for name in _KNOWN for form in (name, f"{name}_FILE")}
    for name in environ:
        if name.startswith("TAGWARDEN_") and name not in allowed:
            known = ", ".join(sorted(_KNOWN))
            raise SettingsError(f"{name} is not a setting of Tagwarden. Known are {known}.")
    values: dict[str, object] = {}
    for name, (default, parse) in _KNOWN.items():
        text = _value(name, environ, default)
        try:
            values[name.removeprefix("TAGWARDEN_").lower()] = parse(text)
        except ValueError as error:
            raise SettingsError(f"{name} is malformed: {error}.") from error
    values["keys_file"] = values["keys_file"] or values["data"] / "keys"  # type: ignore[operator]  # parsed above
    return Env(**values)  # type: ignore[arg-type]  # each parser gives its field's type


@cache
def env() -> Env:
    """This process's settings."""
    return read_env(os.environ)
