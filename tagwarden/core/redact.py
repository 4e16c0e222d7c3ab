"""Takes the value of one named field out of a call: in a form, in JSON or in parts, also if it is cut or broken."""

import gzip
import re
import zlib
from functools import cache
from urllib.parse import unquote_plus

GONE = "***"
LARGEST_UNPACKED = 256 * 1024

_PAIR = re.compile(r"(^|[&?\s])([^=&\s\"{]+)=([^&\s]*)")
_JSON = re.compile(r'("(?:[^"\\]|\\.)*"\s*:\s*)("(?:[^"\\]|\\.)*(?:"|$)|[^\s"{\[,}\]]+)', re.DOTALL)
_PART = re.compile(r'(name="?([^"\r\n;]+)"?[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n)(.*?)(?=\r?\n--|$)', re.DOTALL)


def field(body: bytes, label: str) -> bytes:
    """The body with `***` in place of the value of every field of that label, whatever its case or nesting.

    A body without such a field comes back as it is.
    """
    if body[:2] == b"\x1f\x8b":
        return _packed(body, label)
    wanted, part = _wanted(label)
    wide = body[:2] in (b"\xff\xfe", b"\xfe\xff")
    if not wanted or not (wide or part in body.lower()):
        return body
    encoding = "utf-16" if wide else "latin-1"  # which keeps all bytes as they are
    text = body.decode(encoding, "replace")
    redacted = _text(text, wanted)
    return body if redacted == text else redacted.encode(encoding, "replace")


def query(text: str, label: str) -> str:
    """The same for a query string."""
    wanted, part = _wanted(label)
    return _text(text, wanted) if wanted and part.decode() in text.lower() else text


@cache
def _wanted(label: str) -> tuple[str, bytes]:
    """The label as names are compared, and what a body must hold for a closer look to be worth while."""
    runs = re.findall(r"[a-z0-9]+", label.lower())
    return _plain(label), max(runs, key=len, default="").encode()


def _packed(body: bytes, label: str) -> bytes:
    try:
        plain = zlib.decompressobj(wbits=31).decompress(body, LARGEST_UNPACKED)
    except zlib.error:
        return body
    redacted = field(plain, label)
    return body if redacted == plain else gzip.compress(redacted)


def _text(text: str, wanted: str) -> str:
    def gone(match: re.Match[str], name: str, kept: str, value: str) -> str:
        return kept + value if _last(name) == wanted else match[0]

    text = _PART.sub(lambda m: gone(m, m[2], m[1], GONE), text)
    text = _JSON.sub(lambda m: gone(m, m[1].rstrip(" \t\r\n:")[1:-1], m[1], f'"{GONE}"'), text)
    return _PAIR.sub(lambda m: gone(m, unquote_plus(m[2]), f"{m[1]}{m[2]}=", GONE), text)


def _last(name: str) -> str:
    """Of contact[fields][password] and contact.fields.password: password."""
    return _plain(re.split(r"[\[.]", name.rstrip("]"))[-1])


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
