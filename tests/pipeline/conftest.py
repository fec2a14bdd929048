"""A deployment's repository, a small model, a real Salt master and minion."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.controlplane import ControlPlane, binaries
from tests.pipeline.support import MODEL, Deployment, Salt, formulas


@pytest.fixture
def model() -> dict[str, Any]:
    """Files of a small model: a host, and a ConfigMap."""
    return json.loads(json.dumps(MODEL))


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    # Salt's sockets have to fit into 107 characters; pytest's directories do not leave that.
    root = Path(tempfile.mkdtemp(prefix="pb-"))
    yield Deployment(root)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def salt(deployment: Deployment, model: dict[str, Any]) -> Iterator[Salt]:
    """Salt on the model's first revision, which has been pushed and published."""
    daemons = Salt(deployment)
    try:
        deployment.commit({**model, **formulas(deployment.root)}, "the first")
        deployment.push()
        daemons.up()
        yield daemons
    finally:
        daemons.close()


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A running control plane; skips where the machine has no Kubernetes binaries."""
    folder = binaries()
    if folder is None:
        pytest.skip("no Kubernetes binaries here: set PILLARBOX_KUBERNETES_BIN, or make the lab, which compiles them")
    plane = ControlPlane(folder, tmp_path_factory.mktemp("kubernetes"))
    try:
        plane.up()
        yield plane
    finally:
        plane.close()
