"""The registry, over its API: a real one on the loopback interface, and places where there is none."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.images.conftest import push, serve_registry

from pillarbox.images.errors import RegistryError, RegistryUnavailable
from pillarbox.images.registry import Registry
from pillarbox.system.waiting import Patience


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


def test_a_registry_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    with serve_registry(tmp_path) as address:
        digest = push(address, "some/image", "one", {})
    lines: list[str] = []
    with contextlib.ExitStack() as stack:

        def say(line: str) -> None:
            lines.append(line)
            if len(lines) == 1:
                stack.enter_context(serve_registry(tmp_path, int(address.partition(":")[2])))

        assert Registry(address, patience=Patience(60, say)).digest("some/image", "one") == digest
    assert len(lines) == 2
    assert "does not answer" in lines[0] and "waiting for up to 60 s" in lines[0]
    assert lines[1] == f"registry {address}: it answers again"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry without TLS that is not on the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("needs a network interface besides loopback")
        host = probe.getsockname()[0]
    with serve_registry(tmp_path_factory.mktemp("elsewhere"), host=host) as address:
        yield address


def test_plain_http_is_used_only_where_it_is_asked_for(elsewhere: str) -> None:
    with pytest.raises(RegistryError, match=elsewhere) as raised:
        Registry(elsewhere, patience=Patience(60)).check()
    assert "image:plain_http" in str(raised.value) and not isinstance(raised.value, RegistryUnavailable)
    Registry(elsewhere, plain_http=True).check()


def test_the_loopback_interface_needs_no_tls(registry: str) -> None:
    Registry(registry).check()
    Registry(registry.replace("127.0.0.1", "localhost")).check()


def test_patience_with_a_registry_ends() -> None:
    lines: list[str] = []
    with pytest.raises(RegistryUnavailable):
        Registry("127.0.0.1:1", patience=Patience(0.3, lines.append)).check()
    assert len(lines) == 1


def test_a_registry_that_refuses_is_not_waited_for(tmp_path: Path) -> None:
    with serve_registry(tmp_path, accounts=True) as address:
        with pytest.raises(RegistryError, match="answered 401") as raised:
            Registry(address, patience=Patience(60)).digest("some/image", "one")
        assert not isinstance(raised.value, RegistryUnavailable)
