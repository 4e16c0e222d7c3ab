"""aal_updateuser: read the contact from the CRM and make tags, fields and access follow.

No parameters. A contact that isn't a member is left alone (no-op `not-a-member`), unless the site makes members of
whoever is refreshed.
"""

from tagwarden.core.outcome import Needs
from tagwarden.core.wire import Param
from tagwarden.operations.base import URGENT

PLAIN = "Refresh member"
PARAMS: dict[str, Param] = {}
NEEDS = Needs.CONTACT
PRIORITY = URGENT
REFRESH = True
