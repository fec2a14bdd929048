"""From a push to a published model, over a real master: each way it can go wrong ends in the right final state."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.images.conftest import serve_registry
from tests.pipeline.support import Deployment, Salt, git, image_files

from pillarbox.pipeline import publish
from pillarbox.pipeline.git import Repository


def test_push_to_published(deployment: Deployment, salt: Salt, model: dict[str, Any]) -> None:
    first = deployment.runs.last("build")
    assert first is None or first.state in ("succeeded", "running")
    deployment.hooks(patience=150)
    model["classes/cloud.yml"]["parameters"]["_param"]["greeting"] = "goodbye"
    revision = deployment.commit(model)
    said = deployment.push().stderr
    print(said)
    assert "Plan for" in said and "m1 (demo.text)" in said and "ConfigMap greeting: updates" in said
    assert "The model is published" in said
    assert publish.current(deployment.places) == revision
    run = deployment.finished(revision)
    assert run.succeeded and run.by.startswith("Ann")
    salt.command("salt", "m1", "state.apply")
    assert (deployment.root / "demo.txt").read_text().strip() == "goodbye"


def test_a_push_that_does_not_render_is_refused(deployment: Deployment, model: dict[str, Any]) -> None:
    deployment.commit(model)
    deployment.push()
    deployment.commit({"classes/cloud.yml": "parameters:\n  a: [\n"})
    done = deployment.push(check=False)
    assert done.returncode != 0
    assert "classes/cloud.yml:" in done.stderr
    assert publish.current(deployment.places) is None


def test_what_is_deployed_is_neither_deleted_nor_rewritten(deployment: Deployment, model: dict[str, Any]) -> None:
    deployment.commit(model)
    deployment.push()
    assert "cannot be deleted" in deployment.push("--delete", check=False).stderr
    deployment.commit({}, "the second")
    deployment.push()
    git("reset", "-q", "--hard", "HEAD~1", cwd=deployment.work)
    deployment.commit({}, "another second")
    assert "cannot be rewritten" in deployment.push("--force", check=False).stderr
    # Other branches are nobody's business but their authors'.
    deployment.commit({"classes/cloud.yml": "{"})
    git("push", "origin", "HEAD:attempt", cwd=deployment.work)


def test_a_push_while_the_master_is_down_is_picked_up(
    deployment: Deployment, salt: Salt, model: dict[str, Any]
) -> None:
    deployment.finished(_head(deployment))
    salt.kill("master")
    revision = deployment.commit({"classes/cloud.yml": {"parameters": {"_param": {"greeting": "late"}}}})
    deployment.push()
    for note in deployment.places.spool.iterdir():
        note.unlink()  # Even the word of it is lost; the branch remembers.
    salt.start("master")
    assert deployment.finished(revision).succeeded
    assert publish.current(deployment.places) == revision


def test_quick_pushes_end_in_the_newest(deployment: Deployment, salt: Salt, model: dict[str, Any]) -> None:
    revisions = []
    for number in range(4):
        revisions.append(
            deployment.commit({"classes/cloud.yml": {"parameters": {"_param": {"greeting": str(number)}}}})
        )
        deployment.push()
    assert deployment.finished(revisions[-1]).succeeded
    assert publish.current(deployment.places) == revisions[-1]


def test_a_build_that_fails_leaves_the_last_good_revision(
    deployment: Deployment, salt: Salt, model: dict[str, Any]
) -> None:
    good = _head(deployment)
    assert deployment.finished(good).succeeded
    deployment.hooks(patience=150)
    bad = deployment.commit(
        {
            **image_files(),
            **{f"formulas/tool/{name}": "{}\n" for name in ("packages.sls", "server.sls")},
            "nodes/images/tool-server.yml": image_node(
                "127.0.0.1:9", {"name": "bookworm", "engine": "debootstrap", "suite": "bookworm"}
            ),
        }
    )
    said = deployment.push().stderr
    run = deployment.finished(bad)
    assert run.state == "failed" and "127.0.0.1:9" in run.error
    assert "FAILED" in said and f"stays on revision {good[:12]}" in said
    assert publish.current(deployment.places) == good
    # The correction is an ordinary push.
    fixed = deployment.commit({"nodes/images/tool-server.yml": None})
    deployment.push()
    assert deployment.finished(fixed).succeeded


def test_a_master_killed_half_way_takes_the_build_up_again(
    deployment: Deployment, salt: Salt, model: dict[str, Any]
) -> None:
    deployment.finished(_head(deployment))
    for how in (signal.SIGKILL, signal.SIGTERM):
        revision = deployment.commit({"classes/cloud.yml": {"parameters": {"_param": {"greeting": how.name}}}})
        deployment.push()
        deadline = time.monotonic() + 60
        while deployment.runs.last("build", revision) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        salt.kill("master", how)
        current = publish.current(deployment.places)
        assert current and (deployment.places.published / current / "nodes" / "m1.yml").is_file()
        salt.start("master")
        assert deployment.finished(revision).succeeded
        assert publish.current(deployment.places) == revision


def image_node(registry: str, base: dict[str, str]) -> dict[str, Any]:
    image = {"service": "tool", "role": "server", "version": "1", "registry": registry, "deploy_name": "t"}
    packages = {"suite": "bookworm", "components": ["main"]}
    return {"parameters": {"image": {**image, "base": base, "packages": packages}, "tool": {"server": {"a": 1}}}}


def _head(deployment: Deployment) -> str:
    return Repository(deployment.work).resolve("HEAD")


@pytest.mark.parametrize("name", ["pillarbox.report", "pillarbox.plan"])
def test_runners_that_read(salt: Salt, deployment: Deployment, name: str) -> None:
    deployment.finished(_head(deployment))
    assert salt.run(name).returncode == 0


@pytest.mark.engine
def test_builder_minions_are_asked_and_their_failures_told(
    deployment: Deployment, salt: Salt, tmp_path: Path, model: dict[str, Any]
) -> None:
    """The runner inside the orchestration reaches the builders, and their words are the report's."""
    good = _head(deployment)
    assert deployment.finished(good).succeeded
    deployment.hooks(patience=150)
    # The minion may have started before there was an engine for the tests, which a variable names.
    salt.kill("m1", signal.SIGTERM)
    salt.start("m1")
    salt.ready()
    with serve_registry(tmp_path) as registry:
        nothing = f"{registry}/nothing@sha256:{'0' * 64}"
        node = image_node(registry, {"name": "nothing", "engine": "registry", "image": nothing})
        bad = deployment.commit(
            {
                **image_files(),
                **{f"formulas/tool/{name}": "{}\n" for name in ("packages.sls", "server.sls")},
                "nodes/images/tool-server.yml": node,
            }
        )
        said = deployment.push().stderr
        run = deployment.finished(bad)
    assert run.state == "failed" and "tool-server" in run.error
    assert "builders: m1" in said and "nothing" in said
    failed = run.images[0]
    assert failed.state == "failed" and nothing in failed.error, failed
    deployment.commit({"nodes/images/tool-server.yml": None})
    deployment.push()
