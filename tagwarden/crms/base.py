"""What every CRM adapter shares: one road for all calls, with errors named by what happens next.

An adapter takes plain values and gives plain values. It is a class `Crm` in a file of this folder, named as the
CRM is named on the command line; a vendor's differences are tables and a few methods.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import httpx

from tagwarden.core import clock, mapping, tally
from tagwarden.core.errors import NeedsSetting, Permanent, Retryable
from tagwarden.core.outcome import CrmTag, Snapshot

TIMEOUT = httpx.Timeout(10, connect=5)
FIELDS_KNOWN_FOR = timedelta(minutes=10)


@dataclass
class Call:
    """One call to the CRM, in plain words: what it was for, what came of it, how long it took."""

    what: str
    found: str = ""
    status: int = 0
    ms: int = 0
    ok: bool = False


_recording: ContextVar[list[Call] | None] = ContextVar("calls", default=None)


@contextmanager
def recording() -> Iterator[list[Call]]:
    """Collects the calls that this thread makes to a CRM."""
    calls: list[Call] = []
    token = _recording.set(calls)
    try:
        yield calls
    finally:
        _recording.reset(token)


def as_rows(calls: Sequence[Call]) -> list[dict[str, object]]:
    """The calls as the journal keeps them."""
    return [asdict(call) for call in calls]


class Crm(ABC):
    """A connection to one account at a CRM. Its HTTP client may be used by several threads at once."""

    label: str  # the CRM's name as people write it
    connection = 0  # the connection's number, to count its calls by
    id_pattern = r"\d{1,18}"
    bulk_size = 100  # contacts in one bulk read
    one_lag = timedelta(0)  # how old what a read by id shows may be
    bulk_lag = timedelta(0)  # the same for a bulk read
    cannot: frozenset[str] = frozenset()  # what this CRM cannot do, for docs and pages

    def __init__(self, *, base_url: str, credentials: Mapping[str, str]) -> None:
        self.http = httpx.Client(base_url=base_url, headers=self.headers(credentials), timeout=TIMEOUT)
        self._fields: set[str] = set()
        self._fields_asked = clock.from_ms(0)

    def close(self) -> None:
        """Ends its HTTP connections."""
        self.http.close()

    # --- what a vendor's file fills in ---------------------------------------------------------------------------

    @abstractmethod
    def headers(self, credentials: Mapping[str, str]) -> dict[str, str]:
        """What proves who we are."""

    @abstractmethod
    def check(self) -> str:
        """Tries the credentials. Returns the account's name; raises NeedsSetting `crm-key-refused`."""

    @abstractmethod
    def contact(self, contact: str) -> Snapshot:
        """One contact. Raises Permanent `contact-not-found`."""

    @abstractmethod
    def contacts(self, contacts: Sequence[str]) -> dict[str, Snapshot]:
        """Up to `bulk_size` contacts in one call; those the answer leaves out are missing."""

    @abstractmethod
    def everybody(self) -> Iterator[list[Snapshot]]:
        """All contacts, a page of results at a time."""

    @abstractmethod
    def tag(self, name: str) -> CrmTag:
        """The tag of that name, made if there is none."""

    @abstractmethod
    def add_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        """Puts the tag (its id) on contacts. Returns those that have it now. Raises NeedsSetting `crm-tag-missing`."""

    @abstractmethod
    def remove_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        """Takes the tag (its id) off contacts. Returns those without it now."""

    @abstractmethod
    def set_fields(self, contact: str, values: Mapping[str, str]) -> None:
        """Writes fields by their label. Raises NeedsSetting `crm-field-missing`, Permanent `contact-not-found`."""

    @abstractmethod
    def fields(self) -> set[str]:
        """The labels of the fields that contacts have there."""

    @abstractmethod
    def make_field(self, label: str) -> None:
        """Makes a text field of that label; one that is there stays as it is."""

    def has_field(self, label: str) -> bool:
        """Whether contacts have a field of that label. The CRM is asked now and then."""
        if clock.now() - self._fields_asked > FIELDS_KNOWN_FOR:
            self._fields, self._fields_asked = self.fields(), clock.now()
        return mapping.has(self._fields, label)

    # --- the road ------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, *, what: str, **request: Any) -> tuple[Call, Any]:
        """One call. Returns its record and the decoded JSON.

        Raises Retryable (`crm-paused`, `crm-overloaded`, `crm-unreachable`, `crm-answer-broken`), NeedsSetting
        (`crm-key-refused`) or Permanent (`crm-refused`); `detail["status"]` tells a vendor's method the rest.
        """
        call = Call(what)
        if (calls := _recording.get()) is not None:
            calls.append(call)
        began = time.monotonic()
        try:
            response = self.http.request(method, path, **request)
            call.status = response.status_code
            answer = self._answer(response)
        except httpx.TransportError as error:
            call.found = self._why(error)
            raise Retryable("crm-unreachable", crm=self.label, why=call.found) from error
        except (Retryable, NeedsSetting, Permanent) as error:
            call.found = {"crm-paused": f"{self.label} asked for a pause"}.get(error.reason, "")
            raise
        finally:
            call.ms = round((time.monotonic() - began) * 1000)
            tally.add("crm_calls", connection=self.connection, status=call.status)
        call.ok = True
        return call, answer

    def _answer(self, response: httpx.Response) -> Any:
        status = response.status_code
        if status == 429:
            raise Retryable("crm-paused", after=_pause(response), spends_try=False, crm=self.label)
        if status >= 500:
            raise Retryable("crm-overloaded", crm=self.label, status=status)
        if status in {401, 403}:
            raise NeedsSetting("crm-key-refused", crm=self.label)
        if status >= 400:
            raise Permanent("crm-refused", crm=self.label, status=status, body=_json(response))
        answer = _json(response)
        if answer is None:
            raise Retryable("crm-answer-broken", crm=self.label)
        return answer

    def _why(self, error: httpx.TransportError) -> str:
        if isinstance(error, httpx.TimeoutException):
            return "it didn't answer in time"
        if isinstance(error, httpx.ConnectError):
            return "it can't be reached"
        return "the connection broke off"


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _pause(response: httpx.Response) -> timedelta:
    """What Retry-After asks for, in seconds; a pause of 1 s where it asks for nothing we can read."""
    text = response.headers.get("retry-after", "")
    return timedelta(seconds=min(int(text), 3600)) if text.isdigit() else timedelta(seconds=1)


def began(lag: timedelta = timedelta(0)) -> dict[str, Any]:
    """The moments of a read that begins now, for Snapshot: what it shows is as of now, less its lag."""
    now = clock.now()
    return {"started": now, "seen_until": now - lag}
