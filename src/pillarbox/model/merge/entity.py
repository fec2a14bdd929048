"""One model file, made ready for merging."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pillarbox.model.errors import ModelError
from pillarbox.model.merge.cells import Flagged, Layers, OpenDict, OpenList, Template, stack
from pillarbox.model.merge.template import Part, QueryError, Syntax, TemplateError, parse
from pillarbox.model.read.settings import Settings
from pillarbox.system.errors import PillarboxError

SECTIONS = ("classes", "applications", "parameters", "exports", "environment")


@dataclass(frozen=True)
class ClassUse:
    """One entry of a ``classes`` list: its name, or the references that make it."""

    name: str
    parts: tuple[Part, ...] | None = None


@dataclass(frozen=True)
class Entity:
    """A node's or class's file; ``errors`` are what keeps it from being used."""

    file: str
    digest: bytes
    classes: tuple[ClassUse, ...] = ()
    applications: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    exports: dict[str, Any] = field(default_factory=dict)
    environment: Any = None
    errors: tuple[PillarboxError, ...] = ()


class Compiler:
    """Turns what a file says into an :class:`Entity`; holds what the settings say about strings and keys."""

    def __init__(self, settings: Settings) -> None:
        self.syntax = Syntax(
            settings.reference_sentinels, settings.export_sentinels, settings.escape_character, settings.delimiter
        )
        self.prefixes = settings.prefixes

    def entity(self, data: Any, file: str, name: str, digest: bytes, *, aliased: bool = True) -> Entity:
        """The entity of the class or node ``name``. Never raises for what the file says: see ``Entity.errors``.

        ``aliased`` says that parts of ``data`` may be the same object, by a YAML alias.
        """
        if data is None:
            return Entity(file, digest)
        if not isinstance(data, dict):
            error = ModelError(f"expected a mapping of {', '.join(SECTIONS)}; found {kind(data)}", file=file, line=1)
            return Entity(file, digest, errors=(error,))
        job = _Compilation(self, file, aliased)
        return Entity(
            file=file,
            digest=digest,
            classes=job.classes(data.get("classes"), name),
            applications=job.strings(data.get("applications"), "applications"),
            parameters=job.section(data.get("parameters"), "parameters"),
            exports=job.section(data.get("exports"), "exports"),
            environment=data.get("environment"),
            errors=tuple(job.errors),
        )


def kind(value: Any) -> str:
    """What YAML calls the type of ``value``."""
    if value is None:
        return "null"
    names = {dict: "a mapping", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")


def absolute(name: str, within: str) -> str:
    """A class name that starts with dots, seen from the class or node ``within``."""
    bare = name.lstrip(".")
    dots = len(name) - len(bare)
    if not dots:
        return name
    parents = within.split(".")[:-dots]
    return ".".join((*parents, bare)) if parents and parents != [""] else bare


class _Compilation:
    def __init__(self, compiler: Compiler, file: str, aliased: bool) -> None:
        self.compiler = compiler
        self.syntax = compiler.syntax
        self.opens = (compiler.syntax.reference[0], compiler.syntax.export[0])
        self.prefixes = compiler.prefixes
        self.file = file
        self.errors: list[PillarboxError] = []
        self.trail: list[Any] = []
        # Containers seen before, by their id and whether their keys may merge.
        self.shared: dict[tuple[int, bool], Any] | None = {} if aliased else None

    def strings(self, value: Any, section: str) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            self.fail(f"expected a list under {section}, found {kind(value)}", (section,))
            return ()
        found = []
        for number, item in enumerate(value):
            if isinstance(item, str):
                found.append(item)
            else:
                self.fail(f"expected a string in {section}, found {kind(item)}: {item!r}", (section, number))
        return tuple(found)

    def classes(self, value: Any, within: str) -> tuple[ClassUse, ...]:
        uses: dict[str, ClassUse] = {}
        for number, item in enumerate(self.strings(value, "classes")):
            bad = next((character for character in " /" if character in item), None)
            if not item or bad:
                reason = f"character {bad!r}" if bad else "an empty name"
                hint = f"Did you mean {item.strip('/').replace('/', '.')}?" if bad == "/" else None
                self.fail(f"expected a class name, found {reason} in {item!r}", ("classes", number), hint)
                continue
            name = absolute(item, within)
            if not name:
                self.fail(f"expected a class name behind the dots of {item!r}", ("classes", number))
            elif name not in uses:
                parts = None
                if self.syntax.is_template(name):
                    parts = self.parse(name, ("classes", number))
                    if parts is None:
                        continue
                uses[name] = ClassUse(name, parts)
        return tuple(uses.values())

    def section(self, value: Any, section: str) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fail(f"expected a mapping under {section}, found {kind(value)}", (section,))
            return {}
        self.trail = [section]
        return self.mapping(value)

    def cell(self, value: Any) -> Any:
        kind_of = type(value)
        if kind_of is dict:
            return self.mapping(value)
        if kind_of is list:
            return self.sequence(value)
        if kind_of is str:
            return self.string(value)
        return value

    def string(self, value: str) -> Any:
        first, second = self.opens
        if first in value or second in value:
            parts = self.parse(value, tuple(self.trail))
            if parts is None:
                return value
            if len(parts) == 1 and isinstance(parts[0], str):
                return parts[0]
            return Template(value, parts, self.file, tuple(self.trail))
        return value

    def mapping(self, source: dict[Any, Any]) -> dict[str, Any]:
        """A mapping that merges: keys are strings, and their prefixes say how."""
        if self.shared is not None and (id(source), True) in self.shared:
            return self.shared[id(source), True]  # type: ignore[no-any-return]
        first, second = self.opens
        trail = self.trail
        out: dict[str, Any] = {}
        is_open = False
        for key, value in source.items():
            if type(key) is not str:
                key = str(key)
            flag = key[:1] in self.prefixes and key != ""
            kind_of = type(value)
            if kind_of is str:
                if first in value or second in value:
                    trail.append(key)
                    value = self.string(value)
                    trail.pop()
                    is_open = is_open or type(value) is Template
            elif kind_of is dict:
                trail.append(key)
                value = self.mapping(value)
                trail.pop()
                is_open = is_open or type(value) is OpenDict
            elif kind_of is list:
                trail.append(key)
                value = self.sequence(value)
                trail.pop()
                is_open = is_open or type(value) is OpenList
            if flag:
                value = Flagged(value, key[0] == self.prefixes[0], key[0] == self.prefixes[1])
                key = key[1:]
                is_open = True
            if key in out:
                # 1 and '1', or a key with and without prefix: layers of one file, in its order.
                value = _collide(out[key], value)
                is_open = is_open or type(value) is Layers
            out[key] = value
        result = OpenDict(out) if is_open else out
        if self.shared is not None:
            self.shared[id(source), True] = result
        return result

    def sequence(self, source: list[Any]) -> list[Any]:
        if self.shared is not None and (id(source), True) in self.shared:
            return self.shared[id(source), True]  # type: ignore[no-any-return]
        trail = self.trail
        out = []
        is_open = False
        for number, value in enumerate(source):
            kind_of = type(value)
            if kind_of is str or kind_of is dict or kind_of is list:
                trail.append(number)
                value = self.item(value)
                trail.pop()
                is_open = is_open or type(value) in (Template, OpenDict, OpenList)
            out.append(value)
        result: list[Any] = OpenList(out) if is_open else out
        if self.shared is not None:
            self.shared[id(source), True] = result
        return result

    def item(self, value: Any) -> Any:
        """A value inside a list: mappings there never merge, so their keys stay as they are."""
        if type(value) is not dict:
            return self.cell(value)
        if self.shared is not None and (id(value), False) in self.shared:
            return self.shared[id(value), False]
        trail = self.trail
        out = {}
        is_open = False
        for key, child in value.items():
            trail.append(key)
            child = self.item(child)
            trail.pop()
            is_open = is_open or type(child) in (Template, OpenDict, OpenList)
            out[key] = child
        result = OpenDict(out) if is_open else out
        if self.shared is not None:
            self.shared[id(value), False] = result
        return result

    def parse(self, text: str, path: tuple[Any, ...]) -> tuple[Part, ...] | None:
        try:
            return parse(text, self.syntax)
        except (TemplateError, QueryError) as error:
            escape = self.syntax.escape
            hint = f"Write {escape}{self.opens[0]} for the plain characters {self.opens[0]}."
            self.fail(f"parameter {':'.join(map(str, path[1:]))}: {error}", path, hint)
            return None

    def fail(self, message: str, path: tuple[Any, ...], hint: str | None = None) -> None:
        self.errors.append(Located(message, file=self.file, hint=hint, path=path))


class Located(ModelError):
    """An error that knows the path of its value in the file; the line is looked up when somebody asks for it."""

    def __init__(self, message: str, *, file: str, path: tuple[Any, ...], hint: str | None = None) -> None:
        super().__init__(message, file=file, hint=hint)
        self.path = path


def _collide(earlier: Any, later: Any) -> Any:
    if type(earlier) in (dict, OpenDict) and type(later) in (dict, OpenDict):
        both: dict[Any, Any] = {**earlier}
        for key, value in later.items():
            both[key] = _collide(both[key], value) if key in both else value
        return OpenDict(both)
    return stack(earlier, later)
