"""NetworkPolicies that a cluster takes, and that nothing in it enforces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pillarbox.manifests import kinds
from pillarbox.model import Node
from pillarbox.revision import Revision
from pillarbox.system.errors import PillarboxError

_PLACE = ("kubernetes", "pool", "network", "policies")


def unenforced(revision: Revision) -> Iterator[PillarboxError]:
    """One doubt for each cluster of the model whose hosts say that their network does not enforce policies.

    Which hosts are a cluster's is known by the API server: theirs, and the one that a deployment is applied to. Of
    clusters that the model only has a kubeconfig for nothing is known.
    """
    policies = Counter(
        server
        for item in revision.manifests
        if item.type is kinds.NETWORK_POLICY and (server := _deployed_to(revision.nodes[item.node]))
    )
    for server, count in sorted(policies.items()):
        for node in revision.hosts.values():
            pool = _role(node, "pool")
            if _server(pool.get("master")) == server and (pool.get("network") or {}).get("policies") is False:
                file, line = revision.inventory.place(node.name, _PLACE)
                engine = pool["network"].get("engine")
                text = (
                    f"the network engine {engine} of the cluster {server} does not enforce its {count} NetworkPolicies"
                )
                yield PillarboxError(text, file=file, line=line)
                break


def _deployed_to(node: Node) -> str | None:
    """The API server that a node's objects go to, where the model says that rather than a kubeconfig."""
    return None if _role(node, "control").get("kubeconfig") else _server(_role(node, "client").get("apiserver"))


def _server(given: Any) -> str | None:
    return f"{given['host']}:{given.get('port', 6443)}" if isinstance(given, Mapping) and "host" in given else None


def _role(node: Node, role: str) -> Mapping[str, Any]:
    found = (node.parameters.get("kubernetes") or {}).get(role)
    return found if isinstance(found, Mapping) else {}
