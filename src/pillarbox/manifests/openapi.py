"""What a release of Kubernetes takes: its kinds and their fields, by its own OpenAPI schemas.

The schemas are those that the Python package ``kubernetes-validate`` carries, one folder a release. They are walked
here and not by that package's validator: loading it would take longer than all other checks, and what it says of a
wrong value shows the value, which may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pillarbox.manifests import kinds, names
from pillarbox.manifests.kinds import Version
from pillarbox.system.names import did_you_mean

Schema = Mapping[str, Any]

_FOLDER = re.compile(r"v(\d+)\.(\d+)\.\d+-local-strict")
# Fields that the API server still takes, and nothing behind it: types of volumes, as of 1.37.
_GONE = re.compile("no longer supported")
_REF = "#/$defs/"
_TYPES = "io.k8s.api."
#: Kinds that went without one of the same name in their place.
_INSTEAD = {
    ("policy", "PodSecurityPolicy"): "Label the namespace instead: pod-security.kubernetes.io/enforce.",
    ("extensions", "PodSecurityPolicy"): "Label the namespace instead: pod-security.kubernetes.io/enforce.",
    ("resource.k8s.io", "ResourceClass"): "A DeviceClass takes its place.",
}
#: What the schemas call a type: in words, and whether a value is of it.
_WORDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "object": ("a mapping", lambda value: isinstance(value, Mapping)),
    "array": ("a list", lambda value: isinstance(value, (list, tuple))),
    "string": ("a text", lambda value: isinstance(value, str)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "integer": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "number": ("a number", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)),
    "null": ("nothing", lambda value: value is None),
}


@dataclass(frozen=True)
class Mistake:
    """What is wrong at ``path`` of an object; the message shows no value."""

    path: tuple[str, ...]
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class Api:
    """The API of Kubernetes ``version``, by the schemas of ``release``: the same, or the nearest that there are."""

    version: Version
    release: Version

    @property
    def exact(self) -> bool:
        return self.version == self.release

    @cached_property
    def _schemas(self) -> Mapping[str, Schema]:
        text = (_folders()[self.release] / "_definitions.json").read_text(encoding="utf-8")
        schemas: Mapping[str, Schema] = json.loads(text)["$defs"]
        return schemas

    @cached_property
    def _kinds(self) -> Mapping[tuple[str, str], Mapping[str, Schema]]:
        """Schemas by group and kind, then by version, the most stable and newest last."""
        found: dict[tuple[str, str], dict[str, Schema]] = {}
        for name, schema in self._schemas.items():
            served = schema.get("x-kubernetes-group-version-kind", ())
            # What all groups share, such as DeleteOptions, is no kind of any.
            if len(served) == 1 and "metadata" in schema.get("properties", ()):
                (one,) = served
                found.setdefault((one["group"], one["kind"]), {})[one["version"]] = {"$ref": _REF + name}
        return {key: dict(sorted(each.items(), key=lambda item: _maturity(item[0]))) for key, each in found.items()}

    @cached_property
    def _groups(self) -> frozenset[str]:
        lists = (schema.get("x-kubernetes-group-version-kind", ()) for schema in self._schemas.values())
        return frozenset(served["group"] for each in lists for served in each)

    def judge(self, obj: Mapping[str, Any]) -> Iterator[Mistake]:
        """What the API server would refuse in an object. Kinds that are not Kubernetes' own are no business of it.

        Where the schemas are another release's, API versions are judged by the table of kinds alone.
        """
        api_version, kind = str(obj["apiVersion"]), str(obj["kind"])
        unserved = f"Kubernetes {_dotted(self.version)} does not serve {kind} of {api_version}"
        group, _, version = api_version.rpartition("/")
        versions = self._kinds.get((group, kind), {})
        known = kinds.find(api_version, kind)
        if any(since > self.version and each == api_version for since, each in known.apis):
            yield Mistake(("apiVersion",), unserved, f"It serves it as {known.api(self.version)}.")
        if version in versions:
            yield from self.mistakes(versions[version], obj)
        elif not self.exact:
            for schema in list(versions.values())[-1:]:
                yield from self.mistakes(schema, {**obj, "apiVersion": None})
        elif group in self._groups or group in api(list(_folders())[-1])._groups:
            yield Mistake(("apiVersion",), unserved, self._instead(group, kind, version))

    def mistakes(self, schema: Schema, value: Any, path: tuple[str, ...] = ()) -> Iterator[Mistake]:
        """Where ``value`` is not as ``schema`` has it."""
        name, schema = self._resolved(schema)
        types = [kind for each in (schema, *schema.get("oneOf", ())) for kind in _types(each)]
        if types and not any(_WORDS[kind][1](value) for kind in types):
            expected = " or ".join(dict.fromkeys(_WORDS[kind][0] for kind in types if kind != "null"))
            found = next((word for word, fits in _WORDS.values() if fits(value)), "something else")
            yield Mistake(path, f"expected {expected}, found {found}")
        elif value is not None and value not in schema.get("enum", (value,)):
            yield Mistake(path, f"expected {' or '.join(schema['enum'])}")
        elif isinstance(value, Mapping):
            fields, others = schema.get("properties", {}), schema.get("additionalProperties")
            for key, item in value.items():
                if _GONE.search(fields.get(key, {}).get("description", "")):
                    text = f"Kubernetes {_dotted(self.release)} no longer supports {key}"
                    yield Mistake((*path, key), text, "Volumes come from CSI drivers: csi.")
                elif key in fields or isinstance(others, Mapping):
                    yield from self.mistakes(fields.get(key, others), item, (*path, key))
                elif others is False:
                    text = f"Kubernetes {_dotted(self.release)} has no field {key} here"
                    yield Mistake(
                        (*path, key), text, self.since({"$ref": _REF + name}, key) or did_you_mean(key, fields)
                    )
            for key in schema.get("required", ()):
                if key not in value:
                    yield Mistake(path, f"{key} is missing")
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                yield from self.mistakes(schema.get("items", {}), item, (*path, str(index)))

    def type(self, name: str) -> Schema:
        """The schema of a type of the API by its name, such as ``core.v1.Container``."""
        return {"$ref": f"{_REF}{_TYPES}{name}"}

    def fields(self, schema: Schema) -> Mapping[str, tuple[str, Schema]]:
        """The fields of a type by their names in ``snake_case``: their own names, and their schemas."""
        _, schema = self._resolved(schema)
        return {names.snake(field): (field, each) for field, each in schema.get("properties", {}).items()}

    def spelled(self, schema: Schema, value: Any) -> Any:
        """``value`` with its fields spelled as the API does; keys that are no fields, such as labels, stay."""
        _, schema = self._resolved(schema)
        if isinstance(value, Mapping):
            fields, others = self.fields(schema), schema.get("additionalProperties")
            found: dict[Any, Any] = {}
            for key, item in value.items():
                deeper = others if isinstance(others, Mapping) else {}
                field, deeper = fields.get(names.snake(str(key)), (key, deeper))
                # Of a field in two spellings one stays as it is, and is no field.
                found[key if field in found else field] = self.spelled(deeper, item)
            return found
        if isinstance(value, (list, tuple)):
            return [self.spelled(schema.get("items", {}), item) for item in value]
        return value

    def since(self, type_: Schema, field: str) -> str | None:
        """Which other releases have ``field``, in whatever spelling, in a type; ``None`` for none."""
        key = names.snake(field)
        known = [release for release in _folders() if key in api(release).fields(type_)]
        return self._releases(known, "has it")

    def _instead(self, group: str, kind: str, version: str) -> str | None:
        """What to write for a kind that is not served in that version."""
        groups = (group, *(other for other, name in self._kinds if name == kind))
        for each in groups:
            if served := self._kinds.get((each, kind)):
                return f"It serves it as {'/'.join(part for part in (each, list(served)[-1]) if part)}."
        known = [release for release in _folders() if version in api(release)._kinds.get((group, kind), {})]
        return (
            _INSTEAD.get((group, kind))
            or self._releases(known, "serves it")
            or did_you_mean(kind, {name for other, name in self._kinds if other == group})
        )

    def _releases(self, known: list[Version], verb: str) -> str | None:
        if not known or self.release in known:
            return None
        if known[0] > self.release:
            first = f"Kubernetes {_dotted(known[0])} is the first that {verb}"
            return f"{first}; kubernetes:control:version says which is yours."
        return f"Kubernetes {_dotted(max(each for each in known if each < self.release))} was the last that {verb}."

    def _resolved(self, schema: Schema) -> tuple[str, Schema]:
        """The schema that is meant, and the name that it is known by, if any."""
        name = str(schema.get("$ref", "")).removeprefix(_REF)
        return name, self._schemas.get(name, {}) if name else schema


@cache
def api(version: Version) -> Api:
    """The API of a Kubernetes version, by the schemas of that release, or else of the nearest before or after it."""
    known = list(_folders())
    return Api(version, max((each for each in known if each <= version), default=known[0]))


def approximate(version: Version) -> str | None:
    """What to say where the schemas of a version are not there; ``None`` where they are."""
    found, known = api(version), list(_folders())
    if found.exact:
        return None
    return (
        f"the API of Kubernetes {_dotted(version)} is not among those that are known here,"
        f" {_dotted(known[0])} to {_dotted(known[-1])}: fields are checked against {_dotted(found.release)},"
        " and API versions only of kinds that have a section of their own"
    )


def dotted(path: tuple[str, ...]) -> str:
    """A path as Kubernetes writes it: ``spec.containers[0].image``."""
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path).lstrip(".")


@cache
def _folders() -> Mapping[Version, Path]:
    """The releases whose schemas are installed, oldest first."""
    package = find_spec("kubernetes_validate")
    assert package is not None and package.submodule_search_locations, "setup.cfg has it"
    schemas = Path(package.submodule_search_locations[0], "kubernetes-json-schema")
    found = {
        (int(match[1]), int(match[2])): folder for folder in schemas.iterdir() if (match := _FOLDER.match(folder.name))
    }
    return dict(sorted(found.items()))


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


def _types(schema: Schema) -> list[str]:
    found = schema.get("type", [])
    return [found] if isinstance(found, str) else found


def _maturity(version: str) -> tuple[bool, bool, list[int]]:
    return ("alpha" not in version, "beta" not in version, [int(part) for part in re.findall(r"\d+", version)])
