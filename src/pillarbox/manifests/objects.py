"""Objects of any kind that the cluster serves: their body as data, and what a rollout has to know of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pillarbox.manifests import kinds, names
from pillarbox.manifests.kinds import ConditionGate
from pillarbox.manifests.manifest import Manifest
from pillarbox.manifests.scope import Scope, unit_name
from pillarbox.manifests.section import PillarSection

_SCOPES = ("Namespaced", "Cluster")
#: What the other keys of an entry say, and what is the API server's to write.
_NOT_OF_BODY = ("apiVersion", "kind", "metadata", "status")


def any_object(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:object``.

    Whether a kind that no table knows has a namespace is what ``scope`` says, ``Namespaced`` by default; its
    definition in the model, and at a rollout the cluster, must agree.
    """
    with section:
        section.ignore("enabled")
        api_version, name = section.text("api_version"), section.text("kind")
        if api_version is None or name is None:
            section.problem("an object has api_version and kind")
            section.ignore(*section.given)
            return
        if not names.API_VERSION.fullmatch(api_version) or not names.KIND.fullmatch(name):
            text = f"no cluster has a kind {name!r} of {api_version!r}"
            section.problem(text, "Expected such as Ingress of networking.k8s.io/v1.")
            section.ignore(*section.given)
            return
        kind = kinds.find(api_version, name)
        if kind is kinds.SECRET:
            hint = "Put it under kubernetes:control:secret, where its values are encrypted."
            section.problem("a Secret is no plain object", hint, key="kind")
        title = section.checked(section.text("name", default=key) or key, names.PATH_SEGMENT)
        section.checked(key, names.PATH_SEGMENT)
        namespaced = _namespaced(section, kind, name)
        namespace = section.name("namespace")
        if namespace and not namespaced:
            section.problem(f"a {name} has no namespace", key="namespace")
        where = (namespace or scope.namespace) if namespaced else None
        annotations = section.texts("annotations") | ({kinds.KEEP: "true"} if section.flag("keep") else {})
        metadata = scope.metadata(title, where, section.texts("labels"), annotations)
        found = {"apiVersion": api_version, "kind": name, "metadata": metadata, **_body(section)}
        yield Manifest(
            # Several groups may have a kind of this name.
            scope.filename(
                title, where, kind.file_suffix if kind.apis else f"{name.lower()}.{kinds.group(api_version)}"
            ),
            found,
            scope.deployment,
            section.place,
            # The slash of a wrong key, which is reported, would make it a unit of another section.
            unit_name(where or "default", kinds.OBJECT, key.replace("/", "_")),
            tuple(dict.fromkeys(section.words("depends_on") or ())),
            _condition(section),
            kubernetes=scope.version,
        )


def _namespaced(section: PillarSection, kind: kinds.Kind, name: str) -> bool:
    given = section.choice("scope", among=_SCOPES)
    if not kind.apis:
        return given != "Cluster"
    if given is not None and (given == "Namespaced") != kind.namespaced:
        section.problem(f"{name} has the scope {_SCOPES[not kind.namespaced]}", key="scope")
    return kind.namespaced


def _body(section: PillarSection) -> dict[str, Any]:
    body = section.value("body")
    if not isinstance(body, Mapping):
        if body is not None:
            section.problem("expected a mapping: the object's fields but for its metadata", key="body")
        return {}
    for field in _NOT_OF_BODY:
        if field in body:
            hint = "It is written by the cluster." if field == "status" else "Write it beside body, not in it."
            section.problem(f"body holds {field}", hint, key="body")
    for path, what in _not_json(body, "body"):
        section.problem(f"{path} is {what}", "Quote it, if it is a text.", key="body")
    return {key: value for key, value in body.items() if key not in _NOT_OF_BODY}


def _not_json(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """What no JSON can carry: YAML 1.1 reads dates, and keys that are no text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(key, str):
                yield from _not_json(item, f"{path}.{key}")
            else:
                yield f"{path}: the key {key}", "no text"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_json(item, f"{path}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, "no number that JSON has"
    elif value is not None and not isinstance(value, (str, bool, int, float)):
        yield path, f"a {type(value).__name__}"


def _condition(section: PillarSection) -> ConditionGate | None:
    with section.section("gate") as gate:
        if not gate.given:
            return None
        condition = gate.text("condition")
        status = gate.choice("status", among=("True", "False", "Unknown"), default="True") or "True"
        timeout = gate.number("timeout", low=1)
        if not condition:
            gate.problem("a gate has a condition: the type of one of the object's status.conditions")
            return None
        return ConditionGate(condition, status) if timeout is None else ConditionGate(condition, status, float(timeout))
