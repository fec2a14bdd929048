"""Waves never violate dependencies, whatever the graph."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.manifests import kinds
from pillarbox.manifests.errors import PillarPlace
from pillarbox.manifests.manifest import Manifest
from pillarbox.rollout import RolloutError, waves
from pillarbox.rollout.waves import levels


@st.composite
def acyclic(draw: st.DrawFn) -> dict[int, set[int]]:
    """A graph whose nodes depend only on smaller ones, in shuffled order."""
    size = draw(st.integers(0, 12))
    graph = {node: draw(st.sets(st.integers(0, node - 1))) if node else set() for node in range(size)}
    return {node: graph[node] for node in draw(st.permutations(list(graph)))}


@given(acyclic())
def test_every_dependency_stands_in_an_earlier_level(graph: dict[int, set[int]]) -> None:
    level = {node: number for number, nodes in enumerate(levels(graph)) for node in nodes}
    assert level.keys() == graph.keys()
    for node, needs in graph.items():
        assert all(level[need] < level[node] for need in needs)
        assert level[node] == max((level[need] + 1 for need in needs), default=0)


@given(acyclic(), st.data())
def test_a_cycle_is_named_and_never_looped_over(graph: dict[int, set[int]], data: st.DataObject) -> None:
    if len(graph) < 2:
        return
    first, second = data.draw(st.sampled_from(sorted(graph))), data.draw(st.sampled_from(sorted(graph)))
    graph[first] = graph[first] | {second}
    graph[second] = graph[second] | {first}
    with pytest.raises(RolloutError, match="cycle"):
        levels(graph)


def make(kind: str, name: str, *needs: str) -> Manifest:
    workload = {"Deployment": f"service/{name}", "Job": f"job/{name}"}.get(kind)
    obj = {"apiVersion": kinds.named(kind).api((1, 20)), "kind": kind, "metadata": {"name": name}}
    return Manifest(f"t/{name}.yml", obj, "t", PillarPlace("n", None), workload, needs)


def test_configuration_comes_first_and_in_the_order_it_is_needed() -> None:
    given = [
        make("Service", "a"),
        make("Deployment", "b"),
        make("ConfigMap", "a"),
        make("Namespace", "n"),
        make("Secret", "s"),
        make("PodDisruptionBudget", "p"),
    ]
    first, *later = waves(given)
    assert [m.kind for m in first] == ["Namespace", "Secret", "ConfigMap", "Service", "PodDisruptionBudget"]
    assert [[m.name for m in wave] for wave in later] == [["b"]]


def test_expand_roll_contract() -> None:
    given = [
        make("Job", "contract", "service/keystone"),
        make("Deployment", "keystone", "job/expand"),
        make("Job", "expand", "service/mariadb"),
        make("Deployment", "glance", "service/keystone"),
        make("Deployment", "mariadb"),
    ]
    assert [{m.name for m in wave} for wave in waves(given)] == [
        set(),
        {"mariadb"},
        {"expand"},
        {"keystone"},
        {"contract", "glance"},
    ]


def test_a_dependency_that_does_not_exist_is_an_error_with_its_file() -> None:
    with pytest.raises(RolloutError, match=r"service/b depends on service/gone") as error:
        waves([make("Deployment", "b", "service/gone")])
    assert error.value.file == "t/b.yml"
