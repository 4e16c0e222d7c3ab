"""The deliveries before the first call: what is waited for, and the address to copy."""

from typing import Any

from tagwarden.accounts.models import Account
from tagwarden.connections.models import Connection
from tagwarden.core import crypto
from tagwarden.core.env import env
from tagwarden.journal.models import Stranger
from tagwarden.staff.gate import StaffRequest

SHOWN = 6  # characters of a secret that stay readable
MAY_SEE_SECRETS = {Account.Role.OWNER, Account.Role.OPERATOR}


def context(request: StaffRequest) -> dict[str, Any]:
    """The newest active connection, its address with the secret, and how many calls came with a wrong one."""
    connection = request.site.connections.filter(active=True).order_by("-pk").first()
    return {
        "connection": connection,
        "address": _address(request, connection) if connection else None,
        "strangers": Stranger.objects.for_site(request.site).count(),
    }


def _address(request: StaffRequest, connection: Connection) -> dict[str, str] | None:
    """The webhook's address in parts. Only owners are given the secret; None if there is none to give."""
    handshake = connection.handshakes.filter(revoked=None).order_by("-pk").first()
    if handshake is None:
        return None
    start = f"{request.site.public_url.rstrip('/')}/?aal_updateuser="
    secret = crypto.read_keys(env().keys_file).decrypt(handshake.sealed)
    masked = secret[:SHOWN] + "•" * 8
    return {"start": start, "masked": masked, "secret": secret if request.user.role in MAY_SEE_SECRETS else ""}
