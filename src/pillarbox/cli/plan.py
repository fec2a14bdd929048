"""``pillarbox plan``: what a change would do, before anything is done."""

from __future__ import annotations

from pathlib import Path

import click

from pillarbox.cli.output import format_option, print_data
from pillarbox.pipeline import plan
from pillarbox.pipeline.git import Repository


@click.command("plan")
@click.argument("base", required=False)
@click.argument("head", default="HEAD")
@click.option("--offline", is_flag=True, help="Do not ask the registry which images are there.")
@format_option("text", "json")
@click.pass_obj
def command(model: Path, base: str | None, head: str, offline: bool, output_format: str) -> None:
    """Show what the step from revision BASE (default: the commit before) to HEAD does.

    Which images are built, which workloads roll, which Jobs run, which hosts change, and why. Both revisions are read
    from git, so what is not committed is not in it; nothing is checked out, built or applied.
    """
    before = f"{head}~1"
    known = base or (before if Repository(model).head(before) else None)
    made = plan.make(model, known, head, registry=not offline)
    if output_format == "json":
        print_data(made.as_dict(), "json")
    else:
        click.echo(made.as_text(), nl=False)
