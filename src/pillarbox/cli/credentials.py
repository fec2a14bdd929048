"""``pillarbox credentials``: the files with which clients reach what a deployment runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pillarbox.cli.cluster import gpg_home_option


@click.command("credentials")
@click.argument("directory", type=click.Path(file_okay=False, allow_dash=True, path_type=Path))
@gpg_home_option
@click.pass_obj
def command(model: Path, directory: Path, gpg_home: Path) -> None:
    """Write the model's credentials files (pillarbox:credentials) to DIRECTORY, for their owner only.

    They hold secrets in the clear, so this needs the key that opens those: run it on the Salt master. With - they are
    printed as JSON.
    """
    from pillarbox.model import Inventory
    from pillarbox.secrets import Keyring, credentials
    from pillarbox.system import files

    found = credentials(Inventory(model), Keyring(gpg_home))
    if str(directory) == "-":
        click.echo(json.dumps(found))
        return
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, text in found.items():
        files.write(directory / name, text, mode=0o600)
        click.echo(f"wrote {directory / name}")
