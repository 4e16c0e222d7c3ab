"""The mail server as `TAGWARDEN_SMTP_URL` names it."""

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

Safety = Literal["plain", "starttls", "tls"]
_SCHEMES: dict[str, tuple[Safety, int]] = {
    "smtp": ("plain", 25),
    "smtp+starttls": ("starttls", 587),
    "smtps": ("tls", 465),
}
_HERE = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails are handed over. `user` is empty where no log-in is wanted."""

    host: str
    port: int
    safety: Safety
    user: str = ""
    password: str = field(default="", repr=False)


def mail_server(url: str) -> MailServer | None:
    """The server in `smtp+starttls://user:password@host:port`; None for an empty text.

    User and password are percent-encoded. Raises ValueError with a sentence that holds nothing of the URL's secret.
    """
    if not url:
        return None
    parts, port = _split(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError("it must start with smtp://, smtp+starttls:// or smtps://")
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("it must have the form smtp+starttls://user:password@host:port; write / in a password as %2F")
    safety, usual_port = _SCHEMES[parts.scheme]
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(user) != bool(password):
        raise ValueError("it must name both user and password, or neither")
    if user and safety == "plain" and parts.hostname not in _HERE:
        raise ValueError("the password would cross the network in clear; write smtp+starttls:// or smtps://")
    return MailServer(parts.hostname, port or usual_port, safety, user, password)


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:  # whose text may hold a piece of the password
        raise ValueError(
            "its host or port can't be read; write : / ? # @ in a password as %3A %2F %3F %23 %40"
        ) from None
