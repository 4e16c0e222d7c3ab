"""`tagwarden sandbox`: the pretend CRM as a server of its own."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from tagwarden.cli import serve, show
from tagwarden.core.env import env
from tagwarden.sandbox import crm

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8099,
    contacts: Annotated[int, typer.Option(min=0, max=100_000, help="How many contacts to begin with.")] = 100,
    file: Annotated[Path | None, typer.Option(help="Where it keeps its contacts.")] = None,
    webhook_url: Annotated[str, typer.Option(help="The webhook it offers to fire.")] = "",
) -> None:
    """Run the pretend CRM, to try everything with no account anywhere.

    It has pages to look at, and an API that a connection of the kind `sandbox` speaks; its key is sandbox-key.
    """
    logging.basicConfig(level=env().log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    serve.check_port("127.0.0.1", port)
    where = file or env().data / "sandbox.db"
    where.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    show.say("Sandbox CRM", f"  Address   http://127.0.0.1:{port}", f"  Contacts  {where}")
    crm.serve(host="127.0.0.1", port=port, file=where, contacts=contacts, webhook_url=webhook_url)
