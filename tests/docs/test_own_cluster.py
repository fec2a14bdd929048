"""`pillarbox deploy --kubeconfig`, as the page on one's own cluster has it, against a real API server."""

from __future__ import annotations

import shutil
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
    # What the page's variant says: no cluster of these servers.
    shutil.rmtree(clone / "classes/cluster/mycloud/kubernetes")
    for name in ("srv02", "srv03"):
        (clone / f"nodes/hosts/{name}.yml").unlink()
    for file, line in (
        ("nodes/hosts/srv01.yml", "- cluster.mycloud.kubernetes.master\n"),
        ("classes/cluster/mycloud/master.yml", "- service.program.source.salt\n"),
    ):
        text = (clone / file).read_text()
        assert line in text
        (clone / file).write_text(text.replace(line, ""))
    file = clone / "classes/cluster/mycloud/control.yml"
    file.write_text(f"{file.read_text()}      kubeconfig: /etc/pillarbox/kubeconfig\n")
    checked = subprocess.run(["pillarbox", "check"], cwd=clone, env=commands, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "The model is sound.\n"), checked.stdout + checked.stderr
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
