"""Lines of a file's values, looked up when an error or an explanation needs them."""

from __future__ import annotations

from typing import Any

import yaml

from pillarbox.model.errors import ModelError
from pillarbox.model.read import pyyaml, yaml11
from pillarbox.model.read.scalars import Undecided, resolve
from pillarbox.model.read.settings import CONFIG
from pillarbox.model.read.tree import Tree

Path = tuple[Any, ...]


class Marks:
    """The first lines (1-based) of the keys and list items of one file."""

    def __init__(self, text: str, file: str) -> None:
        self.lines: dict[tuple[str, ...], int] = {}
        self.classes: dict[str, int] = {}
        root = pyyaml.compose(text, file)
        if root is not None:
            self._collect(root, (), frozenset())

    def _collect(self, node: Any, path: tuple[str, ...], above: frozenset[int]) -> None:
        if id(node) in above or len(self.lines) > 1_000_000:
            return
        if isinstance(node, yaml.MappingNode):
            inside = above | {id(node)}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    continue
                if key.tag.endswith(":merge"):
                    for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                        self._collect(each, path, inside)
                    continue
                below = (*path, _key(key))
                self.lines[below] = int(key.start_mark.line) + 1
                self._collect(value, below, inside)
        elif isinstance(node, yaml.SequenceNode):
            inside = above | {id(node)}
            for number, item in enumerate(node.value):
                below = (*path, str(number))
                self.lines[below] = int(item.start_mark.line) + 1
                if path == ("classes",) and isinstance(item, yaml.ScalarNode):
                    self.classes.setdefault(item.value, self.lines[below])
                self._collect(item, below, inside)

    def line(self, path: Path) -> int | None:
        """The line of the value at ``path`` (section first, keys as written), or of what is nearest above it."""
        keys = tuple(map(str, path))
        while keys:
            if keys in self.lines:
                return self.lines[keys]
            keys = keys[:-1]
        return None

    def class_line(self, name: str) -> int | None:
        """The line of the entry of ``classes`` that names ``name``, relative names included."""
        if name in self.classes:
            return self.classes[name]
        ends = (line for text, line in self.classes.items() if text.startswith(".") and name.endswith(text.lstrip(".")))
        return next(ends, self.lines.get(("classes",)))

    def setting_line(self, section: str, path: Path, prefixes: tuple[str, ...]) -> int | None:
        """The line that sets the value at ``path`` of ``section``, whatever prefixes its keys have, if any does."""
        return self._line_below((section,), path, prefixes)

    def _line_below(self, above: tuple[str, ...], rest: Path, prefixes: tuple[str, ...]) -> int | None:
        if not rest:
            return self.lines.get(above)
        for prefix in ("", *prefixes):
            below = (*above, prefix + str(rest[0]))
            if below in self.lines:
                line = self._line_below(below, rest[1:], prefixes)
                if line is not None:
                    return line
        return None


def _key(node: Any) -> str:
    if node.style is None and node.tag != "tag:yaml.org,2002:str":
        try:
            return str(resolve(node.value))
        except Undecided:
            return str(node.value)
    return str(node.value)


class Lines:
    """Marks of the files of one tree, read once each. ``prefixes`` are what may stand before a key."""

    def __init__(self, tree: Tree, prefixes: tuple[str, ...]) -> None:
        self._tree = tree
        self._prefixes = prefixes
        self._marks: dict[str, Marks | None] = {}

    def marks(self, file: str) -> Marks | None:
        """The marks of ``file``, or ``None`` when it does not read."""
        if file not in self._marks:
            try:
                self._marks[file] = Marks(yaml11.decode(self._tree.read(file), file), file)
            except ModelError:
                self._marks[file] = None
        return self._marks[file]

    def line(self, file: str, path: Path) -> int | None:
        """The line of the value at ``path``, section first and keys as written, in ``file``."""
        marks = self.marks(file)
        return marks.line(path) if marks else None

    def setting(self, file: str, path: Path, section: str = "parameters") -> int | None:
        """The line of ``file`` that sets the parameter at ``path``, whatever prefixes its keys have, if any does."""
        marks = self.marks(file)
        return marks.setting_line(section, path, self._prefixes) if marks else None

    def class_entry(self, file: str, name: str) -> int | None:
        """The line of ``file`` that names the class ``name``; of the configuration, that of its mappings."""
        marks = self.marks(file)
        if marks is None:
            return None
        return marks.line(("class_mappings",)) if file == CONFIG else marks.class_line(name)
