"""``pillarbox lab``: hosts as containers on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from pillarbox.lab import settings as lab_settings
from pillarbox.lab.settings import Settings
from pillarbox.progress import Progress


@click.group("lab")
@click.option("--name", envvar="PILLARBOX_LAB_NAME", help="The lab's name (default: pillarbox-lab).")
@click.pass_context
def command(ctx: click.Context, name: str | None) -> None:
    """Hosts as containers on this machine.

    The model decides which hosts a lab has. A new lab starts from the model given with --model, or from the checkout's.
    """
    root = ctx.find_root()
    given = root.params.get("model")
    default = root.get_parameter_source("model") is click.core.ParameterSource.DEFAULT
    source: Path | None = None if given is None or default else given
    ctx.obj = lab_settings.load(name, source)


@command.command("up")
@click.option("--until", metavar="PHASE", help="Stop after this phase.")
@click.option("--recreate", metavar="HOST", multiple=True, help="Make this host's container anew; volumes stay.")
@click.pass_obj
def up(settings: Settings, until: str | None, recreate: tuple[str, ...]) -> None:
    """Bring the lab up; one that is up is checked and repaired."""
    from pillarbox.lab import up as lab_up

    lab_up.up(settings, Progress(), until=until, recreate=recreate)
