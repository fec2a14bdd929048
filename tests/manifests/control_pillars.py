"""Pillars and image specifications that the tests of this room start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.manifests import Manifest

BLOCK = "-----BEGIN PGP MESSAGE-----\n\nhQEMA0tEstb4vq1eAQf+\n=abcd\n-----END PGP MESSAGE-----\n"


@dataclass(frozen=True)
class Spec:
    """An image specification as this room sees it."""

    name: str
    dynamic: tuple[str, ...] = ()
    content_key: str = "0" * 64
    version: str = "zed"
    registry: str = "cfg01:5000"
    deploy_name: str = "lab"

    @property
    def repository(self) -> str:
        return f"{self.deploy_name}/{self.name}"

    @property
    def reference(self) -> str:
        return f"{self.registry}/{self.repository}:{self.version}"


def by_title(manifests: tuple[Manifest, ...]) -> dict[str, dict[str, Any]]:
    return {f"{each.kind}/{each.name}": each.object for each in manifests}


def one(objects: Mapping[str, dict[str, Any]], kind: str) -> dict[str, Any]:
    """The only object of a kind."""
    (found,) = (each for title, each in objects.items() if title.startswith(f"{kind}/"))
    return found


def service(**more: Any) -> dict[str, Any]:
    """A control pillar with one service, nova-api, whose keys are overridden by ``more``."""
    base = {"service": "nova", "role": "api", "container": {"api": {"image": "nova"}}}
    return {"service": {"nova-api": base | more}}


def container(**more: Any) -> dict[str, Any]:
    """A control pillar whose one container has the given keys."""
    return service(container={"api": {"image": "nova"} | more})
