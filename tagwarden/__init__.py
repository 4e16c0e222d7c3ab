"""Tagwarden: a membership and course server driven by its owner's CRM."""

__version__ = "0.1.0.dev0"
