"""`tagwarden demo`: a release of 1,000 contacts, from the CRM's first call to the last member's tag."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, NoReturn

import httpx
import typer

import tagwarden
from tagwarden.cli import demo_bars, init, loading, show, supervisor
from tagwarden.core import crypto
from tagwarden.core.env import env
from tagwarden.core.errors import SettingsError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
TAG = "Module_3_Has_Access"
SANDBOX_PORT = 8099
_MARK = "this-is-a-demo"


@app.command()
def demo(
    contacts: Annotated[int, typer.Option(min=1, max=10_000, help="How many contacts the CRM has.")] = 1000,
    leave: Annotated[bool, typer.Option("--exit", help="Leave when all is settled, with 0 if all went well.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65_000, help="Port to begin looking for a free one at.")] = 8000,
) -> None:
    """Watch a release of 1,000 contacts, with a pretend CRM and in a data folder of its own.

    The CRM tags all contacts and fires a webhook for each, all at once, as it does when a module opens.
    """
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(_folder())
            went_well = _run(stack, folder, contacts, port, leave)
    except KeyboardInterrupt:
        show.say("", "Stopped.")
        return
    if not went_well:
        raise SystemExit(1)


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _run(stack: ExitStack, folder: Path, contacts: int, port: int, leave: bool) -> bool:
    """Starts all, shows the release, and keeps serving unless told to leave. Whether all went well."""
    _settings(folder)
    place = Place(folder, free_port(port), contacts)
    show.say(f"Making a sample site in {folder} (what a demo left there before is gone)")
    crm = stack.enter_context(running(folder / "sandbox.log", "sandbox", *place.sandbox_arguments()))
    crm_url = f"http://127.0.0.1:{place.sandbox_port}"
    wait_for(f"{crm_url}/api/ping", crm, folder / "sandbox.log")
    httpx.post(f"{crm_url}/admin/tag", json={"tag": TAG, "contacts": "all", "remove": True}).raise_for_status()
    filled = _filled(place, crm_url)
    server = stack.enter_context(running(folder / "server.log", "serve", "--port", str(place.port)))
    wait_for(f"{place.url}/", server, folder / "server.log")
    show.say(f"Tagwarden runs at {place.url}, the CRM at {crm_url}", "")
    seen = demo_bars.watch(crm_url, filled, tag=TAG, contacts=contacts)
    show.say("", *seen.sentences(), "")
    show.say(*_links(place, filled, crm_url))
    if leave:
        return seen.went_well
    show.say("", "Both keep running. Ctrl-C ends them.")
    server.wait()
    raise SettingsError(f"The server ended by itself. {folder / 'server.log'} says why.")


@dataclass
class Place:
    """Where this demo runs."""

    folder: Path
    port: int
    contacts: int

    def __post_init__(self) -> None:
        self.sandbox_port = free_port(SANDBOX_PORT, other_than=self.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sandbox_arguments(self) -> list[str]:
        file = str(self.folder / "sandbox.db")
        return ["--port", str(self.sandbox_port), "--contacts", str(self.contacts), "--file", file]


@contextmanager
def _folder() -> Iterator[Path]:
    """`.demo` in the checkout, emptied; without a checkout, or beside another demo, a temporary folder."""
    checkout = Path(tagwarden.__file__).parents[1]
    with ExitStack() as stack:
        if (checkout / "pyproject.toml").exists() and os.access(checkout, os.W_OK):
            folder = checkout / ".demo"
            folder.mkdir(mode=0o700, exist_ok=True)
            lock = stack.enter_context(open(checkout / ".demo" / _MARK, "a"))
            if _is_ours_alone(lock):
                _empty(folder)
                yield folder
                return
        yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tagwarden-demo-")))


def _is_ours_alone(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _empty(folder: Path) -> None:
    for one in folder.iterdir():
        if one.is_dir():
            shutil.rmtree(one)
        elif one.name != _MARK:
            one.unlink()


def _settings(folder: Path) -> None:
    """The demo has its own data and its own database, whatever the environment says."""
    for name in ("DATABASE_URL", "TAGWARDEN_KEYS_FILE", "TAGWARDEN_SMTP_URL", "TAGWARDEN_DATA"):
        os.environ.pop(name, None)
        os.environ.pop(f"{name}_FILE", None)
    os.environ["TAGWARDEN_DATA"] = str(folder)
    env.cache_clear()


def _filled(place: Place, crm_url: str) -> Any:
    init.make_folder(env())
    crypto.make_keys(env().keys_file)
    loading.with_django("tagwarden.cli.migrate").migrate()
    return loading.with_django("tagwarden.cli.demo_site").fill(public_url=place.url, crm_url=crm_url)


def _links(place: Place, filled: Any, crm_url: str) -> list[str]:
    return [
        "Look around:",
        f"  Staff pages   {filled.sign_in_link()}   (signs you in, once)",
        f"  Deliveries    {place.url}/staff/deliveries/",
        f"  The release   {filled.release_page()}",
        f"  The CRM       {crm_url}",
    ]


def free_port(first: int, *, other_than: int = 0) -> int:
    """The first port from `first` on that nobody listens on."""
    for port in range(first, min(first + 200, 65_535)):
        if port == other_than:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SettingsError(f"No port from {first} on is free.")


@contextmanager
def running(log: Path, part: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A part as a process that ends with this block, and with this process."""
    with open(log, "ab") as file:
        process = supervisor.start("part", part, *arguments, output=file)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(supervisor.GRACE + 5)
        except subprocess.TimeoutExpired:
            process.kill()
        supervisor.kill_group(process)
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits, at most a minute, until something answers. Raises SettingsError if the process ends first."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(url, timeout=2)
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        return
    raise SettingsError(f"It didn't start. {log} says why: {_last_line(log)}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "it is empty")
