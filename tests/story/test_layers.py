"""Every image of the registry, taken apart layer by layer: no model, no Salt, no secret."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pytest
import requests
from tests.story.lab import Lab

from pillarbox.images import ImageSpec, image_specs
from pillarbox.model import Inventory
from pillarbox.salt.modules.pillarbox import account

pytestmark = pytest.mark.lab

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# Parts of paths that only Salt, reclass or the model would bring.
FORBIDDEN_PATHS = (
    "etc/salt",
    "opt/salt",
    "var/cache/salt",
    "var/log/salt",
    "/salt/",
    "srv/pillarbox",
    "secrets.yml",
    "/nodes/images/",
    "/classes/cluster/",
    "pillar.json",
)
CHUNK = 1 << 20
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class LabRegistry:
    """Where the lab's registry is, the authority of its certificate, and the password of the account that pulls."""

    address: str
    authority: Path
    password: str

    @property
    def login(self) -> tuple[str, str]:
        """As which account, with which password."""
        return account("pull-$digest", self.password), self.password


class Source:
    """One image in the lab's registry, for the account that pulls."""

    def __init__(self, registry: LabRegistry, repository: str) -> None:
        self._url = f"https://{registry.address}:5000/v2/{repository}"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = registry.login
        self._session.verify = str(registry.authority)

    def manifest(self, tag: str) -> dict[str, Any]:
        answer = self._session.get(f"{self._url}/manifests/{tag}", headers={"Accept": MANIFEST}, timeout=30)
        answer.raise_for_status()
        return cast(dict[str, Any], answer.json())

    def config(self, digest: str) -> str:
        answer = self._session.get(f"{self._url}/blobs/{digest}", timeout=30)
        answer.raise_for_status()
        return answer.text

    def layer(self, digest: str) -> Iterator[tuple[str, bytes]]:
        """Every file of a layer: its path, and its content (a link's target for links)."""
        with self._session.get(f"{self._url}/blobs/{digest}", stream=True, timeout=60) as answer:
            answer.raise_for_status()
            with tarfile.open(fileobj=cast(IO[bytes], answer.raw), mode="r|gz") as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isfile() else None
                    yield member.name, file.read() if file else member.linkname.encode()


@pytest.fixture(scope="module")
def images(lab: Lab) -> dict[str, ImageSpec]:
    return image_specs(Inventory(lab.model))


@pytest.fixture(scope="module")
def registry(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> LabRegistry:
    address = Inventory(lab.model).node("cfg01").parameters["lab"]["host"]["address"]
    authority = tmp_path_factory.mktemp("authority") / "ca.crt"
    authority.write_text(lab.on("cfg01", "cat", "/etc/docker/certs.d/cfg01:5000/ca.crt").stdout)
    return LabRegistry(str(address), authority, lab.secrets()["registry_pull_password"].strip())


def test_the_registry_lets_nobody_in_without_an_account(registry: LabRegistry) -> None:
    for path in ("", "_catalog"):
        answer = requests.get(f"https://{registry.address}:5000/v2/{path}", verify=str(registry.authority), timeout=30)
        assert answer.status_code == 401
    pushing = f"https://{registry.address}:5000/v2/lab/anything/blobs/uploads/"
    assert requests.post(pushing, auth=registry.login, verify=str(registry.authority), timeout=30).status_code == 401


@pytest.mark.parametrize("name", sorted(image_specs(Inventory(ROOT))))
def test_no_layer_holds_the_model_salt_or_a_secret(
    lab: Lab, images: dict[str, ImageSpec], registry: LabRegistry, name: str
) -> None:
    secrets = {key: value.strip().encode() for key, value in lab.secrets().items()}
    assert len(secrets) > 5
    assert all(len(value) >= 16 for value in secrets.values())
    spec = images[name]
    source = Source(registry, spec.repository)
    manifest = source.manifest(spec.version)
    config = source.config(manifest["config"]["digest"])
    assert not [key for key, value in secrets.items() if value.decode() in config]
    assert "BEGIN PGP" not in config

    files, found = 0, []
    for layer in manifest["layers"]:
        for path, content in source.layer(layer["digest"]):
            files += 1
            found += [f"{path}: a path of {part}" for part in FORBIDDEN_PATHS if part in f"/{path}"]
            found += [f"{path}: secret {key}" for key, value in secrets.items() if value in content]
            if b"BEGIN PGP MESSAGE" in content and path.startswith(("etc/", "srv/", "root/")):
                found.append(f"{path}: a PGP block")
    assert files > 1000, "that was no image"
    assert found == []


def test_the_images_say_what_they_are(images: dict[str, ImageSpec], registry: LabRegistry) -> None:
    for spec in images.values():
        source = Source(registry, spec.repository)
        labels = json.loads(source.config(source.manifest(spec.tag)["config"]["digest"]))["config"]["Labels"]
        assert labels["io.pillarbox.content-key"] == spec.content_key
        assert tuple(labels["io.pillarbox.dynamic"].split()) == spec.dynamic
        assert labels["io.pillarbox.revision"]
