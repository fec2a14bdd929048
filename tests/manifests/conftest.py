"""Small reclass models on disk, and the schemas of the Kubernetes releases that rendered objects must obey."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT7
from tests.manifests.control_pillars import by_title

from pillarbox.manifests import render
from pillarbox.model import Inventory

Write = Callable[..., Inventory]
Validate = Callable[[Mapping[str, Any]], None]


SCHEMAS = "*/src/kubernetes_validate/kubernetes-json-schema/v1.20*-local-strict"


@pytest.fixture
def model(tmp_path: Path) -> Write:
    """Writes a model and opens it: ``model(control, …)`` with the pillar of node cfg01, or whole files by path."""

    def write(control: Mapping[str, Any] | None = None, files: Mapping[str, str] | None = None) -> Inventory:
        for folder in ("nodes", "classes"):
            (tmp_path / folder).mkdir(exist_ok=True)
        texts = dict(files or {})
        if control is not None:
            texts["nodes/cfg01.yml"] = yaml.safe_dump(
                {"parameters": {"kubernetes": {"control": dict(control)}}}, sort_keys=False
            )
        for name, text in texts.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return Inventory(tmp_path)

    return write


@pytest.fixture
def rendered(model: Write) -> Callable[..., dict[str, dict[str, Any]]]:
    """The objects of a control pillar by ``<kind>/<name>``."""

    def objects(control: Mapping[str, Any], **more: Any) -> dict[str, dict[str, Any]]:
        return by_title(render(model(control), **more))

    return objects


@pytest.fixture(scope="session")
def kubernetes_1_20(pytestconfig: pytest.Config) -> Validate:
    """Strict validation against Kubernetes 1.20.

    Each kubernetes-validate carries the schemas of a dozen releases; the one that the project installs has dropped
    1.20, so the schemas are taken out of the release of that package that has them.
    """
    folder = pytestconfig.cache.mkdir("kubernetes-1.20")
    if not any(folder.glob(SCHEMAS)):
        _download(folder)
    (schemas,) = folder.glob(SCHEMAS)
    definitions = json.loads((schemas / "_definitions.json").read_text())
    registry: Registry[Any] = Registry().with_resource("_definitions.json", DRAFT7.create_resource(definitions))

    def validate(found: Mapping[str, Any]) -> None:
        group, _, version = found["apiVersion"].rpartition("/")
        parts = (found["kind"].lower(), group.partition(".")[0], version)
        schema = json.loads((schemas / f"{'-'.join(part for part in parts if part)}.json").read_text())
        jsonschema.Draft7Validator({"$ref": schema["$ref"]}, registry=registry).validate(found)

    return validate


@pytest.fixture(scope="session")
def newest_kubernetes() -> Validate:
    """Strict validation against the newest release that the installed kubernetes-validate carries."""
    newest = kubernetes_validate.latest_version()
    return lambda found: kubernetes_validate.validate(dict(found), newest, strict=True)


def _download(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    done = subprocess.run([*pip, "kubernetes-validate==1.20.0"], capture_output=True, text=True)
    archives = list(folder.glob("*.tar.gz"))
    if not archives:
        pytest.skip(f"the schemas of Kubernetes 1.20 cannot be downloaded: {done.stderr.strip().splitlines()[-1:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder)
