"""What the lab reads from a model, and what it says about one it cannot be made from."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
import yaml

from pillarbox.lab import layout
from pillarbox.lab.errors import LabError
from pillarbox.model import Inventory
from pillarbox.system.errors import PillarboxError

REPOSITORY = Path(__file__).resolve().parents[2]


def model(tmp_path: Path, hosts: dict[str, dict]) -> Inventory:
    """A model with one node a host; each value is the node's ``lab`` pillar, ``master`` says who has that role."""
    (tmp_path / "classes").mkdir()
    (tmp_path / "nodes").mkdir()
    for name, parameters in hosts.items():
        (tmp_path / "nodes" / f"{name}.yml").write_text(yaml.safe_dump({"parameters": parameters}))
    return Inventory(tmp_path)


def host(address: object, *, subnet: str = "10.9.8.0/24", master: bool = False, **more: object) -> dict:
    parameters: dict = {"lab": {"network": {"name": "n", "subnet": subnet}, "host": {"address": address, **more}}}
    if master:
        parameters["salt"] = {"master": {"enabled": True}}
    return parameters


def test_reads_hosts_network_and_master(tmp_path: Path) -> None:
    found = layout.read(
        model(
            tmp_path,
            {
                "m": host("10.9.8.2", master=True, volumes={"b": "/b", "a": "/a"}),
                "n": host("10.9.8.3", shared_volumes={"s": "/s"}),
                "not-a-host": {"salt": {"minion": {}}},
            },
        )
    )
    assert found.master == "m"
    assert [each.name for each in found.hosts] == ["m", "n"]
    assert found.host("m").volumes == (("a", "/a"), ("b", "/b"))
    assert found.host("n").shared == (("s", "/s"),)
    assert found.network.gateway == ipaddress.IPv4Address("10.9.8.1")
    with pytest.raises(LabError, match="no host x"):
        found.host("x")


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ({"x": {}}, "no node .* has lab:host"),
        ({"m": host("10.9.8.2")}, "one host of a lab must have salt:master; found none"),
        ({"m": host("10.9.8.2", master=True), "n": host("10.9.8.3", master=True)}, "found m, n"),
        ({"m": host("10.9.8.2", master=True), "n": host("10.9.8.2")}, "n: 10.9.8.2 is taken by m"),
        ({"m": host("10.9.8.1", master=True)}, "taken by the engine's gateway"),
        ({"m": host("10.9.9.2", master=True)}, "not in 10.9.8.0/24"),
        ({"m": host("banana", master=True)}, "lab:host:address: .*banana"),
        ({"m": host("10.9.8.2", subnet="10.9.8.7/24", master=True)}, "subnet: .*host bits"),
        ({"m": host("10.9.8.2", master=True), "n": host("10.9.7.2", subnet="10.9.7.0/24")}, "must share one network"),
        ({"m": host("10.9.8.2", master=True, volumes={"v": "relative"})}, "expected <name>: </absolute/path>"),
        ({"M_1": host("10.9.8.2", master=True)}, "is its host name"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, hosts: dict[str, dict], message: str) -> None:
    with pytest.raises(PillarboxError, match=message):
        layout.read(model(tmp_path, hosts))


def test_reference_model_has_the_hosts_of_the_readme() -> None:
    found = layout.read(Inventory(REPOSITORY))
    assert found.master == "cfg01"
    assert {"cfg01", "kmst01", "ctl01", "ctl02", "ctl03"} <= {each.name for each in found.hosts}
