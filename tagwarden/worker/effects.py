"""The network step of effects: each does one thing at the CRM. No database here; runs in a thread.

To repeat a tag or a field's value changes nothing at the CRM, so one that may have left before a crash is sent again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from tagwarden.core import failpoints, logs
from tagwarden.core.errors import NeedsSetting, Permanent, TagwardenError
from tagwarden.core.options import ConnectionOptions
from tagwarden.crms import base
from tagwarden.journal.leases import Job
from tagwarden.members import passwords
from tagwarden.members.passwords import Waiting

PASSWORD = "password-write"  # an effect's name


@dataclass
class Performed:
    """What became of a batch of effects: jobs that met an error, and the calls made. The others are done."""

    errors: dict[int, TagwardenError] = field(default_factory=dict)
    calls: dict[int, list[base.Call]] = field(default_factory=dict)


def passwords_of(jobs: Sequence[Job]) -> dict[str, Waiting]:
    """Contact → the password that these effects write; empty for other effects. The only step with the database."""
    if jobs[0].command != PASSWORD:
        return {}
    return passwords.waiting(connection=jobs[0].connection, contacts=[job.contact for job in jobs])


def perform(
    crm: base.Crm, jobs: Sequence[Job], options: ConnectionOptions, waiting: Mapping[str, Waiting]
) -> Performed:
    """Carries out effects of one kind (same command, same parameters). Each job carries its own error."""
    performed = Performed()
    command = jobs[0].command
    if command in {"field-set", PASSWORD}:
        for job in jobs:
            _attempt(performed, [job], partial(_set_fields, crm, job, options, waiting.get(job.contact)))
    else:
        write = crm.add_tag if command == "tag-add" else crm.remove_tag
        _attempt(performed, jobs, lambda: _write_tag(crm, write, jobs))
    return performed


def _attempt(performed: Performed, jobs: Sequence[Job], step: Callable[[], dict[int, TagwardenError]]) -> None:
    errors: dict[int, TagwardenError] = {}
    try:
        with logs.concerning(job.called for job in jobs), base.recording() as calls:
            performed.calls |= dict.fromkeys((job.id for job in jobs), calls)
            errors = step()
            failpoints.reach(failpoints.SENT_AND_RESULT)
    except TagwardenError as error:
        errors = dict.fromkeys((job.id for job in jobs), error)
    performed.errors |= errors


def _set_fields(
    crm: base.Crm, job: Job, options: ConnectionOptions, password: Waiting | None
) -> dict[int, TagwardenError]:
    named = _sign_in_fields(crm, options, password) if password else {job.params["field"]: job.params["value"]}
    crm.set_fields(job.contact, named)
    return {}


def _sign_in_fields(crm: base.Crm, options: ConnectionOptions, password: Waiting) -> dict[str, str]:
    if not options.password_field:
        raise NeedsSetting("crm-field-missing", crm=crm.label, field="password_field")
    values = {options.password_field: password.opened()}
    if options.username_field and crm.has_field(options.username_field):
        values[options.username_field] = password.username
    return values


def _write_tag(
    crm: base.Crm, write: Callable[[str, Sequence[str]], set[str]], jobs: Sequence[Job]
) -> dict[int, TagwardenError]:
    written = write(jobs[0].params["tag"], [job.contact for job in jobs])
    return {
        job.id: Permanent("contact-not-found", crm=crm.label, contact=job.contact)
        for job in jobs
        if job.contact not in written
    }
