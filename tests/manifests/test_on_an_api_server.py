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

from pillarbox.manifests import Manifest, kinds, openapi, render
from pillarbox.manifests.definitions import definition
from pillarbox.revision import Revision
from pillarbox.rollout import ApiError, Cluster
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
        assert until(lambda: _gives_addresses(connection), "addresses of Services", patience=60)
        yield connection


def _gives_addresses(cluster: Cluster) -> bool:
    first = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "first", "namespace": "default"}}
    try:
        cluster.apply(first | {"spec": {"ports": [{"port": 1}]}}, dry_run=True)
    except ApiError:
        return False
    return True


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


def wrong(value: Any) -> Iterator[Any]:
    """``value`` with one mistake: each of its fields once under another name, and once of another type."""
    if isinstance(value, dict):
        for key, item in value.items():
            others = {name: other for name, other in value.items() if name != key}
            yield others | {f"{key}x": item}
            yield others | {key: 1 if isinstance(item, (dict, list)) else {"a": 1}}
            yield from ({**value, key: deeper} for deeper in wrong(item))
    elif isinstance(value, list):
        yield from ([deeper, *value[1:]] for deeper in wrong(value[0])) if value else ()


def test_what_is_refused_here_is_refused_there(cluster: Cluster) -> None:
    version = tuple(int(part) for part in cluster.version().lstrip("v").split(".")[:2])
    api = openapi.api((version[0], version[1]))
    tried = set()
    for pillar in PILLARS:
        control = pillar["kubernetes"]["control"] | {"version": cluster.version()}
        for each in render(OneNode(control), {name: Spec(name) for name in IMAGES}):
            # What stays of a definition would change what is served.
            if each.type in (kinds.NAMESPACE, kinds.DEFINITION) or each.namespace not in (None, "default"):
                continue
            for spec in wrong(each.object.get("spec", {})):
                found = list(api.judge({**each.object, "spec": spec}))
                mistake = (each.kind, *(part for one in found for part in one.path if not part.isdigit()))
                if not found or mistake in tried:
                    continue
                tried.add(mistake)
                with pytest.raises(ApiError) as refused:
                    cluster.apply({**each.object, "spec": spec}, dry_run=True)
                assert refused.value.status in (400, 422, 500), (mistake, found)
    assert len(tried) > 100


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("policy/v1beta1", "PodDisruptionBudget"),
        ("extensions/v1beta1", "Ingress"),
        ("autoscaling/v2beta2", "HorizontalPodAutoscaler"),
        ("policy/v1beta1", "PodSecurityPolicy"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        *((kind.api((1, 37)), kind.name) for kind in kinds.TABLE),
    ],
)
def test_what_is_served(api_version: str, kind: str, cluster: Cluster) -> None:
    found = openapi.api((1, 37)).judge({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}})
    assert cluster.serves(api_version, kind) == all(one.path != ("apiVersion",) for one in found)
