"""Generated models, rendered by kapicorp-reclass and by Pillarbox.

| the reference         | Pillarbox                                                                       |
|-----------------------|---------------------------------------------------------------------------------|
| renders               | renders the same: values, types, order of keys                                  |
| refuses the model     | refuses it, or is one of the documented differences (``forgiven``)              |
| crashes or never ends | ends, with a result or with an error of its own                                 |
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import reclass.errors
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from tests.model.reference import Outcome, ours, reference, same, write

KEYS = ("a", "b", "c", "d")
EXAMPLES = int(os.environ.get("PILLARBOX_EXAMPLES", "60"))
ANY = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

scalars = st.sampled_from([None, True, False, 0, 1, 7, 1.5, "", "x", "y z", "On", "é", "1"])
paths = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).map(":".join)
references = paths.map(lambda path: "${" + path + "}")
nested = st.builds(lambda left, right: "${" + left + ":${" + right + "}}", paths, paths)
strings = st.one_of(
    references,
    references,
    st.builds(lambda text, reference: text + reference, st.sampled_from(["x", "-"]), references),
    st.builds(lambda left, right: left + right, references, references),
    nested,
    st.sampled_from(["\\${a}", "x\\${a}${b}", "\\\\${a}", "${a", "${}", "$[a", "$ {a}", "${zz}"]),
    st.just("${_reclass_:name:short}"),
)
prefixes = st.sampled_from(["", "", "", "", "", "~", "="])


def mappings(values: st.SearchStrategy[Any]) -> Any:
    prefixed = st.builds(lambda prefix, key: prefix + key, prefixes, st.sampled_from(KEYS))
    return st.dictionaries(prefixed, values, max_size=3)


plain_trees = st.recursive(scalars, lambda inner: st.one_of(st.lists(inner, max_size=2), mappings(inner)), max_leaves=5)
trees = st.recursive(
    st.one_of(scalars, strings), lambda inner: st.one_of(st.lists(inner, max_size=2), mappings(inner)), max_leaves=6
)
options = st.fixed_dictionaries(
    {},
    optional={
        name: st.booleans()
        for name in (
            "allow_scalar_over_dict",
            "allow_scalar_over_list",
            "allow_list_over_scalar",
            "allow_dict_over_scalar",
            "allow_none_override",
            "ignore_overwritten_missing_references",
            "strict_constant_parameters",
            "automatic_parameters",
        )
    },
)


def tidy(tree: Any, below: bool = False) -> Any:
    """Without prefixes below a key that has one, here or beside it: there the reference leaves them in the result."""
    if not isinstance(tree, dict):
        return tree
    out = {}
    for key, value in tree.items():
        marked = key[:1] in ("~", "=")
        twice = sum(other.lstrip("~=") == key.lstrip("~=") for other in tree) > 1
        out[key[1:] if below and marked else key] = tidy(value, below or marked or twice)
    return out


def chain(layers: list[Any], config: Any = None) -> dict[str, Any]:
    """A model whose one node uses a class for each layer but the last."""
    files: dict[str, Any] = {
        f"classes/l{number}.yml": {"parameters": layer} for number, layer in enumerate(layers[:-1])
    }
    files["nodes/n.yml"] = {
        "classes": [f"l{number}" for number in range(len(layers) - 1)],
        "parameters": layers[-1],
    }
    if config:
        files["reclass-config.yml"] = config
    return files


def compare(files: dict[str, Any], node: str = "n") -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder), files)
        expected, found = reference(root, node), ours(root, node)
    note(f"files: {files}\nreference: {expected}\nours: {found}")
    if expected.data is not None:
        assert found.data is not None, "only the reference renders the node"
        assert same(dict(found.data), dict(expected.data))
    elif found.data is not None and isinstance(expected.error, reclass.errors.ReclassException):
        assert forgiven(expected, str(files)), "only Pillarbox renders the node"


def forgiven(expected: Outcome, text: str) -> bool:
    """Whether the reference's refusal is one of the differences that the documentation lists."""
    error = expected.error
    if isinstance(error, reclass.errors.ResolveErrorList):
        return all(forgiven(Outcome(error=each), text) for each in error.resolve_errors)
    if isinstance(error, reclass.errors.ResolveError):
        # A reference to a list item.
        return re.search(r":-?\d+$", error.reference) is not None
    if isinstance(error, reclass.errors.InvQueryError):
        # It does not ignore exports whose layers do not merge.
        return "+IgnoreErrors" in text
    if isinstance(error, reclass.errors.ExpressionError):
        # A test with a parameter that is null.
        return "self:" in text and "None" in text
    # A reference inside a reference that does not resolve, in a layer that is overwritten.
    return isinstance(error, reclass.errors.BadReferencesError)


@ANY
@given(st.lists(mappings(plain_trees), min_size=2, max_size=4), options)
def test_merging(layers: list[Any], config: dict[str, bool]) -> None:
    compare(chain([tidy(layer) for layer in layers], config))


@ANY
@given(st.lists(mappings(trees), min_size=1, max_size=3), options)
def test_references(layers: list[Any], config: dict[str, bool]) -> None:
    compare(chain([tidy(layer) for layer in layers], config))


CLASSES = ("p", "q", "s.p", "s.q", "s.t.p")
entries = st.one_of(
    st.sampled_from(CLASSES),
    st.sampled_from([".p", ".q", "..p", "..q", "...p", "missing", "skip.x"]),
    st.sampled_from(["s.${a}", "${b}", "s.${c:d}", "s.${a:${b}}"]),
)
IGNORE = {"ignore_class_notfound": True}
names = st.lists(st.sampled_from(["x", "y", "z", "~x", "~y"]), max_size=3)
knobs = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["p", "q", "t.p", "t"]), max_size=2)
entities = st.fixed_dictionaries(
    {}, optional={"classes": st.lists(entries, max_size=3), "applications": names, "parameters": knobs}
)


@ANY
@given(
    st.fixed_dictionaries({}, optional={name: entities for name in CLASSES}),
    entities,
    st.sampled_from([{}, IGNORE, {**IGNORE, "ignore_class_notfound_regexp": ["skip.*"]}]),
    st.sampled_from([[], ["n p"], ["* q s.p"], ["/^(.)$/ s.p"], ["/(p|n)/ s.\\\\1"], ["m* q"]]),
    st.booleans(),
)
def test_classes(classes: dict[str, Any], node: Any, config: Any, mappings: list[str], init: bool) -> None:
    files = {f"classes/{name.replace('.', '/')}.yml": entity for name, entity in classes.items()}
    if init and "classes/s/p.yml" in files:
        files["classes/s/p/init.yml"] = files.pop("classes/s/p.yml")
    config = {**config, **({"class_mappings": mappings} if mappings else {})}
    compare({**files, "nodes/n.yml": node, **({"reclass-config.yml": config} if config else {})})


exported = st.dictionaries(
    st.sampled_from(KEYS), st.one_of(st.sampled_from([1, 2, "x", True, [1], {"a": 1}]), references), max_size=3
)
queries = st.sampled_from(
    [
        "$[ exports:a ]",
        "$[exports:b:a]",
        "$[ exports:a if exports:b == 1 ]",
        "$[ exports:a if exports:b != self:a ]",
        "$[ exports:a if exports:b == self:b and exports:c == x ]",
        "$[ if exports:a == 1 ]",
        "$[ if exports:a == 1 or exports:b == 2 and exports:c != x ]",
        "$[ if exports:a == true ]",
        "$[ +AllEnvs exports:a ]",
        "$[ +IgnoreErrors exports:a ]",
        "$[ +AllEnvs +IgnoreErrors exports:c if exports:b == self:b ]",
        "$[ +allenvs if exports:b != 1 ]",
    ]
)
members = st.fixed_dictionaries(
    {},
    optional={
        "parameters": mappings(scalars),
        "exports": exported,
        "environment": st.sampled_from(["base", "dev"]),
        "classes": st.just(["k"]),
    },
)


@ANY
@given(st.lists(members, max_size=3), members, queries, exported)
def test_inventory_queries(nodes: list[Any], asking: Any, query: str, shared: Any) -> None:
    files = {f"nodes/m{number}.yml": node for number, node in enumerate(nodes)}
    parameters = {**asking.get("parameters", {}), "query": query, "nested": [{"q": query}]}
    files["nodes/n.yml"] = {**asking, "parameters": parameters}
    # An export by way of a parameter that does not resolve is one of the documented differences.
    files["classes/k.yml"] = {"exports": shared, "parameters": {"a": 1, "d": "${a}"}}
    compare(files)


@ANY
@given(st.lists(mappings(trees), min_size=1, max_size=2), st.lists(mappings(trees), min_size=1, max_size=2))
def test_exports(layers: list[Any], exports: list[Any]) -> None:
    files = chain([tidy(layer) for layer in layers])
    files["nodes/n.yml"]["classes"].append("e")
    files["nodes/n.yml"]["exports"] = tidy(exports[0])
    files["classes/e.yml"] = {"exports": tidy(exports[-1])}
    compare(files)


@ANY
@given(
    st.lists(st.sampled_from(["a", "s/a", "s/b.c", "_t/a", "s/t/a", "_t/u/b"]), min_size=1, max_size=3, unique=True),
    st.booleans(),
    st.booleans(),
)
def test_node_names(files: list[str], compose: bool, by_path: bool) -> None:
    config = {"compose_node_name": compose, "class_mappings": ["s* k", "*/a k"], "class_mappings_match_path": by_path}
    model: dict[str, Any] = {f"nodes/{name}.yml": {"classes": [".q"]} for name in files}
    model |= {"classes/k.yml": {"parameters": {"k": 1}}, "reclass-config.yml": config}
    model |= {f"classes/{name}.yml": None for name in ("q", "s/q", "s/b/q", "s/t/q")}
    for node in ("a", "b.c", "s.a", "s.b.c", "s.t.a", "b"):
        compare(model, node)
