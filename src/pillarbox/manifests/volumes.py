"""Volumes of pods."""

from __future__ import annotations

import re
from typing import Any

from pillarbox.manifests import names
from pillarbox.manifests.manifest import Object
from pillarbox.manifests.scope import compact
from pillarbox.manifests.section import PillarSection

TYPES = ("emptyDir", "hostPath", "glusterfs", "nfs", "config_map", "secret", "persistent_volume_claim")


def volume(section: PillarSection, name: str) -> Object:
    """What the pillar says a volume is, as the source of a pod's volume ``name``."""
    section.ignore("name")
    kind = section.choice("type", among=(*TYPES, "pvc"))
    match kind:
        case "emptyDir":
            section.ignore("path")
            source: Object = {
                "emptyDir": compact(medium=section.text("medium"), sizeLimit=section.quantity("size_limit"))
            }
        case "hostPath" | "glusterfs" | "nfs":
            source = {kind: remote(section, kind)}
        case "config_map":
            source = {"configMap": {"name": _reference(section, name)} | _files(section)}
        case "secret":
            source = {"secret": {"secretName": _reference(section, name, "secret", "secret_name")} | _files(section)}
        case "persistent_volume_claim" | "pvc":
            claim = compact(
                claimName=_reference(section, name, "claim", "claim_name"), readOnly=section.flag("read_only")
            )
            source = {"persistentVolumeClaim": claim}
        case _:
            source = section.complete({}, "core.v1.Volume")
            if not source and section.value("type") is None:
                section.problem(f"a volume has a type: {', '.join(TYPES)}, or a source as Kubernetes has it")
    return {"name": name} | source


def remote(section: PillarSection, kind: str) -> Object:
    """The fields of a volume that lies on a host or a file server; PersistentVolumes share them."""
    path = section.text("path")
    if path is None:
        section.problem(f"a volume of type {kind} has a path")
    if kind == "hostPath":
        # A type that is not a hostPath's own would clash with the volume's type, so the key is longer.
        return compact(path=path, type=section.text("path_type", "host_path_type"))
    where = "server" if kind == "nfs" else "endpoints"
    host = section.text(where)
    if host is None:
        section.problem(f"a volume of type {kind} has {where}")
    return {where: host} | compact(path=path, readOnly=section.flag("read_only") or None)


def _reference(section: PillarSection, name: str, *keys: str) -> str:
    """The object that a volume shows; it is called like the volume unless the pillar says otherwise."""
    found = next((text for key in (*keys, "name") if (text := section.text(key))), name)
    version = section.text("version")
    return f"{found}-{version}" if version else found


def _files(section: PillarSection) -> Object:
    """Which keys become which files: ``items: {key: path}`` or the formula's ``item: {<any>: {key, path}}``."""
    given = section.value("item", "items")
    items: list[dict[str, Any]]
    if isinstance(given, dict) and not any(isinstance(value, dict) for value in given.values()):
        items = [{"key": key, "path": path} for key, path in section.texts("item", "items").items()]
    else:
        items = []
        for _, item in section.sections("item", "items"):
            with item:
                item.ignore("name")
                key = item.name("key", form=names.DATA_KEY)
                items.append(compact(key=key, path=item.text("path", default=key), mode=_mode(item, "mode")))
    return compact(
        items=sorted(items, key=lambda item: str(item.get("key"))),
        defaultMode=_mode(section, "mode", "default_mode"),
        optional=section.flag("optional"),
    )


def _mode(section: PillarSection, *keys: str) -> int | None:
    """File permissions; text is octal as on the command line, a YAML 1.1 octal number has been read already."""
    value = section.value(*keys)
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3,4}", value):
        return int(value, 8)
    return section.number(*keys, high=0o7777)
