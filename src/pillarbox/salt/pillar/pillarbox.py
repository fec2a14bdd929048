"""External pillar: what the model says of a minion, with its secrets opened and its certificates issued.

Master configuration::

    ext_pillar:
    - pillarbox:
        model: /srv/pillarbox/published/current
        pki: /var/lib/pillarbox/pki

Secrets are PGP blocks, opened by Salt's own gpg renderer with the master's ``gpg_keydir``.
"""

from __future__ import annotations

from typing import Any

import salt.loader

from pillarbox.pki import DIRECTORY, issue
from pillarbox.salt.published import inventory
from pillarbox.system import gpg

__opts__: dict[str, Any] = {}
__salt__: dict[str, Any] = {}

# Parameters that only the model itself needs; they would hand every minion the secrets of all.
_MODEL_ONLY = ("_secret",)


def ext_pillar(minion_id: str, pillar: dict[str, Any], model: str, pki: str = DIRECTORY) -> dict[str, Any]:
    """The pillar of one minion; an empty one where the model has no node of that name, or none is served yet.

    Raises what the model raises: Salt then marks the pillar as failed and applies no state with it.
    """
    nodes = inventory(model)
    if nodes is None or minion_id not in nodes.nodes:
        return {}
    parameters = dict(nodes.node(minion_id).parameters)
    for name in _MODEL_ONLY:
        parameters.pop(name, None)
    if isinstance(parameters.get("_param"), dict):
        parameters["_param"] = {k: v for k, v in parameters["_param"].items() if not gpg.is_block(v)}
    if any(gpg.blocks(parameters)):
        parameters = salt.loader.render(__opts__, __salt__)["gpg"](parameters)
    if "pki" in parameters:
        parameters["pki"] = {**parameters["pki"], **issue(parameters, pki)["pki"]}
    return parameters
