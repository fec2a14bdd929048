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


CHOSEN = {
    "classes/site.yml": "classes:\n- common\nparameters:\n  _param:\n    version: zed\n",
    "classes/common.yml": "parameters:\n  _param:\n    version: yoga\n",
    "classes/image.yml": "classes:\n- release.${_param:version}\n- base.${_param:base}\nparameters:\n  kind: image\n",
    "classes/release/zed.yml": "parameters:\n  _param:\n    base: ${_param:suite}\n    suite: bookworm\n",
    "classes/base/bookworm.yml": "parameters:\n  suite: bookworm\n  packages: [a]\n",
    "classes/late.yml": "parameters:\n  _param:\n    version: epoxy\n",
    "nodes/n.yml": "classes:\n- site\n- image\n- late\nparameters:\n  packages: [b]\n",
    "nodes/own.yml": "classes:\n- site\n- ${_param:part}.${_param:version}\nparameters: {}\n",
    "classes/part/zed.yml": "parameters: {it: 1}\n",
    "nodes/asks.yml": "parameters:\n  found: $[ exports:suite ]\n",
    "nodes/exporting.yml": "classes:\n- site\n- exporting.${_param:version}\n",
    "classes/exporting/zed.yml": "exports:\n  suite: bookworm\n",
}


def test_the_parameter_that_chose_a_class_is_explained(make: Make) -> None:
    inventory = make({**CHOSEN, "classes/common.yml": CHOSEN["classes/common.yml"] + "    part: part\n"})
    layer = inventory.explain("n", "suite").winner
    assert layer is not None
    (choice,) = layer.choices
    assert (choice.class_name, choice.written) == ("base.bookworm", "base.${_param:base}")
    assert (choice.file, choice.line) == ("classes/image.yml", 3)
    (base,) = choice.references
    assert (base.path, base.value) == (("_param", "base"), "bookworm")
    assert brief(base.layers) == [("classes/release/zed.yml", 3, "sets", True)]
    (suite,) = base.layers[0].references
    assert brief(suite.layers) == [("classes/release/zed.yml", 4, "sets", True)]
    (release,) = suite.layers[0].choices
    assert (release.class_name, release.file, release.line) == ("release.zed", "classes/image.yml", 2)
    (version,) = release.references
    # A class that comes later changes the parameter; the choice was made before it.
    assert version.value == "zed"
    assert brief(version.layers) == [
        ("classes/common.yml", 3, "sets", False),
        ("classes/site.yml", 5, "replaces", True),
    ]
    assert [(again.class_name, again.repeated) for again in base.layers[0].choices] == [("release.zed", True)]


def test_choices_of_a_node_itself_and_of_items(make: Make) -> None:
    inventory = make({**CHOSEN, "classes/common.yml": CHOSEN["classes/common.yml"] + "    part: part\n"})
    layer = inventory.explain("own", "it").winner
    assert layer is not None
    (choice,) = layer.choices
    assert (choice.class_name, choice.file, choice.line) == ("part.zed", "nodes/own.yml", 3)
    assert [(each.path[-1], each.value) for each in choice.references] == [("part", "part"), ("version", "zed")]
    item = inventory.explain("n", "packages:0").winner
    assert item is not None
    assert [choice.class_name for choice in item.choices] == ["base.bookworm"]
    own = inventory.explain("n", "packages:1").winner
    assert own is not None
    assert own.choices == ()


def test_choices_behind_an_export(make: Make) -> None:
    files = {name: text for name, text in CHOSEN.items() if "own" not in name}
    layer = make(files).explain("asks", "found").winner
    assert layer is not None
    (export,) = layer.references
    (choice,) = export.layers[0].choices
    assert (choice.class_name, choice.file, choice.line) == ("exporting.zed", "nodes/exporting.yml", 3)
    assert [each.value for each in choice.references] == ["zed"]


def test_a_missing_class_names_the_lines_that_set_its_parameters(make: Make) -> None:
    files = {name: text for name, text in CHOSEN.items() if name != "classes/base/bookworm.yml" and "own" not in name}
    with pytest.raises(PillarboxError) as caught:
        make(files).node("n")
    text = str(caught.value)
    assert text.startswith("classes/image.yml:3: class base.bookworm (from base.${_param:base}) does not exist")
    assert "_param:base is set in classes/release/zed.yml:3. _param:suite is set in classes/release/zed.yml:4." in text


def test_a_class_name_that_does_not_resolve_names_the_line_that_refers_on(make: Make) -> None:
    text = CHOSEN["classes/release/zed.yml"].replace("    suite: bookworm\n", "")
    with pytest.raises(PillarboxError) as caught:
        make({**{k: v for k, v in CHOSEN.items() if "own" not in k}, "classes/release/zed.yml": text}).node("n")
    assert "${_param:suite} does not exist so far (from _param:base, classes/release/zed.yml:3)" in str(caught.value)


def test_why_an_image_of_the_reference_deployment_has_its_suite(repository: Path) -> None:
    inventory = Inventory(repository, cache=None)
    layer = inventory.explain("keystone-server", "image:packages:suite").winner
    assert layer is not None
    (base,) = layer.choices
    assert base.written == "system.debian.base.${_param:openstack_base}"
    (release,) = base.references[0].layers[-1].choices
    assert release.written == "system.openstack.release.${_param:openstack_version}"
    (version,) = release.references
    assert version.winner is not None
    found = version.winner
    assert found.line is not None
    line = (repository / found.file).read_text().splitlines()[found.line - 1]
    assert line.split() == ["openstack_version:", version.value]
    assert release.class_name == f"system.openstack.release.{version.value}"


def test_class_usage(make: Make) -> None:
    usage = make(MODEL).usage("a")
    assert [(use.node, use.chain, use.file, use.line) for use in usage.uses] == [("n", ("b",), "classes/b.yml", 1)]
    with pytest.raises(PillarboxError, match="no class aa"):
        make(MODEL).usage("aa")


def test_usage_names_the_entry_as_it_is_written(make: Make) -> None:
    files = {
        **{name: text for name, text in CHOSEN.items() if "own" not in name},
        "reclass-config.yml": "delimiter: ':'\nclass_mappings:\n- n late\n",
        "nodes/n.yml": "classes:\n- site\n- image\n",
    }
    inventory = make(files)
    (chosen,) = inventory.usage("base.bookworm").uses
    assert (chosen.node, chosen.file, chosen.line) == ("n", "classes/image.yml", 3)
    assert chosen.written == "base.${_param:base}"
    (mapped,) = inventory.usage("late").uses
    assert (mapped.node, mapped.file, mapped.line, mapped.written) == ("n", "reclass-config.yml", 2, "late")


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
