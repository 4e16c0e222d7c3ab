"""`tagwarden init`: what a server needs before its first start. Safe to repeat."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from tagwarden.cli import loading, show
from tagwarden.core import crypto
from tagwarden.core.env import Env, env
from tagwarden.core.errors import SettingsError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def init(
    email: Annotated[str, typer.Option(help="E-mail of the first staff account.")] = "",
    password_file: Annotated[
        Path | None,
        typer.Option(help="File with that account's password; without it a one-time link is made."),
    ] = None,
) -> None:
    """Make keys, database and the first staff account. Safe to repeat.

    The first staff account is an operator: it may sign in on every site of this server.
    """
    make_folder(env())
    made = crypto.make_keys(env().keys_file)
    show.say(f"Keys      {'made' if made else 'there already'}: {env().keys_file}")
    loading.with_django("tagwarden.cli.migrate").migrate()
    show.say(f"Database  ready: {database_name(env())}")
    _first_account(email, password_file)
    if made:
        show.say("", "Keep a copy of the key file apart from the data: what is stored encrypted needs it.")


def make_folder(settings: Env) -> None:
    """The data folder, readable by its owner only. Raises SettingsError if it can't be made."""
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings.data.chmod(0o700)
    except OSError as error:
        raise SettingsError(f"The data folder {settings.data} can't be made: {error.strerror}.") from error


def restoring(settings: Env) -> Path:
    """The folder that a restore unpacks into; it is there from the first change to the last."""
    return settings.data / "restoring"


def database_name(settings: Env) -> str:
    """Which database it is, without user and password."""
    if not settings.on_postgresql:
        return f"SQLite, {settings.data / 'tagwarden.db'}"
    parts = urlsplit(settings.database_url)
    port = f":{parts.port}" if parts.port else ""
    return f"PostgreSQL, {parts.path.lstrip('/')} on {parts.hostname or 'this machine'}{port}"


def _first_account(email: str, password_file: Path | None) -> None:
    find = loading.with_django("tagwarden.cli.find")
    staff_accounts = loading.with_django("tagwarden.accounts.staff_accounts")
    password = find.content(password_file) if password_file else ""
    if password_file and not password:
        raise SettingsError(f"{password_file} is empty.")
    account, made = staff_accounts.first_operator(email, password)
    show.say(f"Staff     {'made' if made else 'there already'}: {account.email}")
    models = loading.with_django("tagwarden.accounts.models")
    site = models.Site.objects.order_by("pk").first()
    if site is None:
        show.say("", 'Next: tagwarden site add "My business" --host members.example.com')
        return
    link = staff_accounts.set_up_link(site)
    if link:
        show.say("", "Sign in once with this link, within 24 hours:", f"  {link}")
