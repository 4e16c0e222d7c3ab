"""Jobs whose contact is known by its e-mail only: the CRM is asked who that is, then they go on as any other.

Among their parameters is the `email`; the command's own stand beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from tagwarden.core import clock
from tagwarden.core.errors import Permanent, TagwardenError
from tagwarden.crms import base
from tagwarden.journal import endings, leases
from tagwarden.journal.leases import Ended, Job, Lane
from tagwarden.worker import dispatch, retry

EMAIL = "email"


@dataclass
class Found:
    """E-mail → contact, or why there is none; and the calls made."""

    contacts: dict[str, str] = field(default_factory=dict)
    errors: dict[str, TagwardenError] = field(default_factory=dict)
    calls: dict[str, list[base.Call]] = field(default_factory=dict)


def look_up(crm: base.Crm, emails: Sequence[str]) -> Found:
    """The network step: one call each. Of several contacts with the address the one with the lowest id counts."""
    found = Found()
    for email in emails:
        with base.recording() as found.calls[email]:
            try:
                there = crm.by_email(email)
            except TagwardenError as error:
                found.errors[email] = error
                continue
            if there:
                found.contacts[email] = there[0].contact
            else:
                found.errors[email] = Permanent("contact-not-found", crm=crm.label, contact=email)
    return found


def emails_of(jobs: Sequence[Job]) -> list[str]:
    """The addresses to look up, each once."""
    return list(dict.fromkeys(job.params[EMAIL] for job in jobs))


def settle(lane: Lane, words: Mapping[str, ModuleType], jobs: Sequence[Job], found: Found) -> None:
    """Jobs whose contact is known now wait for their turn as that contact's; the others end with their reason."""
    with leases.outcome_transaction(lane, jobs) as in_hand:
        endings.finish([_ended(job, words, found) for job in in_hand])
        for job in in_hand:
            if contact := found.contacts.get(job.params[EMAIL]):
                params = {name: value for name, value in job.params.items() if name != EMAIL}
                endings.found(job.id, contact, dispatch.stream_of(words[job.command]), params)


def _ended(job: Job, words: Mapping[str, ModuleType], found: Found) -> Ended:
    email = job.params[EMAIL]
    calls = base.as_rows(found.calls.get(email, []))
    if error := found.errors.get(email):
        return retry.after_error(job, dispatch.perhaps_later(words[job.command], job, error), calls)
    return Ended(job, "found", calls=calls, due=clock.now_ms())
