"""What is doubtful about a model although it may render: one rule a function, findings with file and line.

A comment ``# lint: ignore`` on a line hides its findings, ``# lint: ignore[rule, rule]`` those of some rules.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import yaml

from pillarbox.model.ask.schemas import Schemas
from pillarbox.model.errors import ModelError
from pillarbox.model.merge.cells import OPEN, OpenDict
from pillarbox.model.merge.layering import Merged
from pillarbox.model.merge.model import Model
from pillarbox.model.merge.problems import Unresolved
from pillarbox.model.read import pyyaml, yaml11
from pillarbox.system.errors import ErrorGroup, PillarboxError

_IGNORE = re.compile(r"#\s*lint:\s*ignore(?:\[([a-z\-, ]*)\])?\s*$")
_NAMED = 3


class LintRule(StrEnum):
    """What a finding is about: the name that hides it."""

    ERROR = "error"
    DUPLICATE_KEY = "duplicate-key"
    UNUSED_CLASS = "unused-class"
    TAB = "tab"
    ENCODING = "encoding"
    SAME_VALUE = "same-value"
    PARTIAL_REFERENCE = "partial-reference"
    SCHEMA = "schema"


@dataclass(frozen=True, order=True)
class Finding:
    """One doubtful place; ``line`` is 0 where the file as a whole is meant."""

    file: str
    line: int
    rule: LintRule
    message: str

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain data."""
        return {"file": self.file, "line": self.line, "rule": self.rule.value, "message": self.message}


@dataclass
class Survey:
    """All that the rules look at, gathered in one pass over files and nodes."""

    model: Model
    texts: dict[str, str] = field(default_factory=dict)
    broken: list[Finding] = field(default_factory=list)
    merged: dict[str, Merged] = field(default_factory=dict)
    used: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Files of classes and nodes, with the nodes that use them."""


Rule = Callable[[Survey], Iterator[Finding]]


def lint(model: Model) -> tuple[Finding, ...]:
    """Every finding of every rule, sorted by file and line, without those that comments hide."""
    survey = _survey(model)
    found = {*survey.broken}
    for rule in RULES:
        found.update(rule(survey))
    return tuple(sorted(finding for finding in found if not _ignored(survey, finding)))


def of_schemas(model: Model, found: Iterable[tuple[str, tuple[str, ...], str]]) -> tuple[Finding, ...]:
    """The findings for what schemas say (node, path, reason), sorted, without those that comments hide."""
    survey = Survey(model)
    findings = {_refused(model, model.merged(node), path, reason) for node, path, reason in found}
    for file in {finding.file for finding in findings}:
        survey.texts[file] = yaml11.decode(model.sources.tree.read(file), file)
    return tuple(sorted(finding for finding in findings if not _ignored(survey, finding)))


def _refused(model: Model, merged: Merged, path: tuple[str, ...], reason: str) -> Finding:
    """The finding for a value that a schema refuses."""
    file, line = model.reporter.place(merged, path)
    return Finding(file, line or 0, LintRule.SCHEMA, f"{model.settings.delimiter.join(path)}: {reason}")


def _survey(model: Model) -> Survey:
    survey = Survey(model)
    for file in sorted({*model.sources.class_files.values(), *model.sources.node_files.values()}):
        try:
            survey.texts[file] = yaml11.decode(model.sources.tree.read(file), file)
        except ModelError as error:
            survey.broken.append(Finding(file, error.line or 0, LintRule.ENCODING, error.message))
    for node in model.sources.nodes:
        try:
            merged = model.merged(node)
        except PillarboxError as error:
            for each in error.errors if isinstance(error, ErrorGroup) else (error,):
                file = each.file or model.sources.node_files[node]
                survey.broken.append(Finding(file, each.line or 0, LintRule.ERROR, each.message))
            continue
        survey.merged[node] = merged
        for step in merged.state.steps:
            survey.used[step.entity.file].append(node)
    return survey


def _ignored(survey: Survey, finding: Finding) -> bool:
    lines = survey.texts.get(finding.file, "").split("\n")
    if not 0 < finding.line <= len(lines):
        return False
    match = _IGNORE.search(lines[finding.line - 1])
    if match is None:
        return False
    return match[1] is None or finding.rule in {name.strip() for name in match[1].split(",")}


def duplicate_keys(survey: Survey) -> Iterator[Finding]:
    """A key that stands twice in one mapping: the last one counts, silently."""
    for file, text in survey.texts.items():
        try:
            root = pyyaml.compose(text, file)
        except ModelError:
            continue
        seen: set[int] = set()
        waiting = [root] if root is not None else []
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting += node.value
            elif isinstance(node, yaml.MappingNode):
                first: dict[tuple[str, str], int] = {}
                for key, value in node.value:
                    waiting.append(value)
                    if not isinstance(key, yaml.ScalarNode):
                        continue
                    line = key.start_mark.line + 1
                    known = first.get((key.tag, key.value))
                    first.setdefault((key.tag, key.value), line)
                    if known is not None:
                        message = f"key {key.value} stands in line {known} already; this one counts"
                        yield Finding(file, line, LintRule.DUPLICATE_KEY, message)


def unparsed(survey: Survey) -> Iterator[Finding]:
    """Files that do not read, used or not."""
    for file, text in survey.texts.items():
        try:
            data = yaml11.load_text(text, file)
        except ModelError as error:
            yield Finding(file, error.line or 0, LintRule.ERROR, error.message)
            continue
        entity = survey.model.merger.compiler.entity(data, file, "", b"")
        for each in entity.errors:
            line = survey.model.lines.line(file, getattr(each, "path", ()))
            yield Finding(file, line or each.line or 0, LintRule.ERROR, each.message)


def unused_classes(survey: Survey) -> Iterator[Finding]:
    """Classes that no node uses; not known while nodes do not render."""
    if len(survey.merged) < len(survey.model.sources.nodes):
        return
    for name, file in survey.model.sources.class_files.items():
        if file not in survey.used:
            yield Finding(file, 1, LintRule.UNUSED_CLASS, f"no node uses class {name}")


def characters(survey: Survey) -> Iterator[Finding]:
    """Tabs, and what other encodings leave behind."""
    for file, text in survey.texts.items():
        raw = survey.model.sources.tree.read(file)
        if raw.startswith(b"\xef\xbb\xbf"):
            yield Finding(file, 1, LintRule.ENCODING, "the file starts with a byte order mark")
        if b"\r" in raw:
            line = raw[: raw.index(b"\r")].count(b"\n") + 1
            message = "expected lines to end in a line feed, found a carriage return"
            yield Finding(file, line, LintRule.ENCODING, message)
        for number, line_text in enumerate(text.split("\n"), start=1):
            if "\t" in line_text:
                yield Finding(file, number, LintRule.TAB, "a tab; YAML indents with spaces, and shows no difference")
            for character in "\xa0\u200b\ufeff":
                if character in line_text and not (character == "\ufeff" and number == 1):
                    yield Finding(file, number, LintRule.ENCODING, f"an invisible character U+{ord(character):04X}")


def same_values(survey: Survey) -> Iterator[Finding]:
    """Parameters that are set to the value that they have already, for every node that uses the file."""
    redundant: dict[tuple[str, tuple[str, ...]], int] = defaultdict(int)
    earlier: dict[tuple[str, tuple[str, ...]], str] = {}
    weight: dict[str, int] = defaultdict(int)
    seen: set[tuple[int, ...]] = set()
    for merged in survey.merged.values():
        steps = merged.state.steps
        key = tuple(id(step.entity) for step in steps)
        if key in seen:
            continue
        seen.add(key)
        values: dict[tuple[str, ...], tuple[Any, str]] = {}
        for step in steps:
            file = step.entity.file
            weight[file] += 1
            for path, value in _leaves(step.entity.parameters, ()):
                known = values.get(path)
                if known is not None and type(known[0]) is type(value) and known[0] == value:
                    redundant[file, path] += 1
                    earlier.setdefault((file, path), known[1])
                values[path] = (value, file)
    for (file, path), count in redundant.items():
        if count == weight[file]:
            line = survey.model.lines.setting(file, path)
            name = survey.model.settings.delimiter.join(path)
            message = f"{name} has this value already, from {earlier[file, path]}"
            yield Finding(file, line or 0, LintRule.SAME_VALUE, message)


def _leaves(cell: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if type(cell) is dict or type(cell) is OpenDict:
        for key, value in cell.items():
            yield from _leaves(value, (*path, key))
    elif type(cell) not in OPEN and not isinstance(cell, list):
        yield path, cell


def partial_references(survey: Survey) -> Iterator[Finding]:
    """References that exist on some of the nodes that use the file, and not on others; and errors of rendering."""
    failing: dict[tuple[str, int, str], set[str]] = defaultdict(set)
    for name, merged in survey.merged.items():
        renderer = survey.model.lenient(merged)
        renderer.render(merged.state.parameters)
        renderer.render(merged.state.exports)
        for problem in renderer.problems:
            if isinstance(problem, Unresolved) and problem.template is not None:
                template = problem.template
                line = survey.model.lines.line(template.file, template.path)
                failing[template.file, line or 0, problem.reference].add(name)
            else:
                error = survey.model.reporter.problem(merged, problem)
                yield Finding(error.file or merged.entity.file, error.line or 0, LintRule.ERROR, error.message)
    opened, closed = survey.model.settings.reference_sentinels
    for (file, line, reference), nodes in failing.items():
        users = survey.used[file]
        names = ", ".join(sorted(nodes)[:_NAMED]) + (" and others" if len(nodes) > _NAMED else "")
        text = f"{opened}{reference}{closed}"
        if len(nodes) < len(users):
            message = f"{text} exists on {len(users) - len(nodes)} of {len(users)} nodes that use it, not on {names}"
            yield Finding(file, line, LintRule.PARTIAL_REFERENCE, message)
        else:
            yield Finding(file, line, LintRule.ERROR, f"{text} does not exist on {names}")


def schema_types(survey: Survey) -> Iterator[Finding]:
    """Values that a formula's schema (``formulas/<service>/schemas/<role>.yml``) refuses."""
    schemas = Schemas(survey.model.sources.tree)
    if not schemas:
        return
    for merged in survey.merged.values():
        renderer = survey.model.lenient(merged)
        parameters = renderer.render(merged.state.parameters)
        if renderer.problems:
            continue
        for path, reason in schemas.check(parameters):
            yield _refused(survey.model, merged, path, reason)


RULES: tuple[Rule, ...] = (
    unparsed,
    duplicate_keys,
    unused_classes,
    characters,
    same_values,
    partial_references,
    schema_types,
)
