"""TAGWARDEN_SMTP_URL: what it may look like, and that a sentence about it never holds its password."""

import pytest

from tagwarden.core.env import read_env
from tagwarden.core.errors import SettingsError
from tagwarden.core.smtp import MailServer, mail_server


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("", None),
        ("smtp://mail.example", MailServer("mail.example", 25, "plain")),
        ("smtp+starttls://u:p@mail.example", MailServer("mail.example", 587, "starttls", "u", "p")),
        ("smtps://u:p@mail.example", MailServer("mail.example", 465, "tls", "u", "p")),
        ("smtp://mail.example:2525/", MailServer("mail.example", 2525, "plain")),
        ("smtp://u:p@127.0.0.1:25", MailServer("127.0.0.1", 25, "plain", "u", "p")),
        ("smtps://me%40studio.example:a%2Fb%3A@[::1]", MailServer("::1", 465, "tls", "me@studio.example", "a/b:")),
    ],
)
def test_what_it_may_look_like(url: str, server: MailServer | None) -> None:
    assert mail_server(url) == server


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mail.example", "must start with"),
        ("http://u:hidden@mail.example", "must start with"),
        ("smtps://", "must have the form"),
        ("smtps://u:hid/den@mail.example", "can't be read"),
        ("smtps://u:hidden@mail.example:many", "can't be read"),
        ("smtps://u:hidden@mail.example/inbox", "must have the form"),
        ("smtps://user@mail.example", "both user and password"),
        ("smtp://u:hidden@mail.example", "in clear"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(url: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as raised:
        read_env({"TAGWARDEN_SMTP_URL": url})

    error: BaseException | None = raised.value
    while error:
        assert "hid" not in str(error)
        error = error.__cause__


def test_the_password_is_not_shown() -> None:
    assert "hidden" not in repr(read_env({"TAGWARDEN_SMTP_URL": "smtps://u:hidden@mail.example"}))
