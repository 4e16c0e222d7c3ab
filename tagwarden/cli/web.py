"""`tagwarden web`: webhooks and pages, with the intake that carries webhooks on."""

import typer

from tagwarden.cli import serve

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def web(host: serve.Host = "127.0.0.1", port: serve.Port = 8000) -> None:
    """Run webhooks and pages only, with the work in another process or on another machine.

    Several may run beside each other, each with a data folder of its own and all on one PostgreSQL database,
    which `tagwarden init` brings up to date.
    """
    serve.run(host, port, [serve.intake()])
