"""Writes docs/troubleshooting.md from core/reasons.py. Run it in the checkout after changing a reason."""

from pathlib import Path

from tagwarden.core import reasons

PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
_HEAD = """\
# Troubleshooting

Written by `python -m scripts.troubleshooting` from `tagwarden/core/reasons.py`; change the sentences there.

Whatever didn't end as *done* has a reason: a code and two sentences. You find it

- on the call's page in *Deliveries*, above the raw call,
- by `tagwarden delivery list --outcome failed` and `tagwarden delivery show ID`,
- in the answer that the sender got, if it was wrong at the door (400 to 415, see [webhooks](webhooks.md#the-answer)).

Nothing is lost meanwhile: the call is kept, and *Redeliver* tries it again. When a cause that hit many calls is mended,
`tagwarden delivery redeliver --reason CODE` tries them all.

The call doesn't appear at all? Then it never reached this server, or its secret is unknown here: the list of
deliveries counts such calls. Compare the address in the CRM with the one that `tagwarden webhook-url` prints.

An … below stands for a name or value of your own.
"""


def page() -> str:
    """The whole page: every reason in the order of core/reasons.py, under its code."""
    sections = [f"## {code}\n\n{reasons.title(code)}\n\n*{reasons.advice(code)}*\n" for code in reasons.REASONS]
    return "\n".join([_HEAD, *sections])


if __name__ == "__main__":
    PAGE.write_text(page())
