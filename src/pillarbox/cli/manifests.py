"""``pillarbox manifests``: the Kubernetes objects of the model, as files."""

from __future__ import annotations

from pathlib import Path

import click

from pillarbox.cli.output import format_option, print_data
from pillarbox.manifests import files
from pillarbox.revision import Revision


@click.command("manifests")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="The directory to write to or to check (default: manifests/ of the model).",
)
@click.option("--check", is_flag=True, help="Write nothing; fail when the files are not what the model says.")
@format_option("text", "json")
@click.pass_context
def command(ctx: click.Context, output: Path | None, check: bool, output_format: str) -> int:
    """Render the Kubernetes manifests of the model.

    Secrets in them stay PGP blocks. Images are named by tag here; a deploy adds the digests.
    """
    revision = Revision.read(ctx.obj)
    directory = output or revision.inventory.path / "manifests"
    manifests = revision.pinned({})
    changes = files.check(manifests, directory) if check else files.write(manifests, directory)
    if output_format == "json":
        outcome = {"directory": str(directory), "files": len(manifests), "changes": [vars(each) for each in changes]}
        print_data(outcome, "json")
    else:
        for change in changes:
            click.echo(str(change))
        if check and changes:
            click.echo(f"{len(changes)} of {len(manifests)} manifests differ; run `pillarbox manifests`.", err=True)
        elif check:
            click.echo(f"{len(manifests)} manifests are up to date.", err=True)
        else:
            click.echo(f"{len(manifests)} manifests in {directory}, {len(changes)} changed.", err=True)
    return 1 if check and changes else 0
