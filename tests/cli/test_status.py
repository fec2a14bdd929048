"""What tells of a deployment, and the machine that knows nothing of one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.cli.test_inventory import pillarbox
from tests.pipeline.support import MODEL, Deployment

from pillarbox.pipeline.record import RunKind, Runs, RunState


@pytest.fixture
def workstation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where somebody has a clone of a model, and nothing else; the clone."""
    for name in ("ROOT", "STATE"):
        monkeypatch.setenv(f"PILLARBOX_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    deployment = Deployment(tmp_path / "deployment")
    deployment.commit(MODEL)
    return deployment.work


@pytest.mark.parametrize("command", ["status", "report", "report --list", "report 20261128"])
def test_a_workstation_is_told_where_to_ask(workstation: Path, command: str) -> None:
    done = pillarbox("--model", workstation, *command.split())
    assert done.returncode == 1 and done.stdout == ""
    assert "run this there" in done.stderr and "Salt master's" in done.stderr


def test_no_run_is_nothing_to_show(workstation: Path) -> None:
    runs = Runs(Path(os.environ["PILLARBOX_STATE"]) / "runs")
    runs.directory.mkdir(parents=True)
    for listing in ((), ("--list",), ("--list", "--format", "json")):
        done = pillarbox("report", *listing)
        assert done.returncode == 1 and done.stderr == "no run yet\n", listing
    runs.start(RunKind.DEPLOY, "a" * 40, "x").finish(RunState.SUCCEEDED)
    done = pillarbox("report", "--list", "--format", "json")
    assert done.returncode == 0 and len(json.loads(done.stdout)) == 1
    assert "run this there" not in pillarbox("--model", workstation, "status").stderr
