"""How the data of a workload is backed up: commands in one of its containers, as an annotation of the workload."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pillarbox.manifests.section import PillarSection

ANNOTATION = "pillarbox.io/backup"
#: A DaemonSet has its data in many places, and no pod of it stands for the others.
KINDS = ("Deployment", "StatefulSet")


@dataclass(frozen=True)
class BackupCommands:
    """``command`` writes the data of a workload to standard output, ``restore`` reads it from standard input; both run
    in ``container`` of any pod of it that is ready. ``before_expand``: before schemas are expanded, too."""

    container: str
    command: tuple[str, ...]
    restore: tuple[str, ...]
    before_expand: bool

    @property
    def annotation(self) -> str:
        """The text of :data:`ANNOTATION`."""
        return json.dumps(asdict(self), sort_keys=True)


def read(section: PillarSection, kind: str, containers: Sequence[str]) -> BackupCommands | None:
    """What the key ``backup`` of a service says; ``containers`` are the names of those of its pods."""
    if "backup" not in section.given:
        return None
    with section.section("backup") as given:
        container = given.text("container", default=containers[0] if containers else None)
        found = BackupCommands(
            container or "",
            tuple(given.words("command") or ()),
            tuple(given.words("restore_command") or ()),
            bool(given.flag("before_expand")),
        )
        if kind not in KINDS:
            given.problem(f"a {kind} has no backup", f"Known for {' and '.join(KINDS)}.")
        if container is not None and container not in containers:
            given.problem(f"there is no container {container}", f"There are: {', '.join(containers)}.", key="container")
        for key, words in (("command", found.command), ("restore_command", found.restore)):
            if not words:
                given.problem(f"expected {key}, a command with its arguments", key=key)
    return found


def of(annotations: Mapping[str, str]) -> BackupCommands | None:
    """What the annotations of a workload say."""
    if ANNOTATION not in annotations:
        return None
    known = json.loads(annotations[ANNOTATION])
    return BackupCommands(known["container"], tuple(known["command"]), tuple(known["restore"]), known["before_expand"])
