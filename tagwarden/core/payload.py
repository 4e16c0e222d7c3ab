"""A call's body: whatever form it has, the contact ids in it and its named values.

Form, JSON, multipart or a bare id, packed with gzip or not, in UTF-8, broken UTF-8 or UTF-16. CRMs send no
Content-Type or a wrong one, so the bytes themselves decide.
"""

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_plus

LARGEST_UNPACKED = 256 * 1024
DEEPEST_JSON = 64
MOST_FIELDS = 5_000

# First hit wins. A form's `contact[id]` and JSON's nested {"contact": {"id": …}} are the same path.
ID_PATHS = (
    "contactid",
    "contact_id",
    "id",
    "contact0id",
    "contact.id",
    "subscriber.id",
    "data.subscriber.id",
)
_JSON_NAMES = {"contactid": "contactId", "contact0id": "Contact0Id"}


class Found(NamedTuple):
    """A contact id as it came, untrimmed, and in plain words where it stood."""

    value: str
    where: str


@dataclass(frozen=True, slots=True)
class Body:
    """What a body holds. `fields`: path in lower case ("contact.id") → (name as it came, value).

    `unreadable`: why it can't be read, "" if it can. `encoding`: a Content-Encoding that can't be unpacked.
    """

    contacts: tuple[Found, ...] = ()
    fields: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unreadable: str = ""
    encoding: str = ""

    def text(self, name: str) -> str:
        """The value under that name, whatever its case, or ""."""
        return self.fields.get(name.lower(), ("", ""))[1]


def clean(text: str) -> str:
    """The text without what a database refuses: NUL and halves of surrogate pairs."""
    if text.isascii():
        return text.replace("\0", "")
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def shown(value: str) -> str:
    """A foreign value fit to stand in a sentence: one line, at most 80 characters."""
    if len(value) <= 80 and value.isprintable() and value == " ".join(value.split()):
        return value
    line = " ".join("".join(c if c.isprintable() else " " for c in clean(value[:200])).split())
    return line if len(line) <= 80 else line[:79] + "…"


def read(body: bytes, headers: Mapping[str, str]) -> Body:
    """What the body holds. `headers`: names in lower case. Never raises."""
    if encoding := unknown_encoding(headers):
        return Body(encoding=encoding)
    if headers.get("content-encoding", "").strip().lower() in ("gzip", "x-gzip"):
        unpacked = _unpack(body)
        if isinstance(unpacked, str):
            return Body(unreadable=unpacked)
        body = unpacked
    if not body:
        return Body()
    kind = headers.get("content-type", "")
    if kind[:19].lower() == "multipart/form-data":
        return _multipart(body, kind)
    return _text(_decode(body))


def unknown_encoding(headers: Mapping[str, str]) -> str:
    """The Content-Encoding, if it is one that can't be unpacked here, else ""."""
    encoding = headers.get("content-encoding", "").strip().lower()
    return "" if encoding in ("", "identity", "gzip", "x-gzip") else shown(encoding)


def _unpack(body: bytes) -> bytes | str:
    """The unpacked bytes, or why there are none."""
    try:
        unpacker = zlib.decompressobj(wbits=31)
        plain = unpacker.decompress(body, LARGEST_UNPACKED)
    except zlib.error:
        return "it says it is packed with gzip, but it isn't"
    if unpacker.unconsumed_tail:
        return f"unpacked it is larger than {LARGEST_UNPACKED // 1024} KiB"
    return plain if unpacker.eof else "its gzip stream is cut off"


def form_pairs(text: str) -> list[tuple[str, str]]:
    """Names and values of a form or a query string, decoded, in order: what urllib's parse_qsl says, much quicker
    where nothing is escaped.
    """
    pieces = [piece.partition("=") for piece in text.split("&") if piece]
    return [(_unescaped(name), _unescaped(value)) for name, _, value in pieces]


def _unescaped(text: str) -> str:
    return unquote_plus(text, errors="replace") if "%" in text or "+" in text else text


def _decode(body: bytes) -> str:
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    return body.decode("utf-8", "replace")


_LOOKS_LIKE_JSON = re.compile(r'\{\s*"|\[\s*[\[{"\d]')  # unlike the merge fields [Contact ID] and {{contact.id}}


def _text(text: str) -> Body:
    inner = text.strip("\ufeff \t\r\n\0")
    problem = ""
    if inner[:1] in ("{", "["):
        content, problem = _json(inner)
        if content is not None:
            return content
    form = _form(inner, text)
    if problem and _LOOKS_LIKE_JSON.match(inner):
        contacts = form.contacts if "=" in inner else ()
        return Body(contacts=contacts, fields=form.fields, unreadable=problem)
    return form


# Forms.


@lru_cache(maxsize=1_024)
def _path(name: str) -> str:
    return name.strip("\ufeff \t\r\n").lower().replace("]", "").replace("[", ".")


def _form(inner: str, whole: str) -> Body:
    """A form, or a body that is only an id (which a form parser would take for a name without a value)."""
    if "=" not in inner and "&" not in inner:
        return Body(contacts=(Found(_unquoted(whole), "the body"),)) if inner else Body()
    if inner.count("&") >= MOST_FIELDS:
        return Body(unreadable=f"it has more than {MOST_FIELDS:,} fields")
    pairs = form_pairs(inner)
    fields = _first_filled(pairs)
    contacts = _in_fields(fields, "the form")
    if not contacts and len(pairs) == 1 and not pairs[0][1]:
        contacts = (Found(pairs[0][0], "the body"),)
    return Body(contacts=contacts, fields=fields)


def _unquoted(text: str) -> str:
    inner = text.strip()
    return inner[1:-1] if len(inner) > 1 and inner[0] == inner[-1] and inner[0] in "\"'" else text


def _first_filled(pairs: list[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    fields: dict[str, tuple[str, str]] = {}
    for name, value in pairs:
        path = _path(name)
        if path not in fields or not fields[path][1].strip():
            fields[path] = (name, value)
    return fields


def _in_fields(fields: Mapping[str, tuple[str, str]], place: str) -> tuple[Found, ...]:
    """The first id that is not empty, else the first empty one."""
    of_contact = fields.get("object_type_id", ("", ""))[1] == "0"  # Ontraport says which kind of object `data` is
    paths = (*ID_PATHS, "data.id") if of_contact else ID_PATHS
    hits = [fields[path] for path in paths if path in fields]
    filled = [hit for hit in hits if hit[1].strip()]
    return tuple(Found(value, f"{place} as `{shown(name)}`") for name, value in (filled or hits)[:1])


def _multipart(body: bytes, kind: str) -> Body:
    head = b"Content-Type: " + kind.encode("latin-1", "replace").replace(b"\r", b"").replace(b"\n", b"")
    try:
        message = BytesParser(policy=HTTP).parsebytes(head + b"\r\n\r\n" + body)
        pairs = [_part(part) for part in message.iter_parts()]
    except Exception:  # the standard parser raises all kinds of errors on broken headers of parts
        return Body(unreadable="its parts can't be told apart")
    fields = _first_filled(pairs[:MOST_FIELDS])
    return Body(contacts=_in_fields(fields, "the form"), fields=fields)


def _part(part: Message) -> tuple[str, str]:
    content = part.get_payload(decode=True)
    name = part.get_param("name", "", "content-disposition")
    return str(name), _decode(content) if isinstance(content, bytes) else ""


# JSON.


def _json(text: str) -> tuple[Body | None, str]:
    """The body as JSON, or why it is none."""
    if text.count("{") + text.count("[") > DEEPEST_JSON and _depth(text) > DEEPEST_JSON:
        return Body(unreadable=f"its JSON is nested more than {DEEPEST_JSON} deep"), ""
    try:
        tree = json.loads(text, object_pairs_hook=_folded)
    except json.JSONDecodeError as error:
        return None, f"its JSON breaks off or is wrong at character {error.pos + 1:,}"
    except (ValueError, RecursionError):
        return None, "its JSON holds a number that is too long"
    fields = dict(_scalars(tree)) if isinstance(tree, dict) else {}
    return Body(contacts=tuple(_in_json(tree)), fields=fields), ""


_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in _BRACKETS.finditer(text):
        character = match[0][0]
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _folded(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object with names in lower case; of equal names the first that is not empty."""
    tree: dict[str, object] = {}
    for name, value in pairs:
        if tree.get(name.lower()) in (None, ""):
            tree[name.lower()] = value
    return tree


def _scalars(tree: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, str]]]:
    for name, value in tree.items():
        if isinstance(value, str | int | float):
            yield name, (name, _plain(value))


def _plain(value: object) -> str:
    """A JSON value as the text of an id: 526, "526" and 526.0 are the same."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)[:200]


def _dig(tree: object, path: str) -> object:
    for name in path.split("."):
        if not isinstance(tree, dict) or name not in tree:
            return None
        tree = tree[name]
    return tree


def _in_json(tree: object) -> Iterator[Found]:
    """All contact ids: one, or those of a list, of Keap's REST hooks, of Kit's events."""
    if isinstance(tree, list):
        for entry in tree:
            yield from _in_json(entry)
    elif not isinstance(tree, dict):
        yield Found(_plain(tree), "the JSON")
    elif isinstance(tree.get("object_keys"), list):
        yield from _in_keap(tree)
    elif isinstance(tree.get("events"), list):
        yield from _in_json(tree["events"])
    else:
        yield from _in_object(tree)


def _in_keap(tree: Mapping[str, object]) -> Iterator[Found]:
    """Keap's REST hooks: `id` is a contact's only where the object is a contact (an order has an id, too)."""
    of_contact = str(tree.get("object_type", "contact")).lower() in ("contact", "contacts")
    keys = tree["object_keys"]
    for entry in keys if isinstance(keys, list) else ():
        details = entry.get("contact_details") if isinstance(entry, dict) else None
        for detail in details if isinstance(details, list) else ():
            yield Found(_plain(_dig(detail, "id")), "the JSON as `object_keys[].contact_details[].id`")
        if of_contact and not isinstance(details, list):
            value = _dig(entry, "id") if isinstance(entry, dict) else entry
            yield Found(_plain(value), "the JSON as `object_keys[].id`")


def _in_object(tree: Mapping[str, object]) -> Iterator[Found]:
    """The first id that is not empty, else the first empty one. A list of ids is several contacts."""
    # Kit's own event id stands beside the subscriber's; Ontraport says which kind of object `data` is.
    paths = ("data.subscriber.id",) if isinstance(_dig(tree, "data.subscriber"), dict) else ID_PATHS
    if str(tree.get("object_type_id", "")) == "0":
        paths = (*paths, "data.id")
    hits = [(path, _dig(tree, path)) for path in paths if _has(tree, path)]
    filled = [hit for hit in hits if hit[1] not in (None, "", []) and _plain(hit[1]).strip()]
    for path, value in (filled or hits)[:1]:
        for single in value if isinstance(value, list) else [value]:
            yield Found(_plain(single), f"the JSON as `{_JSON_NAMES.get(path, path)}`")


def _has(tree: object, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    holder = _dig(tree, parent) if parent else tree
    return isinstance(holder, dict) and name in holder
