"""What a command's file holds, and what its function is given.

A command is a module in this folder, named as its word on the wire, with
    PLAIN      what people call it
    PARAMS     its parameters on the wire: name → core.wire.Param
    NEEDS      what is fetched before it runs
    PRIORITY   its class in the lane
and either `run(params, member, ctx) -> Outcome`, or REFRESH = True: then reading the contact and applying what it
says is all there is to it, and that is done for many at once by members.sync. A command with MAKES_MEMBERS = True
also runs for a contact who is no member (`member` is None). One with `prepare(snapshot, member)` does its slow part
there, outside of any transaction; `run` finds the result in `ctx.prepared`. One with DELTA = True changes something by
an amount: it doesn't run again for an event of the CRM that ran it before.
"""

from dataclasses import dataclass
from datetime import datetime

from tagwarden.core.options import ConnectionOptions, SiteOptions
from tagwarden.core.outcome import Snapshot

INTERACTIVE, URGENT, BULK = 0, 10, 30  # as in the lane; the first: somebody is waiting in front of a page


@dataclass(frozen=True)
class Context:
    """What a command may know besides its parameters and its member. `now` is in UTC.

    `ref`: the job's key, kept with what changes. `settled`: the snapshot shows everything up to when the call came.
    """

    now: datetime
    site: int
    connection: int
    contact: str
    ref: str
    site_options: SiteOptions
    options: ConnectionOptions
    snapshot: Snapshot | None
    settled: bool = True
    prepared: object = None
