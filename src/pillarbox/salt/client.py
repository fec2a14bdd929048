"""Salt's client of the master, wherever a runner runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import salt.client
import salt.config
from salt.exceptions import SaltException

from pillarbox.pipeline.errors import PipelineError


def master_options(opts: Mapping[str, Any]) -> dict[str, Any]:
    """The master's own options. Inside an orchestration a runner is given those of the master's minion, whose caches
    (and so the key to the master) lie elsewhere."""
    return dict(salt.config.master_config(opts["conf_file"]))


def local_client(opts: Mapping[str, Any]) -> salt.client.LocalClient:
    """A client that gives jobs to minions and hears all events from now on; to be used as a context. It is opened
    again for each job: a master that restarts changes its key and drops its sockets."""
    return salt.client.get_local_client(mopts=master_options(opts), listen=True)


def returns(
    opts: Mapping[str, Any], hosts: Sequence[str], function: str, given: Sequence[Any], named: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """What each of the minions returns of one job, as they do; nothing of one that gives no answer. ``given`` and
    ``named`` are the function's arguments.

    Raises :class:`PipelineError` when the master does not answer.
    """
    if not hosts:
        return
    try:
        with local_client(opts) as client:
            for returned in client.cmd_iter(list(hosts), function, list(given), kwarg=dict(named), tgt_type="list"):
                for host, answer in returned.items():
                    if "ret" in answer:
                        yield host, answer["ret"]
    except SaltException as error:
        raise PipelineError(f"the Salt master does not answer: {error}") from error
