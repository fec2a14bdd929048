"""The runners through Salt's loader, without a master: arguments in, results out, and return codes that agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader
from tests.pipeline.support import MODEL, Deployment

from pillarbox.pipeline.record import RunKind, RunState


class Runners:
    """A master's runners, and the return code of the last call."""

    def __init__(self, deployment: Deployment) -> None:
        places = deployment.places
        config = deployment.root / "master"
        config.write_text(f"root_dir: {deployment.root}/m\n")
        self.opts = salt.config.master_config(str(config))
        self.opts["pillarbox"] = {
            "root": str(places.root),
            "state": str(places.state),
            "repository": str(places.repository),
        }
        self.retcode = 0

    def __call__(self, name: str, **arguments: Any) -> Any:
        context: dict[str, Any] = {}
        returned = salt.loader.runner(self.opts, context=context)[f"pillarbox.{name}"](**arguments)
        self.retcode = context.get("retcode", 0)
        return returned


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """A repository whose master has never run."""
    return Deployment(tmp_path)


@pytest.fixture
def runners(deployment: Deployment) -> Runners:
    return Runners(deployment)


@pytest.mark.parametrize("name", ["build", "reconcile"])
def test_nothing_to_build_is_a_success(runners: Runners, name: str) -> None:
    assert runners(name) == {"result": True, "comment": "nothing was pushed that is not built"}
    assert runners.retcode == 0


def test_a_build_says_what_became_of_the_revision(runners: Runners, deployment: Deployment) -> None:
    revision = deployment.commit(MODEL)
    deployment.push()
    returned = runners("build")
    assert returned["result"] is True and returned["retcode"] == 0
    assert revision[:12] in Path(returned["report"]).read_text()
    assert runners.retcode == 0
    assert runners("reconcile")["comment"] == "nothing was pushed that is not built"


def test_a_build_that_fails_looks_like_it(runners: Runners, deployment: Deployment) -> None:
    deployment.commit(MODEL)
    deployment.push()
    # In by another way than the hook, which would have refused it.
    (deployment.places.repository / "hooks" / "pre-receive").unlink()
    deployment.commit({"nodes/m1.yml": "parameters: [\n"})
    deployment.push()
    returned = runners("build")
    assert returned["result"] is False and "nodes/m1.yml" in returned["comment"]
    assert runners.retcode == returned["retcode"] == 1


@pytest.mark.parametrize("hosts", [False, True])
def test_a_deploy_without_anything_built_fails_and_is_recorded(
    runners: Runners, deployment: Deployment, hosts: bool
) -> None:
    returned = runners("deploy", hosts=hosts)
    assert returned["result"] is False and "nothing is built yet" in returned["comment"]
    assert runners.retcode == returned["retcode"] == 1
    run = deployment.runs.get(Path(returned["report"]).parent.name)
    assert (run.kind, run.state) == (RunKind.DEPLOY, RunState.FAILED)


def test_a_deploy_of_an_unknown_revision_names_it(runners: Runners, deployment: Deployment) -> None:
    deployment.commit(MODEL)
    deployment.push()
    returned = runners("deploy", revision="nonsense/../x", hosts=True)
    assert returned["result"] is False and "nonsense/../x" in returned["comment"]
    assert runners.retcode == 1


def test_a_plan_is_plain_data(runners: Runners, deployment: Deployment) -> None:
    assert runners("plan")["result"] is False and runners.retcode == 1
    revision = deployment.commit(MODEL)
    deployment.push()
    made = runners("plan")
    assert made["base"] is None and made["head"] == revision
    assert [host["name"] for host in made["hosts"]] == ["m1"]
    assert runners.retcode == 0


def test_a_status_without_a_model_fails(runners: Runners) -> None:
    assert runners("status")["result"] is False
    assert runners.retcode == 1


def test_a_report_is_text(runners: Runners, deployment: Deployment) -> None:
    assert runners("report") == "no run yet" and runners.retcode == 1
    deployment.commit(MODEL)
    deployment.push()
    run = Path(runners("build")["report"]).parent.name
    assert runners("report", run=run) == runners("report") == deployment.runs.get(run).as_text()
    assert "no run x" in runners("report", run="x") and runners.retcode == 1
