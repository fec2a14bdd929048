"""Plain data as YAML text that every YAML reader reads the same way."""

from __future__ import annotations

import re
from typing import Any

import yaml

# What begins with a letter or a slash is text to YAML 1.1 and 1.2 alike, but for these words. PyYAML alone would leave
# plain what other readers take for a number or a boolean (1e3, y).
_PLAIN = re.compile(r"[A-Za-z/][-A-Za-z0-9_./:@ ]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None
    if "\n" in value:
        style = "|"
    elif not _PLAIN.fullmatch(value) or value.lower() in _WORDS:
        style = "'" if value.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump(data: Any) -> str:
    """``data`` as block-style YAML in the order that it has; the same data gives the same bytes."""
    text: str = yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1 << 16
    )
    return text
