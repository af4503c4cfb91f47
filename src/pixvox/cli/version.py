"""`pixvox version`."""

from __future__ import annotations

import click

import pixvox


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(pixvox.__version__)
