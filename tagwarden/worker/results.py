"""What an effect's result means here: facts that a rule applies."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from tagwarden.core.outcome import CrmTag
from tagwarden.journal.leases import Job
from tagwarden.members import passwords, sync
from tagwarden.members.passwords import Waiting
from tagwarden.worker.effects import PASSWORD


def apply(done: Sequence[Job], written: Mapping[str, Waiting], *, now: datetime) -> set[str]:
    """Effects of one kind that are done, in the caller's transaction.

    A tag we wrote stands here at once; a password that we wrote (`written`, by contact) has reached the CRM. Returns
    the contacts whose password was replaced meanwhile, so that it has to be written again.
    """
    if not done:
        return set()
    command, contacts = done[0].command, [job.contact for job in done]
    if command in {"tag-add", "tag-remove"}:
        _tag_written(done[0], contacts, now)
    if command != PASSWORD:
        return set()
    made = {contact: written[contact].made for contact in contacts}
    return set(made) - passwords.reached(connection=done[0].connection, written=made, now=now)


def _tag_written(first: Job, contacts: Sequence[str], now: datetime) -> None:
    sync.note_written(
        connection=first.connection,
        tag=CrmTag(first.params["tag"], first.params.get("name", first.params["tag"])),
        contacts=contacts,
        held=first.command == "tag-add",
        ref=first.key,
        now=now,
    )
