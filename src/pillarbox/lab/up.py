"""Bringing a lab up: phases that each check what is there and do what is missing."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from docker.models.containers import Container

from pillarbox.lab import (
    copy,
    credentials,
    firewall,
    hosts,
    image,
    kept,
    layout,
    machine,
    minions,
    network,
    parallel,
    pipeline,
    repository,
    software,
    states,
    status,
    wheels,
)
from pillarbox.lab import engine as engines
from pillarbox.lab import master as master_of
from pillarbox.lab.engine import LabEngine
from pillarbox.lab.errors import LabError
from pillarbox.lab.layout import Layout
from pillarbox.lab.repository import LabRepository
from pillarbox.lab.settings import LabSettings
from pillarbox.model import Inventory, ModelError
from pillarbox.system import git, locks
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress


@dataclass
class LabRun:
    """One ``lab up``: what the phases hand on to each other."""

    settings: LabSettings
    progress: Progress
    render: Callable[[Path], None]
    generate: Callable[[Path, str], object]
    recreate: tuple[str, ...] = ()
    push: bool = False
    layout: Layout = field(init=False)
    engine: LabEngine = field(init=False)
    image: str = field(init=False)
    wheelhouse: Path = field(init=False)
    wheel: Path = field(init=False)
    repository: LabRepository = field(init=False)
    ssh_config: Path = field(init=False)
    pushed: str | None = None
    containers: dict[str, Container] = field(default_factory=dict)
    created: set[str] = field(default_factory=set)

    def say(self, text: str) -> None:
        self.progress.step(f"  {text}")

    @property
    def master(self) -> Container:
        return self.containers[self.layout.master]


def check_machine(run: LabRun) -> None:
    settings = run.settings
    machine.check(settings)
    if not hosts_exist(settings):
        machine.check_space(settings)
    copy.repair(settings)
    run.layout = layout.read(Inventory(copy.place(settings)))
    machine.record(settings)
    machine.prepare()
    names = ", ".join(f"{host.name} {host.address}" for host in run.layout.hosts)
    run.say(f"the model has {len(run.layout.hosts)} hosts: {names}")


def start_engine(run: LabRun) -> None:
    run.engine = engines.start(run.settings, run.say)
    whose = "private" if run.engine.private else "the machine's"
    run.say(f"Docker {run.engine.version}, {whose}, at {run.engine.address}")


def build_image(run: LabRun) -> None:
    settings = run.settings
    with locks.held(settings.cache / "lock"):
        wheels.clean(settings)
        if image.exists(run.engine, image.tag(settings)):
            run.wheelhouse = wheels.dependencies(settings, run.say)
            run.image = image.tag(settings)
        else:
            archive, run.wheelhouse = parallel.both(
                lambda: image.debian(settings, run.say), lambda: wheels.dependencies(settings, run.say)
            )
            with run.progress.waiting("installing Salt and Pillarbox's dependencies into the host image"):
                run.image = image.build(settings, run.engine, archive, run.wheelhouse, run.say)
        run.wheel = wheels.project(settings, run.wheelhouse)
    run.say(run.image)


def start_hosts(run: LabRun) -> None:
    read_pushed(run)
    make_hosts(run)


def read_pushed(run: LabRun) -> None:
    """Hosts are those of the model that was pushed last, where the master that has it runs."""
    settings = run.settings
    master = hosts.find(settings, run.engine, run.layout.master)
    if copy.place(settings) != settings.model or master is None or master.status != "running":
        return
    # A master that does not answer yet is asked again as soon as it is repaired.
    with contextlib.suppress(PillarboxError):
        repository.follow(settings, repository.read(Inventory(settings.model), run.layout), settings.ssh / "config")
        run.layout = layout.read(Inventory(settings.model))


def make_hosts(run: LabRun) -> None:
    shared = network.ensure(run.settings, run.engine, run.layout.network)
    if run.engine.private:
        firewall.open_for(run.settings, f"br-{shared.id[:12]}", str(run.layout.network.subnet))

    def one(host: layout.LabHost) -> None:
        if host.name in run.recreate:
            old = hosts.find(run.settings, run.engine, host.name)
            if old is not None:
                run.say(f"{host.name}: removing the old container, keeping its volumes")
                old.remove(force=True)
        found = hosts.ensure(run.settings, run.engine, run.layout, host, run.image)
        run.containers[host.name] = found.container
        with run.progress.waiting(f"{host.name}: booting"):
            hosts.await_booted(host.name, found.container)
        if found.created:
            run.created.add(host.name)
            run.say(f"{host.name}: up at {host.address}")
        elif found.drifted:
            run.say(
                f"{host.name}: its address or volumes in the model have changed; "
                f"`pillarbox lab up --recreate {host.name}` makes it again"
            )

    parallel.each(one, run.layout.hosts)
    gone = {hosts.host_of(each) for each in hosts.of_lab(run.settings, run.engine)} - set(run.containers)
    for name in sorted(gone):
        run.say(f"{name}: no longer in the model; `pillarbox lab remove {name}` takes it away")


def install_software(run: LabRun) -> None:
    bootstrap = run.settings.checkout / "ci" / "bootstrap"

    def one(name: str) -> None:
        container, say = run.containers[name], lambda text: run.say(f"{name}: {text}")
        with run.progress.waiting(f"{name}: installing {run.wheel.name}"):
            installed = software.install(container, run.wheel, run.wheelhouse, bootstrap, say)
        if installed:
            run.say(f"{name}: {run.wheel.name} installed")

    parallel.each(one, run.containers)


def make_master(run: LabRun) -> None:
    settings, master, name = run.settings, run.master, run.layout.master
    run.repository = repository.read(Inventory(copy.place(settings)), run.layout)
    kept.restore(settings, run.containers.values(), run.say)
    serves = master_of.answers(master)
    run.pushed = repository.head(master, run.repository)
    if run.pushed is None:
        changed = copy.refresh(settings, master_of.public_key(master), run.render, run.generate)
        serves = serves and not changed
    if serves:
        run.say(f"{name}: serves a model")
    else:
        results = master_of.bootstrap(settings, master, name, run.say)
        run.say(f"{name}: {results.summary()}")
    run.ssh_config = repository.open_door(settings, run.layout, run.repository, master)
    if run.pushed is not None:
        follow_repository(run)


def follow_repository(run: LabRun) -> None:
    repository.follow(run.settings, run.repository, run.ssh_config)
    run.say(f"the repository is at {(run.pushed or '')[:12]}")
    now = layout.read(Inventory(run.settings.model))
    if now != run.layout:
        # Pushed while the master was away: the next phases are about the hosts as they are now.
        run.layout = now
        make_hosts(run)
        install_software(run)
    different = repository.differs(run.settings)
    if different and run.push:
        copy.overlay(run.settings, master_of.public_key(run.master), run.render, run.generate)
    elif different:
        some = ", ".join(different[:3]) + (", ..." if len(different) > 3 else "")
        run.say(f"it differs from {run.settings.source} in {len(different)} files ({some}); `--push` would push them")


def connect_minions(run: LabRun) -> None:
    minions.start(run.master, run.containers, run.layout.master)
    minions.accept(run.master, run.containers, run.say)
    parallel.each(lambda name: minions.settle(run.containers[name], name), run.containers)
    minions.await_answers(run.master, sorted(run.containers))
    run.say(f"{len(run.containers)} minions answer")


def push_and_apply(run: LabRun) -> None:
    """The first push builds images on the master for minutes; meanwhile the other hosts get their states."""

    def push() -> None:
        with run.progress.waiting("pushing the model, and building its images"):
            if run.pushed is None or git.head(run.settings.model) != run.pushed:
                run.say(f"pushing {(git.head(run.settings.model) or '')[:12]} to {run.repository.url}")
                repository.push(run.settings, run.repository, run.ssh_config, lambda text: run.say(f"push: {text}"))
            run.pushed = repository.head(run.master, run.repository)
            if not pipeline.newest(run.master, "build", run.pushed):
                run.say("the pushed revision is not built yet")
                pipeline.build(run.master, lambda text: run.say(f"build: {text}"))

    def apply() -> None:
        # The master last, and alone: its states may restart it, and what the others are doing would be lost on it.
        known = nodes_served(run)
        for name in sorted(set(run.containers) - known):
            run.say(f"{name}: the model that is served has no such host yet; its first deploy makes it one")
        others = {name: each for name, each in run.containers.items() if name in known - {run.layout.master}}
        states.highstate(run.master, others, run.say)
        states.highstate(run.master, {run.layout.master: run.master}, run.say)
        kept.save(run.settings, run.containers.values(), run.say)

    def loudly(work: Callable[[], None]) -> None:
        # The other one may go on for minutes; whoever watches should know at once.
        try:
            work()
        except PillarboxError as error:
            run.say(f"{work.__name__} failed: {str(error).splitlines()[0]}")
            raise

    parallel.each(loudly, (push, apply))


def nodes_served(run: LabRun) -> set[str]:
    """The nodes of the model that the master serves, which a push alone does not change."""
    served = pipeline.served(run.master)
    try:
        return set(Inventory(run.settings.model, revision=served).nodes) if served else set()
    except ModelError:
        # Deployed from another branch than the one that the lab's copy follows.
        return set(run.containers)


def deploy(run: LabRun) -> None:
    if pipeline.newest(run.master, "deploy"):
        run.say("deployed before; what was pushed since then is for you to deploy")
        return
    pipeline.deploy(run.master, run.say)


def fetch_credentials(run: LabRun) -> None:
    names = credentials.fetch(run.settings, run.master)
    run.say(f"{run.settings.credentials}: {', '.join(names) or 'the model names none'}")


PHASES: dict[str, tuple[str, Callable[[LabRun], None]]] = {
    "machine": ("Checking the machine", check_machine),
    "engine": ("Container engine", start_engine),
    "image": ("Host image", build_image),
    "hosts": ("Network and hosts", start_hosts),
    "software": ("Pillarbox on the hosts", install_software),
    "master": ("Salt master", make_master),
    "minions": ("Minions and their keys", connect_minions),
    "push": ("Model repository and highstates", push_and_apply),
    "deploy": ("Deploy", deploy),
    "credentials": ("Credentials", fetch_credentials),
}


def hosts_exist(settings: LabSettings) -> bool:
    return settings.model.is_dir()


def up(
    settings: LabSettings,
    progress: Progress,
    render: Callable[[Path], None],
    generate: Callable[[Path, str], object],
    *,
    until: str | None = None,
    recreate: tuple[str, ...] = (),
    push: bool = False,
) -> LabRun:
    """Bring the lab up, or check and repair one that is up, as far as the phase ``until``.

    ``render`` renders, in the model that it is given, what is committed beside it, and ``generate`` makes its secrets
    for the holder of a public key: the lab's are its own.
    ``recreate`` names hosts whose containers are to be made again; ``push`` pushes what the source has on top of
    what the lab's repository has.

    Raises :class:`Busy` when another command works on this lab, and :class:`LabError` for whatever a phase cannot
    repair. A run that was cut off anywhere is repaired by the next one.
    """
    if until is not None and until not in PHASES:
        raise LabError(f"no phase {until}; expected one of {', '.join(PHASES)}")
    machine.check(settings)
    run = LabRun(settings, progress, render, generate, recreate, push)
    with locks.held(settings.root / "locks" / settings.name, wait=False, what=f"lab {settings.name}"):
        settings.state.mkdir(parents=True, exist_ok=True)
        start = time.time()
        seconds: dict[str, float] = {}
        try:
            for number, (name, (title, work)) in enumerate(PHASES.items(), start=1):
                began = time.monotonic()
                with progress.phase(f"{number}/{len(PHASES)} {title}"):
                    work(run)
                seconds[name] = round(time.monotonic() - began, 3)
                if name == until:
                    break
        finally:
            _record(settings, start, seconds)
    return run


def remove_host(settings: LabSettings, name: str, progress: Progress) -> None:
    """Remove the container, volumes and minion key of a host that the model no longer has.

    Raises :class:`LabError` for a host that the model has, and for one that there is not.
    """
    machine.check(settings)
    with locks.held(settings.root / "locks" / settings.name, wait=False, what=f"lab {settings.name}"):
        engine, shape = status.connect(settings)
        if any(host.name == name for host in shape.hosts):
            raise LabError(f"the model has {name}", hint=f"Remove nodes/hosts/{name}.yml, push, and run `make lab`.")
        container = hosts.find(settings, engine, name)
        if container is None or container.labels.get("pillarbox.lab") != settings.name:
            raise LabError(f"the lab has no host {name}")
        volumes = [mount["Name"] for mount in container.attrs["Mounts"] if mount.get("Type") == "volume"]
        hosts.remove(engine, container)
        for volume in volumes:
            if volume.startswith(hosts.volume_prefix(settings, name)):
                engine.client.volumes.get(volume).remove(force=True)
        minions.forget(hosts.running(settings, engine, shape.master), name)
        progress.step(f"{name}: removed")


def _record(settings: LabSettings, start: float, seconds: dict[str, float]) -> None:
    directory = settings.state / "durations"
    directory.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(start))
    (directory / f"{stamp}.json").write_text(json.dumps({"start": stamp, "phases": seconds}, indent=2) + "\n")
    for old in sorted(directory.glob("*.json"))[:-50]:
        old.unlink()
