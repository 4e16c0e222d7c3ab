"""The parts that `serve`, `web` and `demo` start as processes of their own, which end with their starter."""

import os

import typer

from tagwarden.cli import loading, sandbox, serve
from tagwarden.core import logs, orphans
from tagwarden.core.env import env

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

AFTER_THE_DOOR = 5  # niceness: a call that is answered late is lost, work that is done late is only late


@app.callback()
def part(context: typer.Context) -> None:
    """Run one part of a server."""
    orphans.leave_with_parent()
    logs.set_up(env(), context.invoked_subcommand or "")


@app.command()
def web(host: serve.Host, port: serve.Port) -> None:
    """Take webhooks and show pages."""
    loading.late("tagwarden.rsgi").serve(host, port)


@app.command()
def migrate() -> None:
    """Bring the database up to date."""
    loading.with_django("tagwarden.cli.migrate").migrate()


@app.command()
def intake() -> None:
    """Carry webhooks from the spool into the journal."""
    os.nice(AFTER_THE_DOOR)
    loading.with_django("tagwarden.worker.intake").run()


@app.command()
def worker() -> None:
    """Do the work behind webhooks and pages."""
    os.nice(AFTER_THE_DOOR)
    loading.with_django("tagwarden.worker.main").run()


app.command("serve")(serve.serve)
app.command("sandbox")(sandbox.sandbox)
