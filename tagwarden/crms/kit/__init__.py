"""Kit (once ConvertKit), by version 4 of its API. How to set it up, and what it can't do: docs/crms/kit.md."""

from tagwarden.crms.kit.crm import Crm

__all__ = ["Crm"]
