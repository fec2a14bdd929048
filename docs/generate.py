"""The pages of the reference that are made from the code and the formulas, at every build.

``docs/generated`` holds them while Sphinx runs; git does not. Relative links of a formula's pages stay right because
its pages lie there as they lie in ``formulas/``.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from pillarbox.cli import pillarbox

MODEL_PAGE = Path("src/pillarbox/model/README.md")


def write(checkout: Path, target: Path) -> None:
    """Write every generated page of ``checkout`` below ``target``, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    for name, text in pages(checkout):
        page = target / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")


def pages(checkout: Path) -> Iterator[tuple[str, str]]:
    """The pages by their path below ``docs/generated``."""
    yield "commands.md", commands_page()
    yield "classes.md", classes_page(checkout / "src" / "pillarbox")
    yield "model.md", (checkout / MODEL_PAGE).read_text(encoding="utf-8")
    formulas = sorted(path.parent for path in (checkout / "formulas").glob("*/README.md"))
    yield "formulas/index.md", index_page(formulas)
    for formula in formulas:
        for page in sorted(formula.glob("*.md")):
            text = page.read_text(encoding="utf-8")
            if page.name == "README.md":
                text += "".join(schema_section(schema) for schema in sorted(formula.glob("schemas/*.yml")))
            yield f"formulas/{formula.name}/{page.name}", text
        for schema in formula.glob("schemas/*.yml"):  # pages link to them
            yield f"formulas/{formula.name}/schemas/{schema.name}", schema.read_text(encoding="utf-8")


# Commands


def commands_page() -> str:
    """Every command of ``pillarbox`` with its arguments and options, as its own ``--help`` has them."""
    parts = [
        "# Commands\n",
        "Made from the program itself: `pillarbox COMMAND --help` prints the same.\n",
        *_command(pillarbox, "pillarbox", None),
    ]
    return "\n".join(parts)


def _command(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    yield f"## `{context.command_path}`\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {usage}\n```\n"
    yield f"{_paragraphs(command.help or command.short_help or '')}\n"
    options = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
    if options:
        yield "| option | meaning |\n|---|---|"
        for option in options:
            written, meaning = option.get_help_record(context) or ("", "")
            yield f"| `{_cell(written)}` | {_cell(meaning)} |"
        yield ""
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            if not found.hidden:
                yield from _command(found, child, context)


def _paragraphs(text: str) -> str:
    return "\n".join(line.strip() for line in text.replace("\b", "").splitlines())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# Classes


def classes_page(package: Path) -> str:
    """Every public class with the first sentence of its docstring, by room; no name stands for two things."""
    lines = ["# Classes", "", "Made from the code. A name is used once, in whatever room it stands."]
    for room in sorted(path.parent for path in package.glob("*/__init__.py")):
        found = sorted(_classes(room))
        if found:
            lines += ["", f"## `{room.name}`", "", "| class | module | what it is |", "|---|---|---|"]
            lines += [f"| `{name}` | `{module}` | {_cell(about)} |" for name, module, about in found]
    return "\n".join([*lines, ""])


def _classes(room: Path) -> Iterator[tuple[str, str, str]]:
    for path in room.rglob("*.py"):
        module = ".".join(path.relative_to(room.parent).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                about = " ".join((ast.get_docstring(node) or "").split())
                yield node.name, module, about.partition(". ")[0].rstrip(".").replace("``", "`")


# Pillar keys


def index_page(formulas: list[Path]) -> str:
    """A page that leads to the formulas', with what each is for: the first sentence of its README."""
    lines = [
        "# Formulas and their pillar",
        "",
        "Made from `formulas/*/README.md` and `formulas/*/schemas/*.yml`. A key that a schema does not know is an",
        "error of `pillarbox lint`.",
        "",
        "| formula | roles | |",
        "|---|---|---|",
    ]
    entries = ["", "```{toctree}", ":hidden:", ""]
    for formula in formulas:
        roles = ", ".join(f"`{path.stem}`" for path in sorted(formula.glob("schemas/*.yml")))
        text = (formula / "README.md").read_text(encoding="utf-8").split("\n\n")[1]
        about = "" if text.startswith("|") else " ".join(text.split()).partition(". ")[0].rstrip(".:") + "."
        lines.append(f"| [{formula.name}]({formula.name}/README.md) | {roles} | {about} |")
        entries += [f"{formula.name}/{page.stem}" for page in sorted(formula.glob("*.md"))]
    return "\n".join([*lines, *entries, "```", ""])


def schema_section(path: Path) -> str:
    """A table of every key that the schema knows, in its order."""
    schema = yaml.safe_load(path.read_text(encoding="utf-8"))
    title = schema.get("title") or f"{path.parent.parent.name}:{path.stem}"
    lines = [
        f"\n## Keys of `{title}`\n",
        f"{schema.get('description', '')}\n",
        "| key | type | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{_cell(key)}` | {_cell(kind)} | {_cell(meaning)} |" for key, kind, meaning in keys(schema)]
    return "\n".join(lines) + "\n"


def keys(schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """``(path, type, meaning)`` of every key of a schema; ``<name>`` stands for any name, ``[]`` for items."""
    yield from _keys(schema, "", schema, ())


def _keys(
    schema: dict[str, Any], path: str, root: dict[str, Any], within: tuple[str, ...]
) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for name, below in schema.get("properties", {}).items():
        yield from _key(below, f"{path}:{name}".lstrip(":"), root, within, name in required)
    for pattern in schema.get("patternProperties", {}).values():
        yield from _key(pattern, f"{path}:<name>".lstrip(":"), root, within, False)
    for key, step in (("additionalProperties", ":<name>"), ("items", "[]")):
        if isinstance(schema.get(key), dict):
            yield from _key(schema[key], f"{path}{step}".lstrip(":"), root, within, False)


def _key(
    schema: Any, path: str, root: dict[str, Any], within: tuple[str, ...], required: bool
) -> Iterator[tuple[str, str, str]]:
    if not isinstance(schema, dict):
        return
    reference = schema.get("$ref")
    if reference:
        if reference in within:
            return
        within = (*within, reference)
        schema = {**_resolve(reference, root), **{name: schema[name] for name in schema if name != "$ref"}}
    meaning = schema.get("description", "")
    if "default" in schema:
        meaning += f" Default: `{_value(schema['default'])}`."
    if required:
        meaning += " Required."
    yield path, _type(schema), meaning.strip()
    yield from _keys(schema, path, root, within)


def _resolve(reference: str, root: dict[str, Any]) -> dict[str, Any]:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    assert isinstance(found, dict)
    return found


def _type(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return f"`{_value(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{_value(value)}`" for value in schema["enum"])
    kinds = schema.get("type", "any")
    names = {"object": "mapping", "array": "list", "string": "text"}
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(names.get(kind, kind) for kind in kinds)


def _value(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")
