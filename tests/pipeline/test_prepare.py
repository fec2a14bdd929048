"""With what a deploy begins: with what the ones before it left on each host, as far as that is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.pipeline.support import Deployment

from pillarbox.pipeline.deployed import note, noted
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.prepare import Preparation, prepare
from pillarbox.pipeline.record import RunKind, RunState
from pillarbox.system.progress import SILENT

UPDATE = {"alone": ["demo:text"], "drain": {"node": "n"}, "step_by_step": ["demo:version"]}
APPLIED, FAILED, CUT_OFF, NOT_REACHED = "states applied", "failed: x", "states being applied", "not reached: y"
Commit = Callable[..., str]


@pytest.fixture
def commit(deployment: Deployment, model: dict[str, Any]) -> Commit:
    """Pushes what every host of three has in ``demo``; the revision."""

    def push(**demo: str) -> str:
        for name in ("m1", "m2", "m3"):
            parameters = {"salt": {"minion": {}}, "demo": {"text": "1", **demo}, "pillarbox": {"update": UPDATE}}
            model[f"nodes/{name}.yml"] = {"applications": ["demo"], "parameters": parameters}
        revision = deployment.commit(model)
        deployment.hooks(patience=0.0)
        (deployment.places.repository / "hooks/pre-receive").unlink()
        deployment.push()
        return revision

    return push


def left(deployment: Deployment, revision: str, hosts: Mapping[str, str], state: RunState = RunState.FAILED) -> None:
    run = deployment.runs.start(RunKind.DEPLOY, revision, "Ann")
    run.hosts = dict(hosts)
    run.finish(state)


def prepared(deployment: Deployment, revision: str) -> Preparation:
    return prepare(deployment.places, revision, dry_run=False, progress=SILENT)


def test_hosts_that_are_well_are_left_alone(deployment: Deployment, commit: Commit) -> None:
    first, second = commit(), commit(text="2")
    assert prepared(deployment, first).hosts == ("m1", "m2", "m3")
    left(deployment, first, {}, RunState.SUCCEEDED)
    left(deployment, second, {"m1": APPLIED, "m2": FAILED, "m3": NOT_REACHED})
    assert prepared(deployment, second).hosts == ("m2", "m3")
    left(deployment, second, {"m2": APPLIED, "m3": CUT_OFF}, RunState.INTERRUPTED)
    assert prepared(deployment, second).hosts == ("m3",)
    # Somebody may have applied the states of one that was not reached, while the master served them.
    assert prepared(deployment, first).hosts == ("m1", "m2", "m3")


def test_a_host_that_may_have_been_updated_is_drained_to_go_back(deployment: Deployment, commit: Commit) -> None:
    first, second, third = commit(), commit(text="2"), commit(other="3")
    left(deployment, first, {}, RunState.SUCCEEDED)
    left(deployment, second, {"m1": CUT_OFF, "m2": NOT_REACHED})
    drained = [group.hosts for group in prepared(deployment, third).groups if group.drain]
    assert drained == [("m1",), ("m2",), ("m3",)]


def test_versions_that_do_not_go_together_are_not_deployed(deployment: Deployment, commit: Commit) -> None:
    """Of a branch, say, that no hook looked at."""
    commit(version="1.36.1")
    node = {"parameters": {"salt": {"minion": {}}, "demo": {"version": "1.37.1"}}}
    for name, leads in (("m1", True), ("m2", False)):
        rule = {"path": "demo:version", "group": "g", "leads": leads, "behind": 1}
        node["parameters"] |= {"pillarbox": {"update": {"side_by_side": [rule]}}}
        revision = deployment.commit({f"nodes/{name}.yml": node})
        node["parameters"]["demo"]["version"] = "1.38.1"
    deployment.push()
    with pytest.raises(PipelineError, match=r"host m2: demo:version is 1.38.1, newer than 1.37.1 of host m1"):
        prepared(deployment, revision)


def test_no_version_is_skipped_that_any_host_may_have(deployment: Deployment, commit: Commit) -> None:
    old, new, newest = (commit(version=f"1.{minor}.1") for minor in (35, 36, 37))
    deployment.places.ensure()
    left(deployment, old, {}, RunState.SUCCEEDED)
    left(deployment, new, {"m1": NOT_REACHED, "m2": NOT_REACHED, "m3": NOT_REACHED})
    note(deployment.places)
    assert noted(deployment.places) == {old: {"m1", "m2", "m3"}}
    # Nothing was done: the way back is open, that ahead is not.
    assert prepared(deployment, old).hosts
    with pytest.raises(PipelineError, match=r"host m1: demo:version goes from 1.35.1 to 1.37.1"):
        prepared(deployment, newest)
    left(deployment, new, {"m1": APPLIED, "m2": CUT_OFF, "m3": NOT_REACHED})
    with pytest.raises(PipelineError, match=r"host m1: .* 1.36.1 to 1.35.1: it does not go back"):
        prepared(deployment, old)
    note(deployment.places)
    assert noted(deployment.places) == {new: {"m1", "m2"}, old: {"m2", "m3"}}
    # Of the second nobody knows, the third has the old one.
    with pytest.raises(PipelineError, match=r"host m2: .* 1.35.1 to 1.37.1"):
        prepared(deployment, newest)
    left(deployment, new, {"m2": APPLIED, "m3": APPLIED})
    assert prepared(deployment, newest).hosts == ("m1", "m2", "m3")
