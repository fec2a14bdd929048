"""A real API server takes what is rendered; it knows rules that no schema holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from tests.controlplane import ControlPlane, control_plane
from tests.manifests.control_pillars import Spec
from tests.manifests.test_control_reference import EXAMPLES, IMAGES
from tests.manifests.test_manifest_properties import CONTROLS, OneNode, quick
from tests.manifests.test_schema_of_the_formula import NOVA

from pillarbox.manifests import Manifest, kinds, render
from pillarbox.manifests.definitions import definition
from pillarbox.revision import Revision
from pillarbox.rollout import Cluster
from pillarbox.system.waiting import until

PILLARS = [yaml.safe_load(text) for text in EXAMPLES] + [yaml.safe_load(NOVA)["parameters"]]


@pytest.fixture(scope="module")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("kubernetes"), "--allow-privileged=true") as plane:
        yield plane


@pytest.fixture(scope="module")
def cluster(apiserver: ControlPlane) -> Iterator[Cluster]:
    with Cluster(apiserver.kubeconfig) as connection:
        # The API server makes it by itself, some time after it began to answer.
        connection.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
        yield connection


def offer(cluster: Cluster, manifests: tuple[Manifest, ...]) -> None:
    """Apply everything without keeping it, but for what the rest needs to be judged: namespaces and definitions."""
    kept = (kinds.NAMESPACE, kinds.DEFINITION)
    for each in sorted(manifests, key=lambda each: each.type not in kept):
        cluster.apply(each.object, dry_run=each.type not in kept)
        if found := definition(each.object):
            api_version = f"{found.group}/{found.versions[0]}"
            assert until(lambda: cluster.serves(api_version, found.kind), found.kind, patience=30)  # noqa: B023


@pytest.mark.parametrize("pillar", PILLARS, ids=range(len(PILLARS)))
def test_examples_are_accepted(pillar: Any, cluster: Cluster) -> None:
    control = pillar["kubernetes"]["control"] | {"version": cluster.version()}
    offer(cluster, render(OneNode(control), {name: Spec(name) for name in IMAGES}))


def test_the_policies_of_the_reference_deployment_are_accepted(repository: Path, cluster: Cluster) -> None:
    found = [each for each in Revision.read(repository).manifests if each.type is kinds.NETWORK_POLICY]
    assert len(found) > 20
    for each in found:
        # As a rollout sends them; a field that the API server does not know would be an error.
        taken = cluster.apply(each.object, dry_run=True)
        assert taken["spec"].keys() == each.object["spec"].keys()


@settings(quick, max_examples=25)
@given(control=CONTROLS)
def test_any_workload_is_accepted(control: Any, cluster: Cluster) -> None:
    offer(cluster, render(OneNode(control | {"version": cluster.version()})))
