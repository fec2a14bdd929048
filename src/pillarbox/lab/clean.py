"""Taking a lab away without a trace."""

from __future__ import annotations

import shutil

import docker
import docker.errors

from pillarbox.lab import engine as engines
from pillarbox.lab import firewall, hosts, image, kept, machine, parallel
from pillarbox.lab.engine import LabEngine
from pillarbox.lab.settings import LabSettings
from pillarbox.system import locks, waiting
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress

_NETWORK_SECONDS = 60


def clean(settings: LabSettings, progress: Progress, *, keep_cache: bool = False) -> None:
    """Remove the lab: containers, volumes, networks, state; with the last lab of the machine also the host images, the
    private engine, the cache (unless ``keep_cache``), and what was changed of the machine.

    Safe to repeat, and after a lab that only half came up.
    """
    if not settings.root.exists() and not settings.cache.exists():
        progress.step("there is no lab here")
        return
    machine.check(settings)
    with locks.held(settings.root / "locks" / settings.name, wait=False, what=f"lab {settings.name}"):
        engine = _engine(settings, progress)
        if engine is not None:
            if keep_cache or _others(settings, engine):
                _keep(settings, engine, progress)
            with progress.phase("Removing hosts"):
                _hosts(settings, engine, progress)
            with progress.phase("Removing volumes and networks"):
                _volumes(settings, engine, progress)
                _networks(settings, engine)
        firewall.close(settings)
        if settings.state.exists():
            shutil.rmtree(settings.state)
        if others := _others(settings, engine):
            progress.step(f"other labs use this machine, so its engine and settings stay: {', '.join(sorted(others))}")
            return
        if engine is not None:
            with progress.phase("Removing host images"):
                image.remove(engine)
        if settings.engine_dir.exists():
            with progress.phase("Removing the private engine"):
                engines.remove(settings)
        with progress.phase("Restoring the machine's settings"):
            for change in machine.restore(settings):
                progress.step(f"  {change}")
        shutil.rmtree(settings.machine, ignore_errors=True)
    if not keep_cache:
        shutil.rmtree(settings.cache, ignore_errors=True)
    _tidy(settings)


def _engine(settings: LabSettings, progress: Progress) -> LabEngine | None:
    """The engine that has the lab's things. A private one that died is started: only it can undo what it did."""
    engine = engines.find(settings)
    if engine is None and (settings.engine_dir / "data").is_dir():
        try:
            return engines.start(settings, progress.step)
        except PillarboxError as error:
            progress.step(f"the private engine does not start any more; deleting its files: {error.message}")
    return engine


def _keep(settings: LabSettings, engine: LabEngine, progress: Progress) -> None:
    """Keep what a deploy of the lab has compiled since it came up. Hosts that do not answer have nothing to give."""
    try:
        kept.save(settings, hosts.of_lab(settings, engine), progress.step)
    except (PillarboxError, OSError) as error:
        # Of a full disk, and whatever the engine says: all of its errors are of this kind.
        progress.step(f"what the hosts compiled is not kept: {error}")


def _hosts(settings: LabSettings, engine: LabEngine, progress: Progress) -> None:
    def one(container: docker.models.containers.Container) -> None:
        # Not stopped first: what the hosts have is going to be deleted, and systemd would take its time.
        with progress.waiting(f"  removing {hosts.host_of(container)}"):
            hosts.remove(engine, container)
        progress.step(f"  {hosts.host_of(container)}: removed")

    parallel.each(one, hosts.of_lab(settings, engine))


def _others(settings: LabSettings, engine: LabEngine | None) -> set[str]:
    """Other labs of this machine, also those of another state directory that have hosts in this engine."""
    found = {path.name for path in settings.root.glob("labs/*")}
    if engine is not None:
        containers = engine.client.containers.list(all=True, filters={"label": "pillarbox.lab"}, ignore_removed=True)
        found |= {each.labels["pillarbox.lab"] for each in containers}
    return found - {settings.name}


def _volumes(settings: LabSettings, engine: LabEngine, progress: Progress) -> None:
    found = engine.client.volumes.list(filters={"label": settings.label})
    for number, volume in enumerate(found, start=1):
        # Its files are deleted one after another: those of a registry or an engine take their time.
        with progress.waiting(f"  removing volume {number} of {len(found)}, {volume.name}"):
            volume.remove(force=True)


def _networks(settings: LabSettings, engine: LabEngine) -> None:
    for network in engine.client.networks.list(filters={"label": settings.label}):
        # A busy engine counts containers that it has just removed for a moment longer.
        what = f"removing network {network.name}"
        waiting.retry(network.remove, what, passing=docker.errors.APIError, patience=_NETWORK_SECONDS)


def _tidy(settings: LabSettings) -> None:
    """The directories themselves, unless something else lies in them (what was installed on the machine is noted there
    and removed by `make lab-clean` at the very end)."""
    shutil.rmtree(settings.root / "labs", ignore_errors=True)
    shutil.rmtree(settings.root / "locks", ignore_errors=True)
    for log in settings.root.glob("*.log"):
        log.unlink()
    for directory in (settings.root, settings.cache):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
