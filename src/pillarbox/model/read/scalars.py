"""Plain YAML 1.1 scalars, read exactly as PyYAML's safe loader reads them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import ScalarNode

from pillarbox.model import limits

_STR = "tag:yaml.org,2002:str"
_CONSTRUCTOR = SafeConstructor()
INTEGER = "tag:yaml.org,2002:int"


def integer(loader: Any, node: Any) -> int:
    """PyYAML's integers, with a bound. Raises :class:`ValueError` beyond it."""
    value: int = loader.construct_yaml_int(node)
    if value.bit_length() > limits.BITS:
        raise ValueError(f"expected numbers of at most {limits.BITS} bits, found more")
    return value


_CONSTRUCTORS = {**SafeConstructor.yaml_constructors, INTEGER: integer}
_RESOLVERS: dict[str, list[tuple[str, Any]]] = yaml.SafeLoader.yaml_implicit_resolvers

IMPLICIT_FIRST = frozenset(key for key in _RESOLVERS if key)
"""The characters that a plain scalar must begin with to be anything but a string."""


class Undecided(Exception):
    """The text has no value on its own; the full parser has to read, or refuse, it."""


@lru_cache(maxsize=1 << 16)
def resolve(text: str) -> Any:
    """The value of the plain scalar ``text``. Raises :class:`Undecided` where PyYAML would raise an error."""
    for tag, pattern in _RESOLVERS.get(text[:1], ()):
        if pattern.match(text):
            construct = _CONSTRUCTORS.get(tag)
            if construct is None or tag.endswith((":merge", ":value")):
                raise Undecided(text)
            try:
                return construct(_CONSTRUCTOR, ScalarNode(tag, text))
            except (ValueError, OverflowError, yaml.YAMLError) as error:
                raise Undecided(text) from error
    return text
