"""A model whose network enforces no NetworkPolicies has that said once, and is sound all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.pipeline.support import Deployment

from pillarbox.pipeline.check import check

DENY = {"network_policy": {"default": {"from": []}, "other": {"to": []}}}


def files(
    *, policies: bool | None, control: dict[str, Any] | None = None, server: str = "192.0.2.1"
) -> dict[str, dict[str, Any]]:
    """A model with two hosts that run pods, and one that has NetworkPolicies for a cluster."""
    enforces = {} if policies is None else {"policies": policies}

    def pool(number: int) -> dict[str, Any]:
        network = {"engine": "bridge", **enforces, "range": f"10.0.{number}.0/24", "cluster_range": "10.0.0.0/16"}
        address = f"192.0.2.{number}"
        return {
            "parameters": {
                "salt": {"minion": {}},
                "kubernetes": {
                    "pool": {
                        "enabled": True,
                        "name": f"n{number}",
                        "address": address,
                        "master": {"host": "192.0.2.1"},
                        "network": network,
                    }
                },
            }
        }

    client = {"enabled": True, "apiserver": {"host": server, "port": 6443}}
    admin = {"kubernetes": {"client": client, "control": DENY if control is None else control}}
    return {"nodes/n2.yml": pool(2), "nodes/n3.yml": pool(3), "nodes/admin.yml": {"parameters": admin}}


def written(model: Path, content: dict[str, dict[str, Any]]) -> Path:
    (model / "classes").mkdir()
    for name, data in content.items():
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(yaml.safe_dump(data, sort_keys=False))
    return model


def test_a_network_that_enforces_nothing_is_named_once(tmp_path: Path) -> None:
    errors, doubts = check(written(tmp_path, files(policies=False)))
    assert errors == ()
    (doubt,) = doubts
    assert doubt.message == (
        "the network engine bridge of the cluster 192.0.2.1:6443 does not enforce its 2 NetworkPolicies"
    )
    text = (tmp_path / "nodes/n2.yml").read_text().splitlines()
    assert (doubt.file, text[(doubt.line or 0) - 1].strip()) == ("nodes/n2.yml", "policies: false")


@pytest.mark.parametrize(
    "content",
    [
        files(policies=True),
        files(policies=None),
        files(policies=False, control={"configmap": {"a": {"data": {"a": "b"}}}}),
        files(policies=False, server="198.51.100.1"),
        files(policies=False, control=DENY | {"kubeconfig": "/etc/other.conf"}),
    ],
    ids=["enforced", "not known", "no policies", "another cluster", "a cluster by its kubeconfig"],
)
def test_nothing_is_said_where_nothing_is_known_to_be_missing(tmp_path: Path, content: Any) -> None:
    assert check(written(tmp_path, content)) == ((), ())


def test_a_push_that_a_schema_refuses_does_not_go_in(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    model = {**files(policies=True), "classes/none.yml": {}}
    schema = {"properties": {"network": {"properties": {"engine": {"enum": ["bridge"], "description": "How."}}}}}
    deployment.commit({**model, "formulas/kubernetes/schemas/pool.yml": schema})
    assert deployment.push().returncode == 0
    model["nodes/n2.yml"]["parameters"]["kubernetes"]["pool"]["network"]["engine"] = "brigde"
    model["nodes/n3.yml"]["parameters"]["pki"] = {"key": {"k": {"type": "aes", "serial": 0}}}
    deployment.commit({**model, "formulas/kubernetes/schemas/pool.yml": schema})
    done = deployment.push(check=False)
    assert done.returncode != 0
    assert "kubernetes:pool:network:engine: 'brigde' is not one of ['bridge']: How." in done.stderr
    assert "host n3: pki:key:k:serial: expected a number from 1 on, found 0" in done.stderr
    assert "nodes/n2.yml:" in done.stderr and "nodes/n3.yml:" in done.stderr and "lint: ignore[schema]" in done.stderr


def test_a_push_of_a_kind_that_the_cluster_does_not_serve_does_not_go_in(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    gone = {"kind": "PodDisruptionBudget", "api_version": "policy/v1beta1", "name": "a", "body": {"spec": {}}}
    model = files(policies=True, control={"object": {"a": gone}, "version": "1.37.2"})
    deployment.commit({**model, "classes/none.yml": {}})
    done = deployment.push(check=False)
    assert done.returncode != 0
    assert "nodes/admin.yml:11: node admin, kubernetes:control:object:a:api_version: Kubernetes 1.37" in done.stderr
    assert "It serves it as policy/v1." in done.stderr


def test_a_push_says_it_and_goes_in(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.commit({**files(policies=False), "classes/none.yml": {}})
    done = deployment.push()
    assert "does not enforce its 2 NetworkPolicies" in done.stderr
