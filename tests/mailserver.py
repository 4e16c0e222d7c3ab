"""A real mail server on loopback, with switches for what real ones do: refuse, ask to come later, hang up."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tagwarden.core import clock
from tests.sandbox.conftest import free_port

USER, PASSWORD = "studio", "correct horse/battery"


@dataclass
class MailServer:
    """What came in, and what it says instead of yes: `answers` by SMTP word (MAIL, RCPT, DATA)."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    hangs_up_at: str = ""  # DATA: it has taken the text and doesn't answer; QUIT: it doesn't say goodbye

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.answers.get("RCPT", "250 OK")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if refusal := self.answers.get("DATA"):
            return refusal
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, EmailMessage, policy=WIRE))
        self.envelopes.append((str(envelope.mail_from), envelope.rcpt_tos))
        self._hang_up("DATA", server)
        return f"250 OK: queued as {len(self.mails)}"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self._hang_up("QUIT", server)
        return "221 Bye"

    def _hang_up(self, word: str, server: SMTP) -> None:
        if word == self.hangs_up_at:
            server.transport.abort()


class Certificate:
    """A server's own certificate for 127.0.0.1, signed by itself; who trusts `file` trusts it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "certificate.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        now = clock.now()
        made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        signed = made.add_extension(here, critical=False).sign(key, SHA256())
        self.file.write_bytes(signed.public_bytes(Encoding.PEM))
        (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(self.file, folder / "key.pem")


def _knows(server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any) -> AuthResult:
    known = isinstance(login, LoginPassword) and (login.login, login.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=known, handled=False)


@contextmanager
def listening(
    port: int = 0, *, starttls: Certificate | None = None, tls: Certificate | None = None
) -> Iterator[MailServer]:
    """A mail server; with `starttls` it wants that and a log-in, with `tls` it is encrypted from the first byte."""
    server = MailServer(port or free_port())
    controller = Controller(
        server,
        hostname="127.0.0.1",
        port=server.port,
        ssl_context=tls.context if tls else None,
        authenticator=_knows,
        auth_required=starttls is not None,
        tls_context=starttls.context if starttls else None,
        require_starttls=starttls is not None,
    )
    controller.start()
    try:
        yield server
    finally:
        controller.stop()
