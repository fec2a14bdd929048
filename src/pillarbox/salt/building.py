"""Building images on builder minions: one Salt job an image, as many at a time as the builders take."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import salt.client
import salt.config
import salt.utils.event
from salt.exceptions import SaltException

from pillarbox.images import BaseSpec, ImageSpec
from pillarbox.images.builder import Built
from pillarbox.images.plan import PARALLEL, QUIET, Results, still
from pillarbox.model import Inventory
from pillarbox.pipeline.errors import Interrupted, PipelineError
from pillarbox.pipeline.places import Places
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress

FUNCTION = "pillarbox.build_image"
#: Under file_roots; builders on other machines than the master fetch the tree from here.
STAGED = "salt://"
#: A builder that knows nothing of its job for so long has lost it.
LOST = 60.0
#: How long a master or its builders may take to come back from a restart.
PATIENCE = 60.0
_ASK_EVERY = 15.0


def master_options(opts: Mapping[str, Any]) -> dict[str, Any]:
    """The master's own options. Inside an orchestration a runner is given those of the master's minion, whose caches
    (and so the key to the master) lie elsewhere."""
    return dict(salt.config.master_config(opts["conf_file"]))


def to_data(spec: ImageSpec) -> dict[str, Any]:
    """A specification as a job's argument; it holds static pillar only, so no secret."""
    return dataclasses.asdict(spec)


def from_data(data: Mapping[str, Any]) -> ImageSpec:
    """The specification that :func:`to_data` made ``data`` of."""
    lists = {key: tuple(data[key]) for key in ("dynamic", "formulas")}
    return ImageSpec(**{**data, **lists, "base": BaseSpec(**data["base"])})


def builders(model: Path) -> tuple[str, ...]:
    """The minions that build: hosts with the pillar ``pillarbox:builder``, else those with a Docker engine."""
    nodes = [node for node in Inventory(model).all() if "minion" in (node.parameters.get("salt") or {})]
    chosen = [node.name for node in nodes if _builds((node.parameters.get("pillarbox") or {}).get("builder"))]
    return tuple(chosen or [node.name for node in nodes if (node.parameters.get("docker") or {}).get("host")])


def _builds(role: Any) -> bool:
    return bool(role.get("enabled", True) if isinstance(role, Mapping) else role)


class SaltBuilder:
    """A :class:`pillarbox.pipeline.build.Builder` that uses the model's builder minions."""

    def __init__(self, opts: Mapping[str, Any], places: Places, parallel: int = PARALLEL) -> None:
        self.opts = opts
        self.places = places
        self.parallel = parallel

    def __call__(self, specs: Mapping[str, ImageSpec], tree: Path, revision: str, progress: Progress) -> Results:
        """Build ``specs``. Raises :class:`PipelineError` when no builder answers; later failures are in the results."""
        named = builders(self.places.published / revision)
        if not named:
            raise PipelineError(
                "no host of the model builds images",
                hint="Give a host the pillar pillarbox:builder: true, or a Docker engine (docker:host).",
            )
        with closing(_Client(self.opts)) as client:
            alive = client.alive(named, PATIENCE)
            if not alive:
                raise PipelineError(f"no builder minion answers: {', '.join(named)}")
            progress.step(f"builders: {', '.join(alive)}")
            return _Work(client, alive, specs, tree, revision, progress, self.parallel).run()


class _Client:
    """A local client and the event bus, opened before the first job so that no answer is missed.

    A master that restarts changes its key and drops its sockets: both are opened anew until it answers.
    """

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self._opts = master_options(opts)
        self._open()

    def _open(self) -> None:
        self.bus = salt.utils.event.get_master_event(self._opts, self._opts["sock_dir"], listen=True)
        self.bus.subscribe("pillarbox/build/")
        self.bus.subscribe("salt/job/")
        self.local = salt.client.LocalClient(mopts=dict(self._opts))

    def close(self) -> None:
        self.local.destroy()
        self.bus.destroy()

    def _ask(self, question: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while True:
            try:
                return question()
            except SaltException as error:
                if time.monotonic() > deadline:
                    raise Interrupted(f"the Salt master went away during the build: {error}") from error
            pause.wait(2)
            self.close()
            self._open()

    def alive(self, minions: tuple[str, ...], patience: float = 0.0) -> list[str]:
        """Those of ``minions`` that answer; for ``patience`` seconds it is asked again if none does."""
        deadline = time.monotonic() + patience
        while True:
            answers = self._ask(lambda: self.local.cmd(list(minions), "test.ping", tgt_type="list", timeout=15))
            found = sorted(name for name, answer in answers.items() if answer is True)
            if found or time.monotonic() > deadline:
                return found

    def start(self, minion: str, arguments: dict[str, Any]) -> str:
        """Give ``minion`` a job; the job's id."""
        jid = self._ask(lambda: self.local.cmd_async(minion, FUNCTION, kwarg=arguments))
        if not jid:
            raise PipelineError(f"the master could not give a job to {minion}")
        return str(jid)

    def result(self, jid: str, minion: str) -> Any:
        """The answer to a job as the master's job cache has it, or ``None``: what the bus dropped is found there."""
        return (self._ask(lambda: self.local.get_cache_returns(jid)) or {}).get(minion)

    def running(self, jid: str, minion: str) -> bool:
        """Whether ``minion`` still works on a job."""
        return bool(self._ask(lambda: self.local.cmd(minion, "saltutil.find_job", [jid], timeout=10)).get(minion))


@dataclasses.dataclass
class _Job:
    name: str
    minion: str
    seen: float


class _Work:
    def __init__(
        self,
        client: _Client,
        minions: list[str],
        specs: Mapping[str, ImageSpec],
        tree: Path,
        revision: str,
        progress: Progress,
        parallel: int,
    ) -> None:
        self.client = client
        self.minions = minions
        self.specs = specs
        self.tree = tree
        self.revision = revision
        self.progress = progress
        self.parallel = parallel
        self.waiting = sorted(specs)
        self.jobs: dict[str, _Job] = {}
        self.retried: set[str] = set()
        self.built: dict[str, Built] = {}
        self.failed: dict[str, PillarboxError] = {}

    def run(self) -> Results:
        asked = told = time.monotonic()
        while self.waiting or self.jobs:
            self._fill()
            event = self.client.bus.get_event(wait=2, full=True, auto_reconnect=True)
            if event and self._hear(str(event["tag"]), event["data"]):
                told = time.monotonic()
            if self.jobs and time.monotonic() - told > QUIET:
                self.progress.step(still(job.name for job in self.jobs.values()))
                told = time.monotonic()
            if time.monotonic() - asked > _ASK_EVERY:
                self._ask()
                asked = time.monotonic()
        return Results(self.built, self.failed)

    def _fill(self) -> None:
        while self.waiting:
            load = {name: sum(job.minion == name for job in self.jobs.values()) for name in self.minions}
            minion = min(self.minions, key=lambda name: load[name]) if self.minions else None
            if minion is None:
                for name in self.waiting:
                    self.failed[name] = PipelineError("every builder minion has stopped answering")
                self.waiting.clear()
                return
            if load[minion] >= self.parallel:
                return
            name = self.waiting.pop(0)
            jid = self.client.start(
                minion,
                {
                    "spec": to_data(self.specs[name]),
                    "tree": str(self.tree),
                    "source": f"{STAGED}{self.tree.name}.tar.gz",
                    "revision": self.revision,
                    "tag": f"pillarbox/build/{self.revision}",
                },
            )
            self.jobs[jid] = _Job(name, minion, time.monotonic())

    def _hear(self, tag: str, data: Mapping[str, Any]) -> bool:
        """Deal with an event of ours; whether it had something to say."""
        if tag == f"pillarbox/build/{self.revision}":
            self.progress.step(str((data.get("data") or data).get("line", "")))
            return True
        jid = str(data.get("jid", ""))
        if jid in self.jobs and tag == f"salt/job/{jid}/ret/{self.jobs[jid].minion}":
            self._done(jid, data.get("return"))
        return False

    def _ask(self) -> None:
        for jid, job in list(self.jobs.items()):
            cached = self.client.result(jid, job.minion)
            if cached is not None:
                self._done(jid, cached.get("ret") if isinstance(cached, Mapping) and "ret" in cached else cached)
            elif self.client.running(jid, job.minion):
                job.seen = time.monotonic()
            elif time.monotonic() - job.seen > LOST:
                self._lost(jid)

    def _lost(self, jid: str) -> None:
        job = self.jobs.pop(jid)
        alive = self.client.alive(tuple(self.minions))
        self.minions = alive
        if job.name not in self.retried and alive:
            self.retried.add(job.name)
            self.waiting.append(job.name)
            self.progress.step(f"{job.name}: {job.minion} lost the build; starting it again")
        else:
            self.failed[job.name] = PipelineError(f"builder {job.minion} stopped answering while it built {job.name}")
            self.progress.step(f"{job.name}: failed: {self.failed[job.name].message}")

    def _done(self, jid: str, answer: Any) -> None:
        job = self.jobs.pop(jid)
        if isinstance(answer, Mapping) and "digest" in answer:
            self.built[job.name] = Built(**answer)
            return
        text = answer.get("error") if isinstance(answer, Mapping) else answer
        self.failed[job.name] = PipelineError(str(text or f"{job.minion} gave no result"))
        self.progress.step(f"{job.name}: failed: {text}")
