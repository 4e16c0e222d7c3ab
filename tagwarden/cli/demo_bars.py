"""The demo's release: tags all contacts in the CRM, lets it fire, and counts what arrives."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tagwarden.core import words

RELEASE = "Module_3"
AT_ONCE = 1_000  # calls open at a time


class Filled(Protocol):
    """What is asked of the sample site (demo_site.Filled)."""

    def release_url(self, name: str) -> str: ...
    def holders(self, tag: str) -> int: ...

    @property
    def release_delay(self) -> int: ...  # seconds


@dataclass(frozen=True)
class Seen:
    """What happened. Times in seconds from the first call on, `slowest_ms` in milliseconds."""

    contacts: int
    answered: int
    others: dict[str, int]  # what else the calls were answered with, or why they were not
    slowest_ms: float
    fired_in: float
    holders: int
    settled_in: float
    reads: int
    tag: str
    delay: int

    @property
    def went_well(self) -> bool:
        return self.answered == self.contacts and self.holders == self.contacts

    def sentences(self) -> list[str]:
        """What happened, in plain words."""
        calls, holders, tag = f"{self.contacts:,} calls", f"{self.holders:,}", self.tag
        pace = "at once" if self.contacts <= AT_ONCE else f"{AT_ONCE:,} at a time"
        delay = f"{self.delay} s (5 minutes is usual, shortened here)"
        lines = [
            f"The CRM fired {calls} {pace}; all were answered within {self.fired_in:.1f} s.",
            f"{self.answered:,} were on disk before their 200; the slowest took {self.slowest_ms:,.0f} ms.",
            f"Tagwarden collected them for {delay}, then read the CRM {words.count(self.reads, 'time')}.",
        ]
        lines += [f"{n:,} calls had {what} instead." for what, n in self.others.items()]
        if self.went_well:
            lines.append(f"All {holders} members hold {tag}, {self.settled_in:.1f} s after the first call.")
        else:
            lines.append(f"After {self.settled_in:.0f} s only {holders} of {self.contacts:,} members hold {tag}.")
        return lines


def watch(crm_url: str, filled: Filled, *, tag: str, contacts: int) -> Seen:
    """Runs the release with two bars, and waits until all members hold the tag, or for too long."""
    with httpx.Client(base_url=crm_url, timeout=60) as crm:
        _ask(crm, "POST", "/admin/tag", {"tag": tag, "contacts": "all"})
        _ask(crm, "POST", "/admin/counters/reset", {})
        order = {
            "url": filled.release_url(RELEASE),
            "contacts": "all",
            "concurrency": AT_ONCE,
            "background": True,
        }
        began = time.monotonic()
        job = _ask(crm, "POST", "/admin/fire", order)["job"]
        until = began + 60 + contacts * 0.1
        with _bars() as bars:
            fired_in, figures = _calls(crm, job, bars, began, until, contacts)
            holders, settled_in = _holders(filled, tag, bars, began, until, contacts)
        reads = _ask(crm, "GET", "/admin/counters", None)["reads"]
    answered = figures["statuses"].get("200", 0)
    return Seen(
        contacts=contacts,
        answered=answered,
        others={k: n for k, n in (figures["statuses"] | figures["errors"]).items() if k != "200"},
        slowest_ms=figures["slowest_ms"],
        fired_in=fired_in,
        holders=holders,
        settled_in=settled_in,
        reads=reads,
        tag=tag,
        delay=filled.release_delay,
    )


def _ask(crm: httpx.Client, method: str, path: str, content: dict[str, Any] | None) -> Any:
    return crm.request(method, path, json=content).raise_for_status().json()


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(highlight=False))


def _calls(
    crm: httpx.Client, job: int, bars: Progress, began: float, until: float, contacts: int
) -> tuple[float, dict[str, Any]]:
    """Watches the CRM fire. Returns how long it took, and its figures."""
    bar = bars.add_task("Calls answered   ", total=contacts)
    while True:
        figures = _ask(crm, "GET", f"/admin/fire/{job}", None)
        bars.update(bar, completed=figures["sent"])
        if figures["finished"] or time.monotonic() > until:
            return time.monotonic() - began, figures
        time.sleep(0.1)


def _holders(filled: Filled, tag: str, bars: Progress, began: float, until: float, contacts: int) -> tuple[int, float]:
    """Watches the tag arrive at members. Returns how many hold it, and after how long."""
    bar = bars.add_task("Members who hold it", total=contacts)
    while True:
        holders = filled.holders(tag)
        bars.update(bar, completed=holders)
        if holders >= contacts or time.monotonic() > until:
            return holders, time.monotonic() - began
        time.sleep(0.2)
