"""Objects that we made and the model no longer has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.memory import NAME
from pillarbox.rollout.objects import DEPLOYMENT, MANAGED_BY, Object, ObjectRef, ref, selector

#: Kinds that Pillarbox makes, in the order in which they may go: what uses comes before what is used.
_KINDS = (
    ("batch/v1beta1", "CronJob"),
    ("batch/v1", "CronJob"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "Ingress"),
    ("v1", "Service"),
    ("policy/v1", "PodDisruptionBudget"),
    ("policy/v1beta1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "PersistentVolume"),
    ("v1", "Namespace"),
)
#: Deleting these deletes data, or all that is in them: never done unasked.
_PRECIOUS = ("PersistentVolumeClaim", "PersistentVolume", "Namespace")


@dataclass(frozen=True)
class Orphan:
    """An object of ours that the model does not have. ``kept`` says why it stays all the same."""

    ref: ObjectRef
    kept: str = ""


def orphans(
    cluster: Cluster, wanted: Iterable[ObjectRef], deployment: str, *, data_too: bool = False
) -> tuple[Orphan, ...]:
    """What ``deployment`` left behind in the cluster, in the order in which it can be deleted.

    ``data_too`` gives up volumes, claims and namespaces as well, and Secrets that pods still use.
    """
    known = {item.same for item in wanted}
    found: list[tuple[ObjectRef, Object]] = []
    seen: set[tuple[str, str, str, str]] = set()
    for api_version, kind in _KINDS:
        if not cluster.serves(api_version, kind):
            continue
        labels = selector({MANAGED_BY: "pillarbox", DEPLOYMENT: deployment})
        for item in cluster.list(api_version, kind, labels=labels)[0]:
            identity = ref(item)
            if identity.same in known or identity.same in seen or identity.name == NAME:
                continue
            if item["metadata"].get("ownerReferences"):
                continue
            seen.add(identity.same)
            found.append((identity, item))
    used = _used_secrets(cluster, {item.namespace for item, _ in found if item.kind == "Secret"}, found)
    return tuple(Orphan(item, "" if data_too else _reason(item, used)) for item, _ in found)


def _reason(item: ObjectRef, used: set[tuple[str, str]]) -> str:
    if item.kind in _PRECIOUS:
        return "it may hold data"
    if item.kind == "Secret" and (item.namespace, item.name) in used:
        return "pods still use it"
    return ""


def _used_secrets(
    cluster: Cluster, namespaces: Iterable[str], going: Iterable[tuple[ObjectRef, Object]]
) -> set[tuple[str, str]]:
    # Pods of workloads that are deleted in the same run do not count as users.
    selectors = [
        (item.namespace, ((obj.get("spec") or {}).get("selector") or {}).get("matchLabels") or {})
        for item, obj in going
        if item.kind in ("Deployment", "StatefulSet", "DaemonSet", "Job")
    ]
    used = set()
    for namespace in namespaces:
        for pod in cluster.list("v1", "Pod", namespace)[0]:
            labels = pod["metadata"].get("labels") or {}
            if any(where == namespace and match and match.items() <= labels.items() for where, match in selectors):
                continue
            used |= {(namespace, name) for name in references(pod["spec"], "Secret")}
    return used


def references(spec: Mapping[str, Any], kind: str) -> Iterator[str]:
    """Names of the Secrets or ConfigMaps that a pod spec refers to."""
    volume, key, name = ("secret", "secretName", "secret") if kind == "Secret" else ("configMap", "name", "configMap")
    for item in spec.get("volumes") or ():
        if item.get(volume):
            yield item[volume].get(key, "")
        for source in (item.get("projected") or {}).get("sources") or ():
            if source.get(volume):
                yield source[volume].get("name", "")
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for variable in container.get("env") or ():
            chosen = (variable.get("valueFrom") or {}).get(f"{name}KeyRef")
            if chosen:
                yield chosen.get("name", "")
        for source in container.get("envFrom") or ():
            if source.get(f"{name}Ref"):
                yield source[f"{name}Ref"].get("name", "")
    if kind == "Secret":
        yield from (item.get("name", "") for item in spec.get("imagePullSecrets") or ())
