"""In which order hosts are updated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.model import Node
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.updates import Drain, Group, described, groups


def host(name: str, update: dict[str, Any] | None = None, **parameters: Any) -> Node:
    given = {"salt": {"minion": {}}, **parameters}
    if update is not None:
        given["pillarbox"] = {"update": update}
    return Node(name, f"nodes/{name}.yml", "base", (), (), given, {})


ROLLING = {"alone": ["kubernetes:version"], "drain": {"node": "n", "kubeconfig": "/etc/k", "timeout": 60}}
NODE = Drain("n", Path("/etc/k"), 60.0)


def test_stages_come_in_order_and_masters_last() -> None:
    hosts = {
        "cfg01": host("cfg01", salt={"minion": {}, "master": {}}),
        "cmp01": host("cmp01", {"stage": 2}),
        "cmp02": host("cmp02", {"stage": 2}),
        "db01": host("db01"),
        "kmst01": host("kmst01", {"stage": 1}),
    }
    found = groups(dict.fromkeys(hosts, ("a.b",)), hosts)
    assert [group.hosts for group in found] == [("db01",), ("kmst01",), ("cmp01", "cmp02"), ("cfg01",)]


def test_who_is_updated_by_itself_comes_after_its_stage() -> None:
    hosts = {name: host(name, ROLLING) for name in ("c1", "c2", "c3")}
    changes = {"c1": ("kubernetes.version",), "c2": ("linux.network",), "c3": ("x", "kubernetes.version.minor")}
    assert groups(changes, hosts) == (Group(("c2",)), Group(("c1",), NODE), Group(("c3",), NODE))
    assert described(hosts["c1"], changes["c1"]) == "by itself, pods move off node n first"
    assert described(hosts["c2"], changes["c2"]) == ""
    # Not every path that begins alike.
    assert groups({"c1": ("kubernetes.versions",)}, hosts) == (Group(("c1",)),)


def test_a_formulas_files_count_where_all_of_its_pillar_does() -> None:
    hosts = {"m1": host("m1", {"alone": ["etcd", "linux:system"]}), "m2": host("m2", {"alone": ["etcd"]})}
    both, single = (Group(("m1", "m2")),), (Group(("m1",)), Group(("m2",)))
    for path, found in (
        ("formulas/etcd/server.sls", single),
        ("etcd.server.members", single),
        ("formulas/etcd2/server.sls", both),
        ("formulas/linux/init.sls", both),
    ):
        assert groups(dict.fromkeys(hosts, (path,)), hosts) == found, path


def test_a_new_host_comes_after_those_of_its_stage_that_are_there() -> None:
    hosts = {
        **{name: host(name, {"stage": 1, "alone": ["etcd"]}) for name in ("m1", "m2", "m3")},
        "n1": host("n1", {"stage": 2}),
    }
    changes = {"m1": ("new",), "m2": ("etcd.server",), "m3": ("new",), "n1": ("a.b",)}
    assert [group.hosts for group in groups(changes, hosts)] == [("m2",), ("m1", "m3"), ("n1",)]


def test_what_others_wait_for_is_made_before_any_host_is_updated() -> None:
    hosts = {
        "cfg01": host("cfg01", {"before": ["program.complete"]}, salt={"minion": {}, "master": {}}),
        "c1": host("c1"),
    }
    first, both = Group(("cfg01",), states=("program.complete",)), (Group(("c1",)), Group(("cfg01",)))
    for why in ("program.source.program", "formulas/program/files/wait", "applications", "new"):
        assert groups({"c1": ("a.b",), "cfg01": (why,)}, hosts) == (first, *both)
        assert described(hosts["cfg01"], [why]) == "program.complete before any host is updated"
    assert groups({"c1": ("a.b",), "cfg01": ("programs.x", "formulas/linux/program")}, hosts) == both


@given(st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 3), st.booleans(), st.booleans())))
def test_every_host_is_updated_once_and_no_stage_before_a_lower_one(
    asked: dict[str, tuple[int, bool, bool]],
) -> None:
    hosts = {
        name: host(name, {"stage": stage, "alone": ["v"]}, salt={"minion": {}, **({"master": {}} if master else {})})
        for name, (stage, master, _) in asked.items()
    }
    found = groups({name: ("v",) if alone else ("w",) for name, (_, _, alone) in asked.items()}, hosts)
    assert sorted(name for group in found for name in group.hosts) == sorted(asked)
    ranks = [(asked[name][1], asked[name][0]) for group in found for name in group.hosts]
    assert ranks == sorted(ranks)
    assert all(len(group.hosts) == 1 for group in found if any(asked[name][2] for name in group.hosts))


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"stage": "x"},
        {"alone": "a"},
        {"drain": {}},
        {"drain": {"node": "n", "timeout": []}},
        {"side_by_side": ["a"]},
        {"side_by_side": [{"path": "a", "behind": 1}]},
        {"side_by_side": [{"path": "a", "group": "g", "behind": -1}]},
        {"side_by_side": [{"path": "a", "group": "g", "behind": 1, "leads": "no"}]},
    ],
)
def test_what_cannot_be_meant_is_named_with_its_file(wrong: Any) -> None:
    hosts = {"c1": host("c1", wrong)}
    with pytest.raises(PipelineError, match="pillarbox:update of host c1") as raised:
        groups({"c1": ("a",)}, hosts)
    assert raised.value.file
