"""Renders a model with one engine, in this process, and prints what it took as JSON.

engines.py ENGINE MODEL [--node NAME] [--cache DIRECTORY]
engines.py serve MODEL    every node asked for by itself, as a Salt master serves pillars
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Rendered = Iterator[tuple[str, Any]]


def kapicorp(model: Path, node: str | None, cache: Path | None) -> Callable[[], Rendered]:
    from reclass import get_storage
    from reclass.core import Core
    from reclass.settings import Settings

    def run() -> Rendered:
        storage = get_storage("yaml_fs", str(model / "nodes"), str(model / "classes"), False)
        core = Core(storage, None, Settings({}))
        for name in [node] if node else sorted(storage.enumerate_nodes()):
            yield name, core.nodeinfo(name)["parameters"]

    return run


def reclass_rs(model: Path, node: str | None, cache: Path | None) -> Callable[[], Rendered]:
    from reclass_rs import Reclass

    def run() -> Rendered:
        reclass = Reclass(inventory_path=str(model))
        if node:
            yield node, reclass.nodeinfo(node).parameters
            return
        # The whole inventory at once: its threads render nodes side by side.
        for name, info in reclass.inventory().nodes.items():
            yield name, info.parameters

    return run


def pillarbox(model: Path, node: str | None, cache: Path | None) -> Callable[[], Rendered]:
    from pillarbox.model import Inventory

    def run() -> Rendered:
        inventory = Inventory(model, cache=cache)
        if node:
            yield node, inventory.node(node).parameters
            return
        for each in inventory.stream():
            yield each.name, each.parameters

    return run


def serve(model: Path, node: str | None, cache: Path | None) -> Callable[[], Rendered]:
    from pillarbox.model import Inventory

    def run() -> Rendered:
        inventory = Inventory(model, cache=cache)
        for name in inventory.nodes:
            yield name, inventory.node(name).parameters

    return run


ENGINES = {"kapicorp-reclass": kapicorp, "reclass-rs": reclass_rs, "pillarbox": pillarbox, "serve": serve}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model", type=Path)
    parser.add_argument("--node")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    run = ENGINES[arguments.engine](arguments.model, arguments.node, arguments.cache)
    profile = None
    if arguments.profile:
        import cProfile

        profile = cProfile.Profile()
        profile.enable()
    start, start_cpu = time.perf_counter(), time.process_time()
    nodes = values = 0
    for _, parameters in run():
        nodes += 1
        values += len(parameters)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    if profile:
        import pstats

        profile.disable()
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "nodes": nodes, "keys": values, "peak_mib": peak}))


if __name__ == "__main__":
    main()
