"""``pillarbox explain``: where values come from, and who uses a class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pillarbox.cli.inventory import complete_node
from pillarbox.cli.output import format_option, print_data
from pillarbox.cli.text import place, print_lines, short
from pillarbox.model import Inventory
from pillarbox.model.ask.explanation import ClassChoice, Explanation, Section, ValueLayer
from pillarbox.model.ask.usage import Usage
from pillarbox.system.errors import PillarboxError

DELIMITER = ":"


@click.command("explain")
@click.argument("node", required=False, shell_complete=complete_node)
@click.argument("path", required=False)
@click.option("--class", "class_name", help="Show which nodes use this class, and how they come by it.")
@format_option("text", "yaml", "json")
@click.pass_obj
def command(model: Path, node: str | None, path: str | None, class_name: str | None, output_format: str) -> None:
    """Show where the parameter PATH (a:b:c) of NODE comes from: layers, overrides, references.

    Layers stand in merge order. A * marks what the value is made of. Where a class was chosen by a reference in its
    name, the parameters that chose it are explained, too.
    """
    inventory = Inventory(model)
    if class_name is not None:
        if node is not None:
            raise click.UsageError("Name a class, or a node and a path, not both.")
        usage = inventory.usage(class_name)
        if output_format == "text":
            print_lines(_usage_text(usage))
        else:
            print_data(_usage_data(usage), output_format)
        return
    if node is None or path is None:
        raise click.UsageError("Name a node and a path, or a class with --class.")
    explanation = inventory.explain(node, path)
    if output_format == "text":
        print_lines(_explanation_text(explanation, DELIMITER, 0))
    else:
        print_data(explanation.as_dict(), output_format)


def _explanation_text(explanation: Explanation, delimiter: str, depth: int) -> Iterator[str]:
    indent = "    " * depth
    value = f"error: {explanation.error}" if explanation.error else short(explanation.value)
    above = "  (see above)" if explanation.repeated else ""
    yield f"{indent}{_name(explanation, delimiter)}: {value}{above}"
    for layer in explanation.layers:
        yield f"{indent}  {'*' if layer.effective else ' '} {_layer_text(layer, explanation, delimiter)}"
        for reference in layer.references:
            yield from _explanation_text(reference, delimiter, depth + 1)
        for choice in layer.choices:
            yield f"{indent}    {_choice_text(choice)}"
            for reference in choice.references:
                yield from _explanation_text(reference, delimiter, depth + 2)


def _name(explanation: Explanation, delimiter: str) -> str:
    path = delimiter.join(explanation.path)
    if explanation.section is Section.EXPORTS:
        return f"{explanation.node} {delimiter.join((Section.EXPORTS, path))}"
    return path


def _layer_text(layer: ValueLayer, explanation: Explanation, delimiter: str) -> str:
    action = layer.action + (", constant" if layer.constant else "")
    at = "" if layer.path == explanation.path else f" at {delimiter.join(layer.path) or 'the top'}"
    way = " > ".join((*layer.chain, layer.class_name)) if layer.class_name else "the node itself"
    if layer.line is None and layer.class_name is None:
        way = "every node"
    return f"{place(layer.file, layer.line)}: {action}{at}: {short(layer.written)}  [{way}]"


def _choice_text(choice: ClassChoice) -> str:
    above = "  (see above)" if choice.repeated else ""
    return f"{place(choice.file, choice.line)}: chooses class {choice.class_name} by {choice.written}{above}"


def _usage_text(usage: Usage) -> Iterator[str]:
    yield f"{usage.name}: {usage.file}, used by {len(usage.uses)} nodes"
    for use in usage.uses:
        way = " > ".join((use.node, *use.chain, usage.name))
        by = "" if use.written == usage.name else f", by {use.written}"
        yield f"  {place(use.file, use.line)}: {way}{by}"
    for error in usage.errors:
        yield f"  not known: {_first_line(error)}"


def _usage_data(usage: Usage) -> dict[str, Any]:
    return {
        "class": usage.name,
        "file": usage.file,
        "uses": [
            {
                "node": use.node,
                "through": list(use.chain),
                "file": use.file,
                "line": use.line,
                "written": use.written,
            }
            for use in usage.uses
        ],
        "errors": [error.as_dict() for error in usage.errors],
    }


def _first_line(error: PillarboxError) -> str:
    return str(error).partition("\n")[0]
