"""The plain words of commands, outcomes and sources, and reasons as sentences with their values in bold."""

from collections.abc import Mapping

from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from tagwarden.core import catalogue, reasons

STANDINGS = {
    "failed": "Failed",
    "refused": "Refused",
    "unknown": "Unknown",
    "waiting": "Waiting",
    "held": "Held",
    "no-op": "No change",
    "done": "Done",
}
OUTCOMES = {**STANDINGS, "in-hand": "In hand"}
NEEDS_A_PERSON = ("failed", "refused", "unknown")

CARE = {"hook-care": "Look after the hooks", "sweep": "Drift check"}  # of the clock: not listed when all is well

EFFECTS = {
    "tag-add": "Add a tag",
    "tag-remove": "Take a tag away",
    "field-set": "Write a field",
    "password-write": "Hand the password to the CRM",
    "mail": "Send a mail",
}

SOURCES = {
    "hook": "The CRM reported an event.",
    "leader": "A team leader asked for it.",
    "member": "The member asked for it.",
    "order": "An order asked for it.",
    "clock": "Its time had come.",
    "api": "A program asked for it.",
    "sweep": "A sweep found that the CRM had sent no call.",
    "webhook": "The call itself isn’t kept any more.",
}

TRIED = {
    "done": "it worked",
    "no-op": "nothing to do",
    "refused": "refused",
    "failed": "it didn’t work",
    "unknown": "no certain answer",
    "retry": "it didn’t work yet",
    "settling": "too early to tell",
    "paused": "not its turn yet",
    "given-back": "put back when the server was stopped",
    "found": "the CRM said whose address it is",
    "crash": "the server stopped in the middle",
    "held": "something must be set up first",
}

_BOLD = {"field", "tag", "spelled", "nearest", "value", "email", "parameter", "words", "team"}


def plain(command: str) -> str:
    """A command in plain words; "" is a call that was not understood."""
    if not command:
        return "Not understood"
    operation = catalogue.listed("tagwarden.operations").get(command)
    return str(getattr(operation, "PLAIN", {**EFFECTS, **CARE}.get(command, command)))


def commands() -> dict[str, str]:
    """Wire word → plain word of the commands there are."""
    return {word: plain(word) for word in catalogue.listed("tagwarden.operations")}


class _Bold(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return "…"

    def __getitem__(self, key: str) -> SafeString | str:
        value = super().__getitem__(key)
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        return format_html("<b>{}</b>", text) if key in _BOLD and text != "…" else conditional_escape(text)


def safe(command: str, *, in_child: bool) -> str:
    """What stays right although a call of that command didn't work. `in_child`: a step of it didn't."""
    if not command:
        return "Nothing was done. The call is kept as it came."
    if command == "mail":
        return "The mail is kept, and nobody is mailed twice unless you say so."
    if in_child:
        return "What was done before this step stays done, and isn’t done twice."
    if getattr(catalogue.listed("tagwarden.operations").get(command), "REFRESH", False):
        return "Tags and access stay as they were; nothing was taken away."
    return "Nothing was done twice, and nothing was taken away."


def title(code: str, detail: Mapping[str, object], crm: str) -> SafeString:
    """What happened, as a sentence in HTML. A code of a later version shows as itself."""
    return _sentence(reasons.REASONS[code].title if code in reasons.REASONS else code, detail, crm)


def advice(code: str, detail: Mapping[str, object], crm: str) -> SafeString:
    """What to do, as a sentence in HTML."""
    return _sentence(reasons.REASONS[code].help if code in reasons.REASONS else "", detail, crm)


def _sentence(text: str, detail: Mapping[str, object], crm: str) -> SafeString:
    filled = str(conditional_escape(text)).format_map(_Bold({"crm": crm, **detail}))
    return mark_safe(filled)  # the text is ours and escaped, the values were escaped one by one


def listed(names: list[str]) -> str:
    """Module 3; A and B; A, B and 4 more."""
    if len(names) <= 2:
        return " and ".join(names)
    return f"{names[0]}, {names[1]} and {len(names) - 2} more"


def with_code(text: str) -> SafeString:
    """A sentence in which `…` marks wire words, as HTML."""
    parts = text.split("`")
    marked = [
        format_html("<code>{}</code>", part) if n % 2 else conditional_escape(part) for n, part in enumerate(parts)
    ]
    return SafeString("".join(marked))
