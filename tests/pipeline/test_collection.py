"""What a year of pushes leaves on the disk of a registry: what the last good revisions need, and they still deploy."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests import programs
from tests.images.conftest import push, serve_registry
from tests.pipeline.support import Deployment, Salt
from tests.pipeline.test_digests import WORKLOAD, nobody
from tests.pipeline.test_push import port_of, tool, wait_for

from pillarbox.images import ImageSpec, image_specs
from pillarbox.images.registry import Registry
from pillarbox.model import Inventory
from pillarbox.pipeline import publish
from pillarbox.pipeline.build import build_pushed
from pillarbox.pipeline.collection import collect
from pillarbox.pipeline.prepare import deployments
from pillarbox.pipeline.record import RunKind, RunState
from pillarbox.revision import Revision
from pillarbox.rollout import GoodStore
from pillarbox.rollout.objects import ref
from pillarbox.system.progress import Progress

PUSHES = 30
LAYER = 200_000


class Year:
    """A repository that is pushed to again and again, each time with an image of its own."""

    def __init__(self, deployment: Deployment, model: dict[str, Any], registry: str) -> None:
        model["nodes/control.yml"]["parameters"]["kubernetes"]["control"]["service"] = {"tool-server": WORKLOAD}
        self.deployment, self.registry = deployment, registry
        # What they refuse and say is tried elsewhere, and takes longer than all the rest.
        for hook in (deployment.places.repository / "hooks").iterdir():
            hook.unlink()
        self.files = {**model, **tool(registry)}
        self.images: dict[str, tuple[ImageSpec, str]] = {}

    def push(self) -> str:
        """Push a change, and have it built; the revision."""
        number = len(self.images)
        self.files["nodes/images/tool-server.yml"]["parameters"]["tool"]["server"]["a"] = number
        revision = self.deployment.commit(self.files)
        self.deployment.push()
        spec = image_specs(Inventory(self.deployment.work))["tool-server"]
        packages = push(self.registry, spec.packages_repository, spec.packages_tag, {}, layers=(b"packages",))
        layer = number.to_bytes(4) + os.urandom(LAYER)
        digest = push(self.registry, spec.repository, spec.tag, {"number": number}, layers=(b"packages", layer))
        Registry(self.registry).tag(spec.repository, self.manifest(spec, digest), spec.version)
        self.images[revision] = spec, digest
        assert packages
        (run,) = build_pushed(self.deployment.places, nobody)
        assert run.succeeded, run.error
        return revision

    def manifest(self, spec: ImageSpec, digest: str) -> Any:
        found = Registry(self.registry).manifest(spec.repository, digest)
        assert found
        return found

    def deployed(self, revision: str) -> None:
        """Note that a deploy of the revision has succeeded."""
        self.deployment.runs.start(RunKind.DEPLOY, revision, "x").finish(RunState.SUCCEEDED)

    def there(self) -> list[str]:
        """The revisions whose image the registry has."""
        registry = Registry(self.registry)
        return [name for name, (spec, digest) in self.images.items() if registry.digest(spec.repository, digest)]


@pytest.fixture
def year(deployment: Deployment, model: dict[str, Any]) -> Callable[[str], Year]:
    return lambda registry: Year(deployment, model, registry)


def free(folder: Path) -> None:
    """What the unit of the registry does before it starts: the registry's own garbage collection."""
    binary = programs.debian("docker-registry", "docker-registry")
    command = [str(binary), "garbage-collect", str(folder / "registry.yml")]
    subprocess.run(command, check=True, capture_output=True)


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_the_disk_holds_what_the_last_revisions_need(year: Callable[[str], Year], tmp_path: Path) -> None:
    with serve_registry(tmp_path) as registry:
        pushed = year(registry)
        revisions = [pushed.push() for _ in range(PUSHES)]
        # Deployed a long time ago, and since then only built.
        pushed.deployed(revisions[3])
        assert size(tmp_path / "data") > PUSHES * LAYER
        lines: list[str] = []
        progress = Progress(sink=lines.append)

        trial = collect(pushed.deployment.places, keep=5, dry_run=True, progress=progress)
        assert len(trial.images) == PUSHES - 6 and (PUSHES - 6) * LAYER < trial.size < (PUSHES - 5) * LAYER
        assert pushed.there() == revisions
        assert sum("would delete" in line for line in lines) == PUSHES - 6

        done = collect(pushed.deployment.places, keep=5, progress=progress)
        assert (done.images, done.size) == (trial.images, trial.size)
        assert pushed.there() == [revisions[3], *revisions[-5:]]
        assert collect(pushed.deployment.places, keep=5).images == ()
    free(tmp_path)
    assert size(tmp_path / "data") < 7 * LAYER
    with serve_registry(tmp_path, port_of(registry)):
        assert pushed.there() == [revisions[3], *revisions[-5:]]
        for name in (revisions[3], revisions[-1]):
            revision = Revision.read(pushed.deployment.places.repository, revision=name)
            (item,) = deployments(revision, pushed.deployment.places)
            images = [each["image"] for manifest in item.manifests for each in manifest.containers()]
            assert images == [f"{pushed.images[name][0].reference}@{pushed.images[name][1]}"]
        # And the next push goes on from the packages that were built before.
        pushed.push()


def test_what_a_wave_may_go_back_to_stays(year: Callable[[str], Year], tmp_path: Path) -> None:
    with serve_registry(tmp_path) as registry:
        pushed = year(registry)
        revisions = [pushed.push() for _ in range(3)]
        first = Revision.read(pushed.deployment.places.repository, revision=revisions[0])
        (item,) = deployments(first, pushed.deployment.places)
        store = GoodStore(pushed.deployment.places.good / item.name)
        for manifest in item.manifests:
            store.put(ref(manifest.object), manifest.object)
        for path in pushed.deployment.places.published.iterdir():
            if path.name != revisions[-1]:
                os.rename(path, tmp_path / path.name)
        collect(pushed.deployment.places, keep=1)
        assert pushed.there() == [revisions[0], revisions[2]]


def test_the_master_collects_by_itself(model: dict[str, Any], tmp_path: Path) -> None:
    """By its schedule: the registry's images go, and a host applies the states that the served revision names."""
    root = Path(tempfile.mkdtemp(prefix="pb-"))
    deployment = Deployment(root)
    schedule = {"collect": {"function": "pillarbox.collect", "seconds": 2, "return_job": False}}
    daemons = Salt(deployment, jobs=schedule)
    states = {
        "formulas/demo/init.sls": "{}\n",
        "formulas/demo/collect.sls": f"demo_collect:\n  file.touch:\n  - name: {root}/collected\n",
    }
    model["nodes/m1.yml"]["parameters"]["pillarbox"] = {"builder": {"enabled": False}, "collect": ["demo.collect"]}
    try:
        with serve_registry(tmp_path) as registry:
            pushed = Year(deployment, {**model, **states}, registry)
            revision = pushed.push()
            push(registry, "t/tool-server", "key-1", {"nobody": "needs it"})
            # What is only pushed has nothing to say to hosts.
            model["nodes/m1.yml"]["parameters"]["pillarbox"]["collect"] = ["demo.pushed"]
            deployment.commit(model)
            deployment.push()
            publish.publish(deployment.places, revision)
            daemons.up()
            wait_for((root / "collected").exists, "state of the host")
            wait_for(lambda: Registry(registry).tags("t/tool-server") == tags(pushed, revision), "deleted image")
            done = daemons.run("pillarbox.collect", "dry_run=True", "--out=json")
            assert '"images": []' in done.stdout and '"result": true' in done.stdout
            assert "demo.pushed" not in (daemons.root / "master.log").read_text()
    finally:
        daemons.close()
        shutil.rmtree(root, ignore_errors=True)


def tags(pushed: Year, revision: str) -> tuple[str, ...]:
    """What stays of a revision's image."""
    spec, _ = pushed.images[revision]
    return tuple(sorted((spec.tag, spec.version)))


def test_others_images_are_not_ours(year: Callable[[str], Year], tmp_path: Path) -> None:
    with serve_registry(tmp_path) as registry:
        pushed = year(registry)
        pushed.push()
        theirs = push(registry, "others/tool-server", "key-1", {})
        ours = push(registry, "t/tool-server", "key-1", {"by": "hand"})
        collect(pushed.deployment.places)
        reader = Registry(registry)
        assert reader.digest("others/tool-server", "key-1") == theirs
        assert reader.digest("t/tool-server", "key-1") is None and reader.digest("t/tool-server", ours) is None
