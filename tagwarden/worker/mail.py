"""The network step of a mail: handed to the mail server, phase by phase. No database here; runs in a thread.

Until the server has taken all of the text nothing has left, so whatever goes wrong before may be tried again. When
its answer to the text doesn't come, the mail may have left: that is `Uncertain`, and only a person sends it again.
"""

import smtplib
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from tagwarden.core import clock
from tagwarden.core.errors import NeedsSetting, Permanent, Retryable, TagwardenError, Uncertain
from tagwarden.core.smtp import MailServer
from tagwarden.crms import base
from tagwarden.journal.leases import Job
from tagwarden.worker.effects import Performed

STEP_SECONDS = 20  # for the connection and for each answer before the text
TEXT_SECONDS = 120  # for the answer to the text, which some servers read through for spam first
GOODBYE_SECONDS = 2
_LONGEST_ANSWER = 300
_POLICY = SMTP.clone(cte_type="7bit")  # every server takes that


@dataclass(frozen=True, slots=True)
class Sender:
    """A site as the sender of mails: its name, its address (may be empty: not set), its host."""

    name: str
    address: str
    host: str


NOBODY = Sender("", "", "")


def perform(server: MailServer, sender: Sender, jobs: Sequence[Job]) -> Performed:
    """Sends these mails. Params: `to` (an address), `subject`, `text` (plain, may have several lines)."""
    performed = Performed()
    for job in jobs:
        call = base.Call(f"Hand the mail to {server.host}")
        performed.calls[job.id] = [call]
        began = time.monotonic()
        try:
            call.status, call.found = _hand_over(server, sender, job)
            call.ok = True
        except TagwardenError as error:
            performed.errors[job.id] = error
            call.found = str(error.detail.get("why", "No answer came"))
        call.ms = round((time.monotonic() - began) * 1000)
    return performed


def _hand_over(server: MailServer, sender: Sender, job: Job) -> tuple[int, str]:
    """The server's code and answer. Raises a TagwardenError; `Uncertain` where the mail may have left."""
    to, content = _written(sender, job)
    try:
        with _session(server, sender.host) as smtp:
            _accept(server, smtp.mail(sender.address))
            _accept(server, smtp.rcpt(to))
            taken = _give_text(server, smtp, content)
            with suppress(OSError):  # it is theirs now, whatever becomes of the goodbye
                _wait_at_most(smtp, GOODBYE_SECONDS)
                smtp.quit()
            return taken
    except smtplib.SMTPResponseException as refused:
        raise _refusal(server, refused.smtp_code, refused.smtp_error) from refused
    except OSError as error:
        why = (error.strerror or str(error) or type(error).__name__).rstrip(".")
        raise Retryable("mail-server-unreachable", server=server.host, why=why) from error


@contextmanager
def _session(server: MailServer, name: str) -> Iterator[smtplib.SMTP]:
    """A connection that is encrypted and logged in as the setting says."""
    if server.safety == "tls":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(
            server.host, server.port, name, timeout=STEP_SECONDS, context=ssl.create_default_context()
        )
    else:
        smtp = smtplib.SMTP(server.host, server.port, name, timeout=STEP_SECONDS)
    try:
        if server.safety == "starttls":
            smtp.starttls(context=ssl.create_default_context())
        if server.user:
            _log_in(server, smtp)
        else:
            smtp.ehlo_or_helo_if_needed()
        yield smtp
    finally:
        smtp.close()


def _log_in(server: MailServer, smtp: smtplib.SMTP) -> None:
    try:
        smtp.login(server.user, server.password)
    except smtplib.SMTPAuthenticationError as refused:
        if refused.smtp_code < 500:
            raise
        why = _told(refused.smtp_code, refused.smtp_error)
        raise NeedsSetting("mail-login-refused", server=server.host, why=why) from refused


def _accept(server: MailServer, reply: tuple[int, bytes]) -> None:
    if reply[0] // 100 != 2:
        raise _refusal(server, *reply)


def _give_text(server: MailServer, smtp: smtplib.SMTP, content: bytes) -> tuple[int, str]:
    _wait_at_most(smtp, TEXT_SECONDS)
    try:
        code, answer = smtp.data(content)
    except smtplib.SMTPDataError:  # the server said no before the text
        raise
    except Exception as error:  # whatever it was, the text may be theirs
        raise Uncertain("mail-unknown") from error
    if code // 100 in {4, 5}:
        raise _refusal(server, code, answer)
    if code // 100 != 2:
        raise Uncertain("mail-unknown")
    return code, _told(code, answer)


def _wait_at_most(smtp: smtplib.SMTP, seconds: float) -> None:
    assert smtp.sock
    smtp.sock.settimeout(seconds)


def _refusal(server: MailServer, code: int, answer: bytes | str) -> TagwardenError:
    """4xx: later; 5xx: never as it is; anything else is no answer of a mail server."""
    why = _told(code, answer)
    if code // 100 == 4:
        return Retryable("mail-server-busy", server=server.host, why=why)
    if code // 100 == 5:
        return Permanent("mail-refused", server=server.host, why=why)
    return Retryable("mail-server-unreachable", server=server.host, why="its answer can't be read")


def _told(code: int, answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return " ".join(f"{code} {text}".split())[:_LONGEST_ANSWER]


# --- the mail itself ---------------------------------------------------------------------------------------------


def _written(sender: Sender, job: Job) -> tuple[str, bytes]:
    """The receiver's address and the mail. The same job always has the same Message-ID, so that a repeat is known."""
    if not sender.address:
        raise NeedsSetting("mail-from-missing")
    to = _address(str(job.params["to"]))
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = Address(display_name=" ".join(sender.name.split()), addr_spec=sender.address)
    mail["To"] = Address(addr_spec=to)
    mail["Subject"] = " ".join(str(job.params["subject"]).split())
    mail["Date"] = format_datetime(clock.now())
    mail["Message-ID"] = f"<{sha256(job.key.encode()).hexdigest()[:32]}@{sender.host}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(str(job.params["text"]).rstrip() + "\n")
    return to, mail.as_bytes()


def _address(text: str) -> str:
    """Fit for the wire. Raises Permanent `mail-address-unusable`."""
    try:
        validate_email(text.strip())
        local, _, domain = text.strip().rpartition("@")
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except (ValidationError, UnicodeError):
        raise Permanent("mail-address-unusable", to=text[:254]) from None
