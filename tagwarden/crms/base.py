"""What every CRM adapter shares: one road for all calls, with errors named by what happens next.

An adapter takes plain values and gives plain values. It is a class `Crm` in a file of this folder, named as the
CRM is named on the command line; a vendor's differences are tables and a few methods.
"""

import itertools
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar

import httpx

from tagwarden.core import clock, tally
from tagwarden.core.errors import NeedsSetting, Permanent, Retryable, TagwardenError
from tagwarden.core.hooks import Arrived, Event, Happened, Hook
from tagwarden.core.names import Names
from tagwarden.core.outcome import CrmTag, Snapshot
from tagwarden.core.ratelimit import Limit, Said

TIMEOUT = httpx.Timeout(10, connect=5)


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


class Limiter:
    """Who is asked before each call and told after it. This one lets all pass."""

    def begin(self, crm: str) -> None:
        """Before a call. Raises Retryable, which spends no try, if it must wait longer than a moment."""

    def heard(self, said: Sequence[Said], pause: timedelta | None) -> None:
        """It was answered. `pause`: what the CRM asked for, if it took the call for one too many."""

    def failed(self) -> bool:
        """It wasn't answered, or the CRM is broken. Returns whether that spends a try: not while it is known."""
        return True


_limiter: ContextVar[Limiter] = ContextVar("limiter", default=Limiter())  # noqa: B039  # it keeps nothing


@contextmanager
def paced(limiter: Limiter) -> Iterator[None]:
    """Calls that this thread makes to a CRM ask this limiter."""
    token = _limiter.set(limiter)
    try:
        yield
    finally:
        _limiter.reset(token)


class Refused(Permanent):
    """A call was refused with 4xx. `body`: the decoded JSON, or the text; for the adapter's eyes, kept nowhere."""

    def __init__(self, crm: str, response: httpx.Response) -> None:
        super().__init__("crm-refused", crm=crm, status=response.status_code)
        self.status = response.status_code
        body = _json(response)
        self.body: Any = response.text if body is None else body


class Tokens(ABC):
    """Where tokens that are renewed are kept (connections/tokens.py): one renewal at a time, on all machines."""

    @abstractmethod
    def renewed(self, stale: str, exchange: Callable[[Mapping[str, str]], Mapping[str, str]]) -> Mapping[str, str]:
        """The connection's credentials with an access token other than `stale`.

        `exchange`: credentials → what changes in them, by a call to the vendor; not called if somebody else has
        renewed them meanwhile. What it gives is kept before it is returned.
        """


class Crm(ABC):
    """A connection to one account at a CRM. Its HTTP client may be used by several threads at once."""

    label: str  # the CRM's name as people write it
    connection = 0  # the connection's number, to count its calls by
    default_url = ""  # where the vendor's API stands; empty: each account has an address of its own
    needed: tuple[frozenset[str], ...] = ()  # the keys of the credentials, in each form in which they may come
    id_pattern = r"\d{1,18}"
    bulk_size = 100  # contacts in one bulk read
    page_size = 100  # contacts in one page of the list of all
    one_lag = timedelta(0)  # how old what a read by id shows may be
    bulk_lag = timedelta(0)  # the same for a bulk read
    tags_at_once = 100  # contacts in one write of a tag
    limits: tuple[Limit, ...] = ()  # how many calls the vendor allows; none: not known
    pause = timedelta(seconds=1)  # after a 429 that doesn't say how long
    timeout = TIMEOUT
    cannot: ClassVar[Mapping[str, str]] = {}  # what this CRM cannot do → the sentence for docs and pages
    paste: ClassVar[tuple[str, ...]] = ()  # how a webhook is set up there, a sentence a step; {url}: what to paste

    def __init__(self, *, base_url: str, credentials: Mapping[str, str], tokens: Tokens | None = None) -> None:
        self.credentials, self.tokens = credentials, tokens
        self.http = httpx.Client(
            base_url=base_url or self.default_url,
            headers=self.headers(credentials),
            timeout=self.timeout,
            verify=_trusted(),
        )
        self.tag_names, self.field_names = Names(self.list_tags), Names(self.list_fields)

    def close(self) -> None:
        """Ends its HTTP connections."""
        self.http.close()

    # --- what a vendor's file fills in: contacts ---------------------------------------------------------------

    @abstractmethod
    def headers(self, credentials: Mapping[str, str]) -> dict[str, str]:
        """What proves who we are."""

    @abstractmethod
    def check(self) -> str:
        """Tries the credentials. Returns the account's name; raises NeedsSetting `crm-key-refused`."""

    @abstractmethod
    def contact(self, contact: str) -> Snapshot:
        """One contact, as fresh as the vendor can. Raises Permanent `contact-not-found` if it is deleted or merged."""

    @abstractmethod
    def contacts(self, contacts: Sequence[str]) -> dict[str, Snapshot]:
        """Up to `bulk_size` contacts in the vendor's cheapest way; those the answer leaves out are missing."""

    def calls_for(self, contacts: int) -> int:
        """How many calls `contacts` makes for so many, as far as can be told before."""
        return 1

    @abstractmethod
    def by_email(self, email: str) -> list[Snapshot]:
        """All contacts with that address, the lowest id first."""

    @abstractmethod
    def page(self, cursor: str) -> tuple[list[Snapshot], str]:
        """One page of the list of all contacts, up to `page_size`, and the cursor of the next.

        `cursor`: "" for the first page; the one given back is "" after the last. It is text of the vendor's or of this
        adapter's, kept in the database from one page to the next, which may be read minutes later by another process.
        """

    def everybody(self) -> Iterator[list[Snapshot]]:
        """All contacts, a page of results at a time. Raises Retryable `crm-answer-broken` if it goes in circles."""
        cursor, seen = "", {""}
        while True:
            snapshots, cursor = self.page(cursor)
            yield snapshots
            if not cursor:
                return
            if cursor in seen:
                raise self.broken()
            seen.add(cursor)

    def tagged(self, tag: str) -> Iterator[list[str]]:
        """Ids of all contacts with that tag (its id), a page of results at a time."""
        raise Permanent("crm-cannot", crm=self.label, what=self.cannot["tagged"])

    def changed(self, since: datetime) -> Iterator[list[Snapshot]]:
        """Contacts whose fields changed since then, a page at a time. No vendor promises it for tags."""
        raise Permanent("crm-cannot", crm=self.label, what=self.cannot["changed"])

    # --- tags and fields ---------------------------------------------------------------------------------------

    @abstractmethod
    def list_tags(self) -> dict[str, str]:
        """Id → name of all tags."""

    @abstractmethod
    def make_tag(self, name: str) -> str:
        """Makes a tag; its id. Only asked for if there is none of that name."""

    @abstractmethod
    def add_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        """Puts the tag (its id) on contacts. Returns those that have it now. Raises NeedsSetting `crm-tag-missing`."""

    @abstractmethod
    def remove_tag(self, tag: str, contacts: Sequence[str]) -> set[str]:
        """Takes the tag (its id) off contacts. Returns those without it now."""

    @abstractmethod
    def list_fields(self) -> dict[str, str]:
        """Id or key → label of all fields that can be written as text."""

    @abstractmethod
    def make_field(self, label: str) -> None:
        """Makes a text field of that label; one that is there stays as it is."""

    @abstractmethod
    def set_fields(self, contact: str, values: Mapping[str, str]) -> None:
        """Writes fields by their label. Raises NeedsSetting `crm-field-missing`, Permanent `contact-not-found`."""

    def tag(self, name: str) -> CrmTag:
        """The tag of that name, whatever its case, made if there is none."""
        id_ = self.tag_names.id_of(name)
        if id_ is None:
            id_ = self.make_tag(name)
            self.tag_names.forget()
            return CrmTag(id_, name)
        return CrmTag(id_, self.tag_names.all()[id_])

    def tags_of(self, ids: Iterable[str]) -> frozenset[CrmTag]:
        """These ids with their names; one that the CRM's list doesn't know (yet) is called by its number."""
        wanted = list(ids)
        names = self.tag_names.of(wanted)
        return frozenset(CrmTag(id_, names.get(id_, f"Tag {id_}")) for id_ in wanted)

    def has_field(self, label: str) -> bool:
        """Whether contacts have a field of that label. The CRM is asked now and then."""
        return self.field_names.id_of(label) is not None

    def field_ids(self, values: Mapping[str, str]) -> dict[str, str]:
        """Id → value for label → value. Raises NeedsSetting `crm-field-missing`."""
        found: dict[str, str] = {}
        for label, value in values.items():
            id_ = self.field_names.id_of(label)
            if id_ is None:
                self.field_names.forget()  # so that a redelivery finds it as soon as somebody has made it
                raise NeedsSetting("crm-field-missing", crm=self.label, field=label)
            found[id_] = value
        return found

    # --- hooks of the vendor's own -----------------------------------------------------------------------------

    @classmethod
    def events(cls, arrived: Arrived, secrets: Sequence[str]) -> list[Event]:
        """What a native hook tells, without network. `secrets`: those its signature may be made with; no signature
        is asked for if there are none. Raises Permanent `signature-wrong` or `hook-not-understood`; an empty list is
        a hook that only tries the address.
        """
        raise Permanent("hook-not-understood", crm=cls.label)

    def hooks(self) -> list[Hook]:
        """The hooks set up there."""
        return []

    def make_hook(self, url: str, happened: Happened, tag: str = "") -> Hook:
        """Sets up a hook to that address, for one tag if given; one that is there is given back as it is."""
        raise Permanent("crm-cannot", crm=self.label, what=self.cannot["hooks"])

    def revive_hook(self, hook: Hook) -> Hook:
        """Has a hook that the vendor switched off work again."""
        raise Permanent("crm-cannot", crm=self.label, what=self.cannot["hooks"])

    def remove_hook(self, hook: Hook) -> None:
        """Takes a hook away; one that is gone is well."""
        raise Permanent("crm-cannot", crm=self.label, what=self.cannot["hooks"])

    def missed(self, since: datetime) -> list[Event]:
        """What its own log of hooks says that it told us since then, or tried to; empty if it keeps none.

        An event has the `ref` that `events` gives it; one without `ref` has `at`.
        """
        return []

    # --- how a vendor's answers differ from the usual ----------------------------------------------------------

    def said(self, headers: Mapping[str, str]) -> tuple[Said, ...]:
        """What an answer's headers say of the limits; names in lower case."""
        return ()

    def meaning(self, response: httpx.Response) -> TagwardenError | None:
        """What an answer means, where that differs from `usual`."""
        return self.usual(response)

    def again(self, error: TagwardenError, tried: int) -> bool:
        """Whether a call that met this error is made again at once, as after renewing a token."""
        return False

    # --- the road ----------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, *, what: str, **request: Any) -> tuple[Call, Any]:
        """One call. Returns its record and the decoded JSON; None for an answer that says it has no content (204).

        Raises Retryable (`crm-limit`, `crm-paused`, `crm-overloaded`, `crm-unreachable`, `crm-answer-broken`),
        NeedsSetting (`crm-key-refused`) or Refused (`crm-refused`), whose status and body tell a vendor's method more.
        """
        for tried in itertools.count(1):
            try:
                return self._ask_once(method, path, what, request)
            except TagwardenError as error:
                if not self.again(error, tried):
                    raise
        raise AssertionError  # for mypy: the loop has no end of its own

    def _ask_once(self, method: str, path: str, what: str, request: dict[str, Any]) -> tuple[Call, Any]:
        limiter = _limiter.get()
        limiter.begin(self.label)
        call = Call(what)
        if (calls := _recording.get()) is not None:
            calls.append(call)
        began = time.monotonic()
        try:
            response = self.http.request(method, path, **request)
            call.status = response.status_code
            answer = self._answer(response, limiter)
        except httpx.TransportError as error:
            call.found = self._why(error)
            spends = limiter.failed()
            raise Retryable("crm-unreachable", spends_try=spends, crm=self.label, why=call.found) from error
        except TagwardenError as error:
            call.found = {"crm-paused": f"{self.label} asked for a pause"}.get(error.reason, "")
            raise
        finally:
            call.ms = round((time.monotonic() - began) * 1000)
            tally.add("crm_calls", connection=self.connection, status=call.status)
        call.ok = True
        return call, answer

    def _answer(self, response: httpx.Response, limiter: Limiter) -> Any:
        error = self.meaning(response)
        if isinstance(error, Retryable) and error.reason == "crm-overloaded":
            error.spends_try = limiter.failed()
            raise error
        pause = error.after if isinstance(error, Retryable) and error.reason == "crm-paused" else None
        limiter.heard(self.said(response.headers), pause)
        if error is not None:
            raise error
        if response.status_code == 204:
            return None
        answer = _json(response)
        if answer is None:
            raise Retryable("crm-answer-broken", crm=self.label)
        return answer

    def usual(self, response: httpx.Response) -> TagwardenError | None:
        """What an answer's status means at most vendors; None: all is well."""
        status = response.status_code
        if status >= 500:
            return Retryable("crm-overloaded", crm=self.label, status=status)
        if status == 429:
            return self.paused(response)
        if status in {401, 403}:
            return NeedsSetting("crm-key-refused", crm=self.label)
        return Refused(self.label, response) if status >= 400 else None

    def paused(self, response: httpx.Response) -> Retryable:
        """They took the call for one too many. `Retry-After` in seconds, an hour at most; else the usual pause."""
        text = response.headers.get("retry-after", "")
        after = timedelta(seconds=min(int(text), 3600)) if text.isdigit() else self.pause
        return Retryable("crm-paused", after=after, spends_try=False, crm=self.label)

    def renew(self, exchange: Callable[[Mapping[str, str]], Mapping[str, str]]) -> bool:
        """Has the access token renewed, by us or by whoever was quicker. False if nobody keeps tokens for us."""
        if self.tokens is None:
            return False
        self.credentials = self.tokens.renewed(self.credentials.get("access_token", ""), exchange)
        self.http.headers.update(self.headers(self.credentials))
        return True

    def token_call(self, url: str, form: Mapping[str, str], *, auth: tuple[str, str] | None = None) -> dict[str, str]:
        """What changes in the credentials by renewing the token: `access_token`, and `refresh_token` where it rotates.

        Raises NeedsSetting `crm-link-lost` if the vendor refuses the refresh token for good, else Retryable.
        """
        try:
            response = httpx.post(url, data=dict(form), auth=auth, timeout=self.timeout, verify=_trusted())
        except httpx.TransportError as error:
            raise Retryable("crm-unreachable", crm=self.label, why=self._why(error)) from error
        answer = _json(response)
        if response.status_code in {400, 401, 403}:
            raise NeedsSetting("crm-link-lost", crm=self.label)
        if response.status_code >= 300 or not isinstance(answer, dict) or "access_token" not in answer:
            raise Retryable("crm-overloaded", crm=self.label, status=response.status_code)
        return {name: answer[name] for name in ("access_token", "refresh_token") if answer.get(name)}

    def broken(self) -> Retryable:
        """An answer that has not what it must have, or a list that doesn't end."""
        return Retryable("crm-answer-broken", crm=self.label)

    def not_found(self, contact: str) -> Permanent:
        return Permanent("contact-not-found", crm=self.label, contact=contact)

    def _why(self, error: httpx.TransportError) -> str:
        if isinstance(error, httpx.TimeoutException):
            return "it didn't answer in time"
        if isinstance(error, httpx.ConnectError):
            return "it can't be reached"
        return "the connection broke off"


@cache
def _trusted() -> ssl.SSLContext:
    """Whom we trust to be who they are; read once, since that takes as long as many calls."""
    return httpx.create_ssl_context()


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def number(headers: Mapping[str, str], name: str) -> int | None:
    """The whole number in a header; None if there is none. Vendors may write 12.0 or -1."""
    try:
        return max(0, int(float(headers[name])))
    except (KeyError, ValueError, OverflowError):
        return None


def began(lag: timedelta = timedelta(0)) -> dict[str, Any]:
    """The moments of a read that begins now, for Snapshot: what it shows is as of now, less its lag."""
    now = clock.now()
    return {"started": now, "seen_until": now - lag}
