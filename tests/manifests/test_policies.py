"""NetworkPolicies mean what the pillar says, at both ends of a connection, and at every step of applying them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.manifests.control_pillars import Spec
from tests.manifests.reach import End, reaches
from tests.manifests.test_control_reference import EXAMPLES, IMAGES
from tests.manifests.test_manifest_properties import OneNode, quick

from pillarbox.manifests import Manifest, kinds, render
from pillarbox.rollout import waves

NAMES = ("a", "b", "c")
PORTS = [{"name": "web", "port": 80}, {"name": "metrics", "port": 9100}]


def policies(control: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The NetworkPolicies of a control pillar by name."""
    specs = {name: Spec(name) for name in IMAGES}
    return {each.name: each.object for each in render(OneNode(control), specs) if each.type is kinds.NETWORK_POLICY}


def web(**more: Any) -> dict[str, Any]:
    """A service with a Service at port 8080 that leads to port 80, and a port for metrics that no Service leads to."""
    return {"ports": [{"port": 8080, "target_port": "web"}], "container": {"a": {"image": "a", "ports": PORTS}}} | more


def test_nobody_who_says_nothing_has_a_policy() -> None:
    assert policies({"service": {"a": web()}, "job": {"j": {"container": {"a": {"image": "a"}}}}}) == {}
    assert set(policies({"service": {"a": web()}, "network_policy": {"default": {"from": []}}})) == {"default"}


def test_a_client_names_its_server_and_both_have_what_they_need() -> None:
    found = policies(
        {
            "network_policy": {"default": {"from": [], "to": []}},
            "service": {"db": web(), "api": web(network={"to": ["service/db"]})},
            "job": {"expand": {"container": {"a": {"image": "a"}}, "network": {"to": ["service/db"]}}},
        }
    )
    assert set(found) == {"default", "db", "api", "expand-job"}
    assert found["db"]["spec"] == {
        "podSelector": {"matchLabels": {"app": "db"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "from": [
                    {
                        "podSelector": {
                            "matchExpressions": [{"key": "app", "operator": "In", "values": ["api", "expand-job"]}]
                        }
                    }
                ],
                "ports": [{"port": 80}],
            }
        ],
    }
    assert found["expand-job"]["spec"]["egress"] == [
        {"to": [{"podSelector": {"matchLabels": {"app": "db"}}}], "ports": [{"port": 80}]}
    ]


def test_what_nothing_limits_stays_open() -> None:
    """That one client names a server closes neither to others."""
    found = policies({"service": {"db": web(), "api": web(network={"to": ["service/db"]})}})
    assert set(found) == {"api"} and found["api"]["spec"]["policyTypes"] == ["Egress"]
    assert reaches(found.values(), End("b"), End("db"), 80)
    assert not reaches(found.values(), End("api"), End("b"), 80)


def test_ports_and_peers_of_every_form() -> None:
    control = yaml.safe_load(next(text for text in EXAMPLES if "network_policy" in text))["kubernetes"]["control"]
    found = policies(control).values()
    metrics, world = End("metrics", "monitoring"), End(address="198.51.100.1")
    for client, server, port, may in (
        (End("keystone-server"), End("mariadb-server"), 3306, True),
        (End("keystone-expand-job"), End("mariadb-server"), 3306, True),
        (End("report"), End("mariadb-server"), 3306, False),
        (metrics, End("mariadb-server"), 9104, True),
        (metrics, End("mariadb-server"), 3306, False),
        (End("keystone-server"), End("mariadb-server"), 9104, False),
        (world, End("keystone-server"), 5000, True),
        (world, End("mariadb-server"), 3306, False),
        (End("report"), metrics, 1, True),
        (End("keystone-server"), metrics, 1, False),
        (metrics, world, 1, True),
        (End("report"), End(address="192.0.2.7"), 443, True),
        (End("report"), End(address="192.0.2.7"), 80, False),
        (End("report"), world, 443, False),
    ):
        assert reaches(found, client, server, port) is may, (client, server, port)
    assert reaches(found, End("report"), End(address="169.254.20.10"), 53, "UDP")


def test_a_range_of_ports_and_other_protocols(newest_kubernetes: Any) -> None:
    ports = [{"port": 8000, "end_port": 8010}, {"port": 53, "protocol": "UDP"}, "80"]
    (found,) = policies({"service": {"a": web(network={"to": [{"peer": "all", "ports": ports}]})}}).values()
    newest_kubernetes(found)
    assert found["spec"]["egress"] == [
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 80}, {"port": 8000, "endPort": 8010}]}
    ]


PEERS = st.none() | st.lists(st.sampled_from([f"service/{name}" for name in NAMES]), max_size=2)
TRAFFIC = st.fixed_dictionaries({"from": PEERS, "to": PEERS})
DEFAULT = st.fixed_dictionaries({"from": st.sampled_from([None, []]), "to": st.sampled_from([None, []])})


def stated(traffic: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in traffic.items() if value is not None}


@quick
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, TRAFFIC)), DEFAULT)
def test_who_reaches_whom_is_what_either_end_says(traffic: Any, default: Any) -> None:
    control: dict[str, Any] = {"service": {name: web(network=stated(traffic[name])) for name in NAMES}}
    if stated(default):
        # By its name it would come first.
        control["network_policy"] = {"0": stated(default)}
    rendered = render(OneNode(control))
    found = [each.object for each in applied(rendered)]
    for client in NAMES:
        for server in set(NAMES) - {client}:
            named = f"service/{server}" in (traffic[client]["to"] or ()) or f"service/{client}" in (
                traffic[server]["from"] or ()
            )
            leaves = named or (traffic[client]["to"] is None and default["to"] is None)
            enters = named or (traffic[server]["from"] is None and default["from"] is None)
            assert reaches(found, End(client), End(server), 80) is (leaves and enters)
            # While they are applied one by one, nothing is cut that all of them allow.
            for step in range(len(found)):
                assert not (leaves and enters) or reaches(found[:step], End(client), End(server), 80), step


def applied(manifests: Sequence[Manifest]) -> list[Manifest]:
    """The NetworkPolicies in the order in which a rollout applies them."""
    return [each for each in waves(manifests)[0] if each.type is kinds.NETWORK_POLICY]
