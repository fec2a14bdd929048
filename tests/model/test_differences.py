"""Where Pillarbox does better than kapicorp-reclass 2.0: the list of the documentation, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.model.reference import ours, reference, write

CASES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "item of a list": ({"a": [5, 6], "b": "${a:0}"}, "b", 5),
    "inside an item of a list": ({"b": "${a:0:x}", "a": [{"x": "${c}"}], "c": 7}, "b", 7),
    "through a reference to a mapping": ({"z": "${a:b}", "a": "${x}", "x": {"b": "${y}"}, "y": 1}, "z", 1),
    "a mapping in a string": ({"s": "x ${d}", "d": {"k": "${v}"}, "v": 1}, "s", "x {'k': 1}"),
    "prefix below a prefix": ({"~a": {"~b": 1}}, "a", {"b": 1}),
    "number below a prefix": ({"~a": {1: "x"}}, "a", {"1": "x"}),
    "tab": ({"s": "a\tb${v}", "v": 1}, "s", "a\tb1"),
    "spaces near an escape": ({"s": "${ k\\}}", " k}": 1}, "s", 1),
    "escaped delimiter": ({"s": "${a\\:b}", "a:b": 1}, "s", 1),
    "query in a string": ({"s": "x$[ exports:none ]"}, "s", "x{}"),
    "empty key": ({"": 1}, "", 1),
}


@pytest.mark.parametrize("case", CASES)
def test_values(case: str, tmp_path: Path) -> None:
    parameters, key, expected = CASES[case]
    root = write(tmp_path, {"nodes/n.yml": {"parameters": parameters}})
    found = ours(root, "n")
    assert found.data is not None, found.error
    assert found.data["parameters"][key] == expected
    theirs = reference(root, "n")
    assert theirs.data is None or theirs.data["parameters"].get(key) != expected, "no difference any more"


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "a mapping in itself": ({"nodes/n.yml": {"parameters": {"a": {"b": "${a}"}}}}, "contains itself"),
    "classes in a circle": ({"nodes/n.yml": {"classes": ["a"]}, "classes/a.yml": {"classes": ["a"]}}, "a -> a"),
    "classes no list": ({"nodes/n.yml": {"classes": "x"}}, "expected a list under classes, found a string"),
    "class no string": ({"nodes/n.yml": {"classes": [7]}}, "expected a string in classes, found a number: 7"),
    "parameters no mapping": ({"nodes/n.yml": {"parameters": [1]}}, "expected a mapping under parameters"),
    "file no mapping": ({"nodes/n.yml": "- a\n"}, "expected a mapping of classes"),
    "unknown option": ({"nodes/n.yml": {}, "reclass-config.yml": {"compose_node_nam": True}}, "compose_node_name?"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str, tmp_path: Path) -> None:
    files, expected = ERRORS[case]
    found = ours(write(tmp_path, files), "n")
    assert expected in str(found.error)


def test_overwritten_reference_with_a_missing_one_inside(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "classes/a.yml": {"parameters": {"v": "${x:${nowhere}}"}},
            "nodes/n.yml": {"classes": ["a"], "parameters": {"v": "fine"}},
        },
    )
    assert ours(root, "n").data["parameters"]["v"] == "fine"
    assert reference(root, "n").data is None


def test_class_name_through_two_references(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "classes/k.yml": {"parameters": {"a": "${b}", "b": "c"}},
            "classes/c.yml": {"parameters": {"found": True}},
            "nodes/n.yml": {"classes": ["k", "${a}"]},
        },
    )
    assert ours(root, "n").data["parameters"]["found"] is True
    assert reference(root, "n").data is None


def test_all_environments_is_one_query_s(make: Any) -> None:
    inventory = make(
        {
            "nodes/n.yml": {"parameters": {"near": "$[ if exports:a == 1 ]", "far": "$[ +AllEnvs if exports:a == 1 ]"}},
            "nodes/near.yml": {"exports": {"a": 1}},
            "nodes/far.yml": {"exports": {"a": 1}, "environment": "dev"},
        }
    )
    parameters = inventory.node("n").parameters
    assert parameters["near"] == ["near"]
    assert parameters["far"] == ["far", "near"]


def test_a_query_does_not_take_a_broken_export_for_nothing(tmp_path: Path) -> None:
    broken = {"parameters": {"d": "${a}"}, "exports": {"a": "${d}"}}
    root = write(tmp_path, {"nodes/n.yml": {"parameters": {"q": "$[ exports:a ]"}}, "nodes/m.yml": broken})
    found = ours(root, "n")
    assert found.data is None and "node m" in str(found.error), found.error
    theirs = reference(root, "n")
    assert theirs.data is not None and theirs.data["parameters"]["q"] == {"m": None}, "no difference any more"


def test_ignored_errors_are_all_errors_of_an_export(tmp_path: Path) -> None:
    broken = {"classes": ["k"], "exports": {"a": 1}}
    files = {"classes/k.yml": {"exports": {"a": [1]}}, "nodes/l.yml": {"exports": {"a": 2}}, "nodes/m.yml": broken}
    root = write(tmp_path, {**files, "nodes/n.yml": {"parameters": {"q": "$[ +IgnoreErrors exports:a ]"}}})
    found = ours(root, "n")
    assert found.data is not None and found.data["parameters"]["q"] == {"l": 2}
    assert reference(root, "n").data is None, "no difference any more"


def test_a_query_may_compare_with_null(tmp_path: Path) -> None:
    asking = {"parameters": {"b": None, "q": "$[ if exports:a == self:b ]"}}
    exports = {"nodes/l.yml": {"exports": {"a": 1}}, "nodes/m.yml": {"exports": {"a": None}}}
    root = write(tmp_path, {"nodes/n.yml": asking, **exports})
    found = ours(root, "n")
    assert found.data is not None and found.data["parameters"]["q"] == ["m"]
    assert reference(root, "n").data is None, "no difference any more"


def test_queries_answer_in_the_order_of_names(make: Any) -> None:
    exports = {f"nodes/{folder}/{name}.yml": {"exports": {"a": 1}} for folder, name in (("2", "a"), ("1", "b"))}
    asking = {"nodes/n.yml": {"parameters": {"values": "$[ exports:a ]", "names": "$[ if exports:a == 1 ]"}}}
    parameters = make({**asking, **exports}).node("n").parameters
    assert list(parameters["values"]) == parameters["names"] == ["a", "b"]


def test_nodes_do_not_change_one_another(make: Any) -> None:
    nodes = {f"nodes/n{number}.yml": {"classes": ["k"], "parameters": {"l": [number]}} for number in range(3)}
    inventory = make({"classes/k.yml": {"parameters": {"l": [0], "=x": 1, "~l": [9]}}, **nodes})
    assert [inventory.node(name).parameters["l"] for name in inventory.nodes] == [[9, 0], [9, 1], [9, 2]]
    inventory.node("n0").parameters["l"].append("changed")
    assert inventory.node("n0").parameters["l"] == [9, 0]


def test_hidden_folders(make: Any, tmp_path: Path) -> None:
    inventory = make({"nodes/.a/x.yml": {}, "nodes/.b/y.yml": {}, "nodes/CVS/z.yml": {}, "nodes/n.yml": {}})
    assert inventory.nodes == ("n",)
