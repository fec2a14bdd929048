"""Formulas of the hosts: pillar schemas, samples, rendering, and the scripts that they install.

schemas    every sample of a README and every host of the lab satisfies them; an unknown key does not
rendering  Salt itself compiles each host's highstate, and every template in it gives a file of the format it claims
model      a new node is one new file: every other host gets its name and route, and nothing else changes
scripts    routes as the kernel has them
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pillarbox import pki
from pillarbox.model import Inventory

ROOT = Path(__file__).resolve().parents[2]
FORMULAS = (
    "linux",
    "salt",
    "etcd",
    "containerd",
    "docker",
    "registry",
    "pillarbox",
    "kubernetes",
    "program",
    "coredns",
    "cilium",
    "haproxy",
    "keepalived",
    "bird",
)
FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")


def schema(formula: str, role: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "formulas" / formula / "schemas" / f"{role}.yml").read_text())


def roles(formula: str) -> list[str]:
    return sorted(file.stem for file in (ROOT / "formulas" / formula / "schemas").glob("*.yml"))


def samples() -> Iterator[Any]:
    for formula in FORMULAS:
        text = (ROOT / "formulas" / formula / "README.md").read_text()
        for number, fence in enumerate(FENCE.findall(text), 1):
            yield pytest.param(formula, yaml.safe_load(fence), id=f"{formula}-{number}")


def hosts() -> list[str]:
    return sorted(file.stem for file in (ROOT / "nodes" / "hosts").glob("*.yml"))


def complaints(pillar: dict[str, Any]) -> list[str]:
    """What the schemas of all roles in ``pillar`` have to say against it."""
    found = []
    for formula in FORMULAS:
        for role, data in pillar.get(formula, {}).items():
            if formula == "kubernetes" and role == "control":
                continue
            if role not in roles(formula):
                found.append(f"{formula}:{role}: no such role")
                continue
            validator = jsonschema.Draft202012Validator(schema(formula, role))
            found += [f"{formula}:{role}: {error.json_path}: {error.message}" for error in validator.iter_errors(data)]
    return found


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    return Inventory(ROOT)


@pytest.mark.parametrize("formula", FORMULAS)
def test_schemas_are_schemas(formula: str) -> None:
    for role in roles(formula):
        data = schema(formula, role)
        jsonschema.Draft202012Validator.check_schema(data)
        assert data["title"] == f"{formula}:{role}"


@pytest.mark.parametrize(("formula", "pillar"), samples())
def test_samples_satisfy_the_schemas(formula: str, pillar: dict[str, Any]) -> None:
    assert formula in pillar
    assert complaints(pillar) == []


@pytest.mark.parametrize("formula", FORMULAS)
def test_every_role_has_a_sample(formula: str) -> None:
    text = (ROOT / "formulas" / formula / "README.md").read_text()
    shown = {role for fence in FENCE.findall(text) for role in yaml.safe_load(fence).get(formula, {})}
    assert shown >= set(roles(formula))


def test_unknown_key_is_refused() -> None:
    assert complaints({"registry": {"server": {"enabled": True, "bind": {"address": "::", "port": 1}, "tsl": {}}}})
    assert complaints({"program": {"source": {"engine": "url"}}})


LINE = "a\n[Service]\nExecStartPre=/bin/false"


@pytest.mark.parametrize(
    ("formula", "role", "path"),
    [
        ("kubernetes", "master", "apiserver:admission_plugins:-"),
        ("kubernetes", "master", "apiserver:arguments:v"),
        ("kubernetes", "master", "service_addresses"),
        ("kubernetes", "master", "service_node_ports"),
        ("kubernetes", "master", "scheduler:arguments:v"),
        ("kubernetes", "pool", "name"),
        ("kubernetes", "pool", "master:host"),
        ("kubernetes", "pool", "network:range"),
        ("kubernetes", "pool", "network:cluster_range"),
        ("kubernetes", "pool", "network:bridge"),
        ("kubernetes", "pool", "label:a"),
        ("kubernetes", "pool", "taint:-"),
        ("kubernetes", "pool", "kubelet:arguments:v"),
        ("etcd", "server", "name"),
        ("etcd", "server", "data_dir"),
        ("etcd", "server", "token"),
        ("containerd", "server", "registry:a:address"),
        ("coredns", "server", "domain"),
        ("cilium", "agent", "arguments:v"),
        ("cilium", "agent", "devices:-"),
        ("haproxy", "proxy", "timeout"),
        ("haproxy", "proxy", "listen:a:balance"),
        ("keepalived", "cluster", "name"),
        ("keepalived", "cluster", "instance:a:check"),
        ("keepalived", "cluster", "instance:a:interface"),
        ("linux", "system", "name"),
        ("linux", "system", "timezone"),
        ("program", "source", "directory"),
        ("program", "source", "program:a:path"),
        ("program", "source", "program:a:url"),
    ],
)
def test_no_text_can_end_its_line_or_add_a_command(formula: str, role: str, path: str) -> None:
    for text in (LINE, "a; $(reboot) b", "a' b", "../../etc x"):
        value: Any = text
        for key in reversed(path.split(":")):
            value = [value] if key == "-" else {key: value}
        validator = jsonschema.Draft202012Validator(schema(formula, role))
        found = [error for error in validator.iter_errors(value) if error.validator == "pattern"]
        assert found, (path, text)


@pytest.mark.parametrize("host", hosts())
def test_lab_hosts_satisfy_the_schemas(inventory: Inventory, host: str) -> None:
    parameters = inventory.node(host).parameters
    assert complaints(dict(parameters)) == []
    assert parameters["salt"]["minion"]["enabled"]


def test_hosts_have_addresses_and_ranges_of_their_own(inventory: Inventory) -> None:
    parameters = [inventory.node(host).parameters for host in hosts()]
    addresses = [each["lab"]["host"]["address"] for each in parameters]
    ranges = [each["kubernetes"]["pool"]["network"]["range"] for each in parameters if "pool" in each["kubernetes"]]
    assert len(set(addresses)) == len(addresses)
    assert len(set(ranges)) == len(ranges) > 0


def test_a_new_node_is_one_new_file(inventory: Inventory, tmp_path: Path) -> None:
    for folder in ("nodes", "classes"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for file in ROOT.glob("reclass-config.yml"):
        shutil.copy(file, tmp_path)
    text = (ROOT / "nodes" / "hosts" / "ctl03.yml").read_text()
    new = text.replace(".23", ".24").replace("10.244.3.", "10.244.4.")
    assert new != text
    (tmp_path / "nodes" / "hosts" / "ctl04.yml").write_text(new)
    grown = Inventory(tmp_path)
    assert grown.node("ctl04").parameters["kubernetes"]["pool"]["name"] == "ctl04"
    for host in hosts():
        before, after = (each.node(host).parameters["linux"]["network"] for each in (inventory, grown))
        assert after["host"]["ctl04"]["names"] == ["ctl04"]
        assert after["peer_route"]["ctl04"]["destination"] == "10.244.4.0/24"
        assert {k: v for k, v in after["host"].items() if k != "ctl04"} == before["host"]
        assert {k: v for k, v in after["peer_route"].items() if k != "ctl04"} == before["peer_route"]


def compiled(host: str, inventory: Inventory, directory: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Salt's own low state of a host's highstate and its files, with certificates issued under ``directory``."""
    node = inventory.node(host)
    # Secrets stay sealed: no state that is compiled here looks into one.
    return compiled_states(host, dict(node.parameters), node.applications, directory)


def compiled_states(
    host: str,
    parameters: dict[str, Any],
    applications: list[str],
    directory: Path,
    formulas: Path = ROOT / "formulas",
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The same of any states and pillar, and of other formulas."""
    pillar = json.loads(json.dumps(parameters))
    pillar["pki"] = pki.issue(parameters, directory / "pki")["pki"]
    (directory / "pillar").mkdir()
    (directory / "pillar" / "top.sls").write_text("base:\n  '*':\n  - data\n")
    (directory / "pillar" / "data.sls").write_text("#!json\n" + json.dumps(pillar))
    options = {
        "id": host,
        "file_client": "local",
        "file_roots": {"base": [str(formulas)]},
        "pillar_roots": {"base": [str(directory / "pillar")]},
        "root_dir": str(directory),
        "cachedir": str(directory / "cache"),
        "log_file": str(directory / "log"),
        "pki_dir": str(directory / "minion"),
    }
    given = {"options": options, "sls": applications, "formulas": str(formulas)}
    command = [sys.executable, str(Path(__file__).with_name("compile_host.py"))]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    return result["low"], result["files"]


def parsed(name: str, text: str) -> object:
    """What a configuration file says, read as its name tells; raises where it is not of that format."""
    if name.endswith((".yml", ".yaml", "/admin.conf")) or "/salt/m" in name:
        return yaml.safe_load(text)
    if name.endswith((".json", ".conflist")):
        return json.loads(text)
    if name.endswith(".toml"):
        return tomllib.loads(text)
    if name.endswith(".service"):
        assert "[Service]" in text.splitlines()
        assert "{{" not in text and "{%" not in text
        # What another service's stop ends does not start again when that one does.
        assert not {"Requires", "BindsTo"} & {line.partition("=")[0] for line in text.splitlines()}, name
    return text


@pytest.mark.parametrize("host", hosts())
def test_salt_compiles_the_highstate(inventory: Inventory, tmp_path: Path, host: str) -> None:
    low, texts = compiled(host, inventory, tmp_path)
    assert low and all(isinstance(chunk, dict) for chunk in low), low
    identifiers = [(chunk["state"], chunk["__id__"], chunk["fun"]) for chunk in low]
    assert len(set(identifiers)) == len(identifiers)
    files = {name: parsed(name, text) for name, text in texts.items()}
    assert "/etc/salt/minion.d/pillarbox.conf" in files
    # A program that ended for whatever reason, and however often, starts again: once its disk has room, say.
    services = {"cfg01": ["docker", "docker-registry", "nginx"], "kmst01": []}.get(host, [])
    for service in services:
        lines = texts[f"/etc/systemd/system/{service}.service.d/pillarbox.conf"].splitlines()
        assert {"StartLimitIntervalSec=0", "Restart=always"} <= set(lines), service
    if host.startswith("ctl"):
        kubelet = files["/etc/kubernetes/kubelet.yml"]
        assert kubelet["authentication"]["anonymous"] == {"enabled": False}
        assert kubelet["authorization"]["mode"] == "Webhook"
        assert "--node-labels=role=control" in files["/etc/systemd/system/kubelet.service"]


@pytest.mark.parametrize(
    ("place", "given", "driver"),
    [
        ("server", {}, "systemd"),
        ("container", {}, "cgroupfs"),
        ("container", {"systemd_cgroup": True}, "systemd"),
    ],
)
def test_one_makes_control_groups(
    inventory: Inventory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    given: dict[str, bool],
    driver: str,
) -> None:
    """Containerd and the kubelet are of one mind: systemd on a server, each by itself in a container."""
    detect = tmp_path / "bin" / "systemd-detect-virt"
    detect.parent.mkdir()
    detect.write_text(f"#!/bin/sh\ncase $1 in --container) exit {int(place == 'server')};; esac\n")
    detect.chmod(0o755)
    monkeypatch.setenv("PATH", f"{detect.parent}:{os.environ['PATH']}")
    node = inventory.node("ctl01")
    parameters = json.loads(json.dumps(node.parameters))
    parameters["containerd"]["server"].update(given)
    # Not even by what goes into the kubelet's configuration as it is.
    parameters["kubernetes"]["pool"]["kubelet"]["config"]["cgroupDriver"] = "another"
    low, files = compiled_states("ctl01", parameters, ["containerd", "kubernetes"], tmp_path)
    modules = {chunk["__id__"] for chunk in low if chunk["state"] == "kmod"}
    assert bool(modules) == (place == "server"), "the place is not the one that was meant"
    plugins = tomllib.loads(files["/etc/containerd/config.toml"])["plugins"]
    runc = plugins["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]["runc"]["options"]
    assert {True: "systemd", False: "cgroupfs"}[runc["SystemdCgroup"]] == driver
    assert yaml.safe_load(files["/etc/kubernetes/kubelet.yml"])["cgroupDriver"] == driver


def test_a_master_serves_directories_as_environments_of_their_own(inventory: Inventory, tmp_path: Path) -> None:
    node = inventory.node("cfg01")
    parameters = json.loads(json.dumps(node.parameters))
    parameters["salt"]["master"]["environment"] = {"programs": "/srv/programs"}
    assert complaints(parameters) == []
    _, files = compiled_states("cfg01", parameters, ["salt"], tmp_path)
    roots = yaml.safe_load(files["/etc/salt/master.d/pillarbox.conf"])["file_roots"]
    assert roots["programs"] == ["/srv/programs"]
    assert not any(directory.startswith("/srv/programs") for directory in roots["base"])
    parameters["salt"]["master"]["environment"] = {"base": "/"}
    assert complaints(parameters)


def test_no_key_shows_in_a_states_data(inventory: Inventory, tmp_path: Path) -> None:
    low, _ = compiled("kmst01", inventory, tmp_path)
    assert "PRIVATE KEY" not in json.dumps(low)
    secret = [chunk for chunk in low if str(chunk.get("contents_pillar", "")).endswith(":key")]
    assert secret
    for chunk in secret:
        assert chunk["mode"] == "0600" and chunk["show_changes"] is False, chunk["name"]


def scripts() -> list[str]:
    files = (file for formula in FORMULAS for file in (ROOT / "formulas" / formula / "files").rglob("*"))
    return sorted(str(file.relative_to(ROOT)) for file in files if file.is_file() and file.read_bytes()[:2] == b"#!")


@pytest.mark.parametrize("script", scripts())
def test_scripts_parse(script: str) -> None:
    first = (ROOT / script).read_text().splitlines()[0]
    if "python" in first:
        ast.parse((ROOT / script).read_text())
    else:
        subprocess.run(["bash" if "bash" in first else "sh", "-n", ROOT / script], check=True)


@as_root
def test_routes_are_made_repaired_and_taken_away(tmp_path: Path) -> None:
    script = ROOT / "formulas" / "linux" / "files" / "linux-route"
    table = tmp_path / "table"
    test = f"""
    set -eu
    touch /etc/linux-route 2>/dev/null || true
    mount --bind {table} /etc/linux-route
    ip link add left type veth peer name right
    ip address add 192.0.2.1/24 dev left; ip link set left up; ip link set right up
    route() {{ sh {script} "$@"; }}
    ! route check
    route apply; route check
    ip -4 route show proto 251 | sed 's/ *$//' | sort
    ip route delete 10.1.0.0/16; ! route check; route apply; route check
    echo '10.1.0.0/16 via 192.0.2.3' > {table}
    ! route check; route apply; route check
    echo --; ip -4 route show proto 251 | sed 's/ *$//'
    ip route add 10.9.0.0/16 dev left; route apply; ip -4 route show 10.9.0.0/16 | sed 's/ *$//'
    """
    table.write_text("# table\n10.1.0.0/16 via 192.0.2.2\n10.2.0.0/16 dev-of 192.0.2.1\nunreachable 10.3.0.0/16\n")
    existed = Path("/etc/linux-route").exists()
    try:
        done = subprocess.run(
            ["unshare", "--net", "--mount", "--propagation", "private", "bash", "-c", test],
            check=False,
            capture_output=True,
            text=True,
        )
    finally:
        if not existed:
            Path("/etc/linux-route").unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "10.1.0.0/16 via 192.0.2.2 dev left",
        "10.2.0.0/16 dev left scope link",
        "unreachable 10.3.0.0/16",
        "--",
        "10.1.0.0/16 via 192.0.2.3 dev left",
        "10.9.0.0/16 dev left scope link",
    ]
