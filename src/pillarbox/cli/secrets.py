"""``pillarbox secrets``: the secrets of a deployment, encrypted to its master's key."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from pillarbox.secrets import SecretsError, generate


@click.command("secrets")
@click.option(
    "--public-key",
    type=click.File("r"),
    required=True,
    help="The Salt master's public key, as `gpg --armor --export` prints it; - for standard input.",
)
@click.pass_obj
def command(model: Path, public_key: TextIO) -> None:
    """Generate new values for all secrets in classes/cluster/*/secrets.yml.

    The values are encrypted to the key at once and never stored or shown in the clear. Running pods get new secrets at
    the next deploy.
    """
    try:
        key = public_key.read()
    except UnicodeDecodeError:
        raise SecretsError("the public key is not text", hint="Export it with `gpg --armor --export`.") from None
    for file in generate(model, key):
        click.echo(f"wrote {file}")
