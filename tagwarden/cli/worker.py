"""`tagwarden worker`: the work behind webhooks and pages."""

import typer

from tagwarden.cli import loading
from tagwarden.core import logs
from tagwarden.core.env import env

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def worker() -> None:
    """Run the work only, with webhooks and pages in another process or on another machine.

    Several may run beside each other on PostgreSQL; on SQLite one for each data folder.
    """
    logs.set_up(env(), "worker")
    loading.with_django("tagwarden.worker.main").run()
