"""Master top: a minion's highstate is the list of ``applications`` that its reclass node has.

Master configuration::

    master_tops:
      pillarbox:
        model: /srv/pillarbox/published/current
"""

from __future__ import annotations

from typing import Any

from pillarbox.salt.published import inventory

__opts__: dict[str, Any] = {}


def top(**kwargs: Any) -> dict[str, list[str]]:
    """``{environment: [SLS, ...]}`` for the minion in ``kwargs["opts"]``; empty for a minion that the model
    lacks, and while none is served."""
    minion_id = kwargs["opts"]["id"]
    nodes = inventory(__opts__["master_tops"]["pillarbox"]["model"])
    if nodes is None or minion_id not in nodes.nodes:
        return {}
    node = nodes.node(minion_id)
    return {node.environment: list(node.applications)}
