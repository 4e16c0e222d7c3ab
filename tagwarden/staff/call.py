"""A call as it came, to look at and to send again by hand. Its secret was masked before it was stored."""

import json
from dataclasses import dataclass

from django.utils.safestring import SafeString

from tagwarden.accounts.models import Site
from tagwarden.core import catalogue, wire
from tagwarden.journal.models import Delivery
from tagwarden.staff import words

MASKED = "***"
PLACEHOLDER = "YOUR-SECRET"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Shown:
    """`raw` and `curl` are in parts: between each two stands the place of the secret."""

    came: Delivery
    raw: list[str]
    curl: list[str]
    where: SafeString
    dropped: str
    secret_name: str
    placeholder: str = PLACEHOLDER


def shown(came: Delivery, site: Site) -> Shown:
    """That delivery for its page."""
    headers = [(str(name), str(value)) for name, value in json.loads(came.headers or "[]")]
    body = bytes(came.body)
    understood = wire.understand(
        query=came.query, headers={name.lower(): value for name, value in headers}, body=body, words=_words()
    )
    return Shown(
        came=came,
        raw=_raw(came, headers, body),
        curl=_curl(came, site, {name.lower(): value for name, value in headers}, body),
        where=words.with_code(understood.where),
        dropped=understood.dropped,
        secret_name=_secret_name(came, site),
    )


def _words() -> wire.Words:
    return {word: module.PARAMS for word, module in catalogue.listed("tagwarden.operations").items()}


def _secret_name(came: Delivery, site: Site) -> str:
    connection = site.connections.filter(pk=came.connection).first()
    handshake = connection.handshakes.filter(pk=came.handshake).first() if connection else None
    return handshake.name if handshake else ""


def _target(came: Delivery) -> str:
    return f"{came.path}?{came.query}" if came.query else came.path


def _raw(came: Delivery, headers: list[tuple[str, str]], body: bytes) -> list[str]:
    lines = [f"{came.method} {_target(came)}", *(f"{name}: {value}" for name, value in headers)]
    text = body.decode("utf-8", "replace")
    return ("\n".join(lines) + (f"\n\n{text}" if text else "")).split(MASKED)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _curl(came: Delivery, site: Site, headers: dict[str, str], body: bytes) -> list[str]:
    """The call as a command line; [] if its body isn't text."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return []
    parts = [f"curl -X {came.method} {_quoted(site.public_url.rstrip('/') + _target(came))}"]
    kind = headers.get("content-type", FORM)
    if text and not kind.startswith(FORM):
        parts.append(f"-H {_quoted('Content-Type: ' + kind)}")
    if text:
        parts.append(f"--data {_quoted(text)}")
    return " \\\n  ".join(parts).split(MASKED)
