"""One stage of a build: Salt applies one SLS in a container, and what it changed becomes one layer."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from pillarbox.images import gateway, sources, thin, tree
from pillarbox.images.errors import BuildError, SourceUnavailable
from pillarbox.images.spec import ENTRYPOINT, FINISH, FORMULAS, SHARED_STATES, TIMEOUT
from pillarbox.system import apt, salt_results
from pillarbox.system.command import tail
from pillarbox.system.engine import Commit, Engine
from pillarbox.system.errors import PillarboxError
from pillarbox.system.execution import pack
from pillarbox.system.waiting import within

#: In memory; nothing below it is ever part of a layer.
WORK = "/run/pillarbox"
CONTAINER_PREFIX = "pillarbox-build-"
BUILD_LABEL = "io.pillarbox.build"
MINION = {
    "root_dir": f"{WORK}/root",
    "file_client": "local",
    "file_roots": {"base": [f"{WORK}/{FORMULAS}", f"{WORK}/{SHARED_STATES}"]},
    "pillar_roots": {"base": [f"{WORK}/pillar"]},
    "log_file": "/dev/null",
    "log_level": "error",
    "enable_fqdns_grains": False,
    "enable_gpu_grains": False,
}
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}
PACKAGE_DATABASE = "/var/lib/dpkg/status"


@dataclass(frozen=True)
class Stage:
    """What a stage is to do: to which image, with which SLS, files, pillar and package source.

    ``location`` distinguishes the containers of this image's builds from others; the caller holds the lock on it.
    ``timeout`` is how many seconds it may take.
    """

    image: str
    name: str
    sls: str
    files: tuple[tree.File, ...] = field(repr=False)
    pillar: Mapping[str, Any] = field(repr=False)
    packages: Mapping[str, Any]
    dynamic: tuple[str, ...] = ()
    location: str = ""
    timeout: float = TIMEOUT

    def fail(
        self, message: str, *, state: str | None = None, sls: str | None = None, hint: str | None = None
    ) -> BuildError:
        if hint is None and "no space left on device" in message.lower():
            hint = "The disk is full: make room where the engine keeps its data, then run it again."
        kind = SourceUnavailable if apt.unreachable(message) else BuildError
        return kind(message, image=self.image, stage=self.name, state=state, sls=sls or self.sls, hint=hint)


@dataclass(frozen=True)
class Layer:
    """The outcome of a stage: the new image's id, the files filled at start by target, the processes."""

    image_id: str
    files: Mapping[str, list[str]]
    processes: tuple[str, ...]


def run(
    stage: Stage,
    parent: str,
    *,
    engine: Engine,
    salt: str,
    repository: str,
    tag: str,
    labels: Mapping[str, str],
) -> Layer:
    """Apply the stage on top of the image ``parent`` and commit ``repository:tag``; ``salt`` is the volume with Salt.

    Raises :class:`BuildError` with the state that failed, or when the stage is not done in time. Whatever happens, no
    container is left behind.
    """
    build = {BUILD_LABEL: stage.location}
    for leftover in engine.containers(build, CONTAINER_PREFIX):
        engine.remove_container(leftover)
    name, mounts = f"{CONTAINER_PREFIX}{tag}-{stage.image}-{stage.name}", {salt: (thin.PLACE, "ro")}
    with (
        engine.container(parent, name, build, volumes=mounts) as container,
        in_time(engine, container, stage.image, stage.name, stage.timeout),
    ):
        report = _work(stage, engine, container)
        role = stage.name == "role"
        command = ("/entrypoint.sh",) if role else ("/bin/sh",)
        written = {**labels, "io.pillarbox.processes": " ".join(report["processes"])} if role else labels
        image_id = engine.commit(container, repository, tag, Commit(written, command))
    return Layer(image_id, report["files"], tuple(report["processes"]))


@contextmanager
def in_time(engine: Engine, container: str, image: str, stage: str, seconds: float) -> Iterator[None]:
    """Take the container from under a block that is not done in time: what a package or a state runs may never end.

    Raises :class:`BuildError` then.
    """
    with within(seconds, lambda: engine.remove_container(container)) as over:
        try:
            yield
        except PillarboxError as error:
            if not over.is_set():
                raise
            raise BuildError(
                f"it was not done within {seconds:g} s, and was ended",
                image=image,
                stage=stage,
                hint="Look for what waits there for ever; image:timeout in the model gives it more seconds.",
            ) from error


def _work(stage: Stage, engine: Engine, container: str) -> dict[str, Any]:
    """Change the container as the stage says; returns what ``finish`` reports of it."""
    role = stage.name == "role"
    if role:
        _unpack(stage, engine, container, _archive(stage, {}))
        _apply(stage, engine, container, {})
    else:
        reached = sources.reached(stage.packages)
        _unpack(stage, engine, container, _archive(stage, sources.files(reached)))
        with gateway.opened(engine, container, reached, ENVIRONMENT):
            _apply(stage, engine, container, sources.ENVIRONMENT)
    changed = engine.changed(container) if role else ()
    if PACKAGE_DATABASE in changed:
        raise stage.fail(
            f"SLS {stage.sls} installed or removed packages",
            hint=f"Packages belong into {stage.sls.partition('.')[0]}.packages, which is keyed and stored apart.",
        )
    return _finish(stage, engine, container, changed)


def _archive(stage: Stage, apt: Mapping[str, bytes]) -> bytes:
    """Everything but Salt itself that the container is given: exactly the files that the key covers, and ``apt``'s
    configuration."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for file in stage.files:
            pack(archive, file.path, file.content, 0o755 if file.executable else 0o644)
        pack(archive, "minion/minion", yaml.safe_dump({**MINION, "id": stage.image}).encode())
        for name, data in (("top", {"base": {"*": ["image"]}}), ("image", dict(stage.pillar))):
            # The JSON renderer alone: text with braces in it must not meet Jinja.
            text = "#!json\n" + json.dumps(data, default=str)
            pack(archive, f"pillar/{name}.sls", text.encode("utf-8", "surrogateescape"), 0o600)
        for name, written in apt.items():
            pack(archive, f"apt/{name}", written, 0o600)
    return target.getvalue()


def _unpack(stage: Stage, engine: Engine, container: str, archive: bytes) -> None:
    script = f"mkdir -p {WORK}/apt/lists/partial {WORK}/apt/cache {WORK}/apt/log && cd {WORK} && tar -xf -"
    if stage.name == "role":
        script += f" && cp {WORK}/{ENTRYPOINT} /entrypoint.sh && chmod 755 /entrypoint.sh"
    result = engine.run(container, ["sh", "-c", script], ENVIRONMENT, archive)
    if result.code:
        raise stage.fail(f"cannot prepare the container: {tail(result.err)}")


def _apply(stage: Stage, engine: Engine, container: str, variables: Mapping[str, str]) -> None:
    salt_call = [*thin.PYTHON, f"{thin.PLACE}/salt-call", "--local", f"--config-dir={WORK}/minion"]
    command = [*salt_call, "--out=json", "--no-color", "--retcode-passthrough", "state.apply", stage.sls]
    # Salt is compiled already, and what else it imports is not for keeping.
    environment = {**ENVIRONMENT, **variables, "PYTHONDONTWRITEBYTECODE": "1"}
    result = engine.run(container, command, environment)
    results = salt_results.parse(result.out, "local")
    if results is None:
        hint = "Salt needs python3 in the base image." if result.code in (126, 127) else None
        raise stage.fail(f"Salt gave no result: {tail(result.err + result.out)}", hint=hint)
    if results.error is not None:
        raise stage.fail(f"SLS {stage.sls} does not render:\n{results.error}")
    if results.failed:
        first, others = results.failed[0], len(results.failed) - 1 + results.skipped
        more = f" ({others} more failed after it)" if others else ""
        raise stage.fail(f"state {first.id} of SLS {first.sls} failed{more}: {first}", state=first.id, sls=first.sls)


def _finish(stage: Stage, engine: Engine, container: str, changed: tuple[str, ...]) -> dict[str, Any]:
    job = json.dumps({"stage": stage.name, "names": list(stage.dynamic), "changed": list(changed)})
    command = ["python3", "-IS", f"{WORK}/{FINISH}"]
    result = engine.run(container, command, ENVIRONMENT, job.encode("utf-8", "surrogateescape"))
    if result.code:
        raise stage.fail(f"{FINISH} failed: {tail(result.err)}")
    report: dict[str, Any] = json.loads(result.output)
    if stage.name == "role" and not report["processes"]:
        raise stage.fail(
            f"SLS {stage.sls} made no process", hint="Write at least one executable /entrypoint.d/<process>."
        )
    return report
