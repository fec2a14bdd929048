"""PersistentVolumes and the claims on them."""

from __future__ import annotations

from collections.abc import Iterator

from pillarbox.manifests import names
from pillarbox.manifests.manifest import Manifest, Object
from pillarbox.manifests.pods import HOSTNAME
from pillarbox.manifests.scope import Scope, compact
from pillarbox.manifests.section import PillarSection
from pillarbox.manifests.volumes import remote
from pillarbox.system.names import did_you_mean

MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
TYPES = ("hostPath", "local", "nfs", "glusterfs")


def persistent_volume(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:persistent_volume``."""
    with section:
        section.ignore("enabled")
        name = section.checked(section.text("name", default=key) or key, names.SUBDOMAIN)
        kind = section.choice("type", among=TYPES)
        source = {"path": section.text("path")} if kind == "local" else remote(section, kind) if kind else {}
        host = section.text("node", "host")
        if kind == "local" and host is None:
            section.problem("a local volume lies on a host: node")
        match = {"key": HOSTNAME, "operator": "In", "values": [host]}
        spec = compact(
            capacity=compact(storage=_storage(section)),
            accessModes=_modes(section),
            storageClassName=section.text("storage_class", "storage_class_name"),
            persistentVolumeReclaimPolicy=section.choice(
                "reclaim_policy", among=("Retain", "Delete", "Recycle"), default="Retain"
            ),
            claimRef=_claim_reference(section, scope),
            nodeAffinity={"required": {"nodeSelectorTerms": [{"matchExpressions": [match]}]}} if host else None,
        )
        if kind:
            spec[kind] = source
        whole = section.complete(spec, "core.v1.PersistentVolumeSpec")
        if whole.keys() == spec.keys() and kind is None and section.value("type") is None:
            section.problem(f"a volume has a type, {', '.join(TYPES)}, or a source as Kubernetes has it")
        labels, annotations = section.texts("labels"), section.texts("annotations")
        yield scope.manifest(
            "PersistentVolume", name, {"spec": whole}, section.place, labels=labels, annotations=annotations
        )


def persistent_volume_claim(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:persistent_volume_claim``."""
    with section:
        section.ignore("enabled")
        name = section.checked(section.text("name", default=key) or key, names.SUBDOMAIN)
        yield scope.manifest(
            "PersistentVolumeClaim",
            name,
            {"spec": claim(section)},
            section.place,
            namespace=section.name("namespace"),
            labels=section.texts("labels"),
            annotations=section.texts("annotations"),
        )


def claim(section: PillarSection) -> Object:
    """What a claim asks for."""
    selector = section.texts("selector")
    found = compact(
        accessModes=_modes(section),
        resources={"requests": compact(storage=_storage(section))},
        storageClassName=section.text("storage_class", "storage_class_name"),
        volumeName=section.text("volume", "volume_name"),
        selector={"matchLabels": selector} if selector else None,
    )
    return section.complete(found, "core.v1.PersistentVolumeClaimSpec")


def _storage(section: PillarSection) -> str | None:
    size = section.quantity("storage", "capacity", "size")
    if size is None:
        section.problem("how much storage? Expected a quantity such as 10Gi", key="storage")
    return size


def _modes(section: PillarSection) -> list[str]:
    modes = section.words("access_modes", "access_mode") or ["ReadWriteOnce"]
    for mode in modes:
        if mode not in MODES:
            section.problem(f"unknown access mode {mode}", did_you_mean(mode, MODES) or f"Known: {', '.join(MODES)}.")
    return modes


def _claim_reference(section: PillarSection, scope: Scope) -> Object | None:
    with section.section("claim") as reference:
        if not reference.given:
            return None
        return compact(name=reference.text("name"), namespace=reference.text("namespace", default=scope.namespace))
