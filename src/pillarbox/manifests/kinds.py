"""What a Kubernetes kind is to Pillarbox: one record a kind, read by all that treat kinds apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

Version = tuple[int, int]

#: The section that makes objects of any kind.
OBJECT = "object"
#: The annotation of an object that stays when it leaves the model, although its kind would not.
KEEP = "pillarbox.io/keep"

_ALWAYS: Version = (0, 0)
#: What a model that names no Kubernetes version gets: the oldest that is in support.
CURRENT: Version = (1, 35)


def group(api_version: str) -> str:
    """The API group of ``group/version``; empty for the core's ``v1``."""
    return api_version.rpartition("/")[0]


class Gate(Enum):
    """How it is known that an object with pods is healthy; a wave ends when all of its objects are."""

    DEPLOYMENT = auto()
    STATEFUL_SET = auto()
    DAEMON_SET = auto()
    JOB = auto()


@dataclass(frozen=True)
class ConditionGate:
    """A gate on one of an object's ``status.conditions``; ``timeout`` is in seconds."""

    type: str
    status: str = "True"
    timeout: float = 600.0

    def __str__(self) -> str:
        return self.type if self.status == "True" else f"{self.type}={self.status}"


@dataclass(frozen=True)
class Kind:
    """One kind.

    ``apis`` are its API versions, each with the Kubernetes version that serves it first, newest last. ``section`` is
    the section of ``kubernetes:control`` that makes it, ``gate`` what a wave waits for (``None``: the object is in
    effect as soon as it is stored), ``template`` where its pod template lies. ``once`` is a kind whose objects run to
    an end and are never changed, ``in_place`` one that takes a pod away before the one that replaces it is there.
    ``precious`` says why an object that left the model is not deleted unasked.
    """

    name: str
    apis: tuple[tuple[Version, str], ...] = ()
    section: str = OBJECT
    namespaced: bool = True
    suffix: str = ""
    gate: Gate | ConditionGate | None = None
    template: tuple[str, ...] = ()
    once: bool = False
    in_place: bool = False
    precious: str = ""

    def api(self, version: Version) -> str:
        """The API version that serves this kind in Kubernetes ``version``."""
        return next(api for since, api in reversed(self.apis) if version >= since)

    @property
    def file_suffix(self) -> str:
        """How the names of its files end, before ``.yml``."""
        return self.suffix or self.name.lower()

    @property
    def runs_pods(self) -> bool:
        """Whether making or changing an object starts pods that a wave waits for."""
        return isinstance(self.gate, Gate)


_V1 = ((_ALWAYS, "v1"),)
_APPS = ((_ALWAYS, "apps/v1"),)
_RBAC = ((_ALWAYS, "rbac.authorization.k8s.io/v1"),)
_POD = ("spec", "template")
_DATA = "it may hold data"

NAMESPACE = Kind("Namespace", _V1, "namespaces", namespaced=False, precious=_DATA)
DEFINITION = Kind(
    "CustomResourceDefinition",
    ((_ALWAYS, "apiextensions.k8s.io/v1"),),
    namespaced=False,
    suffix="crd",
    gate=ConditionGate("Established", timeout=60.0),
    precious="all objects of its kind would go with it",
)
SERVICE_ACCOUNT = Kind("ServiceAccount", _V1, "service_account")
SECRET = Kind("Secret", _V1, "secret")
CONFIG_MAP = Kind("ConfigMap", _V1, "configmap")
SERVICE = Kind("Service", _V1, "service", suffix="svc")
DEPLOYMENT = Kind("Deployment", _APPS, "service", gate=Gate.DEPLOYMENT, template=_POD)
STATEFUL_SET = Kind("StatefulSet", _APPS, "service", gate=Gate.STATEFUL_SET, template=_POD, in_place=True)
DAEMON_SET = Kind("DaemonSet", _APPS, "service", gate=Gate.DAEMON_SET, template=_POD)
NETWORK_POLICY = Kind("NetworkPolicy", ((_ALWAYS, "networking.k8s.io/v1"),), "network_policy")
JOB = Kind("Job", ((_ALWAYS, "batch/v1"),), "job", gate=Gate.JOB, template=_POD, once=True)
CRON_JOB = Kind(
    "CronJob",
    ((_ALWAYS, "batch/v1beta1"), ((1, 21), "batch/v1")),
    "job",
    template=("spec", "jobTemplate", "spec", "template"),
)

#: Every kind that a section of its own makes, and those others that must come early, in the order in which objects
#: need each other: they are applied from the first to the last, and deleted from the last to the first.
TABLE: tuple[Kind, ...] = (
    NAMESPACE,
    DEFINITION,
    Kind("PriorityClass", ((_ALWAYS, "scheduling.k8s.io/v1"),), namespaced=False),
    Kind("StorageClass", ((_ALWAYS, "storage.k8s.io/v1"),), namespaced=False),
    Kind("PersistentVolume", _V1, "persistent_volume", namespaced=False, suffix="pv", precious=_DATA),
    SERVICE_ACCOUNT,
    Kind("ClusterRole", _RBAC, "role", namespaced=False),
    Kind("ClusterRoleBinding", _RBAC, "role", namespaced=False),
    Kind("Role", _RBAC, "role"),
    Kind("RoleBinding", _RBAC, "role"),
    SECRET,
    CONFIG_MAP,
    Kind("PersistentVolumeClaim", _V1, "persistent_volume_claim", suffix="pvc", precious=_DATA),
    SERVICE,
    Kind("Endpoints", _V1, "endpoints"),
    Kind(
        "EndpointSlice",
        ((_ALWAYS, "discovery.k8s.io/v1beta1"), ((1, 21), "discovery.k8s.io/v1")),
        "endpoints",
    ),
    Kind(
        "PodDisruptionBudget",
        ((_ALWAYS, "policy/v1beta1"), ((1, 21), "policy/v1")),
        "service",
        suffix="pdb",
    ),
    Kind("Ingress", ((_ALWAYS, "networking.k8s.io/v1"),), "ingress"),
    NETWORK_POLICY,
    JOB,
    DAEMON_SET,
    STATEFUL_SET,
    DEPLOYMENT,
    CRON_JOB,
)

_BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in TABLE}
_BY_GROUP: Mapping[tuple[str, str], Kind] = {(group(api), kind.name): kind for kind in TABLE for _, api in kind.apis}
#: The API groups of the table, but for the core, which has none.
GROUPS = frozenset(name for name, _ in _BY_GROUP) - {""}
_ORDER: Mapping[Kind, int] = {kind: place for place, kind in enumerate(TABLE)}


def named(name: str) -> Kind:
    """The kind of the table that is called ``name``. Raises :class:`KeyError` when there is none."""
    return _BY_NAME[name]


def of(obj: Mapping[str, Any]) -> Kind:
    """What is known of the kind of an object, or of anything else with ``apiVersion`` and ``kind``."""
    return find(str(obj["apiVersion"]), str(obj["kind"]))


def find(api_version: str, name: str) -> Kind:
    """What is known of a kind; a kind of another API group that shares the name is another kind."""
    return _BY_GROUP.get((group(api_version), name)) or Kind(name)


def order(kind: Kind) -> int:
    """A kind's place in the order in which objects need each other; kinds that no table knows need all the others."""
    return _ORDER.get(kind, len(TABLE))
