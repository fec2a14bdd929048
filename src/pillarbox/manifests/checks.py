"""What no object can know alone: claims that collide, names that nobody supplies, secrets in the wrong place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.manifests import kinds, names, openapi
from pillarbox.manifests.catalog import Catalog
from pillarbox.manifests.definitions import definition
from pillarbox.manifests.errors import ManifestError, PillarPlace, Problems
from pillarbox.manifests.kinds import Kind
from pillarbox.manifests.manifest import Manifest, Object
from pillarbox.manifests.references import ReferenceUse, mapping, mappings, references
from pillarbox.system import gpg
from pillarbox.system.errors import PillarboxError
from pillarbox.system.names import did_you_mean

ENTRYPOINT = "/entrypoint.sh"

_INJECTED = re.compile(r"\$\(([A-Z][A-Z0-9_]*_SERVICE_(?:HOST|PORT))\)")
# What a container's environment holds whatever the manifest says.
_RUNTIME = frozenset({"HOSTNAME", "PATH"})
_PRIORITIES = ("system-cluster-critical", "system-node-critical")
_POD_SECURITY = "pod-security.kubernetes.io"
_MODES = ("enforce", "audit", "warn")
_LEVELS = ("privileged", "baseline", "restricted")
_RELEASE = re.compile(r"latest|v1\.\d+")


#: Something that exists in a cluster and not in the model: deployment, kind, namespace, name.
External = tuple[str, Kind, str | None, str]


@dataclass(frozen=True)
class World:
    """All manifests, the images, and what exists in the clusters beside them."""

    manifests: tuple[Manifest, ...]
    catalog: Catalog
    external: frozenset[External]
    problems: Problems

    def objects(self, like: Manifest, kind: Kind) -> dict[str, Object]:
        """The objects of one kind that share deployment and namespace with ``like``, by name."""
        return {
            each.name: each.object
            for each in self.manifests
            if each.type is kind and (each.deployment, each.namespace) == (like.deployment, like.namespace)
        }

    def is_external(self, like: Manifest, kind: Kind, name: str) -> bool:
        return (like.deployment, kind, like.namespace, name) in self.external


def check(world: World) -> None:
    """Run every check; what is wrong is added to the world's problems."""
    for rule in RULES:
        rule(world)


def distinct(manifests: Iterable[Manifest], problems: Problems) -> tuple[Manifest, ...]:
    """``manifests`` without those that another node asks for in the same words; other claims on one name are reported.

    Highly available masters include one class on every node, so the same object from two nodes is no conflict.
    """
    kept: dict[tuple[str, str, str, str | None, str], Manifest] = {}
    files: dict[str, Manifest] = {}
    blamed: set[PillarPlace] = set()
    for each in manifests:
        first = kept.setdefault(each.identity, each)
        if first is not each:
            same = (first.object, first.traffic) == (each.object, each.traffic)
            if each.place not in blamed and (first.node == each.node or not same):
                blamed.add(each.place)
                problems.add(each.place, f"{_title(each)} is claimed already by node {first.node}, {first.place}")
            continue
        other = files.setdefault(each.filename, each)
        if other is not each:
            problems.add(each.place, f"file {each.filename} is claimed already by {_title(other)} of node {other.node}")
    return tuple(kept.values())


def node_ports(world: World) -> None:
    claims: dict[tuple[str, int, str], Manifest] = {}
    for each in world.manifests:
        for port in _service_ports(each):
            if "nodePort" not in port:
                continue
            claim = (each.deployment, port["nodePort"], port.get("protocol", "TCP"))
            first = claims.setdefault(claim, each)
            if first is not each:
                text = f"node port {port['nodePort']} is claimed already by {_title(first)} of node {first.node}"
                world.problems.add(each.place / "ports", text)


def target_ports(world: World) -> None:
    """A Service's named target must be a port of its pods."""
    pods = {(each.deployment, each.namespace, each.name): each for each in world.manifests if each.template}
    for each in world.manifests:
        workload = pods.get((each.deployment, each.namespace, each.name))
        if workload is None:
            continue
        known = {port.get("name") for container in workload.containers() for port in container.get("ports", ())}
        for port in _service_ports(each):
            target = port.get("targetPort")
            if isinstance(target, str) and target not in known:
                hint = did_you_mean(target, {name for name in known if name})
                world.problems.add(each.place / "ports", f"no container has a port named {target}", hint)


def pods(world: World) -> None:
    """What the API server or the kubelet would refuse in a pod that reads well container by container."""
    for each in world.manifests:
        containers = list(each.containers())
        for name in _repeated(container["name"] for container in containers):
            world.problems.add(each.place, f"two containers are called {name}")
        for container in containers:
            place = each.place / container["name"]
            for path in _repeated(mount.get("mountPath") for mount in container.get("volumeMounts", ())):
                world.problems.add(place, f"two volumes are mounted at {path}")
            known = {port["name"] for port in container.get("ports", ()) if "name" in port}
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                found = container.get(probe, {})
                port = found.get("httpGet", found.get("tcpSocket", {})).get("port")
                if isinstance(port, str) and port not in known:
                    text = f"a probe asks port {port}, which the container does not name"
                    world.problems.add(place, text, did_you_mean(port, known))


def configuration(world: World) -> None:
    """Keys of ConfigMaps and Secrets that pods cannot start without must be in the model, or be named as external."""
    for each in world.manifests:
        for wanted in dict.fromkeys(references(each.object)):
            kind, name, key = wanted.kind, wanted.name, wanted.key
            if wanted.optional or world.is_external(each, kind, name):
                continue
            known = world.objects(each, kind)
            if name in known:
                data = _data(known[name])
                if key is not None and key not in data:
                    text = f"{kind.name} {name} of namespace {each.namespace} has no key {key}"
                    world.problems.add(each.place, text, did_you_mean(key, data))
                continue
            close = did_you_mean(name, known, cutoff=0.8)
            # Users of the original formula make their ConfigMaps with kubectl, and mount them.
            if kind is kinds.CONFIG_MAP and wanted.use is ReferenceUse.VOLUME and not close:
                continue
            makers = f"{kind.section}:{name}, or name it under external:{kind.section} if others make it."
            text = f"no {kind.name} {name} in namespace {each.namespace}"
            world.problems.add(each.place, text, close or f"Define it under {makers}")


def supply(world: World) -> None:
    """Every dynamic name of an image has a source in each container that starts through its entrypoint."""
    for each in world.manifests:
        if each.template is None:
            continue
        injected = _injected(world, each)
        for container in each.containers():
            place = each.place / (
                "container" if container in each.template["spec"]["containers"] else "init_containers"
            )
            explicit, unknown = _environment(world, each, container)
            for name in _expansions(container):
                if name not in explicit and name not in injected:
                    hint = (
                        did_you_mean(name, injected, cutoff=0.85)
                        or "Kubernetes injects it for a Service of the same namespace."
                    )
                    world.problems.add(place / container["name"], f"$({name}) refers to no Service", hint)
            image = world.catalog.find(container.get("image", ""))
            if image is None or unknown or container.get("command", [ENTRYPOINT])[0] != ENTRYPOINT:
                continue
            for name in image.dynamic:
                if name in explicit or name in injected or name in _RUNTIME:
                    continue
                text = f"image {image.name} needs {name}, and no variable, ConfigMap, Secret or Service supplies it"
                hint = did_you_mean(name, {*explicit, *injected}, cutoff=0.85) or _supply_hint(name)
                world.problems.add(place / container["name"], text, hint)


def secrets(world: World) -> None:
    """A PGP block outside a Secret would reach its reader encrypted, or put the secret in the clear."""
    for each in world.manifests:
        if each.type is kinds.SECRET:
            continue
        for path, _ in gpg.blocks(each.object):
            hint = "Put it under kubernetes:control:secret, and refer to it: variables: [{name, secret: {name, key}}]."
            world.problems.add(each.place, f"an encrypted secret stands in a {each.kind}, at {'.'.join(path)}", hint)


def custom_resources(world: World) -> None:
    """An object of a kind that the model defines must be one that the definition's cluster will take."""
    known = [(each.deployment, found) for each in world.manifests if (found := definition(each.object))]
    for each in world.manifests:
        api_version = each.object["apiVersion"]
        for deployment, found in known:
            if deployment != each.deployment or not found.defines(api_version, each.kind):
                continue
            if not found.serves(api_version, each.kind):
                hint = f"It serves {', '.join(found.versions) or 'none'}."
                text = f"the definition of {each.kind} does not serve version {api_version}"
                world.problems.add(each.place / "api_version", text, hint)
            if found.namespaced != (each.namespace is not None):
                scope = "Namespaced" if found.namespaced else "Cluster"
                world.problems.add(each.place / "scope", f"{each.kind} is defined with the scope {scope}")


def api(world: World) -> None:
    """Each object is what its cluster's Kubernetes serves. An entry whose pillar is wrong is passed over."""
    wrong = {(found.node, found.path) for found in world.problems.found if isinstance(found, ManifestError)}
    for each in world.manifests:
        path = str(each.place)
        if any(node == each.node and f"{other}:".startswith(f"{path}:") for node, other in wrong):
            continue
        for mistake in openapi.api(each.kubernetes).judge(each.object):
            place, text = each.place, f"{_title(each)}, {openapi.dotted(mistake.path)}: {mistake.message}"
            if each.unit and not each.workload:
                # The pillar writes this object out, so that the field is one of its keys.
                written = ("api_version",) if mistake.path == ("apiVersion",) else ("body", *mistake.path)
                place, text = place.at(*written), mistake.message
            world.problems.add(place, text, mistake.hint)


def doubts(manifests: Iterable[Manifest]) -> tuple[PillarboxError, ...]:
    """What could not be checked: versions of Kubernetes whose API is not known here, each once."""
    problems = Problems()
    for version, each in {each.kubernetes: each for each in manifests}.items():
        if text := openapi.approximate(version):
            place = PillarPlace(each.node, each.place.written, each.place.path[:2])
            newer = "A newer Python package kubernetes-validate knows newer versions."
            older = version < openapi.api(version).release
            problems.add(place, text, None if older else newer, key="version")
    return tuple(problems.found)


def priority_classes(world: World) -> None:
    """A priority class that a pod misspells. Others may have made one that the model does not have."""
    made = {(each.deployment, each.name) for each in world.manifests if each.kind == "PriorityClass"}
    for each in world.manifests:
        name = each.template["spec"].get("priorityClassName") if each.template else None
        known = {*_PRIORITIES, *(own for deployment, own in made if deployment == each.deployment)}
        if name and name not in known and (hint := did_you_mean(name, known)):
            world.problems.add(each.place, f"no PriorityClass is called {name}", hint)


def pod_security(world: World) -> None:
    """Labels of namespaces that say what pods may do: with one that is misspelt, all of them might do everything."""
    for each in world.manifests:
        if each.type is not kinds.NAMESPACE:
            continue
        place = each.place / "labels"
        for label, value in mapping(each.object, "metadata", "labels").items():
            prefix, _, mode = str(label).partition("/")
            if prefix != _POD_SECURITY:
                continue
            if mode.removesuffix("-version") not in _MODES:
                hint = did_you_mean(mode, _MODES) or f"Expected {' or '.join(_MODES)}."
                world.problems.add(place, f"pod security has no {mode}", hint)
            elif mode not in _MODES and not _RELEASE.fullmatch(str(value)):
                world.problems.add(place, f"{label}: expected latest or a version such as v1.37, found {value}")
            elif mode in _MODES and value not in _LEVELS:
                text = f"{label}: expected {' or '.join(_LEVELS)}, found {value}"
                world.problems.add(place, text, did_you_mean(str(value), _LEVELS))


RULES: tuple[Callable[[World], None], ...] = (
    node_ports,
    target_ports,
    pods,
    configuration,
    supply,
    secrets,
    custom_resources,
    priority_classes,
    pod_security,
    api,
)


def _title(manifest: Manifest) -> str:
    where = f" in namespace {manifest.namespace}" if manifest.namespace else ""
    return f"{manifest.kind} {manifest.name}{where}"


def _repeated(values: Iterable[Any]) -> list[Any]:
    counts = Counter(values)
    return [value for value, count in counts.items() if count > 1]


def _data(found: Object) -> dict[str, Any]:
    data = found.get("data") or found.get("stringData")
    return data if isinstance(data, dict) else {}


def _service_ports(manifest: Manifest) -> list[Object]:
    """The ports of a Service that one of our sections makes; another's object is the API server's to judge."""
    if manifest.type is not kinds.SERVICE or manifest.unit is not None:
        return []
    ports: list[Object] = manifest.object["spec"].get("ports", [])
    return ports


def _environment(world: World, manifest: Manifest, container: Object) -> tuple[set[str], bool]:
    """The names that a container's own environment sets, and whether a source outside the model may set more."""
    found, unknown = {variable["name"] for variable in container.get("env", ())}, False
    for source in container.get("envFrom", ()):
        for field, kind in (("configMapRef", kinds.CONFIG_MAP), ("secretRef", kinds.SECRET)):
            if field not in source:
                continue
            known = world.objects(manifest, kind).get(source[field]["name"])
            unknown = unknown or known is None
            found |= {source.get("prefix", "") + key for key in _data(known or {})}
    return found, unknown


def _injected(world: World, manifest: Manifest) -> set[str]:
    """What Kubernetes adds to the environment: addresses of the Services of the namespace, but for headless ones."""
    found = {"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS"}
    if manifest.template and manifest.template["spec"].get("enableServiceLinks") is False:
        return found
    for name, service in world.objects(manifest, kinds.SERVICE).items():
        spec = mapping(service, "spec")
        if spec.get("clusterIP") != "None":
            found |= set(_links(name, mappings(spec, "ports")))
    for deployment, kind, namespace, name in world.external:
        if (deployment, kind, namespace) == (manifest.deployment, kinds.SERVICE, manifest.namespace):
            found |= set(_links(name, ()))
    return found


def _links(name: str, ports: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    prefix = names.variable(name)
    yield from (f"{prefix}_SERVICE_HOST", f"{prefix}_SERVICE_PORT", f"{prefix}_PORT")
    for port in ports:
        if "name" in port:
            yield f"{prefix}_SERVICE_PORT_{names.variable(str(port['name']))}"
        link = f"{prefix}_PORT_{port.get('port')}_{port.get('protocol', 'TCP')}"
        yield from (link, f"{link}_PROTO", f"{link}_PORT", f"{link}_ADDR")


def _expansions(container: Object) -> Iterator[str]:
    for variable in container.get("env", ()):
        yield from _INJECTED.findall(variable.get("value", ""))


def _supply_hint(name: str) -> str:
    for suffix in ("_SERVICE_HOST", "_SERVICE_PORT"):
        if name.endswith(suffix):
            service = name.removesuffix(suffix).lower().replace("_", "-")
            return f"Kubernetes injects it where a Service {service} exists in the namespace."
    return f"Add it to the container's variables: {{name: {name}, secret: {{name: <secret>, key: <key>}}}}."
