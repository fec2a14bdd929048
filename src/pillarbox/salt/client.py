"""Salt's client of the master, wherever a runner runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import salt.client
import salt.config


def master_options(opts: Mapping[str, Any]) -> dict[str, Any]:
    """The master's own options. Inside an orchestration a runner is given those of the master's minion, whose caches
    (and so the key to the master) lie elsewhere."""
    return dict(salt.config.master_config(opts["conf_file"]))


def local_client(opts: Mapping[str, Any]) -> salt.client.LocalClient:
    """A client that gives jobs to minions and hears all events from now on; to be used as a context. It is opened
    again for each job: a master that restarts changes its key and drops its sockets."""
    return salt.client.get_local_client(mopts=master_options(opts), listen=True)
