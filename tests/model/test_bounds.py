"""Malformed models of every kind: a clear error, in bounded time, and never another exception."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.model.reference import write

from pillarbox.model import Inventory, limits
from pillarbox.system.errors import PillarboxError

CHAIN = 3000


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"a": "${b}", "b": "${a}"}, "cycle"),
        ({"a": "${a}"}, "cycle"),
        ({"a": "x${a:b}", "b": 1}, "cycle"),
        ({"a": {"b": ["${a}"]}}, "contains itself"),
        ({f"k{n}": f"${{k{n + 1}}}" for n in range(CHAIN)}, "deep"),
        ({f"k{n}": {"x": f"${{k{n + 1}}}"} for n in range(CHAIN)}, "deep"),
        ({"a": "${" * 100 + "x" + "}" * 100}, "nest deeper"),
        ({"k0": "x" * 1000, **{f"k{n}": f"${{k{n - 1}}}" * 10 for n in range(1, 9)}}, "characters"),
        ({"a": "${b"}, "expected } to close"),
        ({"a": "$[ nonsense == ]"}, "inventory query"),
        ({"a": "$[ exports:a if 1 == 2 ]"}, "compare an export"),
    ],
    ids=range(11),
)
def test_values(make: Callable[..., Inventory], parameters: dict[str, Any], expected: str) -> None:
    inventory = make({"nodes/n.yml": {"parameters": parameters}})
    with pytest.raises(PillarboxError) as caught:
        inventory.node("n")
    assert expected in str(caught.value)
    assert "nodes/n.yml" in str(caught.value) or expected == "deep"


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ({"b": {"c": "${b}"}}, "contain itself"),
        ({"b": {"c": "${b}", "d": "${b}"}}, "contain itself"),
        ({f"k{n}": {"x": f"${{k{n + 1}}}"} for n in range(40)} | {"k40": {}}, "too much"),
        ({"k0": [1]} | {f"k{n}": f"${{k{n - 1}}}" for n in range(1, 40)}, "values"),
        ({"k0": {"l": [1]}} | {f"k{n}": f"${{k{n - 1}}}" for n in range(1, 40)}, "values"),
    ],
    ids=range(5),
)
def test_layers_that_double_with_each_reference(
    make: Callable[..., Inventory], monkeypatch: pytest.MonkeyPatch, layer: dict[str, Any], expected: str
) -> None:
    monkeypatch.setattr(limits, "WORK", 1_000_000)
    monkeypatch.setattr(limits, "VALUES", 10_000)
    both = {f"classes/{name}.yml": {"parameters": layer} for name in "pq"}
    with pytest.raises(PillarboxError, match=expected):
        make({"nodes/n.yml": {"classes": ["p", "q"]}, **both}).node("n")


def test_class_chains(make: Callable[..., Inventory]) -> None:
    files = {f"classes/c{n}.yml": {"classes": [f"c{n + 1}"]} for n in range(CHAIN)}
    inventory = make({**files, f"classes/c{CHAIN}.yml": {}, "nodes/n.yml": {"classes": ["c0"]}})
    with pytest.raises(PillarboxError, match="levels deep"):
        inventory.node("n")


def test_link_loops(tmp_path: Path) -> None:
    root = write(tmp_path, {"nodes/a/n.yml": {}})
    os.symlink("..", root / "nodes/a/loop")
    with pytest.raises(PillarboxError, match="leads back"):
        Inventory(root, cache=None)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    root = write(tmp_path, {"nodes/n.yml": {"classes": ["gone"]}})
    os.symlink("nowhere.yml", root / "classes/gone.yml")
    with pytest.raises(PillarboxError, match="cannot read the file"):
        Inventory(root, cache=None).node("n")


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """Root reads everything: be nobody for a while."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_unreadable_files() -> None:
    # Not in pytest's own directory, which only its owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        root = write(Path(folder), {"nodes/n.yml": {}, "nodes/m.yml": {}})
        (root / "nodes/n.yml").chmod(0)
        with somebody_else():
            inventory = Inventory(root, cache=None)
            assert inventory.node("m").name == "m"
            with pytest.raises(PillarboxError, match="cannot read the file"):
                inventory.node("n")


def test_all_errors_are_told_together(make: Callable[..., Inventory]) -> None:
    inventory = make(
        {
            "classes/bad.yml": "a: [\n",
            "classes/worse.yml": {"classes": 3},
            "nodes/n.yml": {"classes": ["bad", "worse", "gone"]},
            "nodes/m.yml": {"parameters": {"a": "${x}", "b": "${y}"}},
        }
    )
    with pytest.raises(PillarboxError) as caught:
        inventory.all()
    text = str(caught.value)
    for each in ("classes/bad.yml:2", "classes/worse.yml:1", "class gone", "${x}", "${y}"):
        assert each in text
    with pytest.raises(PillarboxError) as caught:
        list(inventory.stream())
    assert "${x}" in str(caught.value)


snippets = st.sampled_from(
    [
        *("classes:\n", "- a\n", "- .b\n", "- ${x}\n", "parameters:\n", "  x: ${y}\n", "  ~y: $[ exports:x ]\n"),
        *("  =x: [1]\n", "exports:\n", "applications:\n", "- ~a\n", "environment: [1]\n", "  z: *x\n"),
        *("  w: &x {a: ${x}}\n", "\t", "\0", "é", "  a:\n"),
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(snippets, max_size=8), st.lists(snippets, max_size=8), st.binary(max_size=20))
def test_any_text(tmp_path_factory: pytest.TempPathFactory, node: list[str], class_: list[str], noise: bytes) -> None:
    root = tmp_path_factory.mktemp("model")
    write(root, {"nodes/n.yml": "".join(node), "classes/a.yml": "".join(class_)})
    (root / "classes/b.yml").write_bytes(noise)
    try:
        inventory = Inventory(root, cache=None)
        inventory.lint()
        first = repr(inventory.node("n"))
    except PillarboxError:
        return
    assert repr(Inventory(root, cache=None).node("n")) == first


def test_links_that_multiply_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FOLDERS", 500)
    monkeypatch.setattr(limits, "FILES", 500)
    root = write(tmp_path, {"nodes/n.yml": {}})
    for number in range(20):
        (root / f"nodes/d/{number}").mkdir(parents=True)
        for name in "ab":
            (root / f"nodes/d/{number}/{name}").symlink_to(f"../{number + 1}")
    (root / "nodes/d/20").mkdir()
    (root / "nodes/d/20/m.yml").write_text("{}")
    with pytest.raises(PillarboxError, match="at most 500 directories"):
        Inventory(root, cache=None)
    git = ["git", "-C", str(root), "-c", "user.name=T", "-c", "user.email=t@l"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    with pytest.raises(PillarboxError, match="at most 500 directories"):
        Inventory(root, revision="HEAD", cache=None)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    root = write(tmp_path, {"nodes/m.yml": {}})
    if kind == "pipe":
        os.mkfifo(root / "nodes/n.yml")
    else:
        (root / "nodes/n.yml").symlink_to("/dev/zero")
    with pytest.raises(PillarboxError, match="expected a file"):
        Inventory(root, cache=None).node("n")


@pytest.mark.parametrize("number", ["0x" + "f" * 9000, "1" * 9000, "0b" + "1" * 15000])
def test_numbers_that_nobody_can_write_out(make: Callable[..., Inventory], number: str) -> None:
    with pytest.raises(PillarboxError, match=r"nodes/n\.yml"):
        make({"nodes/n.yml": f"parameters:\n  a: {number}\n  b: x${{a}}\n"}).node("n")


def test_patterns_that_do_not_join(make: Callable[..., Inventory]) -> None:
    config = {"ignore_class_notfound": True, "ignore_class_notfound_regexp": ["service.*", "(?i)system.*"]}
    inventory = make({"reclass-config.yml": config, "nodes/n.yml": {"classes": ["service.x", "SYSTEM.y"]}})
    assert inventory.node("n").parameters["_reclass_"]["name"]["full"] == "n"
