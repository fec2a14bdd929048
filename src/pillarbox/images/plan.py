"""Building images side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from pillarbox.images.builder import Built, build
from pillarbox.images.spec import ImageSpec
from pillarbox.images.stage import BUILD_LABEL, CONTAINER_PREFIX
from pillarbox.images.store import Store
from pillarbox.system.engine import Engine
from pillarbox.system.errors import PillarboxError, raise_all
from pillarbox.system.progress import SILENT, Progress

PARALLEL = 2


@dataclass(frozen=True)
class Results:
    """What became of each image: built (or found), or failed and why."""

    built: Mapping[str, Built]
    failed: Mapping[str, PillarboxError]

    def raise_failures(self) -> None:
        """Raise what failed, if anything did."""
        raise_all(list(self.failed.values()))

    def digests(self) -> dict[str, str]:
        """The digests to pin workloads to."""
        return {name: built.digest for name, built in self.built.items()}


def build_all(
    specs: Iterable[ImageSpec],
    model_dir: str | Path,
    *,
    engine: Engine,
    progress: Progress = SILENT,
    parallel: int = PARALLEL,
    store: Store | None = None,
    revision: str | None = None,
) -> Results:
    """Build images, ``parallel`` at a time; one that fails does not keep the others from being built.

    Returns what became of each; call ``raise_failures()`` for an error. On Ctrl-C the running builds' containers are
    removed before the interrupt goes on.
    """
    wanted = sorted(specs, key=lambda spec: spec.name)
    built: dict[str, Built] = {}
    failed: dict[str, PillarboxError] = {}
    pool = ThreadPoolExecutor(max_workers=max(1, parallel), thread_name_prefix="build")
    stop = threading.Event()
    running: dict[Future[Built], ImageSpec] = {}
    try:
        for spec in wanted:
            future = pool.submit(
                build,
                spec,
                model_dir,
                engine=engine,
                progress=progress,
                store=store,
                revision=revision,
                stop=stop,
            )
            running[future] = spec
        waiting = set(running)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                name = running[future].name
                try:
                    built[name] = future.result()
                except PillarboxError as error:
                    progress.step(f"{name}: failed: {error.message}")
                    failed[name] = error
    except BaseException:
        stop.set()
        for future in running:
            future.cancel()
        while busy := [running[future] for future in running if not future.done()]:
            _end_containers(engine, busy)
            wait(running, timeout=0.5)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return Results(built, failed)


def _end_containers(engine: Engine, specs: list[ImageSpec]) -> None:
    """Take the containers from under running builds, which end them at once."""
    for spec in specs:
        for container in engine.containers({BUILD_LABEL: spec.location}, CONTAINER_PREFIX):
            engine.remove_container(container)
