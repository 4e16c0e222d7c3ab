"""aal_batchsync: as updateuser, in bulk and after a pause in which calls are collected.

Parameter: release (a name, optional). All calls of a connection under one name are one release that staff can watch.
"""

from tagwarden.core.outcome import Needs
from tagwarden.core.wire import Param
from tagwarden.operations.base import BULK

PLAIN = "Refresh in bulk"
PARAMS = {"release": Param(kind="text", required=False)}
NEEDS = Needs.CONTACT
PRIORITY = BULK
REFRESH = True
RELEASE = True
