"""The laws of keys: equal trees have equal keys, and whatever decides an image changes its key."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.images import spec as specs
from pillarbox.images import tree

files = st.dictionaries(
    st.text("abc/", min_size=1, max_size=5), st.tuples(st.booleans(), st.binary(max_size=8)), min_size=1, max_size=5
).map(lambda found: tuple(tree.File(path, *rest) for path, rest in found.items()))
leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
pillars = st.dictionaries(
    st.text("ab", min_size=1, max_size=2),
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3)),
    max_size=4,
)


def reversed_mappings(data: Any) -> Any:
    """The same data with every mapping in the opposite order."""
    if isinstance(data, dict):
        return {key: reversed_mappings(value) for key, value in reversed(data.items())}
    return [reversed_mappings(item) for item in data] if isinstance(data, list) else data


@given(packages=st.text(max_size=4), pillar=pillars, found=files, seed=st.randoms())
def test_order_is_nothing(packages: str, pillar: dict[str, Any], found: tuple[tree.File, ...], seed: Any) -> None:
    shuffled = list(found)
    seed.shuffle(shuffled)
    key = specs.content_key(packages, pillar, found)
    assert specs.content_key(packages, reversed_mappings(pillar), tuple(shuffled)) == key


@given(found=files, data=st.data())
def test_any_changed_byte_mode_or_path_counts(found: tuple[tree.File, ...], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(found) - 1))
    file = found[index]
    content = bytearray(file.content)
    if content:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        content = bytearray(b"x")
    key = specs.content_key("", {}, found)
    others = found[:index] + found[index + 1 :]
    for other in (
        tree.File(file.path, file.executable, bytes(content)),
        tree.File(file.path, not file.executable, file.content),
        tree.File(file.path + "x", file.executable, file.content),
    ):
        assert specs.content_key("", {}, (*others, other)) != key
    assert specs.content_key("", {}, others) != key


def paths_of(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found = [inner for key, value in items for inner in paths_of(value, (*path, key))]
    return found or [path]


@given(pillar=pillars.filter(bool), data=st.data())
def test_any_changed_leaf_counts(pillar: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths_of(pillar)))
    changed = copy.deepcopy(pillar)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = data.draw(leaves.filter(lambda leaf: repr(leaf) != repr(place[path[-1]])))
    assert specs.content_key("", changed, ()) != specs.content_key("", pillar, ())


@given(one=files, other=files)
def test_files_cannot_be_shifted_between_names(one: tuple[tree.File, ...], other: tuple[tree.File, ...]) -> None:
    same = set(one) == set(other)
    assert (specs.content_key("", {}, one) == specs.content_key("", {}, other)) == same


def keys(toy: Any) -> tuple[str, str, str]:
    spec = toy.spec()
    return spec.base.key, spec.package_key, spec.content_key


def test_place_time_and_owner_are_nothing(make_toy: Callable[..., Any], tmp_path: Path) -> None:
    toy = make_toy()
    before = keys(toy)
    shutil.move(toy.path, tmp_path / "elsewhere")
    toy.path = tmp_path / "elsewhere"
    for path in toy.path.rglob("*"):
        os.utime(path, (1, 1))
        if path.is_file():
            path.chmod(path.stat().st_mode & 0o100 | 0o600)  # another umask; git keeps the executable bit only
    assert keys(toy) == before


def test_what_git_ignores_and_documentation_are_nothing(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    before = keys(toy)
    for name in ("README.md", "files/toy.conf~", "__pycache__/x.pyc", "files/.toy.conf.swp"):
        toy.write(f"formulas/toy/{name}", "x")
    toy.write("formulas/other/init.sls", "x")
    assert keys(toy) == before


def test_a_shared_formula_decides_the_images_that_name_it(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    toy.write("formulas/common/service.sls", "x: test.nop")
    alone = keys(toy)
    toy.image["formulas"] = ["common"]
    together = keys(toy)
    assert [a != b for a, b in zip(alone, together, strict=True)] == [False, False, True]
    toy.write("formulas/common/service.sls", "y: test.nop")
    assert [a != b for a, b in zip(together, keys(toy), strict=True)] == [False, False, True]
    before = keys(toy)
    toy.write("formulas/common/packages.sls", "x: test.nop")
    assert [a != b for a, b in zip(before, keys(toy), strict=True)] == [False, True, True]
    toy.write("formulas/toy/files/unrelated", "")
    del toy.image["formulas"]
    before = keys(toy)
    toy.write("formulas/common/service.sls", "z: test.nop")
    assert keys(toy) == before


def test_where_an_image_goes_is_nothing(make_toy: Callable[..., Any]) -> None:
    toy = make_toy()
    before = keys(toy)
    toy.image |= {"registry": "elsewhere:5000", "deploy_name": "other", "public": ["toy:x"]}
    assert keys(toy) == before


# What changes, and whether that changes the base, the packages, the content.
CHANGES: list[tuple[str, Callable[[Any], Any], tuple[bool, bool, bool]]] = [
    ("static parameter", lambda toy: toy.pillar["toy"]["server"].update(limit=4), (False, False, True)),
    ("dynamic name", lambda toy: toy.pillar["toy"]["server"].update(host="$HOST"), (False, False, True)),
    ("role SLS", lambda toy: toy.write("formulas/toy/server.sls", "x: test.nop"), (False, False, True)),
    ("template", lambda toy: toy.write("formulas/toy/files/toy.conf", ""), (False, False, True)),
    ("executable", lambda toy: (toy.path / "formulas/toy/files/toy.conf").chmod(0o755), (False, False, True)),
    ("entrypoint", lambda toy: toy.write("images/entrypoint", "x"), (False, False, True)),
    ("new file", lambda toy: toy.write("formulas/toy/files/new", ""), (False, False, True)),
    ("package SLS", lambda toy: toy.write("formulas/toy/packages.sls", "x: test.nop"), (False, True, True)),
    ("package file", lambda toy: toy.write("formulas/toy/packages/list.jinja", "x"), (False, True, True)),
    ("package source", lambda toy: toy.image["packages"].update(suite="trixie"), (False, True, True)),
    ("package state", lambda toy: toy.image["packages"].update(state=20261125), (False, True, True)),
    ("package date", lambda toy: toy.image["packages"].update(state=date(2026, 11, 25)), (False, True, True)),
    ("version", lambda toy: toy.image.update(version="epoxy"), (False, True, True)),
    ("shared states", lambda toy: toy.write("images/states/prune.sls", "x: test.nop"), (False, True, True)),
    ("base recipe", lambda toy: toy.image["base"].update(suite="trixie"), (True, True, True)),
    ("base files", lambda toy: toy.write("images/base/apt.conf", ""), (True, True, True)),
    ("finish", lambda toy: toy.write("images/finish", ""), (True, True, True)),
]


@pytest.mark.parametrize(("change", "expected"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_each_key_covers_what_decides_it(
    make_toy: Callable[..., Any], change: Callable[[Any], Any], expected: tuple[bool, bool, bool]
) -> None:
    toy = make_toy()
    before = keys(toy)
    change(toy)
    assert tuple(a != b for a, b in zip(before, keys(toy), strict=True)) == expected
