"""Explanations: layers in merge order, what won, and where references lead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pillarbox.model import Inventory
from pillarbox.model.ask.explanation import Explanation, ValueLayer
from pillarbox.system.errors import PillarboxError

Make = Callable[..., Inventory]

MODEL = {
    "classes/a.yml": "parameters:\n  l: [1, 2]\n  m: {x: 1, y: 2}\n  s: one\n  gone: {k: 1}\n",
    "classes/b.yml": "classes: [a]\nparameters:\n  l:\n  - 3\n  - v: ${s}\n  m: ${extra}\n  s: two\n  ~gone: {j: 2}\n",
    "nodes/n.yml": "classes: [b]\nparameters:\n  extra: {y: 5}\n  s: ${m:x}\n  =fixed: 1\n",
}


def brief(layers: tuple[ValueLayer, ...]) -> list[tuple[str, int | None, str, bool]]:
    return [(layer.file, layer.line, layer.action, layer.effective) for layer in layers]


@pytest.mark.parametrize(
    ("path", "value", "layers"),
    [
        (
            "s",
            1,
            [
                ("classes/a.yml", 4, "sets", False),
                ("classes/b.yml", 7, "replaces", False),
                ("nodes/n.yml", 4, "replaces", True),
            ],
        ),
        ("m", {"x": 1, "y": 5}, [("classes/a.yml", 3, "sets", True), ("classes/b.yml", 6, "merges", True)]),
        ("m:y", 5, [("classes/a.yml", 3, "sets", False), ("classes/b.yml", 6, "replaces", True)]),
        ("l", [1, 2, 3, {"v": 1}], [("classes/a.yml", 2, "sets", True), ("classes/b.yml", 3, "extends", True)]),
        ("l:1", 2, [("classes/a.yml", 2, "sets", True)]),
        ("l:3:v", 1, [("classes/b.yml", 5, "sets", True)]),
        ("gone:j", 2, [("classes/b.yml", 8, "sets", True)]),
        ("gone", {"j": 2}, [("classes/a.yml", 5, "sets", False), ("classes/b.yml", 8, "overrides", True)]),
        ("fixed", 1, [("nodes/n.yml", 5, "sets", True)]),
        ("_reclass_:environment", "base", [("(automatic)", None, "sets", True)]),
    ],
)
def test_layers(make: Make, path: str, value: object, layers: list[tuple[str, int | None, str, bool]]) -> None:
    explanation = make(MODEL).explain("n", path)
    assert explanation.value == value
    assert explanation.error is None
    assert brief(explanation.layers) == layers


def test_references_lead_to_their_own_origins(make: Make) -> None:
    layer = make(MODEL).explain("n", "m:y").winner
    assert layer is not None
    assert [(each.path, each.value) for each in layer.references] == [(("extra", "y"), 5)]
    assert brief(layer.references[0].layers) == [("nodes/n.yml", 3, "sets", True)]


def test_items_of_a_list_below_a_reference(make: Make) -> None:
    inventory = make(
        {
            "nodes/n.yml": "parameters:\n  m:\n    l: [1, 2]\n  r: ${m}\n  q: $[ exports:e ]\n",
            "nodes/o.yml": "exports:\n  e:\n    l:\n    - 7\n",
        }
    )
    for path, value, origin in (("r:l:1", 2, ("nodes/n.yml", 3)), ("q:o:l:0", 7, ("nodes/o.yml", 4))):
        explanation = inventory.explain("n", path)
        assert explanation.value == value
        assert explanation.winner is not None
        (reference,) = explanation.winner.references
        assert brief(reference.layers)[0][:2] == origin


def test_what_was_explained_is_not_explained_again(make: Make) -> None:
    pairs = ((f"${{p{n}}} ${{q{n}}}", f"${{p{n}}} ${{p{n}}}") for n in range(1, 12))
    lines = "".join(f"  p{n}: '{p}'\n  q{n}: '{q}'\n" for n, (p, q) in enumerate(pairs))
    explanation = make({"nodes/n.yml": f"parameters:\n{lines}  p11: x\n  q11: y\n"}).explain("n", "p0")
    text = json.dumps(explanation.as_dict())
    assert text.count('"repeated": false') == 1 + 11 * 2


def test_what_an_override_removes(make: Make) -> None:
    with pytest.raises(PillarboxError, match="Did you mean gone:j"):
        make(MODEL).explain("n", "gone:jj")


def test_unknown_paths_name_the_nearest(make: Make) -> None:
    with pytest.raises(PillarboxError, match=r"no parameter extr\n.*Did you mean extra"):
        make(MODEL).explain("n", "extr")


def test_errors_are_explained_too(make: Make) -> None:
    explanation = make({"nodes/n.yml": "parameters:\n  a: ${b}\n"}).explain("n", "a")
    assert "${b}" in (explanation.error or "")
    assert brief(explanation.layers)[0][:2] == ("nodes/n.yml", 2)


def test_every_value_of_the_reference_deployment_has_an_origin(repository: Path) -> None:
    inventory = Inventory(repository, cache=None)

    def leaves(value: object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        if isinstance(value, dict) and value:
            return [leaf for key, child in value.items() for leaf in leaves(child, (*path, str(key)))]
        return [path]

    for name in inventory.nodes:
        for path in leaves(dict(inventory.node(name).parameters), ()):
            if any(":" in key or "\\" in key for key in path):
                continue
            explanation = inventory.explain(name, ":".join(path))
            assert explanation.winner is not None, (name, path)
            assert explanation.winner.line is not None or explanation.winner.file == "(automatic)"


def test_class_usage(make: Make) -> None:
    usage = make(MODEL).usage("a")
    assert [(use.node, use.chain, use.file, use.line) for use in usage.uses] == [("n", ("b",), "classes/b.yml", 1)]
    with pytest.raises(PillarboxError, match="no class aa"):
        make(MODEL).usage("aa")


def test_where(make: Make) -> None:
    inventory = make(MODEL)
    assert [(place.file, place.line) for place in inventory.where("s")] == [
        ("classes/a.yml", 4),
        ("classes/b.yml", 7),
        ("nodes/n.yml", 4),
    ]
    assert [place.path for place in inventory.where("two", "n")] == [("s",)]
    assert inventory.where("nothing") == ()


QUERIES = {
    "classes/db.yml": "parameters: {_param: {address: 10.0.0.5}}\nexports:\n  address: ${_param:address}\n  role: db\n",
    "nodes/db01.yml": "classes: [db]\n",
    "nodes/db02.yml": "classes: [db]\nparameters:\n  _param: {address: 10.0.0.6}\nexports: {tags: {size: 4}}\n",
    "nodes/web.yml": (
        "parameters:\n  wanted: db\n  found: $[ exports:address if exports:role == self:wanted ]\n"
        "  names: $[ if exports:role == db ]\n  sizes: $[ exports:tags ]\n"
    ),
}


def origins(explanation: Explanation) -> list[tuple[str, str, tuple[str, ...], object]]:
    assert explanation.winner is not None
    return [(each.node, each.section, each.path, each.value) for each in explanation.winner.references]


def test_a_query_leads_to_the_exports_that_answer_it(make: Make) -> None:
    inventory = make(QUERIES)
    explanation = inventory.explain("web", "found")
    assert origins(explanation) == [
        ("web", "parameters", ("wanted",), "db"),
        ("db01", "exports", ("role",), "db"),
        ("db01", "exports", ("address",), "10.0.0.5"),
        ("db02", "exports", ("role",), "db"),
        ("db02", "exports", ("address",), "10.0.0.6"),
    ]
    assert explanation.winner is not None
    export = explanation.winner.references[-1]
    assert brief(export.layers) == [("classes/db.yml", 3, "sets", True)]
    parameter = export.layers[0].references[0]
    assert (parameter.node, parameter.section, parameter.value) == ("db02", "parameters", "10.0.0.6")
    assert brief(parameter.layers) == [
        ("classes/db.yml", 1, "sets", False),
        ("nodes/db02.yml", 3, "replaces", True),
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("found:db01", [("db01", "exports", ("role",), "db"), ("db01", "exports", ("address",), "10.0.0.5")]),
        ("names:1", [("db02", "exports", ("role",), "db")]),
        ("sizes:db02:size", [("db02", "exports", ("tags", "size"), 4)]),
    ],
)
def test_a_part_of_an_answer_leads_to_its_node_alone(
    make: Make, path: str, expected: list[tuple[str, str, tuple[str, ...], object]]
) -> None:
    found = [each for each in origins(make(QUERIES).explain("web", path)) if each[1] == "exports"]
    assert found == expected
