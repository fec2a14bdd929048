"""The disk cache never changes a result, and may be lost, damaged or another user's."""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.model.reference import write

from pillarbox.model import Inventory
from pillarbox.model.keep import pages
from pillarbox.model.read import tree as trees
from pillarbox.system.environment import VariableError
from pillarbox.system.errors import PillarboxError

MODEL: dict[str, Any] = {
    "classes/a.yml": {"parameters": {"list": [1, 2], "map": {f"k{n}": n for n in range(30)}}},
    "classes/b.yml": {"parameters": {"date": "x"}},
    **{f"nodes/n{n}.yml": {"classes": ["a", "b"], "parameters": {"own": n, "name": "${own}"}} for n in range(5)},
}


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    # Files of a test are younger than the cache trusts.
    monkeypatch.setattr(trees, "SETTLED", 0)


def all_of(root: Path, cache: Path | None) -> str:
    return repr(Inventory(root, cache=cache).all())


def test_same_with_and_without(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "m", MODEL), tmp_path / "c"
    plain = all_of(root, None)
    assert all_of(root, cache) == plain
    assert all_of(root, cache) == plain
    write(root, {"classes/b.yml": {"parameters": {"date": "changed"}}})
    assert all_of(root, cache) == all_of(root, None) != plain
    write(root, {"nodes/n1.yml": {"classes": ["c"]}, "classes/c.yml": {}})
    assert all_of(root, cache) == all_of(root, None)
    write(root, {"reclass-config.yml": {"automatic_parameters": False}})
    assert all_of(root, cache) == all_of(root, None)


def test_a_class_that_appears(tmp_path: Path) -> None:
    config = {"ignore_class_notfound": True}
    root = write(tmp_path / "m", {"nodes/n.yml": {"classes": ["later"]}, "reclass-config.yml": config})
    all_of(root, tmp_path / "c")
    write(root, {"classes/later.yml": {"parameters": {"here": True}}})
    assert Inventory(root, cache=tmp_path / "c").node("n").parameters["here"] is True


def test_queries_see_other_nodes(tmp_path: Path) -> None:
    root = write(tmp_path / "m", {"nodes/n.yml": {"parameters": {"all": "$[ exports:a ]"}}, "nodes/m.yml": {}})
    assert Inventory(root, cache=tmp_path / "c").node("n").parameters["all"] == {}
    write(root, {"nodes/m.yml": {"exports": {"a": 1}}})
    assert Inventory(root, cache=tmp_path / "c").node("n").parameters["all"] == {"m": 1}


@pytest.mark.parametrize("text", ["2020-01-31", "!!set {a}", "!!binary aGk=", "1" + "0" * 30, "{1: x}"])
def test_what_messagepack_lacks(tmp_path: Path, text: str) -> None:
    root = write(tmp_path / "m", {"nodes/n.yml": f"parameters:\n  v: [{text}]\n"})
    plain = all_of(root, None)
    assert all_of(root, tmp_path / "c") == plain
    assert all_of(root, tmp_path / "c") == plain


def test_damage(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "m", MODEL), tmp_path / "c"
    plain = all_of(root, cache)
    file = next(cache.glob("*.sqlite"))
    data = bytearray(file.read_bytes())
    for position in range(len(data) // 2, len(data), 7):
        data[position] ^= 255
    file.write_bytes(data)
    assert all_of(root, cache) == plain
    file.write_bytes(b"not a database at all")
    assert all_of(root, cache) == plain
    assert all_of(root, cache) == plain


def test_a_directory_that_others_write_is_not_used(tmp_path: Path) -> None:
    cache = tmp_path / "c"
    cache.mkdir()
    cache.chmod(0o777)
    all_of(write(tmp_path / "m", MODEL), cache)
    assert not list(cache.iterdir())


def test_a_place_that_cannot_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("")
    all_of(write(tmp_path / "m", MODEL), tmp_path / "c")


def test_the_environment_turns_it_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "m", MODEL)
    monkeypatch.setenv("PILLARBOX_CACHE", str(tmp_path / "c"))
    Inventory(root).all()
    assert list((tmp_path / "c").iterdir())
    monkeypatch.setenv("PILLARBOX_CACHE", "off")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    Inventory(root).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "m"]
    monkeypatch.setenv("PILLARBOX_CACHE", "relative")
    with pytest.raises(VariableError, match="PILLARBOX_CACHE=relative: expected an absolute path"):
        Inventory(root)
    assert not (tmp_path / "relative").exists()


def test_threads_and_processes(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "m", MODEL), tmp_path / "c"
    inventory = Inventory(root, cache=cache)
    plain = all_of(root, None)
    barrier = threading.Barrier(8)

    def run(_: int) -> str:
        barrier.wait()
        return repr(inventory.all())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(run, range(8))) == {plain}
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0 if repr(inventory.all()) == plain == all_of(root, cache) else 1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]


def test_files_that_change_during_a_run_are_not_kept(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "m", MODEL), tmp_path / "c"
    all_of(root, cache)
    before = (root / "nodes/n3.yml").read_text()
    write(root, {"classes/b.yml": {"parameters": {"date": "y"}}})
    stream = Inventory(root, cache=cache).stream()
    next(stream)
    write(root, {"nodes/n3.yml": {"classes": ["a", "b"], "parameters": {"own": "changed"}}})
    assert [node.parameters["own"] for node in stream] == [1, 2, "changed", 4]
    (root / "nodes/n3.yml").write_text(before)
    assert all_of(root, cache) == all_of(root, None)


def test_a_file_that_cannot_be_read_is_its_own_node_s_error(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "m", MODEL), tmp_path / "c"
    all_of(root, cache)
    (root / "nodes/n1.yml").unlink()
    (root / "nodes/n1.yml").symlink_to("nowhere.yml")
    inventory = Inventory(root, cache=cache)
    assert inventory.node("n0").parameters["own"] == 0
    with pytest.raises(PillarboxError, match=r"nodes/n1.yml"):
        inventory.node("n1")


def test_a_guess_of_another_model_costs_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "c"
    first = write(tmp_path / "m", MODEL)
    second = write(tmp_path / "o", {"nodes/n1.yml": {"parameters": {"own": "other"}}, "nodes/z.yml": {}})
    for _ in range(2):
        assert all_of(first, cache) == all_of(first, None)
        assert all_of(second, cache) == all_of(second, None)


def test_many_pages_of_many_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_SIZE", 3)
    monkeypatch.setattr(pages, "_OPEN", 2)
    monkeypatch.setattr(pages, "_ADDED", 7)
    classes = {f"classes/g{number}.yml": {"parameters": {"group": number}} for number in range(4)}
    nodes = {
        f"nodes/n{number:02}.yml": {"classes": [f"g{number % 4}"], "parameters": {"own": number}}
        for number in range(30)
    }
    root, cache = write(tmp_path / "m", {**classes, **nodes}), tmp_path / "c"
    plain = all_of(root, None)
    assert [all_of(root, cache) for _ in range(3)] == [plain] * 3
    inventory = Inventory(root, cache=cache)
    for name in sorted(inventory.nodes, reverse=True):
        assert inventory.node(name).parameters["own"] == int(name[1:])


def test_a_broken_class_of_a_mapping_is_every_node_s_error(tmp_path: Path) -> None:
    cache = tmp_path / "c"
    nodes = {f"nodes/n{number}.yml": {"parameters": {"own": number}} for number in range(2)}
    config = {"reclass-config.yml": {"class_mappings": ["n* a"]}}
    root = write(tmp_path / "m", {**nodes, **config, "classes/a.yml": "parameters: {p: ["})
    inventory = Inventory(root, cache=cache)
    for name in inventory.nodes:
        with pytest.raises(PillarboxError, match=r"classes/a.yml:2"):
            inventory.node(name)
    with pytest.raises(PillarboxError) as caught:
        inventory.all()
    assert str(caught.value).count("classes/a.yml") == 1
    write(root, {"classes/a.yml": {"parameters": {"p": "fixed"}}})
    assert all_of(root, cache) == all_of(root, None)
    (root / "classes/a.yml").unlink()
    with pytest.raises(PillarboxError, match=r"reclass-config.yml:1: class a does not exist, asked for by node n0"):
        Inventory(root, cache=cache).node("n0")


def test_any_damaged_byte(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "m", MODEL), tmp_path / "c"
    plain = all_of(root, None)
    all_of(root, cache)
    file = cache / "model-1.sqlite"
    whole = file.read_bytes()
    dice = random.Random(1)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(dice.choice((1, 20))):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        for left in cache.iterdir():
            left.unlink()
        file.write_bytes(damaged)
        assert all_of(root, cache) == plain
