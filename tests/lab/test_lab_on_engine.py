"""A lab on a real engine: two hosts of a small model come up, are mended, and go without a trace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pillarbox.lab import clean, engine, hosts, kept, machine, settings, shell, up
from pillarbox.lab.errors import LabError
from pillarbox.lab.settings import LabSettings
from pillarbox.secrets import generate
from pillarbox.system.progress import SILENT

NAME = "pillarbox-lab-test"
SUBNET = "172.30.77"

pytestmark = [pytest.mark.engine, pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")]


def unrendered(model: Path) -> None:
    """Nothing is rendered from this model."""


def nobody_reads(line: str) -> None:
    """Where `head` has gone away."""
    raise BrokenPipeError(32, "Broken pipe")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, container_engine: engine.LabEngine) -> Iterator[LabSettings]:
    model = tmp_path_factory.mktemp("model")
    (model / "classes").mkdir()
    (model / "nodes").mkdir()
    for number, name in ((10, "one"), (11, "two")):
        parameters: dict = {
            "lab": {
                "network": {"name": NAME, "subnet": f"{SUBNET}.0/24"},
                "host": {
                    "address": f"{SUBNET}.{number}",
                    "volumes": {"data": "/data"},
                    "shared_volumes": {"all": "/all"},
                },
            }
        }
        if name == "one":
            parameters["salt"] = {"master": {"enabled": True}}
        (model / "nodes" / f"{name}.yml").write_text(yaml.safe_dump({"parameters": parameters}))
    found = settings.load(NAME, model)
    # The machine's cache and engine, so that the host image is made once; everything else is the test's own.
    own = LabSettings(NAME, tmp_path_factory.mktemp("root"), found.cache, found.checkout, model, found.engine)
    if engine.find(own) is None:
        pytest.skip("no container engine answers")
    try:
        yield own
    finally:
        clean.clean(own, SILENT, keep_cache=True)


def test_hosts_come_up_and_know_each_other(lab: LabSettings) -> None:
    run = up.up(lab, SILENT, unrendered, generate, until="hosts")
    one, two = run.containers["one"], run.containers["two"]
    for name, container in run.containers.items():
        assert shell.run(container, ["hostname"]).out.strip() == name
        assert shell.run(container, ["systemctl", "is-system-running"], check=False).out.strip() == "running"
        assert shell.run(container, ["salt-call", "--local", "--version"]).out.startswith("salt-call ")
    with pytest.raises(BrokenPipeError):
        shell.run(one, ["echo", "nobody reads this"], on_out=nobody_reads)
    with pytest.raises(LabError, match=r"false on .* ended with 1"):
        shell.run(one, ["false"])
    assert f"{SUBNET}.11" in shell.run(one, ["getent", "hosts", "two"]).out
    shell.run(one, ["sh", "-c", "echo shared > /all/file; echo mine > /data/file"])
    assert shell.run(two, ["cat", "/all/file"]).out == "shared\n"
    assert shell.run(two, ["test", "-e", "/data/file"], check=False).code == 1


def test_a_hosts_services_are_not_the_machines(lab: LabSettings) -> None:
    run = up.up(lab, SILENT, unrendered, generate, until="hosts")
    for container in run.containers.values():
        cgroup = shell.run(container, ["cat", "/proc/1/cgroup"]).out
        assert "docker" not in cgroup, "the host sees the machine's control groups"
        shell.run(container, ["systemd-run", "--quiet", "--unit=same-name", "sleep", "60"])
    # Of the same name on both, but each its own: stopping one leaves the other.
    shell.run(run.containers["one"], ["systemctl", "stop", "same-name"])
    assert shell.run(run.containers["two"], ["systemctl", "is-active", "same-name"]).out.strip() == "active"


def test_again_changes_nothing_and_mends_what_broke(lab: LabSettings) -> None:
    first = up.up(lab, SILENT, unrendered, generate, until="hosts")
    again = up.up(lab, SILENT, unrendered, generate, until="hosts")
    assert {name: each.id for name, each in first.containers.items()} == {
        name: each.id for name, each in again.containers.items()
    }
    assert not again.created
    first.containers["one"].kill()
    first.containers["two"].remove(force=True)
    mended = up.up(lab, SILENT, unrendered, generate, until="hosts")
    assert mended.created == {"two"}
    # A container that is gone takes no data along.
    assert shell.run(mended.containers["two"], ["cat", "/all/file"]).out == "shared\n"


def test_a_host_that_ends_as_it_starts_is_told_with_its_last_words(
    lab: LabSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = up.up(lab, SILENT, unrendered, generate, until="hosts")
    monkeypatch.setattr(hosts, "_BOOT_SECONDS", 3)
    container = run.engine.client.containers.run(
        run.containers["one"].image,
        ["sh", "-c", "echo no init here; exit 1"],
        detach=True,
        restart_policy={"Name": "unless-stopped"},
        labels={"pillarbox.lab": lab.name},
    )
    try:
        with pytest.raises(LabError, match=r"host three does not come up(?s:.*)no init here"):
            hosts.await_booted("three", container)
    finally:
        container.remove(force=True)


def test_a_host_whose_address_another_still_has_is_told_which(lab: LabSettings) -> None:
    node, other = lab.source / "nodes/two.yml", lab.source / "nodes/three.yml"
    node.rename(other)
    try:
        with pytest.raises(LabError, match="host three does not start") as failed:
            up.up(lab, SILENT, unrendered, generate, until="hosts")
        assert failed.value.hint and f"{NAME}-two has its address, {SUBNET}.11" in failed.value.hint
        assert f"`pillarbox lab --name {NAME} remove two`" in failed.value.hint
    finally:
        other.rename(node)
        found = engine.find(lab)
        assert found is not None
        three = hosts.find(lab, found, "three")
        assert three is not None
        hosts.remove(found, three)


def test_a_subnet_that_is_taken_is_refused(lab: LabSettings, tmp_path: Path) -> None:
    up.up(lab, SILENT, unrendered, generate, until="hosts")
    other = LabSettings(f"{NAME}-2", tmp_path, lab.cache, lab.checkout, tmp_path / "model", lab.engine)
    (other.source / "nodes").mkdir(parents=True)
    (other.source / "classes").mkdir()
    lab_pillar = {"network": {"name": f"{NAME}-2", "subnet": f"{SUBNET}.0/25"}, "host": {"address": f"{SUBNET}.20"}}
    node = {"parameters": {"lab": lab_pillar, "salt": {"master": {"enabled": True}}}}
    (other.source / "nodes" / "x.yml").write_text(yaml.safe_dump(node))
    with pytest.raises(LabError, match=rf"{SUBNET}\.0/25 collides"):
        up.up(other, SILENT, unrendered, generate, until="hosts")


def test_what_hosts_compiled_is_there_in_the_next_lab(lab: LabSettings) -> None:
    name, cached = "kept-1.0.0-0123456789ab", lab.cache / "volumes" / "all"
    run = up.up(lab, SILENT, unrendered, generate, until="hosts")
    script = """
        cd /all; mkdir "$1" unfinished damaged; echo program | tee "$1/one" unfinished/one damaged/one
        for each in "$1" damaged; do (cd $each; sha256sum one > SHA256SUMS); done; echo >> damaged/one
    """
    shell.run(run.containers["two"], ["sh", "-ec", script, "sh", name])
    try:
        clean.clean(lab, SILENT, keep_cache=True)
        assert [file.name for file in cached.iterdir()] == [f"{name}.tar"]
        (cached / "nothing-1.0.0-0123456789ab.tar").write_bytes((cached / f"{name}.tar").read_bytes())
        again = up.up(lab, SILENT, unrendered, generate, until="hosts")
        kept.restore(lab, again.containers.values(), print)
        assert shell.run(again.containers["one"], ["ls", "/all"]).out.split() == [name]
        assert shell.run(again.containers["two"], ["cat", f"/all/{name}/one"]).out == "program\n"
        # An archive that is not what its name says goes.
        assert [file.name for file in cached.iterdir()] == [f"{name}.tar"]
    finally:
        shutil.rmtree(cached)


def test_clean_leaves_nothing(lab: LabSettings) -> None:
    run = up.up(lab, SILENT, unrendered, generate, until="hosts")
    client = run.engine.client
    assert hosts.of_lab(lab, run.engine)
    clean.clean(lab, SILENT, keep_cache=True)
    label = {"label": lab.label}
    assert client.containers.list(all=True, filters=label) == []
    assert client.volumes.list(filters=label) == []
    assert client.networks.list(filters=label) == []
    assert not lab.state.exists()
    clean.clean(lab, SILENT, keep_cache=True)


def test_private_engine_starts_survives_a_kill_and_goes(
    tmp_path_factory: pytest.TempPathFactory, container_engine: engine.LabEngine
) -> None:
    if container_engine.private:
        pytest.skip("these very tests run on the machine's one private engine, which this would take away")
    base = tmp_path_factory.mktemp("e")
    own = LabSettings("private", base, base / "cache", Path("/"), base, "private")
    before, links = rules(), interfaces()
    machine.record(own)
    try:
        started = engine.start(own, lambda text: None)
        assert started.private and started.version
        pid = int((own.engine_dir / "dockerd.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        assert engine._gone(pid, 10)
        assert engine.start(own, lambda text: None).private
    finally:
        engine.remove(own)
        machine.restore(own)
    assert not own.engine_dir.exists()
    assert rules() == before
    assert interfaces() == links


def test_a_dead_engine_that_clean_starts_changes_nothing_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = LabSettings("dead", tmp_path, tmp_path / "cache", Path("/"), tmp_path, "private")
    (own.engine_dir / "data").mkdir(parents=True)
    setting = Path("/proc/sys/kernel/keys/root_maxkeys")
    before = setting.read_text()

    def spawn(settings: LabSettings, name: str, arguments: list[str]) -> None:
        setting.write_text(f"{int(before) + 1}\n")
        raise LabError("it changed a setting, and does not start")

    monkeypatch.setattr(engine, "_spawn", spawn)
    # The real one would take the bridge from under the engine of these tests.
    monkeypatch.setattr(engine, "remove", lambda settings: shutil.rmtree(settings.engine_dir))
    try:
        clean.clean(own, SILENT)
        assert setting.read_text() == before
    finally:
        setting.write_text(before)


def interfaces() -> set[str]:
    """The machine's network interfaces, but not those of containers that come and go meanwhile."""
    return {path.name for path in Path("/sys/class/net").iterdir() if not path.name.startswith("veth")}


def rules() -> list[str]:
    """The machine's firewall, without counters."""
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout
    return [line.split(" [")[0] for line in saved.splitlines() if not line.startswith("#")]
