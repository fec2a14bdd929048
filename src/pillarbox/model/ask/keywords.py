"""What the schemas of formulas say that JSON Schema has no word for, or another one than is meant here.

pattern       a ``$`` at the end lets no line feed pass, with which a line of a configuration would end
x-needs-file  entries of a mapping need a YAML file of the formulas, named after them and what they say
x-distinct    no two entries of a mapping have the same value of this key
x-apart       networks and addresses of which none holds another: keys, ``*`` for all of a mapping
x-within      networks that lie in another one, by their keys

The format ``ipv4-network`` is what the module ``ipaddress`` takes for one, host bits allowed.

A value that is of another type than such a keyword is about is the other keywords' to judge.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

Path = tuple[str, ...]
#: Takes what the keyword says, the value and the schema around the keyword; gives path and reason of what is wrong.
Judge = Callable[[Any, Any, Mapping[str, Any]], Iterable[tuple[Path, str]]]


def every(has: Callable[[str], bool]) -> Mapping[str, Judge]:
    """The keywords by their names; ``has`` says whether the model has a file."""
    return {
        "pattern": _pattern,
        "x-needs-file": lambda wanted, value, _: _needs_file(has, wanted, value),
        "x-distinct": _distinct,
        "x-apart": _apart,
        "x-within": _within,
    }


def is_ipv4_network(value: Any) -> bool:
    """Whether a value is of the format; one that is no text is. Raises ValueError, with the reason, for what is not."""
    if isinstance(value, str):
        ipaddress.IPv4Network(value, strict=False)
    return True


def _pattern(wanted: str, value: Any, _: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str) and (not re.search(wanted, value) or (wanted.endswith("$") and value.endswith("\n"))):
        yield (), f"{value!r} does not match {wanted!r}"


def _needs_file(has: Callable[[str], bool], wanted: Mapping[str, Any], value: Any) -> Iterator[tuple[Path, str]]:
    for name, entry in _entries(value):
        if any(key in entry for key in wanted.get("unless", ())):
            continue
        words = {"name": name, **{key: text for key, text in entry.items() if isinstance(text, str)}}
        try:
            path, hint = (wanted[key].format_map(words) for key in ("path", "hint"))
        except KeyError:
            continue
        if not has(path):
            yield (name,), f"the model has no {path}: {hint}"


def _distinct(key: str, value: Any, _: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    first: dict[str, str] = {}
    for name, entry in _entries(value):
        if key in entry and entry.get("enabled", True) and (other := first.setdefault(str(entry[key]), name)) != name:
            yield (name, key), f"{other} has {entry[key]} already"


def _apart(wanted: Iterable[str], value: Any, _: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    kinds = [
        [(path, network) for path, text in _at(value, key.split("/")) if (network := _network(text)) is not None]
        for key in wanted
    ]
    for one, other in combinations(kinds, 2):
        for path, network in one:
            for elsewhere, against in other:
                if network.version == against.version and network.overlaps(against):
                    yield elsewhere, f"{_shown(against)} overlaps {':'.join(path)}, which is {_shown(network)}"


def _within(wanted: Mapping[str, str], value: Any, _: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for key, around in wanted.items():
        inner, outer = (_network(value.get(each)) if isinstance(value, dict) else None for each in (key, around))
        if inner and outer and not (inner.version == outer.version and inner.subnet_of(outer)):
            yield (key,), f"{inner} is no part of {around}, which is {outer}"


def _entries(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, entry in value.items() if isinstance(value, dict) else ():
        if isinstance(entry, dict):
            yield str(name), entry


def _at(value: Any, path: list[str]) -> Iterator[tuple[Path, Any]]:
    if not path:
        yield (), value
    elif isinstance(value, dict):
        for key in value if path[0] == "*" else {path[0]} & value.keys():
            yield from (((str(key), *below), found) for below, found in _at(value[key], path[1:]))


def _network(text: Any) -> Any:
    try:
        return ipaddress.ip_network(text, strict=False) if isinstance(text, str) else None
    except ValueError:
        return None


def _shown(network: Any) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)
