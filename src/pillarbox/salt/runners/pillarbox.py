"""Runners of the master: the pipeline's steps, for orchestrations, administrators and the engine.

Every function that can fail sets its return code and says so in its return, so that ``salt-run``, orchestrations and
the job cache all see a failure as one. Progress goes to standard error: to the terminal under ``salt-run``, to the
journal under the engine.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import salt.utils.event

from pillarbox import pki
from pillarbox.images.builder import PATIENCE
from pillarbox.pipeline import plan as planning
from pillarbox.pipeline.backup import backup as make_backup
from pillarbox.pipeline.backup import overdue
from pillarbox.pipeline.build import build_pushed, on_this_machine, pending
from pillarbox.pipeline.collection import KEEP
from pillarbox.pipeline.collection import collect as collect_images
from pillarbox.pipeline.deploy import DeployOptions, deploy_revision, state
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.prepare import last_deployed
from pillarbox.pipeline.record import Run, Runs
from pillarbox.pipeline.restore import restore as bring_back
from pillarbox.salt.builders import BuilderMinions
from pillarbox.salt.client import master_options
from pillarbox.salt.hosts import Highstates
from pillarbox.salt.leftovers import Leftovers
from pillarbox.salt.restore import Restore
from pillarbox.secrets import DEFAULT_HOME
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress

__opts__: dict[str, Any] = {}
__context__: dict[str, Any] = {}

_REPORT = "pillarbox/report"


def build(again: bool = False, local: bool = False, patience: float = PATIENCE) -> dict[str, Any]:
    """Build what was pushed; nothing to do is a success.

    ``again`` builds the newest revision even if a run has dealt with it; ``local`` uses this machine's engine instead
    of builder minions. A registry that is away is waited for for ``patience`` seconds; after that the run ends as
    interrupted, and the master takes it up again by itself.

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.build again=True
    """
    places = _places()
    builder = on_this_machine() if local else BuilderMinions(__opts__)
    try:
        runs = build_pushed(places, builder, progress=Progress(), again=again, patience=patience)
    except PillarboxError as error:
        return _failed(str(error))
    for run in runs:
        _report(run)
    if not runs:
        return {"result": True, "comment": "nothing was pushed that is not built"}
    return _result(runs[-1])


def reconcile() -> dict[str, Any]:
    """Build what was pushed and no event reported to the master.

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.reconcile
    """
    if pending(_places()) is None:
        return {"result": True, "comment": "nothing was pushed that is not built"}
    return build()


def deploy(
    revision: str | None = None,
    dry_run: bool = False,
    hosts: bool = False,
    kubeconfig: str | None = None,
    data_too: bool = False,
    backup: bool = True,
) -> dict[str, Any]:
    """Roll ``revision`` (default: the newest that is built) out to the cluster, in waves, and report.

    With ``hosts``, as ``orch.deploy`` asks for it, the master serves the revision first, and the hosts that change
    since the last deploy get their states before the cluster is touched. Before a schema is expanded the data is backed
    up for which the model says so, unless ``backup`` is false.

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.deploy dry_run=True
    """
    try:
        run = deploy_revision(
            _places(),
            revision,
            DeployOptions(kubeconfig, _gpg_home(), dry_run, data_too, backup),
            by=_asker(),
            states=Highstates(__opts__) if hosts else None,
            progress=Progress(),
        )
    except PillarboxError as error:
        return _failed(str(error))
    return _reported(run)


def backup(only: str | list[str] | None = None, kubeconfig: str | None = None) -> dict[str, Any]:
    """Back up all that the model says how to back up, or ``only`` what is called so (several with commas).

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.backup only=mariadb-server
    """
    names = only.split(",") if isinstance(only, str) else only or []
    try:
        run = make_backup(_places(), names, by=_asker(), kubeconfig=kubeconfig, progress=Progress())
    except PillarboxError as error:
        return _failed(str(error))
    return _reported(run)


def restore(
    data: str, backup: str | None = None, dry_run: bool = False, kubeconfig: str | None = None
) -> dict[str, Any]:
    """Bring back ``data`` from ``backup`` (default: the newest that has it); ``pillarbox backups`` lists them.

    What is there now is backed up first. ``dry_run`` says what would be done.

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.restore mariadb-server dry_run=True
    """
    places = _places()
    try:
        run = bring_back(
            places,
            data,
            backup,
            hosts=Restore(__opts__, places.staging),
            dry_run=dry_run,
            by=_asker(),
            kubeconfig=kubeconfig,
            progress=Progress(),
        )
    except PillarboxError as error:
        return _failed(str(error))
    return _reported(run)


def plan(base: str | None = None, head: str | None = None) -> dict[str, Any]:
    """What the step from ``base`` (default: what was deployed last) to ``head`` (default: the branch) does.

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.plan
    """
    places = _places()
    try:
        made = planning.make(places.repository, base or last_deployed(places), head or places.ref)
    except PillarboxError as error:
        return _failed(str(error))
    return made.as_dict()


def status(kubeconfig: str | None = None) -> dict[str, Any]:
    """Everything in the cluster that is not as the model that the master serves says.

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.status
    """
    places = _places()
    try:
        found = state(places.current, kubeconfig=kubeconfig, gpg_home=_gpg_home(), places=places)
    except PillarboxError as error:
        return _failed(str(error))
    late = [each.as_dict() for each in overdue(places)]
    ending = [each.as_dict() for each in pki.near_end(places.pki)]
    wrong = [item.as_dict() for item in found if item.state != "ok"] + ending + late
    retcode = int(any(item["state"] in ("missing", "unhealthy", "ended", "overdue") for item in wrong))
    if retcode:
        __context__["retcode"] = retcode
    unreadable = [str(each) for each in Runs(places.runs).unreadable()]
    return {
        "result": not wrong,
        "objects": len(found),
        "wrong": wrong,
        **({"unreadable": unreadable} if unreadable else {}),
        "retcode": retcode,
    }


def report(run: str | None = None) -> str:
    """The report of a run (default: the last).

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.report
    """
    runs = Runs(_places().runs)
    try:
        found = runs.get(run) if run else runs.last()
    except PillarboxError as error:
        __context__["retcode"] = 1
        return str(error)
    if found is None:
        __context__["retcode"] = 1
    return "\n".join([found.as_text() if found else "no run yet", *map(str, runs.unreadable())])


def collect(keep: int = KEEP, dry_run: bool = False) -> dict[str, Any]:
    """Delete images that no revision needs of the last ``keep`` that were built, and of as many that were deployed: in
    registries, on their disks, and in builders' engines. ``dry_run`` says what would go, and how much that frees.

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.collect dry_run=True
    """
    try:
        done = collect_images(_places(), Leftovers(__opts__), keep=keep, dry_run=dry_run, progress=Progress())
    except PillarboxError as error:
        return _failed(str(error))
    if not done.succeeded:
        __context__["retcode"] = 1
    return {"result": done.succeeded, **done.as_dict(), "retcode": 0 if done.succeeded else 1}


def _places() -> Places:
    return Places.of(__opts__.get("pillarbox"))


def _asker() -> str:
    return os.environ.get("SUDO_USER") or str(globals().get("__user__") or "") or "root"


def _gpg_home() -> Path:
    return Path(__opts__.get("gpg_keydir") or DEFAULT_HOME)


def _reported(run: Run) -> dict[str, Any]:
    _report(run)
    _print(run)
    return _result(run)


def _report(run: Run) -> None:
    options = master_options(__opts__)
    with salt.utils.event.get_master_event(options, options["sock_dir"], listen=False) as bus:
        bus.fire_event(run.as_dict(), _REPORT)


def _print(run: Run) -> None:
    # To standard error, like the progress: standard output belongs to Salt's own outputter.
    Progress(sink=lambda line: None)._write(f"\n{run.as_text()}")


def _result(run: Run) -> dict[str, Any]:
    if not run.succeeded:
        __context__["retcode"] = 1
    # Salt prints all of it after the report, two lines each; an exit code other than 0 takes `retcode`.
    return {
        "result": run.succeeded,
        "comment": (run.error or run.state).splitlines()[0],
        "report": str(run.directory / "report.txt"),
        "retcode": 0 if run.succeeded else 1,
    }


def _failed(text: str) -> dict[str, Any]:
    __context__["retcode"] = 1
    return {"result": False, "comment": text, "retcode": 1}
