"""A backup's form: a tar with the spool, the main database and, last of all, a manifest that says what is in it."""

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tagwarden.core import disk
from tagwarden.core.crypto import Keys
from tagwarden.core.errors import SettingsError

FORM = 1
MANIFEST, KEYS, SPOOL = "manifest.json", "keys", "spool"
DATABASE = {"sqlite": "tagwarden.db", "postgresql": "tagwarden.dump"}
_KNOWN_WORD = "tagwarden"


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    `made`: when, in UTC, ISO 8601. `database`: "sqlite" or "postgresql". `schema`: its migrations, as "app.name".
    `spool`, `segment`, `row`: the spool's id and its last call in the backup; "" and 0 where there was none.
    `lookup`, `sealed`: a known word under the server's keys, by which a restore finds out whether it has the same.
    """

    form: int
    version: str
    made: str
    database: str
    schema: list[str]
    spool: str
    segment: str
    row: int
    lookup: str
    sealed: str


def proof(keys: Keys) -> tuple[str, str]:
    """`lookup` and `sealed` of a manifest: they give nothing away, and only the same keys fit them."""
    return keys.digest(_KNOWN_WORD), keys.encrypt(_KNOWN_WORD)


def opens(keys: Keys, manifest: Manifest) -> bool:
    """Whether these keys find and open what the backup holds."""
    try:
        return keys.digest(_KNOWN_WORD) == manifest.lookup and keys.decrypt(manifest.sealed) == _KNOWN_WORD
    except SettingsError:
        return False


class Writer:
    """A backup that is being written. `staging`: a folder for what goes into it."""

    def __init__(self, staging: Path, tar: tarfile.TarFile) -> None:
        self.staging = staging
        self._tar = tar

    def add(self, path: Path, name: str) -> None:
        """Takes a file in under that name."""
        self._tar.add(path, name, recursive=False)

    def move(self, path: Path, name: str) -> None:
        """Takes a file in and deletes it."""
        self.add(path, name)
        path.unlink()

    def finish(self, manifest: Manifest) -> None:
        """Writes the manifest: with it the backup is whole."""
        path = self.staging / MANIFEST
        path.write_text(json.dumps(asdict(manifest), indent=1))
        self.move(path, MANIFEST)


@contextmanager
def writing(file: Path) -> Iterator[Writer]:
    """Writes a backup, which appears under its name, readable by its owner only, when it is whole and on disk.

    Raises SettingsError with a sentence if there is such a file already, or if the folder can't be written to.
    """
    _refuse_overwriting(file)
    try:
        with TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as folder:
            made = Path(folder) / "backup.tar"
            with open(os.open(made, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as stream:
                with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    yield Writer(Path(folder), tar)
                stream.flush()
                os.fsync(stream.fileno())
            _refuse_overwriting(file)
            made.rename(file)
            disk.sync_folder(file.parent)
    except OSError as error:
        raise SettingsError(f"{file} can't be written: {error.strerror or error}.") from error


def _refuse_overwriting(file: Path) -> None:
    if file.exists():
        raise SettingsError(f"{file} is there already. Choose another name; a backup is never overwritten.")


def read_manifest(file: Path) -> Manifest:
    """What that backup holds. Raises SettingsError with a sentence if it is none, or of a newer version."""
    try:
        with tarfile.open(file) as tar:
            stream = tar.extractfile(MANIFEST)
            content = json.loads(stream.read()) if stream else {}
    except (OSError, EOFError, tarfile.TarError, KeyError, ValueError) as error:
        raise SettingsError(f"{file} is no whole backup: it can't be read to its end. Take another one.") from error
    if content.get("form") != FORM:
        raise SettingsError(f"{file} was made by a newer version of Tagwarden. Restore it with that version.")
    return Manifest(**content)


def keys_in(file: Path) -> bytes | None:
    """The key file in a backup, if it was made with it."""
    with tarfile.open(file) as tar:
        if KEYS not in tar.getnames():
            return None
        stream = tar.extractfile(KEYS)
        return stream.read() if stream else None


def unpack(file: Path, into: Path) -> None:
    """Puts what a backup holds, but the keys, into a folder, readable by its owner only.

    Raises OSError, tarfile.TarError.
    """
    (into / SPOOL).mkdir(parents=True, mode=0o700)
    with tarfile.open(file) as tar:
        for member in tar:
            if member.name != KEYS:
                _unpack_one(tar, member, into)


def _unpack_one(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    target = into / member.name
    content = tar.extractfile(member) if member.isreg() else None
    if content is None or target.parent not in (into, into / SPOOL):
        raise OSError(f"{member.name} has no place in a backup")
    with content, open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(content, file)
