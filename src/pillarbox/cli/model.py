"""``pillarbox explain``, ``pillarbox where`` and ``pillarbox lint``: questions to the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from pillarbox.cli.inventory import complete_node
from pillarbox.cli.output import format_option, print_data
from pillarbox.errors import PillarboxError
from pillarbox.model import Inventory
from pillarbox.model.explain import Explanation, Layer
from pillarbox.model.usage import Usage

WIDTH = 100
DELIMITER = ":"


@click.command("explain")
@click.argument("node", required=False, shell_complete=complete_node)
@click.argument("path", required=False)
@click.option("--class", "class_name", help="Show which nodes use this class, and how they come by it.")
@format_option("text", "yaml", "json")
@click.pass_obj
def explain(model: Path, node: str | None, path: str | None, class_name: str | None, output_format: str) -> None:
    """Show where the parameter PATH (a:b:c) of NODE comes from: layers, overrides, references.

    Layers stand in merge order. A * marks what the value is made of.
    """
    inventory = Inventory(model)
    if class_name is not None:
        if node is not None:
            raise click.UsageError("Name a class, or a node and a path, not both.")
        usage = inventory.usage(class_name)
        if output_format == "text":
            _lines(_usage_text(usage))
        else:
            print_data(_usage_data(usage), output_format)
        return
    if node is None or path is None:
        raise click.UsageError("Name a node and a path, or a class with --class.")
    explanation = inventory.explain(node, path)
    if output_format == "text":
        _lines(_explanation_text(explanation, DELIMITER, 0))
    else:
        print_data(explanation.as_dict(), output_format)


@click.command("where")
@click.argument("wanted")
@click.option("--node", help="Search only the files that this node uses.", shell_complete=complete_node)
@format_option("text", "yaml", "json")
@click.pass_obj
def where(model: Path, wanted: str, node: str | None, output_format: str) -> int:
    """Show the places that set the parameter WANTED (a path, a:b:c) or write the value WANTED.

    WANTED may hold * and ?. The exit code is 1 when there is no such place.
    """
    places = Inventory(model).where(wanted, node)
    if output_format == "text":
        _lines(
            f"{_place(place.file, place.line)}: {place.section}:{':'.join(place.path)}: {_short(place.value)}"
            for place in places
        )
    else:
        print_data(
            [
                {
                    "file": place.file,
                    "line": place.line,
                    "section": place.section,
                    "path": list(place.path),
                    "value": place.value,
                }
                for place in places
            ],
            output_format,
        )
    return 0 if places else 1


@click.command("lint")
@format_option("text", "yaml", "json")
@click.pass_obj
def lint(model: Path, output_format: str) -> int:
    """Find what is doubtful in the model: duplicate keys, unused classes, values that change nothing, and more.

    The exit code is 1 when something is found. A comment `# lint: ignore` or `# lint: ignore[rule]` hides a line.
    """
    findings = Inventory(model).lint()
    if output_format == "text":
        _lines(f"{_place(each.file, each.line or None)}: {each.rule}: {each.message}" for each in findings)
    else:
        print_data([each.as_dict() for each in findings], output_format)
    return 1 if findings else 0


def show_changes(model: Path, revision: str, node: str | None, output_format: str) -> int:
    """What ``pillarbox inventory --diff REV`` prints; returns 1 when something differs, as ``diff`` does."""
    changes = Inventory(model).changes_since(Inventory(model, revision=revision), node)
    if output_format != "text":
        found = [change.as_dict() for change in changes]
        print_data(found, output_format)
        return 1 if found else 0
    current, count = None, 0
    for change in changes:
        count += 1
        if change.node != current:
            current = change.node
            click.echo(current)
        name = ":".join(change.path) or "the node"
        if change.kind != "added":
            click.echo(f"  - {name}: {_short(change.before)}")
        if change.kind != "removed":
            click.echo(f"  + {name}: {_short(change.after)}")
    return 1 if count else 0


def _explanation_text(explanation: Explanation, delimiter: str, depth: int) -> Iterator[str]:
    indent = "    " * depth
    value = f"error: {explanation.error}" if explanation.error else _short(explanation.value)
    yield f"{indent}{delimiter.join(explanation.path)}: {value}"
    for layer in explanation.layers:
        yield f"{indent}  {'*' if layer.effective else ' '} {_layer_text(layer, explanation, delimiter)}"
        for reference in layer.references:
            yield from _explanation_text(reference, delimiter, depth + 1)


def _layer_text(layer: Layer, explanation: Explanation, delimiter: str) -> str:
    action = layer.action + (", constant" if layer.constant else "")
    at = "" if layer.path == explanation.path else f" at {delimiter.join(layer.path) or 'the top'}"
    way = " > ".join((*layer.chain, layer.class_name)) if layer.class_name else "the node itself"
    if layer.line is None and layer.class_name is None:
        way = "every node"
    return f"{_place(layer.file, layer.line)}: {action}{at}: {_short(layer.written)}  [{way}]"


def _usage_text(usage: Usage) -> Iterator[str]:
    yield f"{usage.name}: {usage.file}, used by {len(usage.uses)} nodes"
    for use in usage.uses:
        way = " > ".join((use.node, *use.chain, usage.name))
        yield f"  {_place(use.file, use.line)}: {way}"
    for error in usage.errors:
        yield f"  not known: {_first_line(error)}"


def _usage_data(usage: Usage) -> dict[str, Any]:
    return {
        "class": usage.name,
        "file": usage.file,
        "uses": [
            {"node": use.node, "through": list(use.chain), "file": use.file, "line": use.line} for use in usage.uses
        ],
        "errors": [error.as_dict() for error in usage.errors],
    }


def _first_line(error: PillarboxError) -> str:
    return str(error).partition("\n")[0]


def _lines(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)


def _place(file: str, line: int | None) -> str:
    return file if line is None else f"{file}:{line}"


def _short(value: Any) -> str:
    """A value on one line, as YAML's flow style has it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...").replace("\n", " ")
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
