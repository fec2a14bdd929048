"""A deployment's repository, a small model, a real Salt master and minion."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.controlplane import ControlPlane, control_plane
from tests.pipeline.support import MODEL, Deployment, Salt, formulas


@pytest.fixture
def model() -> dict[str, Any]:
    """Files of a small model: a host, and a ConfigMap."""
    return json.loads(json.dumps(MODEL))


@contextmanager
def _deployment() -> Iterator[Deployment]:
    # Salt's sockets have to fit into 107 characters; pytest's directories do not leave that.
    root = Path(tempfile.mkdtemp(prefix="pb-"))
    yield Deployment(root)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def deployment(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """A repository with hooks: that of the running master where a test has one, else an empty one."""
    if "salt" in request.fixturenames:
        daemons = request.getfixturevalue("salt")
        daemons.deployment.hooks(patience=0.0)
        yield daemons.deployment
        return
    with _deployment() as fresh:
        yield fresh


@pytest.fixture(scope="module")
def salt() -> Iterator[Salt]:
    """Salt on the model's first revision, which was pushed before the master was there. Shared by a file's tests."""
    with _deployment() as fresh:
        daemons = Salt(fresh)
        try:
            fresh.commit({**json.loads(json.dumps(MODEL)), **formulas(fresh.root)}, "the first")
            fresh.push()
            daemons.up()
            yield daemons
        finally:
            daemons.close()


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A running control plane; skips where the machine has no Kubernetes binaries."""
    with control_plane(tmp_path_factory.mktemp("kubernetes")) as plane:
        yield plane
