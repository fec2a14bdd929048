"""From a push to images that are built, over a real master: each way it can go wrong ends in the right final state."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.images.conftest import push, serve_registry
from tests.pipeline.support import Deployment, Salt, formulas, git, image_files

from pillarbox.images import image_specs
from pillarbox.model import Inventory
from pillarbox.pipeline import publish
from pillarbox.pipeline.deploy import DeployOptions, deploy_revision
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.prepare import newer, resolve
from pillarbox.pipeline.record import RunKind, RunState
from pillarbox.system import locks
from pillarbox.system.progress import Progress


def test_push_to_built(deployment: Deployment, salt: Salt, model: dict[str, Any]) -> None:
    first = deployment.runs.last("build")
    assert first is None or first.state in ("succeeded", "running")
    deployment.hooks(patience=150)
    model["classes/cloud.yml"]["parameters"]["_param"]["greeting"] = "goodbye"
    revision = deployment.commit(model)
    said = deployment.push().stderr
    print(said)
    assert "Plan for" in said and "m1 (demo.text)" in said and "ConfigMap greeting: updates" in said
    assert "The images are built. Deploy with: " in said
    run = deployment.finished(revision)
    assert run.succeeded and run.by.startswith("Ann")
    assert resolve(deployment.places, None) == revision


def test_a_push_with_a_key_that_no_formula_knows_goes_in_with_a_warning(
    deployment: Deployment, model: dict[str, Any]
) -> None:
    schema = "additionalProperties: false\nproperties: {text: {type: string}}\n"
    model["nodes/m1.yml"]["parameters"]["demo"] = {"server": {"txet": "a"}}
    deployment.commit({**model, "formulas/demo/schemas/server.yml": schema})
    said = deployment.push().stderr
    assert "warning: nodes/m1.yml:" in said and "demo:server:txet: no such key. Did you mean text?" in said


def test_a_pusher_changes_nothing_that_hosts_are_served(
    deployment: Deployment, salt: Salt, model: dict[str, Any]
) -> None:
    """Pillar, top and states: a host that asks for its highstate after a build gets what it did before."""
    served, file = _head(deployment), deployment.root / "demo.txt"
    assert deployment.finished(served).succeeded
    publish.publish(deployment.places, served)
    salt.command("salt", "m1", "state.highstate")
    before = file.read_text()
    revision = deployment.commit(
        {
            "formulas/demo/init.sls": f"demo:\n  file.managed:\n  - name: {file}\n  - contents: pushed\n",
            "classes/cloud.yml": {"parameters": {"_param": {"greeting": "pushed"}}},
        }
    )
    deployment.push()
    assert deployment.finished(revision).succeeded
    assert publish.current(deployment.places) == served
    salt.command("salt", "m1", "state.highstate")
    assert file.read_text() == before
    publish.publish(deployment.places, revision)
    salt.command("salt", "m1", "state.highstate")
    assert file.read_text().strip() == "pushed"
    deployment.commit(formulas(deployment.root))
    deployment.push()


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


def test_who_waits_for_a_run_is_told_for_which(deployment: Deployment, salt: Salt, model: dict[str, Any]) -> None:
    """A pusher, and whoever deploys, while another run goes on."""
    assert deployment.finished(_head(deployment)).succeeded
    deployment.hooks(patience=150)
    lines: queue.Queue[str] = queue.Queue()
    places = deployment.places
    with ThreadPoolExecutor(2) as pool, locks.held(places.lock):
        going = deployment.runs.start(RunKind.DEPLOY, _head(deployment), "Ann")
        told = f"waiting for deploy {going.id}, asked by Ann (process {os.getpid()}, for "
        model["classes/cloud.yml"]["parameters"]["_param"]["greeting"] = "waiting"
        revision = deployment.commit(model)
        pushing = pool.submit(deployment.push)
        options = DeployOptions(dry_run=True)
        progress_lines = Progress(sink=lines.put, silence=0.05)
        deploying = pool.submit(deploy_revision, places, None, options, by="Bob", states=None, progress=progress_lines)
        assert told in lines.get(timeout=90)
        assert f"still: {told}" in lines.get(timeout=90)
        wait_for(lambda: told in progress(deployment, revision), "a line for the pusher")
        going.finish(RunState.SUCCEEDED)
        # Let go of, for the two to go on.
    said = pushing.result(120).stderr
    assert told in said and "The images are built" in said and "has not begun" not in said
    assert deploying.result(120).by == "Bob"
    assert deployment.finished(revision).succeeded


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


def test_quick_pushes_end_in_the_newest(deployment: Deployment, salt: Salt, model: dict[str, Any]) -> None:
    revisions = []
    for number in range(4):
        revisions.append(
            deployment.commit({"classes/cloud.yml": {"parameters": {"_param": {"greeting": str(number)}}}})
        )
        deployment.push()
    assert deployment.finished(revisions[-1]).succeeded
    assert resolve(deployment.places, None) == revisions[-1]


def test_a_build_that_fails_leaves_the_last_good_revision(
    deployment: Deployment, salt: Salt, model: dict[str, Any], tmp_path: Path
) -> None:
    good = _head(deployment)
    assert deployment.finished(good).succeeded
    deployment.hooks(patience=150)
    with serve_registry(tmp_path, accounts=True) as registry:
        bad = deployment.commit(tool(registry))
        said = deployment.push().stderr
        run = deployment.finished(bad)
    assert run.state == "failed" and registry in run.error and "401" in run.error
    assert "FAILED" in said and f"a deploy takes revision {good[:12]}" in said
    assert resolve(deployment.places, None) == good
    assert newer(deployment.places, good) == f"{bad[:12]} was pushed after {good[:12]} and is not built: failed"
    assert newer(deployment.places, bad) == ""
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
        for tree in deployment.places.published.iterdir():
            assert tree.name.startswith(".new-") or (tree / "nodes" / "m1.yml").is_file()
        salt.start("master")
        assert deployment.finished(revision).succeeded


def test_a_registry_that_is_away_for_seconds_is_no_failed_build(
    deployment: Deployment, salt: Salt, model: dict[str, Any], tmp_path: Path
) -> None:
    deployment.finished(_head(deployment))
    deployment.hooks(patience=150)
    with serve_registry(tmp_path) as registry:
        revision = deployment.commit(tool(registry))
        store_image(deployment, registry)
    with ThreadPoolExecutor(1) as pool:
        pushing = pool.submit(deployment.push)
        wait_for(lambda: "waiting for up to 5 s" in progress(deployment, revision), "a line about the registry")
        with serve_registry(tmp_path, port_of(registry)):
            pushed = pushing.result(120).stderr
    assert f"registry {registry} does not answer" in pushed and "it answers again" in pushed
    assert "The images are built" in pushed
    assert [run.attempts for run in deployment.runs if run.revision == revision] == [1]
    deployment.commit({"nodes/images/tool-server.yml": None})
    deployment.push()


def test_a_build_that_waits_for_a_registry_is_taken_up_again_by_itself(
    deployment: Deployment, salt: Salt, model: dict[str, Any], tmp_path: Path
) -> None:
    good = _head(deployment)
    assert deployment.finished(good).succeeded
    deployment.hooks(patience=150)
    with serve_registry(tmp_path) as registry:
        revision = deployment.commit(tool(registry))
        store_image(deployment, registry)
    pushed = deployment.push().stderr
    assert "The master takes it up again by itself" in pushed and f"registry {registry} does not answer" in pushed
    run = deployment.runs.last("build", revision)
    assert run and run.state == "interrupted" and run.waits
    assert resolve(deployment.places, None) == good
    with serve_registry(tmp_path, port_of(registry)):
        run = deployment.finished(revision)
    assert run.succeeded and run.attempts > 1
    assert resolve(deployment.places, None) == revision
    # However often it was tried, it is one run.
    assert len([run for run in deployment.runs if run.revision == revision]) == 1
    deployment.commit({"nodes/images/tool-server.yml": None})
    deployment.push()


def tool(registry: str) -> dict[str, Any]:
    """Files of a model that has one image, in ``registry``."""
    return {
        **image_files(),
        **{f"formulas/tool/{name}": "{}\n" for name in ("packages.sls", "server.sls")},
        "nodes/images/tool-server.yml": image_node(
            registry, {"name": "bookworm", "engine": "debootstrap", "suite": "bookworm"}
        ),
    }


def store_image(deployment: Deployment, registry: str) -> str:
    """Put an image into the registry under the content key that the model's has; return its digest."""
    spec = image_specs(Inventory(deployment.work))["tool-server"]
    return push(registry, spec.repository, spec.tag, {})


def port_of(registry: str) -> int:
    return int(registry.rpartition(":")[2])


def progress(deployment: Deployment, revision: str) -> str:
    """What pushers may read of a build."""
    file = deployment.places.progress / f"{revision}.jsonl"
    return file.read_text() if file.is_file() else ""


def wait_for(ready: Callable[[], Any], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"no {what} after {seconds:g} s"
        time.sleep(0.02)


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
