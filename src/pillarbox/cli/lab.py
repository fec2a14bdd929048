"""``pillarbox lab``: hosts as containers on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from pillarbox.cli.output import format_option, print_data
from pillarbox.lab import settings as lab_settings
from pillarbox.lab.errors import LabError
from pillarbox.lab.settings import LabSettings
from pillarbox.system import environment
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress


@click.group("lab")
@click.option("--name", envvar=environment.LAB_NAME.name, help="The lab's name (default: pillarbox-lab).")
@click.pass_context
def command(ctx: click.Context, name: str | None) -> None:
    """Hosts as containers on this machine.

    The model decides which hosts a lab has. A new lab starts from the model given with --model, or from the checkout's.
    """
    root = ctx.find_root()
    given = root.params.get("model")
    default = root.get_parameter_source("model") in (ParameterSource.DEFAULT, None)
    source: Path | None = None if given is None or default else given
    ctx.obj = lab_settings.load(name, source)
    # Not the user's own cache: what the lab leaves is taken away with the lab.
    environment.CACHE.set_default(str(ctx.obj.cache / "model"))


def complete_host(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Host names for shell completion; none where there is no lab."""
    from pillarbox.lab import copy, layout
    from pillarbox.model import Inventory

    try:
        settings = lab_settings.load(ctx.parent.params.get("name") if ctx.parent else None)
        found = layout.read(Inventory(copy.place(settings)))
    except PillarboxError:
        return []
    return [CompletionItem(host.name) for host in found.hosts if host.name.startswith(incomplete)]


@command.command("up")
@click.option("--until", metavar="PHASE", help="Stop after this phase: machine, engine, image, hosts, software, ...")
@click.option("--recreate", metavar="HOST", multiple=True, help="Make this host's container again; volumes stay.")
@click.option("--push", is_flag=True, help="Push what the model here has on top of what the lab's repository has.")
@click.pass_obj
def up(settings: LabSettings, until: str | None, recreate: tuple[str, ...], push: bool) -> None:
    """Bring the lab up; one that is up is checked and repaired."""
    from pillarbox.lab import status, summary
    from pillarbox.lab import up as lab_up
    from pillarbox.secrets import generate

    progress = Progress()
    run = lab_up.up(settings, progress, _render_manifests, generate, until=until, recreate=recreate, push=push)
    if until is None:
        click.echo()
        click.echo(summary.text(status.read(settings)))
        click.echo()
        click.echo(summary.next_steps(settings, run.repository))


def _render_manifests(model: Path) -> None:
    from pillarbox.manifests import files
    from pillarbox.revision import Revision

    directory = model / "manifests"
    if directory.is_dir():
        files.write(Revision.read(model).pinned({}), directory)


@command.command("status")
@format_option("text", "json")
@click.pass_obj
def show_status(settings: LabSettings, output_format: str) -> int:
    """What runs where. The exit code is 1 while something is not healthy."""
    from pillarbox.lab import status, summary

    found = status.read(settings)
    if output_format == "json":
        print_data(found.as_dict(), "json")
    else:
        click.echo(summary.text(found))
    return 0 if found.healthy else 1


@command.command("clean")
@click.option("--keep-cache", is_flag=True, help="Keep what was downloaded and compiled.")
@click.pass_obj
def clean(settings: LabSettings, keep_cache: bool) -> None:
    """Take the lab away, and with the machine's last one all that labs changed there."""
    from pillarbox.lab import clean as lab_clean

    lab_clean.clean(settings, Progress(), keep_cache=keep_cache)


@command.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("host", shell_complete=complete_host)
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def run_command(settings: LabSettings, host: str, arguments: tuple[str, ...]) -> int:
    """Run a command on HOST: pillarbox lab exec cfg01 -- salt '*' test.ping

    Ctrl-C interrupts the command there.
    """
    from pillarbox.lab import status
    from pillarbox.lab.hosts import running
    from pillarbox.lab.shell import interruptible, run

    engine, shape = status.connect(settings)
    container = running(settings, engine, shape.host(host).name)
    words = arguments[1:] if arguments[0] == "--" else arguments
    with interruptible(container, words) as command:
        result = run(
            container,
            command,
            on_out=click.echo,
            on_err=lambda line: click.echo(line, err=True),
            environment={"LC_ALL": "C.UTF-8"},
            check=False,
        )
    return result.code


@command.command("ssh")
@click.argument("host", shell_complete=complete_host)
@click.pass_obj
def shell(settings: LabSettings, host: str) -> None:
    """A root shell on HOST, through the container engine."""
    from pillarbox.lab import status
    from pillarbox.lab.hosts import running
    from pillarbox.lab.terminal import interactive

    engine, shape = status.connect(settings)
    raise SystemExit(interactive(running(settings, engine, shape.host(host).name), ["bash", "--login"]))


@command.command("clone")
@click.argument("directory", type=click.Path(path_type=Path))
@click.pass_obj
def clone(settings: LabSettings, directory: Path) -> None:
    """Clone the lab's model repository to DIRECTORY, ready to push."""
    from pillarbox.lab import copy, repository, status
    from pillarbox.model import Inventory

    _, shape = status.connect(settings)
    found = repository.read(Inventory(copy.place(settings)), shape)
    repository.clone(settings, found, directory.absolute())
    click.echo(f"cloned to {os.path.relpath(directory)}; edit there, git commit, and git push shows the plan")


@command.command("credentials")
@click.pass_obj
def show_credentials(settings: LabSettings) -> None:
    """Print the directory of the files with which clients reach what the lab runs.

    `pillarbox lab up` writes them again; the model says which there are (pillarbox:credentials).
    """
    if not settings.credentials.is_dir():
        raise LabError("the lab has no credentials yet", hint="`make lab` makes them.")
    click.echo(settings.credentials)


@command.command("remove")
@click.argument("host")
@click.pass_obj
def remove(settings: LabSettings, host: str) -> None:
    """Take away a HOST that the model no longer has, with its volumes and its minion's key."""
    from pillarbox.lab import up as lab_up

    lab_up.remove_host(settings, host, Progress())
