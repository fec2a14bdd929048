"""``pillarbox secrets``: the secrets of a deployment, encrypted to its master's key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click

from pillarbox.cli.cluster import gpg_home_option
from pillarbox.secrets import KINDS, Keyring, SecretsError, add, generate, reencrypt, rotate
from pillarbox.system.progress import Progress


def _public_key(required: bool) -> Callable[[Any], Any]:
    return click.option(
        "--public-key",
        type=click.File("r"),
        required=required,
        help="The Salt master's public key, as `gpg --armor --export` prints it; - for standard input.",
    )


@click.group("secrets", invoke_without_command=True)
@_public_key(required=False)
@click.pass_context
def command(context: click.Context, public_key: TextIO | None) -> None:
    """Generate new values for all secrets in classes/cluster/*/secrets.yml, or change some.

    The values are encrypted to the key at once and never stored or shown in the clear. Running pods get new secrets at
    the next deploy.
    """
    if context.invoked_subcommand is not None:
        if public_key is not None:
            raise click.UsageError(f"give --public-key after {context.invoked_subcommand}")
        return
    if public_key is None:
        raise click.UsageError("Missing option '--public-key'.")
    written = generate(context.obj, _text(public_key))
    for file in written:
        click.echo(f"wrote {file}")
    if not written:
        click.echo("nothing to write: no deployment of the model has a secrets.yml", err=True)


@command.command("add")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--kind", type=click.Choice(sorted(KINDS)), default="password", show_default=True)
@click.option("--cluster", help="Which deployment, where the model has several: a name under classes/cluster.")
@_public_key(required=True)
@click.pass_obj
def add_command(model: Path, names: tuple[str, ...], kind: str, cluster: str | None, public_key: TextIO) -> None:
    """Add new secrets to a deployment, and leave its others as they are."""
    click.echo(f"wrote {add(model, _text(public_key), names, kind, cluster)}")


@command.command("rotate")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--cluster", help="Which deployment, where the model has several: a name under classes/cluster.")
@_public_key(required=True)
@click.pass_obj
def rotate_command(model: Path, names: tuple[str, ...], cluster: str | None, public_key: TextIO) -> None:
    """Give secrets of a deployment new values, and leave its others as they are.

    Commit, push and deploy: the services go over to the new values while they answer. Where something has to go on
    being valid for a while, the model says so (then), and the old value moves there.
    """
    click.echo(f"wrote {rotate(model, _text(public_key), names, cluster)}")


@command.command("reencrypt")
@_public_key(required=True)
@gpg_home_option
@click.pass_obj
def reencrypt_command(model: Path, public_key: TextIO, gpg_home: Path) -> None:
    """Encrypt all secrets of the model again, to another key; their values stay as they are.

    For a master that gets a new key. This needs the private key that opens them now. Commit, push and deploy before
    that one goes.
    """
    written = reencrypt(model, _text(public_key), Keyring(gpg_home), Progress())
    for file in written:
        click.echo(f"wrote {file}")
    if not written:
        click.echo("nothing to write: the model holds no secret", err=True)


def _text(public_key: TextIO) -> str:
    try:
        return public_key.read()
    except UnicodeDecodeError:
        raise SecretsError("the public key is not text", hint="Export it with `gpg --armor --export`.") from None
