"""A registry of the tests' own, a small model to build from, and the engine they build with."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
import yaml
from tests import programs

from pillarbox.images import ImageSpec, image_specs
from pillarbox.images.errors import RegistryError
from pillarbox.images.registry import MANIFEST, Registry
from pillarbox.images.store import Store
from pillarbox.model import Inventory
from pillarbox.system.engine import Engine, EngineError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def script() -> ModuleType:
    """images/entrypoint itself, imported."""
    loader = importlib.machinery.SourceFileLoader("entrypoint", str(ROOT / "images" / "entrypoint"))
    spec = importlib.util.spec_from_loader("entrypoint", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = kept
    return module


@contextlib.contextmanager
def serve_registry(folder: Path, port: int = 0, *, accounts: bool = False, host: str = "127.0.0.1") -> Iterator[str]:
    """Debian's docker-registry on a free port of the loopback interface, or of the one with the address ``host``; its
    data in ``folder``, without TLS. With ``accounts`` it asks for a password, which nobody knows."""
    binary = programs.debian("docker-registry", "docker-registry")
    if binary is None:
        pytest.skip("needs Debian's docker-registry, which apt cannot get here")
    with socket.socket() as probe:
        # One that was stopped a moment ago may have connections that the kernel still counts.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        port = probe.getsockname()[1]
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"{host}:{port}"},
    }
    if accounts:
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    file = folder / "registry.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    with (folder / "registry.log").open("ab") as log:
        process = subprocess.Popen([binary, "serve", str(file)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                Registry(f"{host}:{port}", plain_http=True).check()
                break
            except RegistryError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield f"{host}:{port}"
    finally:
        process.terminate()
        process.wait()


LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def push(
    address: str,
    repository: str,
    tag: str,
    config: dict[str, object],
    *,
    layers: Sequence[bytes] = (),
    session: requests.Session | None = None,
    scheme: str = "http",
) -> str:
    """Put an image with these layers (packed) into a registry; return its digest."""
    client = session or requests.Session()
    blob = json.dumps(config).encode()
    digest, *digests = ["sha256:" + hashlib.sha256(each).hexdigest() for each in (blob, *layers)]
    for name, each in zip((digest, *digests), (blob, *layers), strict=True):
        begun = client.post(f"{scheme}://{address}/v2/{repository}/blobs/uploads/")
        begun.raise_for_status()
        place = urljoin(begun.url, begun.headers["Location"])
        client.put(place, params={"digest": name}, data=each).raise_for_status()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(blob), "digest": digest},
        "layers": [
            {"mediaType": LAYER, "size": len(layer), "digest": name}
            for layer, name in zip(layers, digests, strict=True)
        ],
    }
    url = f"{scheme}://{address}/v2/{repository}/manifests/{tag}"
    answer = client.put(url, data=json.dumps(manifest), headers={"Content-Type": MANIFEST})
    answer.raise_for_status()
    return answer.headers["Docker-Content-Digest"]


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry that is empty at first."""
    with serve_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


# Of a module, for the tests of the lab that come later may end a private engine.
@pytest.fixture(scope="module")
def engine(registry: str, store: Store, container_engine: object) -> Iterator[Engine]:
    """The container engine; every image that the tests name goes with them, and the volumes that they fill."""
    try:
        engine = Engine()
    except EngineError as error:
        pytest.skip(f"needs a container engine: {error.message}")
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("needs debootstrap, and root")
    yield engine
    for image in engine.names(f"{registry}/"):
        engine.remove_image(image)
    for marker in (store.path / "salt").glob("*.volume"):
        engine.remove_volume(marker.stem)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


class Toy:
    """A model with one image, ``toy-server``, whose parts a test may change."""

    def __init__(self, path: Path, registry: str) -> None:
        self.path = path
        self.image: dict[str, Any] = {
            "service": "toy",
            "role": "server",
            "version": "zed",
            "registry": registry,
            "deploy_name": "toys",
            "base": {"name": "bookworm", "engine": "debootstrap", "suite": "bookworm"},
            "packages": {"suite": "bookworm", "components": ["main"]},
        }
        self.pillar: dict[str, Any] = {"toy": {"server": {"host": "$DB_HOST", "password": "$DB_PASSWORD", "limit": 3}}}
        self.name = "toy-server"
        for folder in ("nodes", "classes", "formulas/toy"):
            (path / folder).mkdir(parents=True)
        shutil.copytree(ROOT / "images", path / "images")
        self.write("formulas/toy/packages.sls", f"# {path}\nhello:\n  pkg.installed:\n    - refresh: true\n")
        self.write("formulas/toy/server.sls", SERVER)
        self.write("formulas/toy/files/toy.conf", CONFIG)

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def specs(self) -> dict[str, ImageSpec]:
        node = {"parameters": {"image": self.image, **self.pillar}}
        self.write(f"nodes/{self.name}.yml", yaml.safe_dump(node, sort_keys=False))
        return image_specs(Inventory(self.path))

    def spec(self) -> ImageSpec:
        return self.specs()[self.name]


SERVER = """\
/etc/toy/toy.conf:
  file.managed:
    - source: salt://toy/files/toy.conf
    - template: jinja
    - makedirs: true
    - user: root
    - group: mail
    - mode: "0640"

/entrypoint.d/show:
  file.managed:
    - makedirs: true
    - mode: "0755"
    - contents: |
        #!/bin/sh
        # reads $DB_HOST from its environment
        [ "$1" ] && exec "$@"
        exec cat /etc/toy/toy.conf
"""

CONFIG = """\
host = {{ pillar.toy.server.host }}
password = {{ pillar.toy.server.password }}
url = mysql://toy:{{ pillar.toy.server.password|replace('$', '$url:') }}@{{ pillar.toy.server.host }}/toy
limit = {{ pillar.toy.server.limit }}
other = $NOT_DECLARED
"""


@pytest.fixture
def make_toy(tmp_path: Path) -> Callable[..., Toy]:
    """Make a toy model; ``name`` tells several of one test apart."""

    def make(registry: str = "registry.example:5000", name: str = "model") -> Toy:
        return Toy(tmp_path / name, registry)

    return make
