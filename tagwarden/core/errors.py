"""Errors named by what the caller does next.

Adapters translate at their edge; nobody above looks at a status code.

    TagwardenError
    ├── Retryable       try again, later
    ├── Permanent       trying again cannot help
    ├── NeedsSetting    somebody must change a setting first
    ├── Uncertain       it may have happened; only a person may have it tried again
    └── SettingsError   the process cannot start with this environment
"""

from datetime import timedelta


class TagwardenError(Exception):
    """Root of all errors of ours. Carries a reason code of `core.reasons` and what fills its sentence."""

    def __init__(self, reason: str, **detail: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Retryable(TagwardenError):
    """It may work later.

    `after`: the pause the other side asked for. `spends_try` is false where the other side only asked for a
    pause: waiting for one's turn is not a failure.
    """

    def __init__(
        self, reason: str, *, after: timedelta | None = None, spends_try: bool = True, **detail: object
    ) -> None:
        super().__init__(reason, **detail)
        self.after = after
        self.spends_try = spends_try


class Permanent(TagwardenError):
    """Trying again cannot help."""


class NeedsSetting(TagwardenError):
    """Trying again helps only after somebody has changed a setting, here or in the CRM."""


class Uncertain(TagwardenError):
    """It may have happened, and to do it twice would be wrong: only a person may have it tried again."""


class SettingsError(Exception):
    """The environment is wrong. The text is a sentence for the operator."""
