"""``pillarbox images``: what the model's images are, which are built, and building them here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from pillarbox.cli.output import format_option, print_data
from pillarbox.images import ImageSpec, image_specs, stock
from pillarbox.images.errors import RegistryError, SpecError
from pillarbox.images.plan import PARALLEL, build_all
from pillarbox.model import Inventory
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress

if TYPE_CHECKING:
    from pillarbox.images.updates import ImageUpdates


def complete_image(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Image names for shell completion; none while the model cannot be read."""
    try:
        names = image_specs(Inventory(ctx.find_root().params["model"]))
    except PillarboxError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.group("images", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the images of the model, build them, or look for updates of their packages."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_images)


@command.command("list")
@format_option("text", "json")
@click.option("--offline", is_flag=True, help="Do not ask the registry which images are there.")
@click.pass_context
def list_images(ctx: click.Context, output_format: str = "text", offline: bool = False) -> None:
    """List every image with its content key and, from the registry, its digest."""
    specs = image_specs(Inventory(ctx.obj))
    try:
        digests = {} if offline else stock.take(specs).digests
    except RegistryError as error:
        error.hint = f"{error.hint or ''} --offline lists the images without asking.".strip()
        raise
    if output_format == "json":
        print_data([{**spec.as_dict(), "digest": digests.get(name)} for name, spec in specs.items()], "json")
        return
    for name, spec in specs.items():
        state = "" if offline else digests.get(name, "not built")
        click.echo(f"{spec.reference}  {spec.content_key[:12]}  {state}".rstrip())


@command.command("build")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_image)
@click.option("--parallel", type=click.IntRange(min=1), default=PARALLEL, show_default=True, help="Builds at a time.")
@format_option("text", "json")
@click.pass_context
def build_images(ctx: click.Context, names: tuple[str, ...], parallel: int, output_format: str) -> None:
    """Build the named images (default: all) with the Docker engine of this machine and push them.

    What the registry has already, by content key, is not built again.
    """
    from pillarbox.system.engine import Engine

    inventory = Inventory(ctx.obj)
    wanted = _chosen(image_specs(inventory), names)
    results = build_all(wanted, inventory.path, engine=Engine(), progress=Progress(), parallel=parallel)
    if output_format == "json":
        print_data([built.as_dict() for built in results.built.values()], "json")
    else:
        for built in results.built.values():
            click.echo(built.pinned)
    results.raise_failures()


@command.command("updates")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_image)
@click.option("--security", is_flag=True, help="Look at security updates alone.")
@format_option("text", "json")
@click.pass_context
def show_updates(ctx: click.Context, names: tuple[str, ...], security: bool, output_format: str) -> int:
    """Say which of the named images (default: all) have packages that are newer in their archives, security first.

    What is installed is read from the image in the registry, what there is from where the model says that its packages
    come from, with this machine's apt. Exits with 1 when there is anything newer, or an image is not built. To build
    with what there is now, change image:packages:state in the model, and push.
    """
    from pillarbox.images import updates

    found = tuple(updates.look(_chosen(image_specs(Inventory(ctx.obj)), names), security=security))
    if output_format == "json":
        print_data([each.as_dict() for each in found], "json")
    else:
        for each in found:
            click.echo(f"{each.image}: {_summary(each)}")
            for update in each.packages:
                mark = "  security" if update.security else ""
                click.echo(f"  {update.package} {update.installed} -> {update.offered}{mark}")
    return 1 if any(each.packages or not each.built for each in found) else 0


def _summary(found: ImageUpdates) -> str:
    if not found.built:
        return "not built"
    if not found.packages:
        return "up to date"
    security = sum(update.security for update in found.packages)
    return f"{len(found.packages)} packages are newer{f', {security} of them for security' if security else ''}"


def _chosen(specs: Mapping[str, ImageSpec], names: Sequence[str]) -> list[ImageSpec]:
    for name in names:
        if name not in specs:
            raise SpecError(f"no image {name}; the model has {', '.join(specs) or 'none'}")
    return [specs[name] for name in names or specs]
