"""The builder's own way to packages: its mirrors, proxies and certificates, lent to the containers it builds in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pillarbox.images.errors import EngineError

#: Where the lent configuration lies in a container; in memory, so that no layer ever holds it.
FOLDER = "/run/pillarbox/apt"
HINT = "Name a mirror in the model: image:packages:mirror and image:base:mirror."
LENT = ("Acquire::http::", "Acquire::https::", "Acquire::Retries", "Acquire::Check-")
NOT_LENT = ("Proxy-Auto-Detect", "ProxyAutoDetect")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
SETTINGS = f"""\
Dir::Etc::sourcelist "{FOLDER}/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "{FOLDER}/lists";
Dir::Cache "{FOLDER}/cache";
Dir::Log "{FOLDER}/log";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
Acquire::Languages "none";
Dpkg::Use-Pty "false";
DPkg::Options {{ "--force-confold"; "--force-unsafe-io"; }};
"""


@dataclass(frozen=True)
class Source:
    """One line of a sources.list."""

    uri: str
    suite: str
    components: tuple[str, ...]

    def __str__(self) -> str:
        return f"deb {self.uri} {self.suite} {' '.join(self.components)}"


def proxies() -> dict[str, str]:
    """The proxy variables of this process, for a command in a container."""
    return {name: os.environ[name] for name in PROXIES if name in os.environ}


def sources(packages: Mapping[str, Any]) -> tuple[Source, ...]:
    """The package sources that ``image:packages`` (or ``image:base``) describes.

    With a ``mirror`` the suite comes from there alone, and from ``security_mirror``, where that is named, its security
    updates. Without, it comes from where the builder gets its own distribution: the same mirrors, updates and
    security updates, of the wanted suite. Raises :class:`EngineError` where the builder has no such source.
    """
    suite = str(packages["suite"])
    components = tuple(packages.get("components") or ("main",))
    if mirror := packages.get("mirror"):
        found = [Source(str(mirror), suite, components)]
        if security := packages.get("security_mirror"):
            found.append(Source(str(security), f"{suite}-security", components))
        return tuple(found)
    own = _codename()
    found = [
        Source(uri, suite + release.removeprefix(own), components)
        for uri, release in _own_sources()
        if release in (own, f"{own}-updates", f"{own}-security")
    ]
    if suite not in {source.suite for source in found}:
        raise EngineError(f"this machine's apt has no mirror of {own or 'its own distribution'}", hint=HINT)
    return tuple(found)


def files(packages: Mapping[str, Any]) -> dict[str, bytes]:
    """The configuration to lend, by file name below :data:`FOLDER`; ``APT_CONFIG`` is to name its ``apt.conf``."""
    lent: dict[str, bytes] = {}
    settings = SETTINGS
    for name, value in _settings():
        if os.path.isabs(value) and Path(value).is_file():
            lent[copy := f"file-{len(lent)}"] = Path(value).read_bytes()
            value = f"{FOLDER}/{copy}"
        settings += f'{name} "{value}";\n'
    lent["apt.conf"] = settings.encode()
    lent["sources.list"] = "".join(f"{source}\n" for source in sources(packages)).encode()
    return lent


def environment() -> dict[str, str]:
    """What a command in a container needs in its environment to install packages."""
    return {"APT_CONFIG": f"{FOLDER}/apt.conf", "DEBIAN_FRONTEND": "noninteractive", **proxies()}


def http_proxy() -> str | None:
    """The proxy that the builder's apt uses for plain HTTP."""
    return next((value for name, value in _settings() if name.lower() == "acquire::http::proxy"), None)


def _codename() -> str:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("VERSION_CODENAME", "").strip('"')


def _own_sources() -> list[tuple[str, str]]:
    """Repository and release of the builder's sources that have a component ``main``, in apt's order."""
    text = _run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    rows = dict.fromkeys(tuple(line.split()) for line in text.splitlines())
    return [(row[0], row[1]) for row in rows if len(row) == 3 and row[2] == "main"]


def _settings() -> list[tuple[str, str]]:
    """The builder's settings that say how to reach a mirror."""
    pairs = (line.partition(" ")[::2] for line in _run("apt-config", "dump", "--format", "%F %v%n").splitlines())
    return [(name, value) for name, value in pairs if value and name.startswith(LENT) and not name.endswith(NOT_LENT)]


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise EngineError(f"this machine has no {command[0]}", hint=HINT) from error
    except subprocess.CalledProcessError as error:
        raise EngineError(f"{command[0]} failed: {error.stderr.strip()}", hint=HINT) from error
    return done.stdout
