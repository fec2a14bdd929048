"""One release of OpenStack more than the lab runs: its images are built, and every process of each of them is run."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from tests.pods import Pods

from pillarbox.images import ImageSpec, image_specs
from pillarbox.images.plan import build_all
from pillarbox.images.sources import sources
from pillarbox.images.store import Store
from pillarbox.manifests import render
from pillarbox.model import Inventory
from pillarbox.system import apt
from pillarbox.system.engine import Engine

# The lab builds and runs the images of two releases anyway.
pytestmark = [pytest.mark.engine, pytest.mark.long]

RELEASE = "hibiscus"
KNOBS = "classes/cluster/lab/init.yml"


@pytest.fixture(scope="module")
def model(repository: Path, registry: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference deployment with that release, its images in the tests' registry."""
    model = tmp_path_factory.mktemp(RELEASE) / "model"
    for folder in ("classes", "nodes", "formulas", "images"):
        shutil.copytree(repository / folder, model / folder)
    knobs = (model / KNOBS).read_text()
    for line, wanted in (
        ("openstack_version: zed", f"openstack_version: {RELEASE}"),
        ("registry: ${_param:registry_host}:5000", f"registry: {registry}"),
    ):
        assert knobs.count(line) == 1
        knobs = knobs.replace(line, wanted)
    (model / KNOBS).write_text(knobs)
    return model


@pytest.fixture(scope="module")
def specs(model: Path, engine: Engine, store: Store) -> dict[str, ImageSpec]:
    """The images of the deployment, all of them built."""
    specs = image_specs(Inventory(model))
    for spec in specs.values():
        _need(spec)
    build_all(specs.values(), model, engine=engine, store=store).raise_failures()
    return specs


@pytest.fixture(scope="module")
def pods(model: Path, specs: dict[str, ImageSpec], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """What the manifests of the deployment say, running."""
    pods = Pods(render(Inventory(model), specs), tmp_path_factory.mktemp("volumes"), docker.from_env())
    try:
        pods.run()
        yield pods
    finally:
        pods.close()


def _need(spec: ImageSpec) -> None:
    """Skip where the machine's mirror does not have the suite."""
    source = apt.mirror(sources(spec.packages), spec.packages["suite"])
    url = f"{source.uri.rstrip('/')}/dists/{spec.packages['suite']}/Release"
    proxies = {name.removesuffix("_proxy"): value for name, value in apt.fetching().items()}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        opener.open(url, timeout=60).close()
    except urllib.error.HTTPError as error:
        if error.code in (403, 404):
            pytest.skip(f"needs Debian {spec.packages['suite']}, which the mirror does not have")
        raise


def test_every_process_of_every_image_runs(specs: dict[str, ImageSpec], pods: Pods) -> None:
    known = docker.from_env().images
    declared = {
        (spec.reference, process)
        for spec in specs.values()
        for process in known.get(spec.reference).labels["io.pillarbox.processes"].split()
    }
    assert pods.ran == declared


def test_the_release_is_the_one_that_was_asked_for(specs: dict[str, ImageSpec]) -> None:
    of_the_release = {name for name, spec in specs.items() if spec.version == RELEASE}
    assert {"keystone-server", "glance-server"} <= of_the_release
    assert {specs[name].base.name for name in of_the_release} == {"sid"}


@pytest.mark.parametrize(("port", "path", "key"), [(5000, "/v3", "version"), (9292, "/versions", "versions")])
def test_servers_say_which_versions_they_speak(pods: Pods, port: int, path: str, key: str) -> None:
    answer = pods.get(port, path)
    assert answer.ok
    assert answer.json()[key]
