"""What a command's file holds, and what its function is given.

A command is a module in this folder, named as its word on the wire, with
    PLAIN      what people call it
    PARAMS     its parameters on the wire: name → core.wire.Param
    NEEDS      what is fetched before it runs
    PRIORITY   its class in the lane
and either `run(params, member, ctx) -> Outcome`, or REFRESH = True: then reading the contact and applying what it
says is all there is to it, and that is done for many at once by members.sync.
"""

from dataclasses import dataclass
from datetime import datetime

from tagwarden.core.options import ConnectionOptions, SiteOptions
from tagwarden.core.outcome import Snapshot

URGENT, BULK = 10, 30  # as in the lane; pages ask with a class of their own that goes before


@dataclass(frozen=True)
class Context:
    """What a command may know besides its parameters and its member. `now` is in UTC."""

    now: datetime
    contact: str
    site_options: SiteOptions
    options: ConnectionOptions
    snapshot: Snapshot | None
