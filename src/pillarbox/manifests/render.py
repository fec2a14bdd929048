"""From an inventory to Kubernetes objects: a pure function of the model, the images it describes and their digests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pillarbox.manifests import (
    checks,
    config,
    dependencies,
    kinds,
    network,
    objects,
    openapi,
    policies,
    rbac,
    storage,
    workloads,
)
from pillarbox.manifests.catalog import Catalog, Image, named_image
from pillarbox.manifests.errors import PillarPlace, Problems
from pillarbox.manifests.finish import finished
from pillarbox.manifests.manifest import Manifest
from pillarbox.manifests.scope import Scope, deploy_name, parse_version
from pillarbox.manifests.section import PillarSection
from pillarbox.model import Inventory, Node
from pillarbox.system.errors import PillarboxError, raise_all

Builder = Callable[[str, PillarSection, Scope], Iterator[Manifest]]

# The sections of kubernetes:control, and what turns one entry of each into objects.
SECTIONS: Mapping[str, Builder] = {
    "service": workloads.service_workload,
    "job": workloads.job,
    "configmap": config.config_map,
    "secret": config.secret,
    "persistent_volume": storage.persistent_volume,
    "persistent_volume_claim": storage.persistent_volume_claim,
    "role": rbac.role,
    "service_account": rbac.service_account,
    "namespaces": rbac.namespace,
    "ingress": network.ingress,
    "endpoints": network.endpoints,
    "network_policy": policies.network_policy,
    kinds.OBJECT: objects.any_object,
}
_ALIASES = {"configmap": ("config_map",)}
# What pods find by name, and others may make.
_EXTERNAL = (kinds.CONFIG_MAP, kinds.SECRET, kinds.SERVICE)


def render(
    inventory: Inventory,
    image_specs: Mapping[str, Image] | None = None,
    digests: Mapping[str, str] | None = None,
) -> tuple[Manifest, ...]:
    """The objects of every node with ``kubernetes:control``, sorted by file name.

    ``image_specs`` are the model's image nodes by name; without them the nodes are known by name only, and dynamic
    names are not checked. ``digests`` are the images' digests in their registry, as far as known; containers and the
    names of Jobs are pinned to them.

    Raises :class:`ManifestError` (several as :class:`ErrorGroup`), and what the inventory raises for its nodes.
    """
    problems = Problems()
    nodes = _nodes(inventory, problems)
    catalog = Catalog(_named_images(nodes) if image_specs is None else image_specs, digests or {})
    drafts: list[Manifest] = []
    external: set[checks.External] = set()
    for node in nodes:
        control = _control(node)
        if control is not None:
            written = partial(inventory.place, node.name)
            place = PillarPlace(node.name, written, ("kubernetes", "control"))
            drafts += _rendered(node, place, control, catalog, external, problems)
    unique = policies.completed(dependencies.resolved(checks.distinct(drafts, problems), problems), problems)
    checks.check(checks.World(unique, catalog, frozenset(external), problems))
    raise_all(problems.found)
    return tuple(sorted(finished(unique, catalog), key=lambda each: each.filename))


def _nodes(inventory: Inventory, problems: Problems) -> list[Node]:
    found = []
    for name in inventory.nodes:
        try:
            found.append(inventory.node(name))
        except PillarboxError as error:
            problems.found.append(error)
    raise_all(problems.found)
    return found


def _named_images(nodes: list[Node]) -> dict[str, Image]:
    return {image.name: image for node in nodes if (image := named_image(node.parameters))}


def _control(node: Node) -> Any:
    kubernetes = node.parameters.get("kubernetes")
    return kubernetes.get("control") if isinstance(kubernetes, Mapping) else None


def _rendered(
    node: Node, place: PillarPlace, data: Any, catalog: Catalog, external: set[checks.External], problems: Problems
) -> Iterator[Manifest]:
    with PillarSection(data, place, problems) as control:
        # What the formula wrote its files by; here it changes nothing.
        control.ignore("config_type", "host_network", *SECTIONS, *(name for each in _ALIASES.values() for name in each))
        # How to reach the cluster: rollout's business.
        control.ignore("kubeconfig")
        if control.flag("enabled") is False:
            control.ignore(*control.given)
            return
        namespace = control.name("namespace") or "default"
        version = parse_version(control, node.parameters)
        control.api = openapi.api(version)
        scope = Scope(deploy_name(control, node.parameters), namespace, version, catalog, problems)
        with control.section("external") as elsewhere:
            for kind in _EXTERNAL:
                for name in elsewhere.words(kind.section, *_ALIASES.get(kind.section, ())) or ():
                    where, _, own = name.rpartition("/")
                    external.add((scope.deployment, kind, where or namespace, own))
        for section, build in SECTIONS.items():
            for key, entry in control.sections(section, *_ALIASES.get(section, ())):
                if _enabled(section, entry):
                    yield from build(key, entry, scope)


def _enabled(section: str, entry: PillarSection) -> bool:
    return entry.flag("enabled") is not False
