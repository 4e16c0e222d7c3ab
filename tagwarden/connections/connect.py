"""Connection → ready adapter."""

import json

from django.conf import settings

from tagwarden.connections import tokens
from tagwarden.connections.models import Connection
from tagwarden.core import catalogue
from tagwarden.core.errors import SettingsError
from tagwarden.crms import base


def adapter_class(crm: str) -> type[base.Crm]:
    """The adapter of that name. Raises SettingsError with a sentence if there is none."""
    module = catalogue.listed("tagwarden.crms").get(crm)
    if module is None:
        known = ", ".join(catalogue.listed("tagwarden.crms"))
        raise SettingsError(f"There is no adapter for a CRM called {crm}. Known are {known}.")
    found: type[base.Crm] = module.Crm
    return found


def open_crm(connection: Connection) -> base.Crm:
    """The adapter of a connection, with its credentials, ready to be asked."""
    sealed = connection.credentials
    credentials = json.loads(settings.KEYS.decrypt(sealed)) if sealed else {}
    store = tokens.Store(connection.pk)
    crm = adapter_class(connection.crm)(base_url=connection.base_url, credentials=credentials, tokens=store)
    crm.connection = connection.pk
    return crm
