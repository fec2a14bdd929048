"""What an image is, before anything is built: a pure function of the model's tree.

Two keys come out of it. The *package key* covers what decides the packages: base image, package source, package SLS.
The *content key* covers that and everything else: the whole formula, the static pillar, the entrypoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pillarbox.images import dynamic, secrets, tree
from pillarbox.images.errors import SpecError
from pillarbox.model import Inventory, Node, Tree
from pillarbox.system.errors import PillarboxError, raise_all
from pillarbox.system.fingerprint import fingerprint

#: Part of every key: raise it when the builder starts to make different images of the same tree.
FORMAT = 1

FORMULAS = "formulas"
SHARED_STATES = "images/states"
ENTRYPOINT = "images/entrypoint"
FINISH = "images/finish"
BASE_FILES = "images/base"

# Where an image goes, how long it may take and what a check may pass over decide nothing about what is in it; of the
# keys and the formulas that were chosen, what they hold does.
NOT_CONTENT = ("registry", "plain_http", "deploy_name", "public", "pillar", "formulas", "timeout")

COMPONENT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")
PINNED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9./:_-]*@sha256:[0-9a-f]{64}")
STATE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:+-]{0,63}")
#: What the names of packages and components look like, and the address of a mirror: for a shell and apt to read.
PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
MIRROR = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9._~+-]+)*/?")
SUITE = re.compile(r"[a-z][a-z0-9.-]*")
ENGINES = ("debootstrap", "registry")
#: Seconds that a stage of a build may take where the model sets no ``image:timeout``.
TIMEOUT = 3600


@dataclass(frozen=True)
class BaseSpec:
    """A base image: made by debootstrap from a recipe, or pulled from a registry by digest."""

    name: str
    engine: str
    recipe: Mapping[str, Any] = field(hash=False)
    key: str
    repository: str

    @property
    def image(self) -> str:
        """For the engine ``registry``: what to pull, with its digest."""
        return str(self.recipe["image"])


@dataclass(frozen=True)
class ImageSpec:
    """One image of the model. ``pillar`` is the static pillar, ``dynamic`` the names its start needs, ``formulas`` the
    service's own and those that it shares with other services; ``plain_http`` whether its registry goes without TLS,
    ``timeout`` the seconds that each stage of its build may take."""

    name: str
    node: str
    service: str
    role: str
    version: str
    registry: str
    deploy_name: str
    base: BaseSpec
    formulas: tuple[str, ...]
    packages: Mapping[str, Any] = field(hash=False)
    pillar: Mapping[str, Any] = field(hash=False)
    dynamic: tuple[str, ...]
    package_key: str
    content_key: str
    plain_http: bool = False
    timeout: float = TIMEOUT

    @property
    def repository(self) -> str:
        """The repository in the registry, e.g. ``lab/keystone-server``."""
        return f"{self.deploy_name}/{self.name}"

    @property
    def packages_repository(self) -> str:
        """Where the stage with the packages is stored, for every builder to go on from."""
        return f"{self.deploy_name}/packages"

    @property
    def packages_tag(self) -> str:
        """The tag of the stage with the packages in that repository."""
        return key_tag(self.package_key)

    @property
    def location(self) -> str:
        """Registry and repository; one image of the model, whatever its content."""
        return f"{self.registry}/{self.repository}"

    @property
    def reference(self) -> str:
        """The name people use, e.g. ``cfg01:5000/lab/keystone-server:zed``."""
        return f"{self.location}:{self.version}"

    @property
    def tag(self) -> str:
        """The tag that stands for this content."""
        return key_tag(self.content_key)

    @property
    def image_pillar(self) -> dict[str, Any]:
        """All that the package SLS sees."""
        return {"image": self.pillar["image"]}

    def uses(self, path: str) -> bool:
        """Whether the file ``path`` of the model is one that the image is made from."""
        starts = (*(f"{FORMULAS}/{name}" for name in self.formulas), SHARED_STATES, ENTRYPOINT, FINISH, BASE_FILES)
        return any(f"{path}/".startswith(f"{start}/") and not tree.ignored(path, start) for start in starts)

    def as_dict(self) -> dict[str, Any]:
        """The image as plain data for ``--format json``."""
        return {
            "name": self.name,
            "reference": self.reference,
            "base": self.base.name,
            "package_key": self.package_key,
            "content_key": self.content_key,
            "dynamic": list(self.dynamic),
        }


def key_tag(key: str) -> str:
    """The tag of a key: what is asked of a registry to learn whether something was built already."""
    return f"key-{key[:32]}"


def is_image(node: Node) -> bool:
    """Whether a node describes an image."""
    image = node.parameters.get("image")
    return isinstance(image, Mapping) and "service" in image


def image_specs(inv: Inventory, nodes: Iterable[Node] | None = None) -> dict[str, ImageSpec]:
    """Every image of the model by name; ``nodes`` are all of ``inv``, where somebody has rendered them already.

    Raises :class:`SpecError` (in an ``ErrorGroup`` when there are several) for everything wrong with image nodes, and
    what the model raises for nodes that do not render.
    """
    errors: list[PillarboxError] = []
    specs = {}
    for node in inv.all() if nodes is None else nodes:
        if is_image(node):
            checker = _Checker(node, inv)
            spec = checker.spec(inv.tree)
            errors.extend(checker.errors)
            if spec is not None:
                specs[spec.name] = spec
    raise_all(errors)
    return specs


def package_files(model: Tree, formulas: Sequence[str]) -> tuple[tree.File, ...]:
    """The files that the packages stage of an image with these formulas sees, and is keyed by."""
    own = [f"{FORMULAS}/{formula}/{part}" for formula in formulas for part in ("packages.sls", "packages")]
    return tree.read(model, [*own, SHARED_STATES, FINISH])


def role_files(model: Tree, formulas: Sequence[str]) -> tuple[tree.File, ...]:
    """The files that the role stage of an image with these formulas sees, and is keyed by."""
    return tree.read(model, [*(f"{FORMULAS}/{formula}" for formula in formulas), SHARED_STATES, FINISH, ENTRYPOINT])


def base_files(model: Tree) -> tuple[tree.File, ...]:
    """The files that go into a base image."""
    return tree.read(model, [BASE_FILES, FINISH])


def base_key(recipe: Mapping[str, Any], files: tuple[tree.File, ...]) -> str:
    """The key of a base image: its digest when it comes from a registry, else what decides its making."""
    if recipe["engine"] == "registry":
        return fingerprint({"format": FORMAT, "digest": str(recipe["image"]).rpartition("@")[2]})
    return fingerprint({"format": FORMAT, "recipe": dict(recipe), "files": tree.digests(files)})


def package_key(base: str, image: Mapping[str, Any], files: tuple[tree.File, ...]) -> str:
    """The key of the stage with the packages."""
    return fingerprint({"format": FORMAT, "base": base, "image": dict(image), "files": tree.digests(files)})


def content_key(packages: str, pillar: Mapping[str, Any], files: tuple[tree.File, ...]) -> str:
    """The key of the finished image."""
    return fingerprint({"format": FORMAT, "packages": packages, "pillar": dict(pillar), "files": tree.digests(files)})


class _Checker:
    """One image node on its way to a spec, collecting what is wrong with it."""

    def __init__(self, node: Node, inv: Inventory) -> None:
        self.node = node
        self.inv = inv
        self.image: Mapping[str, Any] = node.parameters["image"]
        self.errors: list[PillarboxError] = []

    def wrong(self, message: str, hint: str | None = None, *, at: str = "image") -> None:
        """Something is wrong with the parameter ``at``, or with what is missing there."""
        file, line = self.inv.place(self.node.name, at.split(":"))
        self.errors.append(SpecError(f"image node {self.node.name}: {message}", file=file, line=line, hint=hint))

    def wrong_at(self, path: dynamic.Path, message: str, hint: str) -> None:
        """Something is wrong with the value at ``path``: the error names where in the model it is written."""
        try:
            place = self.inv.explain(self.node.name, ":".join(path)).origin
        except PillarboxError:
            # A key that has the delimiter in it.
            place = None
        file, line = (place.file, place.line) if place else (self.node.file, None)
        self.errors.append(SpecError(f"image node {self.node.name}: {message}", file=file, line=line, hint=hint))

    def text(self, key: str, pattern: re.Pattern[str]) -> str:
        value = self.image.get(key)
        value = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.wrong(f"image:{key} is {value!r}, expected {pattern.pattern}", at=f"image:{key}")
            return ""
        return value

    def mapping(self, key: str, hint: str) -> Mapping[str, Any]:
        value = self.image.get(key)
        if not isinstance(value, Mapping) or not value:
            self.wrong(f"image:{key} is missing: this release does not say it", hint)
            return {}
        return value

    def names(self, key: str) -> list[str]:
        value = self.image.get(key, [])
        return value if self.check_names(f"image:{key}", value) else []

    def check_names(self, where: str, value: object) -> bool:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return True
        self.wrong(f"{where} is {value!r}, expected a list of strings", at=where)
        return False

    def spec(self, model: Tree) -> ImageSpec | None:
        service, role = self.text("service", COMPONENT), self.text("role", COMPONENT)
        version, deploy_name = self.text("version", TAG), self.text("deploy_name", COMPONENT)
        registry = self.text("registry", ADDRESS)
        if version.startswith("key-"):
            self.wrong(
                f"image:version is {version!r}; tags that start with key- are the builder's own", at="image:version"
            )
        plain_http = self.image.get("plain_http", False)
        if not isinstance(plain_http, bool):
            self.wrong(f"image:plain_http is {plain_http!r}, expected true or false", at="image:plain_http")
        timeout = self.image.get("timeout", TIMEOUT)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
            self.wrong(f"image:timeout is {timeout!r}, expected a number of seconds", at="image:timeout")
        shared = self.names("formulas")
        if service and role:
            self.check_name(model, service, role)
        for formula in shared:
            if not COMPONENT.fullmatch(formula) or not model.members(f"{FORMULAS}/{formula}"):
                self.wrong(
                    f"image:formulas names {formula!r}, and there is no {FORMULAS}/{formula}", at="image:formulas"
                )
        recipe = self.check_base()
        packages = self.check_packages()
        pillar = self.check_pillar(service)
        if self.errors:
            return None
        key = base_key(recipe, base_files(model))
        formulas = (service, *shared)
        packages_key = package_key(key, pillar["image"], package_files(model, formulas))
        base_name = str(recipe.get("name"))
        return ImageSpec(
            name=f"{service}-{role}",
            node=self.node.name,
            service=service,
            role=role,
            version=version,
            registry=registry,
            deploy_name=deploy_name,
            base=BaseSpec(base_name, str(recipe["engine"]), recipe, key, f"{deploy_name}/base-{base_name}"),
            formulas=formulas,
            packages=packages,
            pillar=pillar,
            dynamic=dynamic.names({key: value for key, value in pillar.items() if key != "image"}),
            package_key=packages_key,
            content_key=content_key(packages_key, pillar, role_files(model, formulas)),
            plain_http=plain_http,
            timeout=timeout,
        )

    def check_name(self, model: Tree, service: str, role: str) -> None:
        if self.node.name != f"{service}-{role}":
            self.wrong(f"an image node is named <service>-<role>, here {service}-{role}")
        formula = f"{FORMULAS}/{service}"
        if not model.members(formula):
            self.wrong(
                f"there is no formula {FORMULAS}/{service}",
                "Add the formula, or correct image:service.",
                at="image:service",
            )
            return
        for sls in ("packages", role):
            if not model.exists(f"{formula}/{sls}.sls") and not model.exists(f"{formula}/{sls}/init.sls"):
                self.wrong(f"formula {service} has no SLS {service}.{sls}", f"Add {FORMULAS}/{service}/{sls}.sls.")
        for needed in (FINISH, ENTRYPOINT):
            if not model.exists(needed):
                self.wrong(f"the model has no {needed}", "Every image needs it; take it from Pillarbox's repository.")

    def check_base(self) -> Mapping[str, Any]:
        base = self.mapping("base", "A release names its base image: image:base {name, engine: debootstrap, suite}.")
        if not base:
            return base
        name, engine = base.get("name"), base.get("engine")
        if not isinstance(name, str) or not COMPONENT.fullmatch(name):
            self.wrong(f"image:base:name is {name!r}, expected {COMPONENT.pattern}", at="image:base:name")
        if engine not in ENGINES:
            self.wrong(f"image:base:engine is {engine!r}, expected {' or '.join(ENGINES)}", at="image:base:engine")
        elif engine == "debootstrap":
            self.check_source("image:base", base)
            self.check_listed("image:base:include", base.get("include", []))
        elif not isinstance(base.get("image"), str) or not PINNED.fullmatch(base["image"]):
            self.wrong(
                f"image:base:image is {base.get('image')!r}, expected NAME@sha256:DIGEST",
                "A tag may mean another image tomorrow; a digest cannot.",
                at="image:base:image",
            )
        return base

    def check_packages(self) -> Mapping[str, Any]:
        packages = self.mapping("packages", "A release names its package source: image:packages {suite, components}.")
        if packages:
            self.check_source("image:packages", packages)
            if not isinstance(packages.get("updates", True), bool):
                self.wrong(
                    f"image:packages:updates is {packages['updates']!r}, expected true or false",
                    at="image:packages:updates",
                )
            self.check_names("image:packages:without", packages.get("without", []))
            state = packages.get("state", "none")
            if isinstance(state, bool) or not STATE.fullmatch(str(state)):
                self.wrong(
                    f"image:packages:state is {state!r}, expected a date or a serial number", at="image:packages:state"
                )
        return packages

    def check_source(self, where: str, source: Mapping[str, Any]) -> None:
        suite = source.get("suite")
        if not isinstance(suite, str) or not SUITE.fullmatch(suite):
            self.wrong(
                f"{where}:suite is {suite!r}, expected the name of a distribution's release, e.g. bookworm",
                at=f"{where}:suite",
            )
        self.check_listed(f"{where}:components", source.get("components", []))
        for key in ("mirror", "security_mirror"):
            mirror = source.get(key)
            if mirror is not None and (not isinstance(mirror, str) or not MIRROR.fullmatch(mirror)):
                self.wrong(
                    f"{where}:{key} is {mirror!r}, expected http://... or https://... without a password",
                    at=f"{where}:{key}",
                )

    def check_listed(self, where: str, value: Any) -> None:
        odd = [item for item in value if not PACKAGE.fullmatch(item)] if self.check_names(where, value) else []
        if odd:
            self.wrong(f"{where} names {odd[0]!r}, expected {PACKAGE.pattern}", at=where)

    def check_pillar(self, service: str) -> dict[str, Any]:
        """The static pillar: ``image``, the service's own key, and the keys that ``image:pillar`` names."""
        pillar: dict[str, Any] = {"image": {k: v for k, v in self.image.items() if k not in NOT_CONTENT}}
        wanted = self.names("pillar")
        for key in [service, *wanted]:
            if key in self.node.parameters and not key.startswith("_"):
                pillar[key] = self.node.parameters[key]
            elif key in wanted:
                self.wrong(f"image:pillar names {key!r}, which the node does not have", at="image:pillar")
        for path, why in secrets.baked(pillar, self.names("public")):
            self.wrong_at(path, f"static parameter {':'.join(path)} {why}", secrets.HINT)
        for path, what, remedy in dynamic.mistakes(pillar):
            self.wrong_at(path, f"parameter {':'.join(path)}: {what}", remedy)
        try:
            fingerprint(pillar)
        except (TypeError, ValueError) as error:
            self.wrong(f"the static pillar is no plain data: {error}")
        return pillar
