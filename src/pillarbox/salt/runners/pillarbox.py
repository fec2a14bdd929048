"""Runners of the master: the pipeline's steps, for orchestrations, administrators and the engine.

Every function that can fail sets its return code and says so in its return, so that ``salt-run``, orchestrations and
the job cache all see a failure as one. Progress goes to standard error: to the terminal under ``salt-run``, to the
journal under the reactor.
"""

from __future__ import annotations

import os
from typing import Any

import salt.utils.event

from pillarbox.pipeline import plan as planning
from pillarbox.pipeline import publish
from pillarbox.pipeline.build import build_pushed, on_this_machine, wanted
from pillarbox.pipeline.deploy import deploy as roll_out
from pillarbox.pipeline.deploy import deployments, refuse_return, state
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import Run, RunKind, Runs, RunState
from pillarbox.revision import Revision
from pillarbox.salt.builders import BuilderMinions, master_options
from pillarbox.salt.noise import hush
from pillarbox.system import locks
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress

__opts__: dict[str, Any] = {}
__context__: dict[str, Any] = {}

_REPORT = "pillarbox/report"

hush()


def build(again: bool = False, local: bool = False) -> dict[str, Any]:
    """Build what was pushed and publish it; nothing to do is a success.

    ``again`` builds the newest revision even if a run has dealt with it; ``local`` uses this machine's engine instead
    of builder minions.

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.build again=True
    """
    places = _places()
    builder = on_this_machine() if local else BuilderMinions(__opts__, places)
    try:
        runs = build_pushed(places, builder, progress=Progress(), again=again)
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
    if wanted(_places()) is None:
        return {"result": True, "comment": "nothing was pushed that is not built"}
    return build()


def prepare(revision: str | None = None, dry_run: bool = False) -> dict[str, Any]:
    """Make ``revision`` (default: what is published) ready to be deployed.

    Returns its full name, and the hosts that change since the last deploy, ``masters`` apart: their states may restart
    the very master that waits for the other hosts. Nothing is changed when an image is missing
    or the revision does not render: ``error`` then says what.
    """
    places, progress = _places(), Progress()
    repo = Repository(places.repository)
    name = revision or ""
    try:
        name = repo.resolve(revision) if revision else publish.current(places) or ""
        if not name:
            raise PipelineError("nothing is published yet", hint="Push the model, and wait for its build.")
        with progress.phase(f"preparing revision {name[:12]}"):
            other = name != publish.current(places)
            head = Revision.read(publish.prepare(places, name), name)
            # Before any host or the cluster is touched: every image is there, and no schema forbids to go there.
            refuse_return(deployments(head))
            last = _last_deployed(places)
            known = last if last and repo.head(last) else None
            made = planning.make(places.repository, known, head, registry=False)
            hosts = [host for host in made.hosts if host.name in head.hosts]
            if other and not dry_run:
                with locks.held(places.lock):
                    publish.publish(places, name)
    except PillarboxError as error:
        text = str(error)
        try:
            _ended(places, name, text, dry_run=dry_run)
        except PillarboxError as unwritten:
            text += f"\n{unwritten}"
        return {"revision": name, "hosts": [], "masters": [], "error": text}
    if other and dry_run:
        # The hosts' pillar is that of the published revision; a trial run against it would report another change.
        hosts = []
    for host in hosts:
        progress.step(f"host {host.name} changes: {', '.join(host.why[:6])}")
    if hosts:
        progress.step(f"applying the states of {len(hosts)} hosts")
    names = [host.name for host in hosts]
    masters = [host for host in names if "master" in head.hosts[host].parameters["salt"]]
    return {
        "revision": name,
        "hosts": [host for host in names if host not in masters],
        "masters": masters,
        "error": None,
    }


def deploy(
    revision: str | None = None,
    dry_run: bool = False,
    hosts: list[str] | None = None,
    kubeconfig: str | None = None,
    data_too: bool = False,
) -> dict[str, Any]:
    """Roll ``revision`` (default: what is published) out to the cluster, in waves, and report.

    ``hosts`` are those whose states were applied before, for the report.

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.deploy dry_run=True
    """
    places = _places()
    repo = Repository(places.repository)
    try:
        name = repo.resolve(revision) if revision else publish.current(places)
        if not name:
            raise PipelineError("nothing is published yet", hint="Push the model, and wait for its build.")
        run = roll_out(
            publish.prepare(places, name),
            revision=name,
            by=_asker(),
            subject=repo.subject(name),
            kubeconfig=kubeconfig,
            gpg_home=__opts__.get("gpg_keydir") or "/etc/salt/gpgkeys",
            places=places,
            progress=Progress(),
            dry_run=dry_run,
            data_too=data_too,
            hosts={host: "would change" if dry_run else "states applied" for host in hosts or ()},
        )
    except PillarboxError as error:
        return _failed(str(error))
    _report(run)
    _print(run)
    return _result(run)


def hosts_failed(revision: str, hosts: list[str]) -> dict[str, Any]:
    """Report a deploy that ended with the states of its hosts; nothing was applied to the cluster."""
    places = _places()
    text = "the states of a host failed; nothing was applied to the cluster"
    try:
        run = _ended(places, revision, text, hosts=dict.fromkeys(hosts, "see the states above"))
    except PillarboxError as error:
        return _failed(f"{text}\n{error}")
    return _result(run)


def plan(base: str | None = None, head: str | None = None) -> dict[str, Any]:
    """What the step from ``base`` (default: what was deployed last) to ``head`` (default: the branch) does.

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.plan
    """
    places = _places()
    try:
        made = planning.make(places.repository, base or _last_deployed(places), head or places.ref)
    except PillarboxError as error:
        return _failed(str(error))
    return made.as_dict()


def status(kubeconfig: str | None = None) -> dict[str, Any]:
    """Everything in the cluster that is not as the published model says.

    CLI Example:

    .. code-block:: bash

        salt-run pillarbox.status
    """
    places = _places()
    try:
        found = state(
            places.current,
            kubeconfig=kubeconfig,
            gpg_home=__opts__.get("gpg_keydir") or "/etc/salt/gpgkeys",
        )
    except PillarboxError as error:
        return _failed(str(error))
    wrong = [item.as_dict() for item in found if item.state != "ok"]
    retcode = int(any(item["state"] in ("missing", "unhealthy") for item in wrong))
    if retcode:
        __context__["retcode"] = retcode
    return {"result": not wrong, "objects": len(found), "wrong": wrong, "retcode": retcode}


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
    return found.as_text() if found else "no run yet"


def _places() -> Places:
    return Places.of(__opts__.get("pillarbox"))


def _asker() -> str:
    return os.environ.get("SUDO_USER") or str(globals().get("__user__") or "") or "root"


def _last_deployed(places: Places) -> str | None:
    runs = Runs(places.runs)
    for name in reversed(runs.names()):
        run = runs.get(name)
        if run.kind is RunKind.DEPLOY and run.succeeded and not run.dry_run:
            return run.revision
    return None


def _ended(
    places: Places, revision: str, error: str, *, dry_run: bool = False, hosts: dict[str, str] | None = None
) -> Run:
    """Record and report a deploy that ended before anything was applied to the cluster."""
    repo = Repository(places.repository)
    subject = repo.subject(revision) if revision and repo.head(revision) else ""
    run = Runs(places.runs).start(RunKind.DEPLOY, revision or "unknown", _asker(), subject)
    run.dry_run, run.hosts = dry_run, hosts or {}
    run.finish(RunState.FAILED, error)
    _report(run)
    _print(run)
    return run


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
    return {
        "result": run.succeeded,
        "run": run.id,
        "revision": run.revision,
        "comment": run.error or run.state,
        "report": str(run.directory / "report.txt"),
        "retcode": 0 if run.succeeded else 1,
    }


def _failed(text: str) -> dict[str, Any]:
    __context__["retcode"] = 1
    return {"result": False, "comment": text, "retcode": 1}
