"""The reference deployment in this repository: sound, its manifests up to date, its upgrade one line."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests import knobs
from tests.cli.test_inventory import pillarbox


def test_the_model_is_sound(repository: Path) -> None:
    done = pillarbox("--model", repository, "check")
    assert done.returncode == 0, done.stderr


def test_the_committed_manifests_are_what_the_model_says(repository: Path) -> None:
    done = pillarbox("--model", repository, "manifests", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_stale_manifests_fail_the_check(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "manifests", tmp_path / "manifests")
    file = tmp_path / "manifests" / "lab" / "keystone-server-deployment.yml"
    file.write_text(file.read_text().replace("replicas: 2", "replicas: 1"))
    done = pillarbox("--model", repository, "manifests", "--check", "--output", tmp_path / "manifests")
    assert done.returncode == 1
    assert "stale: lab/keystone-server-deployment.yml" in done.stdout


def test_the_upgrade_is_one_changed_line(repository: Path, tmp_path: Path) -> None:
    for part in ("classes", "nodes", "formulas", "images"):
        shutil.copytree(repository / part, tmp_path / part)
    knobs.turn(tmp_path, "openstack_version: zed", "openstack_version: epoxy")
    before = pillarbox("--model", repository, "images", "list", "--offline").stdout.split("\n")
    after = pillarbox("--model", tmp_path, "images", "list", "--offline").stdout.split("\n")
    changed, were = (
        {line.split()[0].rpartition("/")[2] for line in set(one) - set(other)}
        for one, other in ((after, before), (before, after))
    )
    assert (
        changed == {name.replace(":zed", ":epoxy") for name in were} >= {"keystone-server:epoxy", "glance-server:epoxy"}
    )


def test_every_error_is_told_in_full(repository: Path, tmp_path: Path) -> None:
    for part in ("classes", "nodes", "formulas", "images"):
        shutil.copytree(repository / part, tmp_path / part)
    hosts = list((tmp_path / "nodes/hosts").glob("*.yml"))
    for node in hosts:
        node.write_text(node.read_text().replace("classes:", "classes:\n- system.nowhere", 1))
    done = pillarbox("--model", tmp_path, "check")
    assert done.returncode == 1
    assert " errors" not in done.stderr
    for node in hosts:
        assert f"class system.nowhere does not exist, asked for by node {node.stem}" in done.stderr


def test_a_host_needs_a_name_that_hosts_can_have(repository: Path, tmp_path: Path) -> None:
    for part in ("classes", "nodes", "formulas", "images"):
        shutil.copytree(repository / part, tmp_path / part)
    shutil.copy(tmp_path / "nodes/hosts/ctl03.yml", tmp_path / "nodes/hosts/a b$(id).yml")
    done = pillarbox("--model", tmp_path, "check")
    assert done.returncode == 1
    assert "nodes/hosts/a b$(id).yml" in done.stderr and "no name that a host can have" in done.stderr


def test_a_key_that_no_formula_knows_is_a_warning(repository: Path, tmp_path: Path) -> None:
    for part in ("classes", "nodes", "formulas", "images"):
        shutil.copytree(repository / part, tmp_path / part)
    node = tmp_path / "nodes/images/memcached-server.yml"
    node.write_text(node.read_text() + "parameters:\n  memcached:\n    server:\n      memroy: 64\n")
    line = len(node.read_text().splitlines())
    done = pillarbox("--model", tmp_path, "check")
    assert done.returncode == 0 and "The model is sound." in done.stdout
    assert f"warning: nodes/images/memcached-server.yml:{line}: memcached:server:memroy: no such key." in done.stderr


def test_an_unknown_release_is_an_error(repository: Path, tmp_path: Path) -> None:
    for part in ("classes", "nodes", "formulas", "images"):
        shutil.copytree(repository / part, tmp_path / part)
    knobs.turn(tmp_path, "openstack_version: zed", "openstack_version: epoxi")
    done = pillarbox("--model", tmp_path, "check")
    assert done.returncode == 1
    assert "system.openstack.release.epoxi" in done.stderr
    assert "Did you mean system.openstack.release.epoxy?" in done.stderr
