"""kapicorp-reclass as the reference that the engine is compared with, and models written to disk for both."""

from __future__ import annotations

import contextlib
import io
import resource
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from reclass import get_storage
from reclass.core import Core
from reclass.settings import Settings
from reclass.values.value import Value
from reclass.values.valuelist import ValueList

from pillarbox.model.merge.model import Model
from pillarbox.model.read.tree import DirectoryTree
from pillarbox.system.errors import PillarboxError


@dataclass(frozen=True)
class Outcome:
    """What an engine made of a node: its data, or the error."""

    data: Mapping[str, Any] | None = None
    error: BaseException | None = None


class Hangs(BaseException):
    """The reference does not end."""


def write(root: Path, files: Mapping[str, Any]) -> Path:
    """Write a model: file names with their data, or their text."""
    for folder in ("nodes", "classes"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return root


@contextlib.contextmanager
def _bounded(seconds: float, memory: int = 1 << 30) -> Iterator[None]:
    """Raise in what takes longer or more bytes. What Python does without looking up, such as printing a large tree,
    ends by the memory alone."""

    def stop(*_: Any) -> None:
        raise Hangs

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    previous = signal.signal(signal.SIGALRM, stop)
    # Again and again: something may go on after an exception.
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, limits[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGALRM, previous)
        # That of the test itself.
        signal.setitimer(signal.ITIMER_REAL, *timer)


def reference(root: Path, node: str) -> Outcome:
    """The node as kapicorp-reclass renders it, from a storage of its own: one that is shared leaks between nodes."""
    options: dict[str, Any] = {}
    if (root / "reclass-config.yml").is_file():
        options = yaml.safe_load((root / "reclass-config.yml").read_text()) or {}
    mappings = options.pop("class_mappings", None)
    try:
        with _bounded(3), contextlib.redirect_stderr(io.StringIO()):
            compose = options.get("compose_node_name", False)
            storage = get_storage("yaml_fs", str(root / "nodes"), str(root / "classes"), compose)
            names = sorted(storage.enumerate_nodes())
            # Directories have no order of their own.
            storage.enumerate_nodes = lambda: names
            info = Core(storage, mappings, Settings(options)).nodeinfo(node)
            if leaks(info["parameters"]) or leaks(info["exports"]):
                raise LookupError("objects of the reference leak into its result")
            # Some of its objects fail only when they are printed.
            repr(info)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Outcome(error=error)
    return Outcome(data={key: info[key] for key in ("parameters", "exports", "classes", "applications", "environment")})


def leaks(data: Any) -> bool:
    """Whether unrendered objects of the reference are in its result, or their text is."""
    if isinstance(data, (Value, ValueList)):
        return True
    if isinstance(data, dict):
        return any(leaks(value) for value in data.values())
    if isinstance(data, list):
        return any(leaks(value) for value in data)
    return isinstance(data, str) and ("Value(" in data or "ValueList object" in data or "Item(" in data)


def ours(root: Path, node: str) -> Outcome:
    """The node as Pillarbox renders it. Only its own errors are outcomes; anything else fails the test."""
    try:
        rendered = Model(DirectoryTree(root)).render(node)
    except PillarboxError as error:
        return Outcome(error=error)
    return Outcome(
        data={
            "parameters": rendered.parameters,
            "exports": rendered.exports,
            "classes": list(rendered.classes),
            "applications": list(rendered.applications),
            "environment": rendered.environment,
        }
    )


def same(left: Any, right: Any) -> bool:
    """Equal in value, type and order."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(
            type(a) is type(b) and same(left[a], right[b]) for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right) or (left != left and right != right)
