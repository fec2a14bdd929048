"""The options of ``reclass-config.yml``, with the defaults of kapicorp-reclass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pillarbox.model.errors import ModelError
from pillarbox.model.read import yaml11
from pillarbox.model.read.tree import Tree
from pillarbox.system.errors import PillarboxError, raise_all
from pillarbox.system.names import did_you_mean

CONFIG = "reclass-config.yml"

# Options of the reclass commands that say nothing about how a model reads.
_ELSEWHERE = frozenset(
    {
        "storage_type",
        "inventory_base_uri",
        "pretty_print",
        "output",
        "no_refs",
        "group_errors",
        "reclass_rs_compat_flags",
    }
)


@dataclass(frozen=True)
class Settings:
    """How a model is read, merged and interpolated."""

    nodes_uri: str = "nodes"
    classes_uri: str = "classes"
    class_mappings: tuple[str, ...] = ()
    allow_scalar_over_dict: bool = False
    allow_scalar_over_list: bool = False
    allow_list_over_scalar: bool = False
    allow_dict_over_scalar: bool = False
    allow_none_override: bool = False
    automatic_parameters: bool = True
    class_mappings_match_path: bool = False
    default_environment: str = "base"
    delimiter: str = ":"
    dict_key_override_prefix: str = "~"
    dict_key_constant_prefix: str = "="
    escape_character: str = "\\"
    reference_sentinels: tuple[str, str] = ("${", "}")
    export_sentinels: tuple[str, str] = ("$[", "]")
    inventory_ignore_failed_node: bool = False
    inventory_ignore_failed_render: bool = False
    ignore_class_notfound: bool = False
    ignore_class_notfound_regexp: tuple[str, ...] = (".*",)
    ignore_class_notfound_warning: bool = True
    ignore_overwritten_missing_references: bool = True
    strict_constant_parameters: bool = True
    compose_node_name: bool = False
    _ignored: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        if self.ignore_class_notfound:
            object.__setattr__(self, "_ignored", tuple(map(re.compile, self.ignore_class_notfound_regexp)))

    @classmethod
    def from_options(cls, options: Mapping[str, Any], file: str = CONFIG) -> Settings:
        """Settings from the mapping of a configuration file. Raises every option that is unknown or of a wrong type."""
        known = {each.name: each for each in fields(cls) if each.init}
        values: dict[str, Any] = {}
        errors: list[PillarboxError] = []
        for name, value in options.items():
            if name in _ELSEWHERE:
                continue
            if name not in known:
                errors.append(ModelError(f"unknown option {name}", file=file, hint=did_you_mean(str(name), known)))
                continue
            try:
                values[name] = _convert(name, known[name].default, value)
            except (TypeError, ValueError, re.error) as error:
                errors.append(ModelError(f"option {name}: {error}", file=file))
        raise_all(errors)
        return cls(**values)

    @property
    def prefixes(self) -> tuple[str, str]:
        """What may stand before a key: the override's character, then the constant's."""
        return self.dict_key_override_prefix, self.dict_key_constant_prefix

    def ignores(self, class_name: str) -> bool:
        """Whether a class of this name may be missing."""
        return any(pattern.match(class_name) for pattern in self._ignored)

    def key(self) -> str:
        """What a cached rendering depends on."""
        return repr([(each.name, getattr(self, each.name)) for each in fields(self) if each.init])


def read_settings(tree: Tree) -> Settings:
    """The settings of ``reclass-config.yml`` at the root of ``tree``, or the defaults."""
    if not tree.exists(CONFIG):
        return Settings()
    options = yaml11.load(tree.read(CONFIG), CONFIG)
    if options is None:
        return Settings()
    if not isinstance(options, dict):
        raise ModelError("expected a mapping of reclass options", file=CONFIG, line=1)
    return Settings.from_options(options)


def _convert(name: str, default: Any, value: Any) -> Any:
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise TypeError(f"expected true or false, found {value!r}")
        return value
    if isinstance(default, tuple):
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
            raise TypeError(f"expected a list of strings, found {value!r}")
        if name.endswith("_sentinels") and (len(items) != 2 or not all(items)):
            raise ValueError(f"expected two strings, found {value!r}")
        if name.endswith("_regexp"):
            for item in items:
                re.compile(item)
        return tuple(items)
    if not isinstance(value, str) or not value:
        raise TypeError(f"expected a string, found {value!r}")
    if name.endswith(("_prefix", "_character")) and len(value) != 1:
        raise ValueError(f"expected one character, found {value!r}")
    return value
