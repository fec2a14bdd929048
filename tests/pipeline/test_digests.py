"""Which image is deployed: the one that was built, whatever a tag stands for since."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.images.conftest import push, serve_registry
from tests.pipeline.support import Deployment
from tests.pipeline.test_push import store_image, tool

from pillarbox.images import image_specs
from pillarbox.model import Inventory
from pillarbox.pipeline.build import build_pushed
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.prepare import deployments
from pillarbox.revision import Revision
from pillarbox.system.progress import Progress

WORKLOAD = {
    "service": "tool",
    "role": "server",
    "kind": "Deployment",
    "replicas": 1,
    "container": {"tool": {"image": "tool-server"}},
}


def nobody(*arguments: Any) -> Any:
    raise AssertionError("a build was asked for")


class Pinned:
    """A model with one image that a registry has, and what a deploy of it takes."""

    def __init__(self, deployment: Deployment, model: dict[str, Any], registry: str) -> None:
        model["nodes/control.yml"]["parameters"]["kubernetes"]["control"]["service"] = {"tool-server": WORKLOAD}
        self.deployment, self.registry = deployment, registry
        self.revision = deployment.commit({**model, **tool(registry)})
        deployment.push()
        self.spec = image_specs(Inventory(deployment.work))["tool-server"]
        self.lines: list[str] = []

    def build(self) -> str:
        """Build what was pushed; the digest that is on record then."""
        (run,) = build_pushed(self.deployment.places, nobody, again=True)
        assert run.succeeded, run.error
        return run.images[0].digest

    def move(self) -> str:
        """Let the tag stand for another image."""
        return push(self.registry, self.spec.repository, self.spec.tag, {"config": {"Labels": {"by": "somebody"}}})

    def deployed(self, places: Places | None = None) -> str:
        """The image in the manifests of a deploy."""
        revision = Revision.read(self.deployment.work)
        (item,) = deployments(revision, places or self.deployment.places, Progress(sink=self.lines.append))
        (manifest,) = (manifest for manifest in item.manifests if manifest.kind == "Deployment")
        return manifest.object["spec"]["template"]["spec"]["containers"][0]["image"]


@pytest.fixture
def pin(deployment: Deployment, model: dict[str, Any]) -> Callable[[str], Pinned]:
    return lambda registry: Pinned(deployment, model, registry)


def test_a_moved_tag_is_not_deployed(pin: Callable[[str], Pinned], tmp_path: Path) -> None:
    with serve_registry(tmp_path) as registry:
        pinned = pin(registry)
        built = store_image(pinned.deployment, registry)
        assert pinned.build() == built
        moved = pinned.move()
        assert moved != built
        assert pinned.deployed().endswith(f"@{built}") and not pinned.lines
        # Nor does a build that has nothing to do believe it.
        assert pinned.build() == built
        assert pinned.deployed().endswith(f"@{built}")


def test_an_image_that_no_build_recorded_is_pinned_and_named(pin: Callable[[str], Pinned], tmp_path: Path) -> None:
    with serve_registry(tmp_path) as registry:
        pinned = pin(registry)
        stored = store_image(pinned.deployment, registry)
        assert pinned.deployed(Places(tmp_path, tmp_path / "none", tmp_path)).endswith(f"@{stored}")
    assert any("no build is on record here" in line and "tool-server" in line for line in pinned.lines)


def test_an_image_that_the_registry_lost_is_not_deployed(pin: Callable[[str], Pinned], tmp_path: Path) -> None:
    with serve_registry(tmp_path) as registry:
        pinned = pin(registry)
        store_image(pinned.deployment, registry)
        pinned.build()
    (tmp_path / "other").mkdir()
    with serve_registry(tmp_path / "other", int(registry.rpartition(":")[2])):
        # Another image under the tag does not stand in for it.
        pinned.move()
        with pytest.raises(PipelineError, match="the registry lacks 1 images of this revision: tool-server"):
            pinned.deployed()
