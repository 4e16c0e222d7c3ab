"""The road from the spool to the CRM, as the worker's tests have it."""

from tests.worker.conftest import commands, crm, crm_process, quick_ladder, road

__all__ = ["commands", "crm", "crm_process", "quick_ladder", "road"]
