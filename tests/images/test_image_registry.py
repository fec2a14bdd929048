"""The registry, over its API: a real one on the loopback interface, and places where there is none."""

from __future__ import annotations

import hashlib
import json

import pytest
import requests

from pillarbox.images.errors import RegistryError
from pillarbox.images.registry import MANIFEST, Registry


def push(address: str, repository: str, tag: str, config: dict[str, object]) -> str:
    """Put an image without layers into a registry; return its digest."""
    blob = json.dumps(config).encode()
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    place = requests.post(f"http://{address}/v2/{repository}/blobs/uploads/").headers["Location"]
    requests.put(place, params={"digest": digest}, data=blob).raise_for_status()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(blob), "digest": digest},
        "layers": [],
    }
    url = f"http://{address}/v2/{repository}/manifests/{tag}"
    answer = requests.put(url, data=json.dumps(manifest), headers={"Content-Type": MANIFEST})
    answer.raise_for_status()
    return answer.headers["Docker-Content-Digest"]


def test_what_exists_has_a_digest_and_labels(registry: str) -> None:
    digest = push(registry, "some/image", "one", {"config": {"Labels": {"a": "b"}}})
    reader = Registry(registry)
    assert reader.digest("some/image", "one") == digest
    assert reader.labels("some/image", "one") == {"a": "b"}
    manifest = reader.manifest("some/image", digest)
    assert manifest is not None
    assert manifest.pushed_size == len('{"config": {"Labels": {"a": "b"}}}')


def test_what_does_not_exist_is_nothing(registry: str) -> None:
    reader = Registry(registry)
    assert reader.digest("no/such", "one") is None
    assert reader.manifest("no/such", "one") is None
    with pytest.raises(RegistryError, match="has no no/such:one"):
        reader.labels("no/such", "one")


def test_a_tag_can_be_moved(registry: str) -> None:
    first = push(registry, "moved/image", "key-1", {"config": {"Labels": {"n": "1"}}})
    second = push(registry, "moved/image", "zed", {"config": {"Labels": {"n": "2"}}})
    reader = Registry(registry)
    assert reader.digest("moved/image", "zed") == second
    manifest = reader.manifest("moved/image", "key-1")
    assert manifest is not None
    reader.tag("moved/image", manifest, "zed")
    assert reader.digest("moved/image", "zed") == first


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:5000"])
def test_a_registry_that_is_down_is_named(address: str) -> None:
    with pytest.raises(RegistryError, match=f"registry {address} does not answer") as raised:
        Registry(address).digest("a/b", "c")
    assert "Traceback" not in str(raised.value)
    assert raised.value.hint


def test_credentials_never_travel_in_the_clear(registry: str) -> None:
    reader = Registry(registry, credentials=("user", "hunter2"))
    reader.check()
    assert reader._tokens == {}
