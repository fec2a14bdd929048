"""kube-proxy in the mode that the lab does not have: its configuration, and packets to a Service by iptables."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import controlplane
from tests.formulas.test_hosts import ROOT, as_root, compiled_states, complaints

from pillarbox.model import Inventory

CONFIG = "/etc/kubernetes/kube-proxy.yml"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the formula writes for a node of the lab with ``proxy:mode: iptables``."""
    node = Inventory(ROOT).node("ctl01")
    parameters = json.loads(json.dumps(node.parameters))
    parameters["kubernetes"]["pool"]["proxy"] = {"mode": "iptables"}
    assert complaints(parameters) == []
    low, files = compiled_states("ctl01", parameters, ["containerd", "kubernetes"], tmp_path_factory.mktemp("salt"))
    assert CONFIG in files, low
    found: dict[str, Any] = yaml.safe_load(files[CONFIG])
    return found


def test_the_parameter_chooses_iptables(written: dict[str, Any]) -> None:
    assert written["mode"] == "iptables"


@as_root
@pytest.mark.compiled
def test_a_service_is_reached_by_iptables(written: dict[str, Any], tmp_path: Path) -> None:
    # Here, and not in the process that starts them: what that one skips nobody sees.
    proxy = controlplane.folders()["kube"] / "kube-proxy"
    if shutil.which("iptables-save") is None:
        pytest.skip("needs iptables")
    config = tmp_path / "given.yml"
    config.write_text(yaml.safe_dump(written))
    # The node's own address is where kube-proxy tells of its health.
    addresses = [written["healthzBindAddress"].partition(":")[0], "10.244.1.5", "10.96.1.1"]
    script = [sys.executable, "-m", "tests.formulas.proxy_host", str(proxy), str(config), str(tmp_path), *addresses]
    alone = ["unshare", "--net", "--pid", "--fork", "--kill-child"]
    done = subprocess.run([*alone, *script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["before"], found["with"]) == (0, 204), found["log"]
    assert "KUBE-SERVICES -d 10.96.1.1/32" in found["rules"]
