"""One deployment of a revision: what goes to one cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pillarbox.manifests import Manifest
from pillarbox.model import Node
from pillarbox.revision.errors import RevisionError


@dataclass(frozen=True)
class Deployment:
    """The manifests of one ``deploy_name``, and the kubeconfig that the model names for them, if any."""

    name: str
    kubeconfig: Path | None
    manifests: tuple[Manifest, ...]


def deployments(manifests: Iterable[Manifest], nodes: Mapping[str, Node]) -> Iterator[Deployment]:
    """``manifests`` by deployment, sorted by name; ``nodes`` are those that asked for them.

    Raises :class:`RevisionError` when the nodes of one deployment name different kubeconfigs.
    """
    mine: dict[str, list[Manifest]] = {}
    for item in manifests:
        mine.setdefault(item.deployment, []).append(item)
    for name, found in sorted(mine.items()):
        named = {node: _kubeconfig(nodes[node]) for node in dict.fromkeys(item.node for item in found)}
        configs = sorted({path for path in named.values() if path})
        if len(configs) > 1:
            raise RevisionError(
                f"deployment {name}: expected one kubeconfig, found {', '.join(configs)}",
                file=next(nodes[node].file for node, path in named.items() if path == configs[1]),
                hint="A deployment is one cluster: name the same kubeconfig, or give the nodes another deploy_name.",
            )
        yield Deployment(name, Path(configs[0]) if configs else None, tuple(found))


def _kubeconfig(node: Node) -> str | None:
    kubernetes = node.parameters.get("kubernetes") or {}
    # A node that deploys is usually an administrator's host as well, and has its kubeconfig by the formula.
    path = (kubernetes.get("control") or {}).get("kubeconfig") or (kubernetes.get("client") or {}).get("kubeconfig")
    return str(path) if path else None
