"""aal_genpass: make a member of the contact, with a password that the CRM learns; refresh who is a member already.

No parameters. The password is written to the mapped field, and only when the CRM has confirmed that comes the tag
that its mail waits for. A password that somebody has, or has signed in with, is never touched.
"""

from collections.abc import Mapping

from tagwarden.core.options import ConnectionOptions
from tagwarden.core.outcome import Effect, FollowUp, Needs, Outcome, Snapshot, done, failed
from tagwarden.core.wire import Param
from tagwarden.members import enrol, passwords, sync
from tagwarden.members.models import Member, Source
from tagwarden.operations.base import INTERACTIVE, Context

PLAIN = "Make member"
PARAMS: dict[str, Param] = {}
NEEDS = Needs.CONTACT
PRIORITY = INTERACTIVE
MAKES_MEMBERS = True


def prepare(snapshot: Snapshot, member: Member | None) -> passwords.Prepared | None:
    """The slow part, outside of any transaction: the password, if one is wanted."""
    return passwords.prepare(snapshot.password) if member is None or passwords.is_wanted(member) else None


def run(params: Mapping[str, object], member: Member | None, ctx: Context) -> Outcome:
    """Fails with `email-missing` or `email-conflict`, which staff have to settle."""
    assert ctx.snapshot is not None
    change = _refresh(ctx, ctx.snapshot) if member else _enrol(ctx, ctx.snapshot)
    if change.reason:
        return failed(change.reason, gained=change.gained, lost=change.lost, **change.detail)
    member = member or Member.of_contacts(ctx.connection, [ctx.contact])[ctx.contact]
    wanted = passwords.is_wanted(member)
    taken = False
    if wanted:
        prepared = ctx.prepared or passwords.prepare(ctx.snapshot.password)
        assert isinstance(prepared, passwords.Prepared)
        passwords.store(member, prepared, ctx.now)
        taken = prepared.taken
    return done(
        effects=_effects(ctx.options) if wanted else (),
        follow_ups=() if ctx.settled else (FollowUp("updateuser", "settle"),),
        gained=change.gained,
        lost=change.lost,
        password="taken" if taken else "made" if wanted else "kept",
    )


def _refresh(ctx: Context, snapshot: Snapshot) -> sync.Change:
    read = sync.Read(snapshot, Source.CALL, ctx.ref, ctx.settled)
    return sync.apply(connection=ctx.connection, site=ctx.site, reads=[read], now=ctx.now)[ctx.contact]


def _enrol(ctx: Context, snapshot: Snapshot) -> sync.Change:
    return enrol.one(
        connection=ctx.connection, site=ctx.site, snapshot=snapshot, source=Source.CALL, ref=ctx.ref, now=ctx.now
    )


def _effects(options: ConnectionOptions) -> tuple[Effect, ...]:
    """The password to the CRM, then the tag that its mail waits for."""
    password = Effect("password-write", "password") if options.password_field else None
    tag = options.genpass_done_tag
    params = {"tag": tag.external_id, "name": tag.name} if tag else {}
    told = Effect("tag-add", "done-tag", params, after="password" if password else "") if tag else None
    return tuple(effect for effect in (password, told) if effect)
