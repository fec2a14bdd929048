"""Where an image's packages come from, as apt in the container that installs them is to see it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pillarbox.images import gateway
from pillarbox.system import apt
from pillarbox.system.apt import Source

#: Where that configuration lies in a container; in memory, so that no layer ever holds it.
FOLDER = "/run/pillarbox/apt"
# What says which archives are believed; how they are reached is settled outside.
_CHECKS = re.compile(r"Acquire::(Retries|Check-|AllowInsecure|AllowWeak|Max-)", re.IGNORECASE)
HINT = "Name a mirror in the model: image:packages:mirror and image:base:mirror."
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
Acquire::Retries "6";
APT::Update::Error-Mode "any";
Dpkg::Use-Pty "false";
DPkg::Options {{ "--force-confold"; "--force-unsafe-io"; }};
"""


def sources(packages: Mapping[str, Any]) -> tuple[Source, ...]:
    """The package sources that ``image:packages`` (or ``image:base``) describes.

    With a ``mirror`` the suite comes from there alone, and from ``security_mirror``, where that is named, its security
    updates; beside a ``state`` these may be snapshots, as old as they are. Without, it comes from where the builder
    gets Debian: see :func:`pillarbox.system.apt.sources`; with ``updates: false`` only the suite itself, for one that
    has no updates beside it. Raises :class:`~pillarbox.system.apt.AptError` where the builder has no such source.
    """
    suite = str(packages["suite"])
    components = tuple(packages.get("components") or ("main",))
    if mirror := packages.get("mirror"):
        dated = "state" in packages
        found = [Source(str(mirror), (suite,), components, dated=dated)]
        if security := packages.get("security_mirror"):
            found.append(Source(str(security), (f"{suite}-security",), components, dated=dated))
        return tuple(found)
    try:
        own = apt.sources(suite, components)
    except apt.AptError as error:
        error.hint = HINT
        raise
    return own if packages.get("updates", True) else (apt.mirror(own, suite),)


def reached(packages: Mapping[str, Any]) -> gateway.PackageSources:
    """The package sources, and this machine's way to them."""
    return gateway.PackageSources(sources(packages), apt.settings(), by_model="mirror" in packages)


def files(known: gateway.PackageSources) -> dict[str, bytes]:
    """The configuration to bring along, by file name below :data:`FOLDER`; ``APT_CONFIG`` names its ``apt.conf``.

    How this machine reaches the sources, with which passwords and certificates, is no part of it.
    """
    checks = {name: value for name, value in known.settings.items() if _CHECKS.match(name)}
    conf = SETTINGS + apt.conf({**checks, "Acquire::http::Proxy": gateway.PROXY})
    return {
        "apt.conf": conf.encode(),
        "sources.list": "".join(source.lines() for source in known.shown()).encode(),
    }


#: What a command in a container needs in its environment to install packages.
ENVIRONMENT = {"APT_CONFIG": f"{FOLDER}/apt.conf", "DEBIAN_FRONTEND": "noninteractive"}
