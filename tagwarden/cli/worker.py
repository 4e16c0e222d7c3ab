"""`tagwarden worker`: the work behind webhooks and pages."""

import typer

from tagwarden.cli import loading

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def worker() -> None:
    """Run the work only, with webhooks and pages in another process or on another machine.

    Several may run beside each other on PostgreSQL; on SQLite one for each data folder.
    """
    loading.with_django("tagwarden.worker.main").run()
