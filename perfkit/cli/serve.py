"""`perfkit serve`."""

from __future__ import annotations

import click

from perfkit.cli import options
from perfkit.cli.emit import tell
from perfkit.web.server import ADDRESS, PORT, address_of, check, is_local, parse_port, start


@click.command("serve")
@click.option("--port", type=options.Parsed("N", parse_port), default=PORT, show_default=True, help="To listen at.")
@click.option("--address", default=ADDRESS, show_default=True, metavar="ADDRESS", help="To listen at; 0.0.0.0: any.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in a browser.")
@options.verbose
def command(port: int, address: str, browser: bool) -> None:
    """The web page: choose model, GPUs and tokens, and see figures and charts at once. Ctrl-C stops it.

    \b
    Examples:
      perfkit serve
      perfkit serve --port 8600 --no-browser
    """
    check(address, port)
    if not is_local(address):
        tell("warning", [f"whoever reaches {address} may use this page: it asks for no password"])
    click.echo(f"perfkit's page: {address_of(address, port)} (Ctrl-C stops it)")
    start(address, port, browser=browser)
