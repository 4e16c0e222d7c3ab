"""Secrets at rest: the key file, look-up digests and encryption.

The key file is JSON: `django` (signs cookies and links), `lookup` (HMAC under which handshakes are found) and
`encryption` (a list of Fernet keys; the first encrypts, all decrypt, so that keys can be rotated).
"""

import hmac
import json
import os
import secrets
from functools import cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from tagwarden.core.errors import SettingsError


class Keys:
    """The server's keys, read from its key file."""

    def __init__(self, *, django: str, lookup: str, encryption: list[str]) -> None:
        self.django = django
        self._lookup = lookup.encode()
        self._fernet = MultiFernet([Fernet(key) for key in encryption])

    def digest(self, secret: str) -> str:
        """What a handshake is looked up by: HMAC-SHA256 in hex."""
        return hmac.digest(self._lookup, secret.encode("utf-8", "surrogateescape"), "sha256").hex()

    def encrypt(self, plain: str) -> str:
        return self._fernet.encrypt(plain.encode()).decode()

    def decrypt(self, sealed: str) -> str:
        """The plain text. Raises SettingsError if it was sealed under a key that is not in the key file."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise SettingsError(
                "A stored secret cannot be read with the keys in the key file. Put the key file back that was "
                "in use when it was stored."
            ) from error


def make_keys(path: Path) -> bool:
    """Makes the key file, readable by its owner only. True if it was made; one that is there stays as it is."""
    content = {
        "django": secrets.token_urlsafe(48),
        "lookup": secrets.token_urlsafe(48),
        "encryption": [Fernet.generate_key().decode()],
    }
    return put_keys(path, json.dumps(content, indent=1).encode())


def put_keys(path: Path, content: bytes) -> bool:
    """Writes a key file, readable by its owner only. True if it was; one that is there stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half_made = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(half_made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(half_made, path)
    except FileExistsError:
        return False
    finally:
        half_made.unlink()
    return True


@cache
def read_keys(path: Path) -> Keys:
    """The keys in that file. Raises SettingsError with a sentence if it is missing or damaged."""
    try:
        return Keys(**json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise SettingsError(f"There is no key file at {path}. Run `tagwarden init` first.") from error
    except (OSError, TypeError, ValueError) as error:
        raise SettingsError(f"The key file {path} cannot be read or is damaged.") from error
