"""What holds for every pillar: same input, same bytes; selectors that match; valid objects; no crash on nonsense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.manifests.control_pillars import BLOCK

from pillarbox.manifests import kinds, render
from pillarbox.system.errors import PillarboxError
from pillarbox.system.yaml_text import dump


@dataclass(frozen=True)
class OneNode:
    """A rendered inventory of one control node; these properties are about rendering, not about reclass."""

    control: Any
    name: str = "cfg01"
    file: Path = Path("nodes/cfg01.yml")
    nodes: tuple[str, ...] = ("cfg01",)

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {"kubernetes": {"control": self.control}}

    def node(self, name: str) -> OneNode:
        return self

    def place(self, name: str, path: tuple[str, ...]) -> tuple[str, int | None]:
        return str(self.file), None


LABELS = st.from_regex(r"[a-z][a-z0-9]{0,10}(-[a-z0-9]{1,5})?", fullmatch=True)
VARIABLES = st.from_regex(r"[A-Z][A-Z0-9_]{0,10}", fullmatch=True)
# Text that XML could hold: what YAML cannot carry is no pillar's.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=40)
TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t", max_codepoint=0xFFFF), max_size=40
)
SCALARS = (
    TEXT | st.booleans() | st.integers() | st.sampled_from(["1e3", "y", "0o17", "1_000", "null", "~", "2020-01-01"])
)
PORTS = st.lists(
    st.fixed_dictionaries({"port": st.integers(1, 65535), "name": st.from_regex(r"[a-z]{3,8}", fullmatch=True)}),
    max_size=3,
    unique_by=(lambda port: port["name"], lambda port: port["port"]),
)
CONTAINERS = st.fixed_dictionaries(
    {"image": st.just("app:1")},
    optional={
        "command": st.lists(SCALARS, min_size=1, max_size=3),
        "variables": st.dictionaries(VARIABLES, SCALARS, max_size=3),
        "env_from": st.just([{"secret": "shared"}]),
        "privileged": st.booleans(),
        "liveness_probe": st.fixed_dictionaries({"type": st.sampled_from(["http", "tcp"]), "port": st.just(80)}),
        "resources": st.just({"requests": {"cpu": 0.5, "memory": "1Gi"}}),
        "volumes": st.just([{"name": "data", "mount": "/data"}]),
        "ports": PORTS,
    },
)
WORKLOAD = {"container": st.dictionaries(LABELS, CONTAINERS, min_size=1, max_size=3)}
VOLUMES = st.sampled_from(
    [
        {"type": "emptyDir"},
        {"type": "config_map", "name": "shared"},
        {"type": "nfs", "server": "b", "path": "/a"},
        {"type": "hostPath", "path": "/a"},
        {"type": "secret", "name": "shared"},
    ]
)
COMMON = {
    "labels": st.dictionaries(LABELS, LABELS, max_size=2),
    "annotations": st.dictionaries(LABELS, SCALARS, max_size=2),
    "host_network": st.booleans(),
    "spread": st.sampled_from(["host", "zone"]),
    "tolerations": st.just([{"key": "a", "effect": "NoSchedule"}]),
    "node_selector": st.dictionaries(LABELS, LABELS, max_size=2),
}
SERVICES = st.fixed_dictionaries(
    WORKLOAD | {"volume": st.fixed_dictionaries({"data": VOLUMES}), "role": LABELS},
    optional=COMMON
    | {
        "kind": st.sampled_from(["Deployment", "DaemonSet", "StatefulSet"]),
        "replicas": st.integers(0, 9),
        "strategy": st.just({"type": "RollingUpdate"}),
        "type": st.sampled_from(["ClusterIP", "Headless"]),
        "ports": PORTS,
        "disruption_budget": st.just({"max_unavailable": "50%"}),
        "termination_grace_period": st.integers(0, 600),
    },
)
JOBS = st.fixed_dictionaries(
    WORKLOAD | {"volume": st.fixed_dictionaries({"data": VOLUMES})},
    optional=COMMON
    | {
        "backoff_limit": st.integers(0, 9),
        "schedule": st.just("0 3 * * *"),
        "phase": st.sampled_from(["expand", "contract"]),
        "once_per": st.sampled_from(["image", "config"]),
    },
)
CONTROLS = st.fixed_dictionaries(
    {
        "service": st.dictionaries(LABELS, SERVICES, max_size=3),
        "job": st.dictionaries(LABELS, JOBS, max_size=2),
        "configmap": st.fixed_dictionaries({"shared": st.fixed_dictionaries({"data": st.dictionaries(LABELS, TEXT)})}),
        "secret": st.just({"shared": {"data": {"password": BLOCK}}}),
    }
)

quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def shuffled(data: Any, random: Any) -> Any:
    """``data`` with the keys of the mappings whose order means nothing in another order."""
    if not isinstance(data, dict):
        return data
    items = list(data.items())
    random.shuffle(items)
    return {key: value if key in ("container", "variables") else shuffled(value, random) for key, value in items}


@quick
@given(CONTROLS, st.randoms(use_true_random=False))
def test_the_same_model_gives_the_same_bytes(control: Any, random: Any) -> None:
    first = {each.filename: each.text for each in render(OneNode(control))}
    assert {each.filename: each.text for each in render(OneNode(shuffled(control, random)))} == first


@quick
@given(CONTROLS)
def test_selectors_match_their_templates(control: Any) -> None:
    manifests = render(OneNode(control))
    pods = {each.name: each.template["metadata"]["labels"] for each in manifests if each.template}
    for each in manifests:
        spec = each.object.get("spec", {})
        selector = spec.get("selector", {})
        selector = selector.get("matchLabels", selector)
        if selector:
            assert selector.items() <= pods[each.name].items()
    services = [each.object["spec"]["selector"] for each in manifests if each.kind == "Service"]
    jobs = [
        each.template["metadata"]["labels"] for each in manifests if each.kind in ("Job", "CronJob") and each.template
    ]
    assert not any(selector.items() <= labels.items() for selector in services for labels in jobs)


@settings(quick, max_examples=25)
@given(control=CONTROLS)
def test_every_object_is_valid(control: Any, kubernetes_1_20: Any, newest_kubernetes: Any) -> None:
    for version, validate in (("1.20.2", kubernetes_1_20), ("1.37", newest_kubernetes)):
        for each in render(OneNode(control | {"version": version})):
            validate(each.object)


@quick
@given(CONTROLS)
def test_files_say_what_the_objects_say(control: Any) -> None:
    for each in render(OneNode(control)):
        assert yaml.safe_load(each.text) == each.object


@quick
@given(CONTROLS)
def test_secrets_stay_encrypted_and_in_secrets(control: Any) -> None:
    for each in render(OneNode(control)):
        if each.kind == "Secret":
            assert set(each.object["stringData"].values()) == {BLOCK} and "data" not in each.object
        else:
            assert "PGP" not in each.text


@quick
@given(
    st.recursive(
        SCALARS | ANY_TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
    )
)
def test_any_data_survives_its_text(data: Any) -> None:
    assert yaml.safe_load(dump(data)) == data


@pytest.mark.parametrize(
    "text", ["1e3", "y", "N", "0o17", "0x1f", "1_000", "1:30", "null", "~", "2020-01-01", ".5", "="]
)
def test_texts_that_look_like_something_else_are_quoted(text: str) -> None:
    assert dump({"a": text}) == f"a: '{text}'\n"


WORDS = (
    "service", "role", "container", "ports", "port", "name", "image", "volumes", "volume", "type",
    "mount", "job", "configmap", "secret", "data", "variables", "liveness_probe", "depends_on", "rules",
    "binding", "subject", "ingress", "endpoints", "subsets", "paths", "hosts", "external", "affinity",
    "spread", "strategy", "command", "persistent_volume", "persistent_volume_claim", "storage",
    "env_from", "resources", "requests", "kind", "schedule", "init_containers", "host_aliases",
    "lifecycle", "pre_stop", "security_context", "items", "object", "api_version", "body", "gate", "condition", "scope",
    "spec", "template", "containers", "versions", "names",
)  # fmt: skip
NONSENSE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from((*WORDS, "Deployment", "http", "a", "$(A)", "v1", "apps/v1")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=25,
)
ENTRIES = st.dictionaries(LABELS, st.dictionaries(st.sampled_from(WORDS), NONSENSE, max_size=5), max_size=2)


@settings(quick, max_examples=200)
@given(st.dictionaries(st.sampled_from(WORDS), NONSENSE | ENTRIES, max_size=4) | NONSENSE)
def test_nonsense_is_an_error_not_a_crash(control: Any) -> None:
    try:
        manifests = render(OneNode(control))
    except PillarboxError as error:
        assert "node cfg01" in str(error)
    else:
        for each in manifests:
            assert yaml.safe_load(each.text) == each.object


BODIES = st.dictionaries(st.sampled_from(["spec", "data", "imagePullSecrets", *WORDS]), NONSENSE, max_size=3)


KEYS = {"secretKeyRef": {"name": "a", "key": ["a"]}}
POD = {"containers": [{"env": [{"valueFrom": KEYS}]}], "volumes": [{"secret": {"secretName": 1}}, 2]}


@settings(quick, max_examples=200)
@example(("apps/v1", "Deployment"), {"spec": {"template": {"spec": POD}}})
@example(("v1", "Service"), {"spec": None})
@given(st.sampled_from([(api, kind.name) for kind in kinds.TABLE for _, api in kind.apis]), BODIES)
def test_nonsense_in_an_object_of_any_kind_is_the_servers_to_refuse(named: tuple[str, str], body: Any) -> None:
    entry = {"api_version": named[0], "kind": named[1], "body": body}
    other = {"service": {"a": {"container": {"a": {"image": "a:1", "env_from": [{"config_map": "b"}]}}}}}
    elsewhere = {"external": {"configmap": ["b"]}}
    try:
        render(OneNode({"object": {"b": entry}, **other, **elsewhere}))
    except PillarboxError as error:
        assert "node cfg01" in str(error)


@settings(quick, max_examples=100)
@given(SERVICES, st.data())
def test_one_nonsensical_key_is_an_error_not_a_crash(service: Any, data: Any) -> None:
    service = service | {data.draw(st.sampled_from(sorted({*WORDS, *service}))): data.draw(NONSENSE)}
    try:
        render(OneNode({"service": {"a": service}, "secret": {"shared": {"data": {"password": BLOCK}}}}))
    except PillarboxError as error:
        assert "node cfg01" in str(error)
