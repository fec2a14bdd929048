"""The data of workloads: what backs it up and brings it back runs in their own pods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pillarbox.manifests import backups
from pillarbox.manifests.backups import BackupCommands
from pillarbox.rollout import exec, memory
from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.errors import RolloutError
from pillarbox.rollout.exec import Container
from pillarbox.rollout.memory import Memory
from pillarbox.rollout.objects import ObjectRef, ref, selector

if TYPE_CHECKING:
    from pillarbox.manifests import Manifest

#: Seconds without a byte after which a command that writes data is given up.
SILENCE = 300.0
#: The same for one that reads data, and may have nothing to say while it works: as long as kubelets keep a connection.
QUIET = 4 * 3600.0


@dataclass(frozen=True)
class Data:
    """The data of one workload that the model says how to back up."""

    cluster: Cluster
    deployment: str
    namespaces: frozenset[str]
    workload: ObjectRef
    labels: str
    commands: BackupCommands

    @property
    def name(self) -> str:
        """What archives of it are called: as the workload."""
        return self.workload.name

    def known(self) -> dict[str, Any]:
        """What the cluster knows of the data now, as plain data. Raises :class:`RolloutError`."""
        return memory.recall(self.cluster, self.deployment, self.namespaces).as_dict()

    def read(self) -> Iterator[bytes]:
        """Everything, as its command writes it. Raises :class:`RolloutError`."""
        return exec.output(self.cluster, self._container(), self.commands.command, silence=SILENCE)

    def outdated(self, known: Mapping[str, Any]) -> tuple[ObjectRef, ...]:
        """The Jobs that run again once data is back from the time of ``known``."""
        return memory.outdated(self.cluster, self.deployment, Memory.of(known))

    def write(self, content: Iterable[bytes], size: int, known: Mapping[str, Any]) -> str:
        """Bring back the ``size`` bytes of ``content`` in the place of what is there, and have the cluster know no more
        than was ``known`` then; returns what the command says. Raises :class:`RolloutError`."""
        printed = exec.feed(self.cluster, self._container(), self.commands.restore, content, size, silence=QUIET)
        memory.go_back(self.cluster, self.deployment, self.namespaces, Memory.of(known))
        return printed

    def _container(self) -> Container:
        pods, _ = self.cluster.list("v1", "Pod", self.workload.namespace, labels=self.labels)
        for pod in pods:
            states = (pod.get("status") or {}).get("containerStatuses") or ()
            ready = any(each["name"] == self.commands.container and each["ready"] for each in states)
            if ready and not pod["metadata"].get("deletionTimestamp"):
                return Container(self.workload.namespace, pod["metadata"]["name"], self.commands.container)
        raise RolloutError(
            f"{self.workload} has no pod whose container {self.commands.container} is ready",
            hint=f"kubectl -n {self.workload.namespace} describe {self.workload.kind.lower()} {self.name}",
        )


def data_of(cluster: Cluster, deployment: str, manifests: Sequence[Manifest]) -> tuple[Data, ...]:
    """The data of all workloads of ``deployment`` that have a backup, sorted by name."""
    namespaces = frozenset(each.namespace or "default" for each in manifests if each.type.namespaced)
    found = []
    for manifest in manifests:
        commands = backups.of(manifest.annotations)
        if commands is not None:
            labels = selector(manifest.object["spec"]["selector"]["matchLabels"])
            found.append(Data(cluster, deployment, namespaces, ref(manifest.object), labels, commands))
    return tuple(sorted(found, key=lambda data: data.name))
