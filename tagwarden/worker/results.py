"""What an effect's result means here: facts that a rule applies."""

from collections.abc import Sequence
from datetime import datetime

from tagwarden.core.outcome import CrmTag
from tagwarden.journal.leases import Job
from tagwarden.members import sync


def apply(done: Sequence[Job], *, now: datetime) -> None:
    """Effects of one kind that are done, in the caller's transaction: a tag we wrote stands here at once."""
    if not done or done[0].command not in {"tag-add", "tag-remove"}:
        return
    first = done[0]
    sync.note_written(
        connection=first.connection,
        tag=CrmTag(first.params["tag"], first.params.get("name", first.params["tag"])),
        contacts=[job.contact for job in done],
        held=first.command == "tag-add",
        ref=first.key,
        now=now,
    )
