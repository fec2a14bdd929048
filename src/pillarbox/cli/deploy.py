"""``pillarbox deploy``: what `salt-run state.orchestrate orch.deploy` does to a cluster, without Salt."""

from __future__ import annotations

import getpass
from pathlib import Path

import click

from pillarbox.cli.cluster import gpg_home_option, kubeconfig_option
from pillarbox.cli.output import format_option, print_data
from pillarbox.pipeline.deploy import DeployOptions, deploy
from pillarbox.pipeline.git import Repository
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress


@click.command("deploy")
@kubeconfig_option
@gpg_home_option
@click.option("--dry-run", is_flag=True, help="Let the API server check everything, and write nothing.")
@click.option("--prune-data", is_flag=True, help="Delete volume claims and Secrets that the model no longer has, too.")
@format_option("text", "json")
@click.pass_obj
def command(
    model: Path, kubeconfig: Path | None, gpg_home: Path, dry_run: bool, prune_data: bool, output_format: str
) -> int:
    """Apply the model in its directory to the cluster, in waves, and report.

    A wave starts when the one before is healthy; one that fails is put back by itself. Images have to be built.
    """
    revision, subject = _revision(model)
    run = deploy(
        model,
        DeployOptions(kubeconfig, gpg_home, dry_run, prune_data),
        revision=revision,
        by=getpass.getuser(),
        subject=subject,
        progress=Progress(),
    )
    if output_format == "json":
        print_data(run.as_dict(), "json")
    else:
        click.echo(run.as_text(), nl=False)
    return 0 if run.succeeded else 1


def _revision(model: Path) -> tuple[str, str]:
    """The commit that is checked out and its subject; nothing outside a git work tree."""
    try:
        repository = Repository(model)
        revision = repository.resolve("HEAD")
        return revision, repository.subject(revision)
    except PillarboxError:
        return "", ""
