"""What can be said about an object only once all of them are there: its configuration's digest, a Job's name."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

from pillarbox.manifests.catalog import Catalog
from pillarbox.manifests.manifest import Manifest, Object
from pillarbox.manifests.workloads import ONCE_PER
from pillarbox.system.fingerprint import fingerprint

CONFIG = "pillarbox.io/config"

# A ConfigMap or Secret as a pod knows it: kind, name, key (None: all of it), and whether the pod starts without it.
Reference = tuple[str, str, str | None, bool]


def finished(manifests: Iterable[Manifest], catalog: Catalog) -> tuple[Manifest, ...]:
    """``manifests`` with the digest of its configuration in every pod template, and Jobs named by what they run.

    A Job that runs once per image carries no such digest: the same name must mean the same object, and its template
    cannot be changed. Its name is a digest of its whole spec and of the images behind it.
    """
    found = tuple(manifests)
    data = {each.identity: each.object for each in found if each.kind in ("ConfigMap", "Secret")}
    return tuple(_named(_configured(each, data), catalog) for each in found)


def references(template: Object) -> Iterator[Reference]:
    """The ConfigMaps and Secrets that the pods of a template use."""
    spec = template["spec"]
    for volume in spec.get("volumes", ()):
        for field, kind, name in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
            if source := volume.get(field):
                keys = [item.get("key") for item in source.get("items", ())] or [None]
                yield from ((kind, source[name], key, source.get("optional", False)) for key in keys)
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        for variable in container.get("env", ()):
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if source := variable.get("valueFrom", {}).get(field):
                    yield kind, source["name"], source["key"], source.get("optional", False)
        for whole in container.get("envFrom", ()):
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if source := whole.get(field):
                    yield kind, source["name"], None, source.get("optional", False)


def _configured(manifest: Manifest, data: dict[tuple[str, str, str | None, str], Object]) -> Manifest:
    template = manifest.template
    if template is None or manifest.annotations.get(ONCE_PER) == "image":
        return manifest
    used = {}
    for kind, name, _, _ in references(template):
        found = data.get((manifest.deployment, kind, manifest.namespace, name))
        if found is not None:
            used[f"{kind}/{name}"] = found.get("data", found.get("stringData"))
    if not used:
        return manifest
    changed = manifest.with_object(copy.deepcopy(manifest.object))
    annotated = changed.template
    assert annotated is not None
    annotated["metadata"].setdefault("annotations", {})[CONFIG] = fingerprint(used)
    return changed


def _named(manifest: Manifest, catalog: Catalog) -> Manifest:
    if manifest.kind != "Job":
        return manifest
    images = [catalog.identity(container.get("image", "")) for container in manifest.containers()]
    digest = fingerprint([manifest.object["spec"], images])[:10]
    metadata = {**manifest.object["metadata"], "name": f"{manifest.name}-{digest}"}
    return manifest.with_object({**manifest.object, "metadata": metadata})
