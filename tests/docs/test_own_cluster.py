"""`pillarbox deploy --kubeconfig`, as the page on one's own cluster has it, against a real API server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controlplane import ControlPlane, control_plane
from tests.docs.pages import DOCS, Command, Reader, steps

from pillarbox.rollout import Cluster
from pillarbox.system.waiting import until

CONTROL = """\
classes:
- cluster.mycloud
parameters:
  kubernetes:
    control:
      enabled: true
      version: ${_param:kubernetes_version}
      deploy_name: ${_param:deploy_name}
      namespace: mycloud
      namespaces:
        mycloud: {}
      configmap:
        motd: {data: {text: hello}}
"""


@pytest.fixture
def apiserver(tmp_path: Path) -> Iterator[ControlPlane]:
    root = tmp_path / "plane"
    root.mkdir()
    with control_plane(root) as plane, Cluster(plane.kubeconfig) as cluster:
        # An API server answers before it has made the namespace that every cluster has.
        assert until(lambda: "default" in _names(cluster, "Namespace"), "the namespace default", patience=60)
        yield plane


def test_a_cluster_of_ones_own(clone: Path, commands: dict[str, str], apiserver: ControlPlane) -> None:
    reader = Reader(clone, commands)
    for step in steps(DOCS / "how-to" / "own-servers.md"):
        if not isinstance(step, Command) or step.where == "":
            reader.do(step)
    # Nothing that a node would have to run: this cluster has no nodes.
    (clone / "classes/cluster/mycloud/control.yml").write_text(CONTROL)
    (clone / "nodes/images/memcached-server.yml").unlink()

    def deploy(*options: str) -> str:
        command = ["pillarbox", "deploy", "--kubeconfig", str(apiserver.kubeconfig), *options]
        environment = {**commands, "PILLARBOX_STATE": str(clone.parent / "state")}
        done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    deploy("--dry-run")
    with Cluster(apiserver.kubeconfig) as cluster:
        assert not _names(cluster, "Namespace") & {"mycloud"}, "a dry run writes nothing"
        deploy()
        assert "mycloud" in _names(cluster, "Namespace")
        assert "motd" in _names(cluster, "ConfigMap")


def _names(cluster: Cluster, kind: str) -> set[str]:
    return {item["metadata"]["name"] for item in cluster.list("v1", kind)[0]}
