"""The audit log: what somebody changed by hand, kept for as long as the site exists."""

from tagwarden.accounts.models import Account, AuditEntry, Site


def note(action: str, subject: str, *, site: Site | None, account: Account | None = None, **detail: str | int) -> None:
    """Writes one entry, in the caller's transaction.

    `action`: what was done, as "handshake-revoked". `subject`: to what, by the name people know it under.
    `account`: who did it; None: somebody at the command line. `detail` must hold no secret.
    """
    AuditEntry.objects.create(site=site, account=account, action=action, subject=subject[:120], detail=detail)
