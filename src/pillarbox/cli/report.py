"""``pillarbox report``: what runs of the pipeline did."""

from __future__ import annotations

import click

from pillarbox.cli.cluster import ON_THE_MASTER
from pillarbox.cli.output import format_option, print_data
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import Runs
from pillarbox.system.errors import PillarboxError


@click.command("report")
@click.argument("run", required=False)
@click.option("--list", "listing", is_flag=True, help="List the runs, a line each.")
@format_option("text", "json")
def command(run: str | None, listing: bool, output_format: str) -> int:
    """Show the report of RUN (default: the last), on the machine where it ran: the Salt master, as a rule.

    What was asked by whom at which revision, what was built, rolled and left alone, how long it took, what is
    unhealthy. Exits with 1 when the run did not succeed, and when there is none.
    """
    places = Places.of()
    if not places.runs.is_dir():
        raise PillarboxError(f"nothing ever ran on this machine: there is no {places.runs}", hint=ON_THE_MASTER)
    runs = Runs(places.runs)
    for unreadable in runs.unreadable():
        click.echo(str(unreadable), err=True)
    if not runs.names():
        click.echo("no run yet", err=True)
        return 1
    if listing:
        every = [each.as_dict() for each in runs]
        if output_format == "json":
            print_data(every, "json")
        else:
            for each in every:
                click.echo(f"{each['id']}  {each['state']:<11}  {each['revision'][:12]}  {each['subject']}")
        return 0
    found = runs.get(run) if run else runs.last()
    if found is None:
        # None that can be read.
        return 1
    if output_format == "json":
        print_data(found.as_dict(), "json")
    else:
        click.echo(found.as_text(), nl=False)
    return 0 if found.succeeded else 1
