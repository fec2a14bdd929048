"""Building one image: as little as its keys allow, all or nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pillarbox.images import base, spec, stage, thin
from pillarbox.images.errors import BuildError, RegistryError
from pillarbox.images.registry import Registry
from pillarbox.images.spec import ImageSpec, key_tag
from pillarbox.images.store import Store
from pillarbox.model import DirectoryTree
from pillarbox.system import git
from pillarbox.system.engine import Engine
from pillarbox.system.progress import SILENT, Progress, elapsed
from pillarbox.system.waiting import Patience

#: Seconds that a registry, an engine or a package source may be away before a build gives up.
PATIENCE = 60.0


@dataclass(frozen=True)
class Built:
    """An image that is in the registry now. ``size`` is uncompressed (None where nothing was built),
    ``pushed_size`` what the registry keeps."""

    name: str
    reference: str
    digest: str
    content_key: str
    seconds: float
    skipped: bool
    size: int | None
    pushed_size: int

    @property
    def pinned(self) -> str:
        """The name with the digest, as manifests use it."""
        return f"{self.reference}@{self.digest}"

    def as_dict(self) -> dict[str, Any]:
        """The outcome as plain data, for reports and ``--format json``."""
        return {
            "name": self.name,
            "reference": self.reference,
            "digest": self.digest,
            "content_key": self.content_key,
            "seconds": round(self.seconds, 1),
            "skipped": self.skipped,
            "size": self.size,
            "pushed_size": self.pushed_size,
        }


def build(
    image: ImageSpec,
    model_dir: str | Path,
    *,
    engine: Engine,
    progress: Progress = SILENT,
    store: Store | None = None,
    revision: str | None = None,
    stop: threading.Event | None = None,
) -> Built:
    """Make sure that the registry has ``image``, under its version and its content key.

    What exists there already, whole or in part, is not built again. May be called for the same image from several
    processes at once (one builds, the others find it built) and killed at any moment (nothing half done is ever
    tagged or pushed). ``revision`` is what the label says; by default the commit of the repository at ``model_dir``.
    Once ``stop`` is set, the build ends before its next step.

    Raises :class:`BuildError`, :class:`~pillarbox.system.engine.EngineError`, :class:`RegistryError`,
    :class:`StoreError`.
    """
    return _Build(image, Path(model_dir).resolve(), engine, progress, store or Store(), revision, stop).run()


class _Build:
    def __init__(
        self,
        image: ImageSpec,
        model_dir: Path,
        engine: Engine,
        progress: Progress,
        store: Store,
        revision: str | None,
        stop: threading.Event | None,
    ) -> None:
        self.image = image
        self.model_dir = model_dir
        self.engine = engine
        self.progress = progress
        self.store = store
        self.revision = revision or git.state(model_dir)
        self.stop = stop
        self.patience = Patience(PATIENCE, self.say, stop)
        self.registry = Registry.of(image, self.patience)
        self.start = time.monotonic()

    def step(self, text: str) -> None:
        """Say what begins now, unless it must not begin any more."""
        if self.stop is not None and self.stop.is_set():
            raise BuildError(f"interrupted before: {text}", image=self.image.name, stage="build")
        self.say(text)
        self.goes_on(text)

    def goes_on(self, text: str) -> None:
        """What to print in a silence."""
        self.activity.now(f"{self.image.name}: {text}")

    def say(self, text: str) -> None:
        self.progress.step(f"{self.image.name}: {text}")

    def run(self) -> Built:
        with self.progress.waiting(self.image.name) as self.activity:
            return self._run()

    def _run(self) -> Built:
        image = self.image
        with self._lock(image.location):
            if (built := self._existing()) is not None:
                self.say("in the registry already, nothing to build")
                return built
            self.step("started")
            self._check_files()
            parent = self._packages()
            image_id = self._role(parent)
            self.step("pushing")
            self.engine.tag(image_id, image.location, image.version)
            digest = self._push(image.repository, image.tag)
            # A build that ends before this leaves a whole image under its key; the next one gives it its version.
            return self._done(image_id, digest)

    def _lock(self, name: str) -> Any:
        return self.store.lock(name, lambda: self.step(f"waiting for another build of {name}"))

    def _existing(self) -> Built | None:
        image = self.image
        manifest = self.registry.manifest(image.repository, image.tag)
        if manifest is None:
            return None
        if self.registry.digest(image.repository, image.version) != manifest.digest:
            self.registry.tag(image.repository, manifest, image.version)
        seconds = time.monotonic() - self.start
        return Built(
            image.name, image.reference, manifest.digest, image.content_key, seconds, True, None, manifest.pushed_size
        )

    def _check_files(self) -> None:
        """What is built must be what the keys were made of, even if somebody edits files meanwhile."""
        image = self.image
        model = DirectoryTree(self.model_dir)
        self.package_files = spec.package_files(model, image.formulas)
        self.role_files = spec.role_files(model, image.formulas)
        packages = spec.package_key(image.base.key, image.pillar["image"], self.package_files)
        if (packages, spec.content_key(packages, image.pillar, self.role_files)) != (
            image.package_key,
            image.content_key,
        ):
            raise BuildError(
                "the model's files have changed since the plan was made",
                image=image.name,
                stage="plan",
                hint="Plan again.",
            )

    def _fetch(self, repository: str, tag: str, labels: Mapping[str, str]) -> str | None:
        """The id of a stored stage: from the registry, or one the engine has under whatever name, else nothing."""
        name = f"{self.image.registry}/{repository}:{tag}"
        stored = self.registry.digest(repository, tag) is not None
        found = self.engine.image(name)
        image_id = str(found["Id"]) if found else None
        if image_id is None and stored:
            self.step(f"fetching {repository}")
            self._pull(name)
            return str((self.engine.image(name) or {})["Id"])
        if image_id is None and (image_id := self.engine.labelled(labels, tag)) is not None:
            self.engine.tag(image_id, f"{self.image.registry}/{repository}", tag)
        if image_id is not None and not stored:
            # Made for another registry, or by a build that was cut short before it could share it.
            self._push(repository, tag)
        return image_id

    def _push(self, repository: str, tag: str) -> str:
        name = f"{self.image.registry}/{repository}"
        return self.patience.retry(lambda: self.engine.push(name, tag), f"pushing {repository}")

    def _pull(self, name: str) -> bool:
        return self.patience.retry(lambda: self.engine.pull(name), f"pulling {name}")

    def _base(self) -> str:
        image, wanted = self.image, self.image.base
        if wanted.engine == "registry":
            found = self.engine.image(wanted.image)
            if found is None and self._pull(wanted.image):
                found = self.engine.image(wanted.image)
            if found is None:
                raise BuildError(f"there is no {wanted.image}", image=image.name, stage="base")
            return str(found["Id"])
        tag = key_tag(wanted.key)
        with self._lock(f"{image.registry}/{wanted.repository}:{tag}"):
            if (found_id := self._fetch(wanted.repository, tag, base.labels(wanted))) is not None:
                return found_id
            self.step(f"base {wanted.name}: debootstrap")
            image_id = self.patience.retry(
                lambda: base.bootstrap(
                    wanted,
                    self.model_dir,
                    engine=self.engine,
                    store=self.store,
                    repository=f"{image.registry}/{wanted.repository}",
                    tag=tag,
                    timeout=image.timeout,
                    say=lambda line: self.goes_on(f"base {wanted.name}: {line.removeprefix('I: ')}"),
                ),
                f"base {wanted.name}",
            )
            self._push(wanted.repository, tag)
            return image_id

    def _packages(self) -> str:
        image, tag = self.image, self.image.packages_tag
        stored = {"io.pillarbox.stage": "packages", "io.pillarbox.package-key": image.package_key}
        with self._lock(f"{image.registry}/{image.packages_repository}:{tag}"):
            if (found := self._fetch(image.packages_repository, tag, stored)) is not None:
                self.say("packages as before")
                return found
            parent = self._base()
            self.step("packages")
            layer = self._stage(
                "packages", "packages", parent, self.package_files, image.image_pillar, image.packages_repository, tag
            )
            self._push(image.packages_repository, tag)
            return layer.image_id

    def _role(self, parent: str) -> str:
        image = self.image
        self.step("configuration")
        layer = self._stage("role", image.role, parent, self.role_files, image.pillar, image.repository, image.tag)
        used = {name for names in layer.files.values() for name in names}
        if unused := sorted(set(image.dynamic) - used):
            self.say(f"note: no configuration file holds {', '.join(unused)}")
        return layer.image_id

    def _stage(
        self,
        name: str,
        sls: str,
        parent: str,
        files: tuple[Any, ...],
        pillar: Any,
        repository: str,
        tag: str,
    ) -> stage.Layer:
        image = self.image
        work = stage.Stage(
            image=image.name,
            name=name,
            sls=f"{image.service}.{sls}",
            files=files,
            pillar=pillar,
            packages=image.packages,
            dynamic=image.dynamic,
            location=image.location,
            timeout=image.timeout,
        )
        return stage.run(
            work,
            parent,
            engine=self.engine,
            salt=thin.volume(self.store, self.engine, self._base, image.base.key),
            repository=f"{image.registry}/{repository}",
            tag=tag,
            labels=self._labels(name),
        )

    def _labels(self, name: str) -> dict[str, str]:
        image = self.image
        common = {
            "io.pillarbox.stage": name,
            "io.pillarbox.service": image.service,
            "io.pillarbox.base": image.base.name,
            "io.pillarbox.package-key": image.package_key,
            "io.pillarbox.revision": self.revision,
        }
        if name == "packages":
            return common
        return {
            **common,
            "io.pillarbox.image": image.name,
            "io.pillarbox.role": image.role,
            "io.pillarbox.version": image.version,
            "io.pillarbox.deploy-name": image.deploy_name,
            "io.pillarbox.content-key": image.content_key,
            "io.pillarbox.dynamic": " ".join(image.dynamic),
        }

    def _done(self, image_id: str, digest: str) -> Built:
        image = self.image
        manifest = self.registry.manifest(image.repository, digest)
        found = self.engine.image(image_id)
        if manifest is None or found is None:
            raise RegistryError(f"registry {image.registry} does not have {image.reference} after it was pushed")
        self.registry.tag(image.repository, manifest, image.version)
        size, seconds = int(found["Size"]), time.monotonic() - self.start
        self.say(f"done in {elapsed(seconds)}, {size / 1e6:.0f} MB ({manifest.pushed_size / 1e6:.0f} MB pushed)")
        return Built(
            image.name, image.reference, manifest.digest, image.content_key, seconds, False, size, manifest.pushed_size
        )
