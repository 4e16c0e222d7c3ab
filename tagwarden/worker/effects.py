"""The network step of effects: each does one thing at the CRM. No database here; runs in a thread.

To repeat a tag or a field's value changes nothing at the CRM, so one that may have left before a crash is sent again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tagwarden.core.errors import Permanent, TagwardenError
from tagwarden.crms import base
from tagwarden.journal.leases import Job

PLAIN = {"tag-add": "Add a tag", "tag-remove": "Take a tag away", "field-set": "Write a field"}


def at_most(crm: base.Crm, free: int) -> dict[str, int]:
    """Command → how many of its jobs a batch may hold to make no more than so many calls."""
    return {command: free * jobs for command, jobs in _a_call(crm).items()}


def calls(crm: base.Crm, jobs: Sequence[Job]) -> int:
    """How many calls `perform` makes to the CRM."""
    a_call = _a_call(crm).get(jobs[0].command)
    return math.ceil(len(jobs) / a_call) if a_call else 0


def _a_call(crm: base.Crm) -> dict[str, int]:
    """Command → how many of its jobs go into one call."""
    return {"tag-add": crm.tags_at_once, "tag-remove": crm.tags_at_once, "field-set": 1}


@dataclass
class Performed:
    """What became of a batch of effects: jobs that met an error, and the calls made. The others are done."""

    errors: dict[int, TagwardenError] = field(default_factory=dict)
    calls: dict[int, list[base.Call]] = field(default_factory=dict)


def perform(crm: base.Crm, jobs: Sequence[Job]) -> Performed:
    """Carries out effects of one kind (same command, same parameters). Each job carries its own error."""
    performed = Performed()
    command = jobs[0].command
    if command == "field-set":
        for job in jobs:
            _attempt(performed, [job], lambda job=job: _set_field(crm, job))  # type: ignore[misc]  # bound at once
    else:
        write = crm.add_tag if command == "tag-add" else crm.remove_tag
        _attempt(performed, jobs, lambda: _write_tag(crm, write, jobs))
    return performed


def _attempt(performed: Performed, jobs: Sequence[Job], step: Callable[[], dict[int, TagwardenError]]) -> None:
    errors: dict[int, TagwardenError] = {}
    try:
        with base.recording() as calls:
            performed.calls |= dict.fromkeys((job.id for job in jobs), calls)
            errors = step()
    except TagwardenError as error:
        errors = dict.fromkeys((job.id for job in jobs), error)
    performed.errors |= errors


def _set_field(crm: base.Crm, job: Job) -> dict[int, TagwardenError]:
    crm.set_fields(job.contact, {job.params["field"]: job.params["value"]})
    return {}


def _write_tag(
    crm: base.Crm, write: Callable[[str, Sequence[str]], set[str]], jobs: Sequence[Job]
) -> dict[int, TagwardenError]:
    written = write(jobs[0].params["tag"], [job.contact for job in jobs])
    return {
        job.id: Permanent("contact-not-found", crm=crm.label, contact=job.contact)
        for job in jobs
        if job.contact not in written
    }
