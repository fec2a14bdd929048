"""``pillarbox status``: what of the model runs, and what does not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from pillarbox import pki
from pillarbox.cli.cluster import ON_THE_MASTER, gpg_home_option, kubeconfig_option
from pillarbox.cli.output import format_option, print_data
from pillarbox.pipeline.backup import overdue
from pillarbox.pipeline.deploy import state
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import Runs
from pillarbox.rollout import ObjectState
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress

_COLOURS = {
    ObjectState.OK: "green",
    ObjectState.DRIFTED: "yellow",
    ObjectState.EXTRA: "yellow",
    ObjectState.MISSING: "red",
    ObjectState.UNHEALTHY: "red",
}


@click.command("status")
@kubeconfig_option
@gpg_home_option
@click.option("--all", "everything", is_flag=True, help="Show what is as it should be, too.")
@format_option("text", "json")
@click.pass_obj
def command(model: Path, kubeconfig: Path | None, gpg_home: Path, everything: bool, output_format: str) -> int:
    """Compare the cluster with the model: what is missing, unhealthy, drifted, or no longer in the model.

    To be run on the Salt master, which reaches the model's cluster and registry; as root there, certificates of hosts
    that should have been renewed are named, and data that was not backed up for a day. Exits with 1 when anything is
    missing or unhealthy, a certificate has ended, or a backup is overdue. Writes nothing.
    """
    places = Places.of()
    # Somebody else than root may look at the cluster, too.
    with suppress(PermissionError):
        for unreadable in Runs(places.runs).unreadable():
            click.echo(str(unreadable), err=True)
    try:
        found = state(model, kubeconfig=kubeconfig, gpg_home=gpg_home, progress=Progress())
    except PillarboxError as error:
        with suppress(PermissionError):
            if not places.runs.is_dir():
                error.hint = " ".join(filter(None, (error.hint, ON_THE_MASTER)))
        raise
    shown = [item for item in found if everything or item.state is not ObjectState.OK]
    late = tuple(overdue(places))
    certificates = tuple(pki.near_end(places.pki))
    if output_format == "json":
        objects = [item.as_dict() for item in shown] + [each.as_dict() for each in certificates]
        print_data(objects + [data.as_dict() for data in late], "json")
    else:
        for item in shown:
            where = f"{item.ref.namespace}/" if item.ref.namespace else ""
            word = click.style(f"{item.state:<9}", fg=_COLOURS[item.state])
            click.echo(f"{word} {item.ref.kind} {where}{item.ref.name}  {item.detail}".rstrip())
        for each in certificates:
            known = each.as_dict()
            word = click.style(f"{known['state']:<9}", fg="red" if each.ended else "yellow")
            click.echo(f"{word} Certificate {each.host}/{each.name}  {known['detail']}")
        for data in late:
            click.echo(f"{click.style('overdue  ', fg='red')} Backup {data.name}  {data.detail}")
        fine = sum(item.state is ObjectState.OK for item in found)
        click.echo(f"{fine} of {len(found)} objects are as the model says.", err=True)
    bad = any(item.state in (ObjectState.MISSING, ObjectState.UNHEALTHY) for item in found)
    return int(bad or any(each.ended for each in certificates) or bool(late))
