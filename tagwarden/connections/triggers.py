"""Triggers: a tag that runs a command when somebody gets it, where the CRM tells that by a hook of its own.

For CRMs whose automations have no webhook step (Kit), and for whoever would rather set a tag than build one. The hook
comes to a handshake made for it alone, so that what takes the call says which trigger it is, and a leaked address can
run nothing else.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote

from django.conf import settings
from django.db import connection as database
from django.db import transaction

from tagwarden.accounts import audit
from tagwarden.accounts.models import Account
from tagwarden.connections import connect, handshakes, setup
from tagwarden.connections.models import Connection, Handshake, ToldEvent, Trigger
from tagwarden.core import clock
from tagwarden.core.errors import SettingsError, TagwardenError
from tagwarden.core.hooks import Happened, Hook
from tagwarden.core.outcome import CrmTag

SECRETS_KEPT = 2  # a call that was signed before the hook was made anew may still be under way
PARAM = "trigger"  # among a job's parameters: the trigger that ran it
_LONGEST_REF = 120


def add(
    connection: Connection,
    *,
    tag: str,
    command: str,
    params: Mapping[str, str],
    take_off: bool = True,
    account: Account | None = None,
) -> Trigger:
    """A new trigger with a handshake of its own; `set_up` then makes its hook, once the door knows the handshake.

    `tag`: its name, made in the CRM if there is none. `params`: of the command, as text. Raises SettingsError with a
    sentence, and the adapter's errors.
    """
    word = command.lower().removeprefix("aal_")
    checked = setup.checked_params(word, params)
    _needs_hooks(connection, word)
    with closing(connect.open_crm(connection)) as crm:
        found = crm.tag(tag.strip())
    if taken := Trigger.objects.filter(connection=connection, tag=found.external_id).first():
        raise SettingsError(f"The tag {found.name} is a trigger already, number {taken.pk}, for {taken.command}.")
    with transaction.atomic():
        handshake, _ = handshakes.make(connection, f"trigger: {found.name}", scopes=[word], account=account)
        trigger = Trigger.objects.create(
            connection=connection,
            handshake=handshake,
            happened=Happened.TAG_ADDED,
            tag=found.external_id,
            tag_name=found.name[:255],
            command=word,
            params=checked,
            take_off=take_off and not opens_something(connection.pk, found.external_id),
        )
        audit.note("trigger-added", found.name, site=connection.site, account=account, command=word)
    return trigger


def _needs_hooks(connection: Connection, word: str) -> None:
    crm = connect.adapter_class(connection.crm)
    if why := crm.cannot.get("hooks"):
        raise SettingsError(
            f"{crm.label} can’t be told to call when a tag is added. {why} Let an automation there that starts with "
            f"the tag call this address instead: tagwarden webhook-url {connection.pk} {word}"
        )


def set_up(trigger: Trigger) -> None:
    """Makes the trigger's hook at the CRM; if the trigger had another one, that goes. Raises the adapter's errors."""
    with closing(connect.open_crm(trigger.connection)) as crm:
        made = crm.make_hook(hook_url(trigger.handshake), Happened(trigger.happened), trigger.tag)
        before = trigger.hook
        keep_hook(trigger, made)
        if before and before != made.id:
            with suppress(TagwardenError):  # it calls an address that is refused once the old handshake is revoked
                crm.remove_hook(Hook(before, "", Happened(trigger.happened), trigger.tag))


def undo(trigger: Trigger) -> None:
    """Takes back a trigger whose hook could not be made."""
    with transaction.atomic():
        trigger.delete()
        handshakes.revoke(trigger.handshake)


def remove(trigger: Trigger, *, account: Account | None = None) -> bool:
    """Takes the hook away at the CRM, and the trigger and its handshake here. False if the CRM didn't let go of it."""
    gone = _remove_hook(trigger)
    with transaction.atomic():
        trigger.delete()
        for handshake in filter(None, (trigger.handshake, trigger.former)):
            handshakes.revoke(handshake, account=account)
        site = trigger.connection.site
        audit.note("trigger-removed", trigger.tag_name, site=site, account=account, command=trigger.command)
    return gone


def _remove_hook(trigger: Trigger) -> bool:
    if not trigger.hook:
        return True
    try:
        with closing(connect.open_crm(trigger.connection)) as crm:
            here = Hook(trigger.hook, hook_url(trigger.handshake), Happened(trigger.happened), trigger.tag)
            crm.remove_hook(here)
    except (TagwardenError, SettingsError):
        return False
    return True


def of(connections: Iterable[int]) -> dict[int, list[Trigger]]:
    """Connection → its triggers, the oldest first."""
    found: dict[int, list[Trigger]] = {}
    rows = Trigger.objects.filter(connection__in=set(connections)).select_related("handshake").order_by("pk")
    for trigger in rows:
        found.setdefault(trigger.connection_id, []).append(trigger)
    return found


def hook_url(handshake: Handshake) -> str:
    """Where a hook calls. Holds the secret. `handshake` with its connection and site."""
    site = handshake.connection.site
    return f"{hooks_at(site.public_url)}{quote(handshakes.reveal(handshake), safe='')}"


def hooks_at(public_url: str) -> str:
    """How the addresses of all hooks of a site begin."""
    return f"{public_url.rstrip('/')}/hooks/"


# --- what its hook is signed with ------------------------------------------------------------------------------


def keep_hook(trigger: Trigger, hook: Hook, *, state: Trigger.State = Trigger.State.ALIVE, finding: str = "") -> None:
    """Writes down which hook is the trigger's, and its secret if the answer told one."""
    if hook.secret:
        kept = [hook.secret, *(one for one in secrets_of(trigger) if one != hook.secret)][:SECRETS_KEPT]
        trigger.sealed_secrets = settings.KEYS.encrypt(json.dumps(kept))
    elif hook.id != trigger.hook:
        trigger.sealed_secrets = ""  # another hook, and nobody knows what it is signed with
    trigger.hook, trigger.state, trigger.finding = hook.id[:120], state, finding
    trigger.save(update_fields=["tag_name", "sealed_secrets", "hook", "state", "finding"])


def secrets_of(trigger: Trigger) -> list[str]:
    """What its hook's signature may be made with, the newest first; none: it isn't signed."""
    if not trigger.sealed_secrets:
        return []
    kept: list[str] = json.loads(settings.KEYS.decrypt(trigger.sealed_secrets))
    return kept


# --- events told before ----------------------------------------------------------------------------------------


def claim(trigger: Trigger, refs: Sequence[str]) -> bool:
    """Remembers that these events ran this trigger, in the caller's transaction. False if all of them did before.

    `refs`: the vendor's own ids of the events; without any there is nothing to tell a repeat by.
    """
    now = clock.now()
    new = [_insert(trigger, _kept_ref(trigger, ref), now) for ref in sorted({ref for ref in refs if ref})]
    return any(new) or not new


def _insert(trigger: Trigger, ref: str, now: datetime) -> bool:
    with database.cursor() as cursor:  # the database itself decides who was first, on all machines
        cursor.execute(
            "insert into connections_toldevent (connection_id, ref, seen) values (%s, %s, %s) on conflict do nothing",
            (trigger.connection_id, ref, database.ops.adapt_datetimefield_value(now)),
        )
        return bool(cursor.rowcount)


def _kept_ref(trigger: Trigger, ref: str) -> str:
    text = f"{trigger.pk}:{ref}"
    return text if len(text) <= _LONGEST_REF else f"{trigger.pk}:{sha256(ref.encode()).hexdigest()}"


def forget_told(before: datetime) -> None:
    """Events told before that moment may run a trigger again."""
    ToldEvent.objects.filter(seen__lt=before).delete()


# --- taking the tag off again ----------------------------------------------------------------------------------


def to_take_off(numbers: Iterable[int]) -> dict[int, CrmTag]:
    """Trigger → its tag, which comes off once the trigger's job has ended well, so that it can run again."""
    rows = Trigger.objects.filter(pk__in=set(numbers), take_off=True)
    return {row.pk: CrmTag(row.tag, row.tag_name) for row in rows if not opens_something(row.connection_id, row.tag)}


def opens_something(connection: int, tag: str) -> bool:
    """Whether a member's access hangs on that tag: such a one is never taken off by a trigger.

    The one place to ask. Nothing opens by tags yet.
    """
    return False
