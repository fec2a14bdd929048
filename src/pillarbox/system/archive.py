"""What package archives offer now, asked with the machine's own apt, away from what that knows and keeps."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pillarbox.system import files
from pillarbox.system.apt import AptError, Source
from pillarbox.system.command import CommandError, run

#: As `apt-cache madison` prints it: package, version, and where from.
_OFFER = re.compile(r"\s*(?P<package>\S+) \|\s*(?P<version>\S+) \| \S+ (?P<suite>[^/\s]+)/?\S* \S+ Packages\s*")


@dataclass(frozen=True)
class Offer:
    """A version of a package, and the suite that has it."""

    package: str
    version: str
    suite: str


class Archive:
    """The indexes of some sources, as they were when this was opened: see :func:`opened`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def offers(self, packages: Iterable[str]) -> Iterator[Offer]:
        """All versions that there are of the packages, in no order; nothing of those that no source has."""
        printed = run(["apt-cache", *_options(self._folder), "madison", *packages])
        for line in printed.splitlines():
            if found := _OFFER.fullmatch(line):
                yield Offer(found["package"], found["version"], found["suite"])


@contextmanager
def opened(sources: Sequence[Source]) -> Iterator[Archive]:
    """Fetch the indexes of the sources; they are checked as the machine checks those of its own.

    Raises :class:`AptError` when one of them cannot be had: what is not seen would look as if it were not there.
    """
    with tempfile.TemporaryDirectory(prefix="pillarbox-archive-") as name:
        folder = Path(name)
        (folder / "lists" / "partial").mkdir(parents=True)
        (folder / "cache").mkdir()
        files.write(folder / "status", "")
        files.write(folder / "sources.list", "".join(source.lines() for source in sources))
        try:
            run(["apt-get", *_options(folder), "update", "-qq"])
        except CommandError as error:
            raise AptError(f"the package indexes cannot be fetched: {error.message}", hint=error.hint) from error
        yield Archive(folder)


def newer(version: str, than: str) -> bool:
    """Whether a version comes after another, by dpkg's rules."""
    if version == than:
        return False
    return run(["sh", "-c", 'dpkg --compare-versions "$1" gt "$2" && echo yes', "sh", version, than], check=False) != ""


def _options(folder: Path) -> list[str]:
    # What is pinned, held or installed on this machine says nothing about an image.
    settings = {
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Debug::NoLocking": "true",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
