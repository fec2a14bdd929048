"""PyYAML's safe loader, with bounds: the one judge of what a file says."""

from __future__ import annotations

import re
from typing import Any

import yaml

from pillarbox.model import limits
from pillarbox.model.errors import ModelError
from pillarbox.model.read.scalars import INTEGER, integer

_PREFIX = re.compile(r"^[ \-?:]*", re.MULTILINE)

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# Whether PyYAML was built with its C parser is known only here, and so is the type of its loader.
class Loader(_Base):  # type: ignore[misc]
    """PyYAML's safe loader, with a bound on numbers."""


Loader.add_constructor(INTEGER, integer)


def load(text: str, file: str) -> Any:
    """The one document in ``text``. Raises :class:`ModelError` for what is no YAML, or beyond the limits."""
    _check_depth(text, file)
    try:
        data = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise _error(error, file) from None
    except (ValueError, OverflowError, RecursionError, TypeError) as error:
        raise ModelError(f"YAML does not parse: {error}", file=file) from None
    if "*" in text:
        _check_aliases(data, file)
    return data


def compose(text: str, file: str) -> Any:
    """The document's nodes, which know their lines; ``None`` when it is empty. Raises like :func:`load`."""
    _check_depth(text, file)
    try:
        return yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise _error(error, file) from None


def _error(error: yaml.YAMLError, file: str) -> ModelError:
    """What PyYAML found wrong, with its line."""
    mark: Any = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    text = f"{context}: {problem}" if context else str(problem)
    return ModelError(f"YAML does not parse: {text}", file=file, line=mark.line + 1 if mark else None)


def _check_depth(text: str, file: str) -> None:
    """Raise :class:`ModelError` for nesting that would overflow the stack of the C parser."""
    flow = text.count("[") + text.count("{")
    if flow < limits.DEPTH and max(map(len, _PREFIX.findall(text)), default=0) < limits.DEPTH:
        return
    depth = 0
    try:
        for event in yaml.parse(text, Loader=Loader):
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
                if depth > limits.DEPTH:
                    raise _too_deep(file, _line(event))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
    except yaml.YAMLError as error:
        found = _error(error, file)
        # libyaml has a bound of its own since 0.2.6, and its scanner reads ahead of the events.
        raise _too_deep(file, found.line) if "nesting depth" in found.message else found from None


def _too_deep(file: str, line: int | None) -> ModelError:
    return ModelError(f"expected at most {limits.DEPTH} levels of nesting, found more", file=file, line=line)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _check_aliases(data: Any, file: str) -> None:
    sizes: dict[int, int] = {}

    def size(value: Any) -> int:
        if not isinstance(value, (dict, list)):
            return 1
        known = sizes.get(id(value))
        if known is None:
            sizes[id(value)] = -1
            children = value.values() if isinstance(value, dict) else value
            known = sizes[id(value)] = 1 + sum(size(child) for child in children)
        if known < 0:
            raise ModelError("an alias (*name) stands inside the value that it names", file=file)
        return known

    if size(data) > limits.VALUES:
        raise ModelError(f"aliases (*name) expand to more than {limits.VALUES} values", file=file)
