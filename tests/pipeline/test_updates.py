"""In which order hosts are updated, and which steps of versions are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.model import Node
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.updates import Drain, Group, described, groups, refuse_disorder, refuse_skips


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
    ("old", "new", "why"),
    [
        ("1.36.1", "1.36.3", None),
        ("1.36.3", "1.36.1", None),
        ("1.36.3", "1.37.0", None),
        ("1.35.4", "1.37.2", "up by one minor version at a time"),
        ("1.37.2", "1.36.3", "does not go back to another minor version"),
        ("1.37.2", "2.0.0", "up by one minor version at a time"),
        ("zed", "epoxy", None),
    ],
)
def test_minor_versions_are_taken_one_by_one(old: str, new: str, why: str | None) -> None:
    before, after = (
        {"c1": host("c1", {"step_by_step": ["kubernetes:version"]}, kubernetes={"version": version})}
        for version in (old, new)
    )
    if why is None:
        refuse_skips(before, after)
        return
    with pytest.raises(PipelineError, match=f"host c1: kubernetes:version goes from {old} to {new}: it .*{why}"):
        refuse_skips(before, after)
    # A host that is new has nothing to skip.
    refuse_skips({}, after)


def test_a_skip_names_the_line_and_a_way_out() -> None:
    before, after = (
        {"c1": host("c1", {"step_by_step": ["a:version"]}, a={"version": version})} for version in ("1.37.2", "1.36.3")
    )
    with pytest.raises(PipelineError) as raised:
        refuse_skips(before, after, lambda name, path: (f"{name}/{'/'.join(path)}", 7))
    assert (str(raised.value.file), raised.value.line) == ("c1/a/version", 7)
    assert raised.value.hint == "Stay at 1.37.2, or take another patch release of its minor version."


@pytest.mark.parametrize(
    ("master", "node", "cluster", "refused"),
    [
        ("1.37.2", "1.37.2", "a", False),
        ("1.37.2", "1.36.3", "a", False),
        ("1.37.0", "1.37.2", "a", False),
        ("1.36.3", "1.37.2", "b", False),
        ("zed", "1.37.2", "a", False),
        ("1.36.3", "1.37.2", "a", True),
    ],
)
def test_no_host_is_newer_than_one_that_is_updated_before_it(
    master: str, node: str, cluster: str, refused: bool
) -> None:
    hosts = {
        name: host(name, {"stage": stage, "step_by_step": ["a:version"]}, a={"version": version}, _param=param)
        for name, stage, version, param in (
            ("m1", 1, master, {"cluster_name": "a"}),
            ("c1", 2, node, {"cluster_name": cluster}),
        )
    }
    if not refused:
        refuse_disorder(hosts)
        return
    with pytest.raises(PipelineError, match=r"host c1: a:version is 1\.37\.2, newer than the 1\.36\.3 of host m1"):
        refuse_disorder(hosts)


@pytest.mark.parametrize(
    "wrong", [[], {"stage": "x"}, {"alone": "a"}, {"drain": {}}, {"drain": {"node": "n", "timeout": []}}]
)
def test_what_cannot_be_meant_is_named_with_its_file(wrong: Any) -> None:
    hosts = {"c1": host("c1", wrong)}
    with pytest.raises(PipelineError, match="pillarbox:update of host c1") as raised:
        groups({"c1": ("a",)}, hosts)
    assert raised.value.file
