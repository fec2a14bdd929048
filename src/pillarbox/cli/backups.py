"""``pillarbox backups``: what backups there are."""

from __future__ import annotations

import click

from pillarbox.cli.output import format_option, print_data
from pillarbox.pipeline.archives import Backups
from pillarbox.pipeline.places import Places


@click.command("backups")
@format_option("text", "json")
def command(output_format: str) -> int:
    """List the backups on this Salt master, oldest first: when and why each was made, of which revision, and of what.

    Exits with 1 when there is none.
    """
    found = [backup.as_dict() for backup in Backups(Places.of().backups)]
    if output_format == "json":
        print_data(found, "json")
    else:
        for each in found:
            click.echo(f"{each['id']}  revision {each['revision'][:12]}")
            for name, archive in sorted(each["archives"].items()):
                click.echo(f"  {name}  {archive['packed'] / 1e6:.2f} MB")
            for name, why in sorted(each["failed"].items()):
                click.echo(f"  {name}  not backed up: {why}")
    if not found:
        click.echo("no backup on this machine; backups are on the Salt master", err=True)
    return 0 if found else 1
