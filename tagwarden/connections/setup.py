"""Setting up connections: the credentials, the options, and the URL that an owner pastes into the CRM."""

import json
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import quote, urlencode, urlsplit

from django.conf import settings
from django.db import transaction

from tagwarden.accounts import audit
from tagwarden.accounts.models import Account, Site
from tagwarden.connections import connect, handshakes
from tagwarden.connections.models import Connection
from tagwarden.core import catalogue, options, reasons, wire
from tagwarden.core.errors import SettingsError
from tagwarden.core.outcome import CrmTag
from tagwarden.crms import base

FIRST_HANDSHAKE = "webhooks"


def add_connection(
    site: Site,
    crm: str,
    *,
    name: str,
    base_url: str,
    credentials: Mapping[str, str],
    account: Account | None = None,
) -> Connection:
    """A new connection with its first handshake, which is good for all commands.

    `crm`: the adapter's name. `credentials` are kept encrypted; their keys stand in docs/crms/<crm>.md.
    Raises SettingsError with a sentence if the CRM is unknown, a key is missing, the address is no web address or
    there is none where each account has its own.
    """
    adapter, address = connect.adapter_class(crm), _web_address(base_url)
    _check_credentials(crm, adapter, credentials)
    _check_address(crm, adapter, address)
    with transaction.atomic():
        connection = Connection.objects.create(
            site=site,
            crm=crm,
            name=name.strip()[:120] or adapter.label,
            base_url=address,
            credentials=settings.KEYS.encrypt(json.dumps(dict(credentials))),
        )
        audit.note("connection-added", connection.name, site=site, account=account, crm=crm)
        handshakes.make(connection, FIRST_HANDSHAKE, account=account)
    return connection


def change(
    connection: Connection,
    changes: Mapping[str, str],
    *,
    credentials: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> None:
    """Changes a connection, all or nothing.

    `changes`: name, base_url, active, or options of core.options.ConnectionOptions; values as text.
    `credentials`: new ones in place of the old. Raises SettingsError with a sentence on a bad name or value, and the
    adapter's errors if the CRM has to be asked for a tag, which is made there if there is none of that name.
    """
    if credentials is not None:
        _check_credentials(connection.crm, connect.adapter_class(connection.crm), credentials)
    if "base_url" in changes:
        _check_address(connection.crm, connect.adapter_class(connection.crm), changes["base_url"].strip())
    tags = {name: _tag(connection, text) for name, text in changes.items() if name in options.tag_options()}
    with transaction.atomic():
        row = Connection.objects.select_for_update().get(pk=connection.pk)
        for name, text in changes.items():
            _set(row, name, tags.get(name, text))
        if credentials is not None:
            row.credentials = settings.KEYS.encrypt(json.dumps(dict(credentials)))
        row.save()
        audit.note("connection-changed", row.name, site=row.site, account=account, **changes)
    connection.refresh_from_db()


def _check_credentials(crm: str, adapter: type[base.Crm], credentials: Mapping[str, str]) -> None:
    """An adapter that names no keys takes any."""
    given = {name for name, value in credentials.items() if value.strip()}
    if adapter.needed and not any(keys <= given for keys in adapter.needed):
        forms = " or ".join(", ".join(f'"{key}"' for key in sorted(keys)) for keys in adapter.needed)
        raise SettingsError(
            f"The credentials of {adapter.label} are a JSON object with {forms}. Put them into a file and name it by "
            f"--credentials-file; {_page(crm)} says where to find them."
        )


def _check_address(crm: str, adapter: type[base.Crm], address: str) -> None:
    if not address and not adapter.default_url:
        raise SettingsError(
            f"Each account at {adapter.label} has an address of its own. Name it by --base-url (base_url=… to change "
            f"it); {_page(crm)} says where to find it."
        )


def _page(crm: str) -> str:
    """That CRM's page of the documentation."""
    return "docs/sandbox.md" if crm == "sandbox" else f"docs/crms/{crm}.md"


def _tag(connection: Connection, name: str) -> CrmTag | None:
    """The CRM's tag of that name: kept with its id, so that it may be renamed there."""
    if not name.strip():
        return None
    with closing(connect.open_crm(connection)) as crm:
        return crm.tag(name.strip())


def _set(row: Connection, name: str, text: str | CrmTag | None) -> None:
    if not isinstance(text, str):
        row.options_json = options.change(options.ConnectionOptions, row.options_json, {name: text})
    elif name == "name":
        row.name = text.strip()[:120] or row.name
    elif name == "base_url":
        row.base_url = _web_address(text)
    elif name == "active":
        row.active = _yes(text)
    else:
        row.options_json = options.change(options.ConnectionOptions, row.options_json, {name: text})


def webhook_url(connection: Connection, word: str, params: Mapping[str, str], secret: str) -> str:
    """The URL to paste into the CRM.

    `word`: the command, with or without `aal_`. `params`: as text, under their documented names.
    Raises SettingsError with the door's own sentence if a call to it would not be understood.
    """
    word = word.lower().removeprefix("aal_")
    query = f"aal_{quote(word)}={quote(secret, safe='')}"
    if params:
        query += f"&{urlencode(dict(params), quote_via=quote)}"
    _understood(word, query, params)
    return f"{connection.site.public_url.rstrip('/')}/?{query}"


def checked_params(word: str, params: Mapping[str, str]) -> dict[str, int | str]:
    """The parameters of a command as its function takes them. Raises SettingsError with the door's own sentence."""
    query = f"aal_{quote(word)}=***&{urlencode(dict(params), quote_via=quote)}"
    return _understood(word, query, params).params


def _understood(word: str, query: str, params: Mapping[str, str]) -> wire.Call:
    call = wire.understand(query=query, headers={}, body=b"contactId=1", words=commands())
    if call.finding:
        code, detail = call.finding.reason, call.finding.detail
        raise SettingsError(f"{reasons.title(code, detail)} {reasons.advice(code, detail)}")
    _all_known(word, params)
    return call


def commands() -> dict[str, Mapping[str, wire.Param]]:
    """The commands there are: wire word → its parameters."""
    return {word: module.PARAMS for word, module in catalogue.listed("tagwarden.operations").items()}


def hints(connection: Connection, url: str) -> list[str]:
    """What to do with a webhook's address in that CRM, a sentence a line."""
    crm = connect.adapter_class(connection.crm)
    usual = (f"In {crm.label}, send a POST to this address, with the contact's id as contactId.",)
    return [sentence.replace("{url}", url) for sentence in crm.paste or usual]


def _all_known(word: str, params: Mapping[str, str]) -> None:
    known = commands()[word]
    for name in params:
        if name.lower() not in {other.lower() for other in known}:
            takes = f"It takes {', '.join(known)}." if known else "It takes none."
            raise SettingsError(f"{word} has no parameter {name}. {takes}")


def _yes(text: str) -> bool:
    if text.lower() not in {"yes", "no"}:
        raise SettingsError(f"active must be yes or no, not “{text}”.")
    return text.lower() == "yes"


def _web_address(text: str) -> str:
    """The address without a slash at its end; an empty one means the CRM's usual address."""
    text = text.strip().rstrip("/")
    parts = urlsplit(text)
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise SettingsError(f"“{text}” is no web address. It must start with https://.")
    if parts.username or parts.password:
        raise SettingsError("The address holds a password. Put it into the credentials file instead.")
    return text
