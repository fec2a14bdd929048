"""What is known about an object only once all of them are there: its configuration's digest, a Job's name."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from pillarbox.manifests import kinds
from pillarbox.manifests.catalog import Catalog
from pillarbox.manifests.kinds import Kind
from pillarbox.manifests.manifest import Manifest, Object
from pillarbox.manifests.references import ReferenceUse, references
from pillarbox.manifests.workloads import IGNORED, ONCE_PER
from pillarbox.system.fingerprint import fingerprint

CONFIG = "pillarbox.io/config"


def finished(manifests: Iterable[Manifest], catalog: Catalog) -> tuple[Manifest, ...]:
    """``manifests`` with the digest of its configuration in every pod template, and Jobs named by what they run.

    A Job that runs once per image carries no such digest: the same name must mean the same object, and its template
    cannot be changed. Its name is a digest of its whole spec and of the images behind it.
    """
    found = tuple(manifests)
    data = {
        (each.deployment, each.type, each.namespace, each.name): each.object
        for each in found
        if each.type in (kinds.CONFIG_MAP, kinds.SECRET)
    }
    return tuple(_named(_configured(each, data), catalog) for each in found)


def _configured(manifest: Manifest, data: dict[tuple[str, Kind, str | None, str], Object]) -> Manifest:
    template = manifest.template
    if template is None or manifest.annotations.get(ONCE_PER) == "image":
        return manifest
    ignored = manifest.annotations.get(IGNORED, "").split(",")
    used = {}
    for each in references(manifest.object):
        found = data.get((manifest.deployment, each.kind, manifest.namespace, each.name))
        # No process sees what an image was pulled with.
        if found is None or each.use is ReferenceUse.PULL or f"{each.kind.section}/{each.name}" in ignored:
            continue
        used[f"{each.kind.name}/{each.name}"] = found.get("data", found.get("stringData"))
    if not used:
        return manifest
    changed = manifest.with_object(copy.deepcopy(manifest.object))
    annotated = changed.template
    assert annotated is not None
    annotated["metadata"].setdefault("annotations", {})[CONFIG] = fingerprint(used)
    return changed


def _named(manifest: Manifest, catalog: Catalog) -> Manifest:
    if not manifest.type.once or manifest.workload is None:
        return manifest
    images = [catalog.identity(container.get("image", "")) for container in manifest.containers()]
    digest = fingerprint([manifest.object["spec"], images])[:10]
    metadata = {**manifest.object["metadata"], "name": f"{manifest.name}-{digest}"}
    return manifest.with_object({**manifest.object, "metadata": metadata})
