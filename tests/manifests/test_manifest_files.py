"""Writing manifests: whole files, nothing stale, nothing outside, nothing of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.manifests.control_pillars import service

from pillarbox.manifests import ManifestError, files, render

PORTS = {"ports": [{"port": 80}]}


def states(differences: list[files.FileDifference]) -> list[str]:
    return [str(each) for each in differences]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "manifests"


def test_write_then_check(model: Any, out: Path) -> None:
    manifests = render(model(service(**PORTS)))
    missing = ["missing: default/nova-api-deployment.yml", "missing: default/nova-api-svc.yml"]
    assert states(files.check(manifests, out)) == missing
    assert states(files.write(manifests, out)) == missing
    assert files.check(manifests, out) == []
    text = (out / "default/nova-api-deployment.yml").read_text()
    assert text.startswith("# rendered by pillarbox from node cfg01; do not edit\n")
    assert yaml.safe_load(text) == manifests[0].object
    assert {file.name for file in out.rglob("*") if file.is_file()} == {"nova-api-deployment.yml", "nova-api-svc.yml"}


def test_nothing_is_written_twice(model: Any, out: Path) -> None:
    manifests = render(model(service()))
    files.write(manifests, out)
    file = out / "default/nova-api-deployment.yml"
    before = file.stat()
    assert files.write(manifests, out) == []
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_stale_and_extra_files(model: Any, out: Path) -> None:
    files.write(render(model(service(namespace="cloud", **PORTS))), out)
    (out / "README.md").write_text("mine")
    (out / "default/other.yml").write_text("kind: Mine\n")
    manifests = render(model(service(replicas=2)))
    expected = [
        "extra: default/cloud/nova-api-deployment.yml",
        "extra: default/cloud/nova-api-svc.yml",
        "missing: default/nova-api-deployment.yml",
    ]
    assert states(files.write(manifests, out)) == expected
    assert files.check(manifests, out) == []
    assert not (out / "default/cloud").exists()
    assert (out / "README.md").exists() and (out / "default/other.yml").exists()
    changed = render(model(service(replicas=3)))
    assert states(files.check(changed, out)) == ["stale: default/nova-api-deployment.yml"]


def test_files_of_others_stay(model: Any, out: Path) -> None:
    file = out / "default/nova-api-deployment.yml"
    file.parent.mkdir(parents=True)
    file.write_text("kind: Mine\n")
    with pytest.raises(ManifestError, match="in the way"):
        files.write(render(model(service(**PORTS))), out)
    assert file.read_text() == "kind: Mine\n"
    assert not (out / "default/nova-api-svc.yml").exists()


def test_nothing_leaves_the_directory(model: Any, out: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "default").symlink_to(elsewhere)
    with pytest.raises(ManifestError, match="outside"):
        files.write(render(model(service())), out)
    assert list(elsewhere.iterdir()) == []


def test_a_pusher_has_nothing_written_through_a_link(model: Any, out: Path, tmp_path: Path) -> None:
    """`manifests` itself, in a clone of what somebody pushed to a branch that no hook looks at."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "old.yml").write_text("# rendered by pillarbox from node cfg01; do not edit\n")
    out.symlink_to(elsewhere)
    with pytest.raises(ManifestError, match="the directory is a link, to"):
        files.write(render(model(service())), out)
    assert [file.name for file in elsewhere.iterdir()] == ["old.yml"]


@pytest.mark.parametrize("name", ["../out", "a/../b", "a/b", "/etc"])
def test_no_deployment_is_a_path(model: Any, name: str) -> None:
    with pytest.raises(ManifestError, match="not a valid name"):
        render(model(service() | {"deploy_name": name}))


def test_a_directory_that_cannot_be_written(model: Any, out: Path) -> None:
    out.write_text("a file")
    with pytest.raises(ManifestError, match="cannot write manifests"):
        files.write(render(model(service())), out)
