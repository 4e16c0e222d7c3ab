"""Tokens that are renewed: one renewal at a time on all machines, and the new pair is kept before it is used.

At Keap and Kit a refresh token is good for one use: two workers that renew at once would lose the link to the CRM. So
the connection's row carries the moment until which somebody is renewing. Called from threads that speak to the CRM,
which have no other work in the database (docs/decisions/0034-tokens-are-renewed-under-one-lock.md).
"""

import json
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from django.conf import settings
from django.db import connection as database
from django.db.models import QuerySet

from tagwarden.connections.models import Connection
from tagwarden.core import clock
from tagwarden.core.errors import Retryable
from tagwarden.crms import base

RENEWING_MS = 30_000  # longer than a call to the vendor may take
LOOK_SECONDS = 0.1

Exchange = Callable[[Mapping[str, str]], Mapping[str, str]]


class Store(base.Tokens):
    """The tokens of one connection."""

    def __init__(self, connection: int) -> None:
        self._connection = connection

    def renewed(self, stale: str, exchange: Exchange) -> Mapping[str, str]:
        """As base.Tokens says. Raises Retryable `crm-token-renewing` if somebody else takes too long over it."""
        try:
            return self._renewed(stale, exchange)
        finally:
            if not database.in_atomic_block:
                database.close()  # this thread may never need it again

    def _renewed(self, stale: str, exchange: Exchange) -> Mapping[str, str]:
        patience = time.monotonic() + RENEWING_MS / 1000
        while True:
            credentials = self._read()
            if credentials.get("access_token", "") != stale:
                return credentials
            if self._claim():
                return self._exchange(stale, exchange)
            if time.monotonic() > patience:
                raise Retryable("crm-token-renewing", after=timedelta(seconds=5), spends_try=False)
            time.sleep(LOOK_SECONDS)

    def _read(self) -> Mapping[str, str]:
        sealed = self._row().values_list("credentials", flat=True).get()
        found: dict[str, str] = json.loads(settings.KEYS.decrypt(sealed))
        return found

    def _claim(self) -> bool:
        now = clock.now_ms()
        free = self._row().filter(renewing_until__lt=now)
        return bool(free.update(renewing_until=now + RENEWING_MS))

    def _row(self) -> QuerySet[Connection]:
        return Connection.objects.filter(pk=self._connection)

    def _exchange(self, stale: str, exchange: Exchange) -> Mapping[str, str]:
        try:
            credentials = self._read()  # whoever held it before us may have renewed it
            if credentials.get("access_token", "") == stale:
                credentials = {**credentials, **exchange(credentials)}
                self._row().update(credentials=settings.KEYS.encrypt(json.dumps(credentials)))
            return credentials
        finally:
            self._row().update(renewing_until=0)
