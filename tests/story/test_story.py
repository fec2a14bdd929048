"""The story of the README: change one line, push, deploy, and not one request fails."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from openstack.config import OpenStackConfig
from openstack.connection import Connection
from tests.story.lab import COMMAND, Lab, run

from pillarbox.images import image_specs
from pillarbox.model import Inventory
from pillarbox.system.waiting import until

pytestmark = pytest.mark.lab


def git(clone: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    done = subprocess.run(["git", "-C", clone, *identity, *arguments], capture_output=True, text=True)
    print(f"$ git {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    assert not check or done.returncode == 0, f"git {arguments[0]} exited {done.returncode}"
    return done


@pytest.fixture(scope="module")
def clone(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("clone") / "model"
    lab.command("clone", directory)
    return directory


def push(clone: Path, message: str, check: bool = True) -> str:
    """Commit everything and push; what the push said."""
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--allow-empty", "--message", message)
    done = git(clone, "push", check=check)
    return done.stderr


def change(clone: Path, file: str, old: str, new: str) -> None:
    path = clone / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def workloads(lab: Lab) -> dict[str, Any]:
    """What decides whether anything rolled: each workload's generation and images."""
    found = {}
    for kind in ("deployment", "statefulset", "daemonset"):
        for item in lab.objects(kind):
            images = [container["image"] for container in item["spec"]["template"]["spec"]["containers"]]
            found[item["metadata"]["name"]] = (item["metadata"]["generation"], tuple(images))
    return found


def of_openstack(lab: Lab) -> list[str]:
    """The images of the model that the upgrade is about, which are workloads of the same names."""
    found = [name for name, image in image_specs(Inventory(lab.model)).items() if "openstack" in image.formulas]
    assert {"keystone-server", "glance-server"} <= set(found)
    return found


def versions(lab: Lab) -> dict[str, str]:
    return {name: images[0].rpartition("@")[0].rpartition(":")[2] for name, (_, images) in workloads(lab).items()}


def test_clients_take_the_credentials_that_the_lab_leaves(lab: Lab) -> None:
    directory = Path(lab.command("credentials").stdout.strip())
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (directory, *directory.iterdir())}
    assert modes == {"credentials": 0o700, "clouds.yaml": 0o600, "openrc": 0o600}
    config = OpenStackConfig(config_files=[str(directory / "clouds.yaml")], load_envvars=False)
    with Connection(config=config.get_one()) as cloud:
        assert cloud.authorize()
        assert {service.type for service in cloud.identity.services()} >= {"identity", "image"}
        assert all(image.status == "active" for image in cloud.image.images())


def test_the_first_deploy_runs_the_release_of_the_model(lab: Lab) -> None:
    for service in of_openstack(lab):
        assert versions(lab)[service] == "zed"
        pods = lab.objects("pod", f"app={service}")
        assert len({pod["spec"]["nodeName"] for pod in pods}) >= 2, "replicas of one service share a host"


def test_a_fresh_clone_has_fresh_manifests(clone: Path) -> None:
    done = run([*COMMAND, "--model", str(clone), "manifests", "--check"], capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_push_without_a_change_builds_and_writes_nothing(lab: Lab, clone: Path) -> None:
    before = workloads(lab)
    said = push(clone, "Nothing")
    assert "nothing changes" in said
    lab.deploy()
    assert workloads(lab) == before


def test_upgrade_by_one_line_with_no_request_failed(lab: Lab, clone: Path) -> None:
    before = workloads(lab)
    with lab.load() as load:
        change(clone, "classes/cluster/lab/init.yml", "openstack_version: zed", "openstack_version: epoxy")
        said = push(clone, "Upgrade to Epoxy")
        for name in of_openstack(lab):
            assert name in said
        assert "mariadb-server" not in said
        deployed = lab.deploy()
    print(json.dumps({name: tally.as_dict() for name, tally in load.tallies.items()}))
    for name, tally in load.tallies.items():
        assert tally.failures == [], f"{name}: {len(tally.failures)} of {tally.sent} requests failed"
        assert tally.sent > 50
    for name in before:
        if name in of_openstack(lab):
            assert versions(lab)[name] == "epoxy"
        else:
            assert workloads(lab)[name] == before[name], f"{name} was touched by the upgrade"
    assert "keystone-server" in deployed.stdout + deployed.stderr


def test_going_back_over_a_contracted_schema_is_refused(lab: Lab, clone: Path) -> None:
    before = workloads(lab)
    change(clone, "classes/cluster/lab/init.yml", "openstack_version: epoxy", "openstack_version: zed")
    said = push(clone, "Back to Zed")
    for service in ("keystone", "glance"):
        assert f"{service} goes back from release 2025.1 to 2022.2: the deploy refuses that once" in said
    refused = lab.deploy(check=False)
    assert refused.returncode != 0
    assert "contract" in refused.stdout + refused.stderr
    assert workloads(lab) == before
    change(clone, "classes/cluster/lab/init.yml", "openstack_version: zed", "openstack_version: epoxy")
    push(clone, "Stay on Epoxy")
    lab.deploy()


@pytest.mark.long
def test_the_backup_from_before_the_upgrade_is_the_way_back(lab: Lab) -> None:
    kept = [each for each in lab.backups() if each["reason"] == "before-expand"][-1]
    assert "mariadb-server" in kept["archives"]
    said = lab.orchestrate("orch.restore", data="mariadb-server", backup=kept["id"])
    assert kept["revision"][:12] in said and "Jobs run again" in said
    lab.orchestrate("orch.deploy", revision=kept["revision"])
    assert {versions(lab)[name] for name in of_openstack(lab)} == {"zed"}
    for release in ("zed", "epoxy"):
        with lab.load() as load:
            until(lambda: all(tally.sent > 10 for tally in load.tallies.values()), "requests", patience=60)
        for name, tally in load.tallies.items():
            assert tally.failures == [], f"{release}: {name}: {len(tally.failures)} of {tally.sent} requests failed"
        if release == "zed":
            lab.deploy()
    assert {versions(lab)[name] for name in of_openstack(lab)} == {"epoxy"}, "the migration ran again"


def test_a_push_that_does_not_render_is_refused(lab: Lab, clone: Path) -> None:
    change(clone, "nodes/images/glance-server.yml", "classes:", "classes:\n- service.nowhere")
    said = push(clone, "Break it", check=False)
    assert "nodes/images/glance-server.yml" in said
    assert "service.nowhere" in said
    assert git(clone, "status", "-sb").stdout.startswith("## main...origin/main [ahead 1]")
    git(clone, "reset", "--quiet", "--hard", "origin/main")
