"""The machine's own apt configuration, as far as the lab's hosts need it: Debian's mirror, proxies, checks."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pillarbox.lab.errors import LabError

SUITE = "bookworm"
# What apt needs to fetch from the machine's mirror; where it stores things and what it indexes is the host's business.
_KEPT = re.compile(r"^Acquire::(https?|ftp|Retries|Check-|AllowInsecure|AllowWeak|ForceIPv|Max-)", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """One archive: where it is, which suites and components it is asked for, and the options of its entry."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()

    def stanza(self) -> str:
        """The entry in deb822 form."""
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {' '.join(self.suites)}"]
        if self.components:
            lines.append(f"Components: {' '.join(self.components)}")
        return "\n".join([*lines, *(f"{key}: {value}" for key, value in self.options)]) + "\n"


def parse_deb822(text: str) -> list[Source]:
    """The enabled binary sources of a ``.sources`` file."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in paragraph.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in " \t" and key:
                fields[key] += "\n" + line
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        options = _options({name: value for name, value in fields.items()})
        for uri in fields.get("uris", "").split():
            suites, components = fields.get("suites", "").split(), fields.get("components", "").split()
            found.append(Source(uri, tuple(suites), tuple(components), options))
    return found


def parse_list(text: str) -> list[Source]:
    """The binary sources of a ``sources.list`` file."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match:
            pairs = dict(each.split("=", 1) for each in (match[1] or "").split() if "=" in each)
            found.append(Source(match[2], (match[3],), tuple(match[4].split()), _options(pairs)))
    return found


def _options(fields: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    # Of the options only trust can matter inside a host; keys are Debian's own, which the host brings.
    return (("Trusted", "yes"),) if fields.get("trusted", "").lower() == "yes" else ()


def of_debian(sources: list[Source], suite: str = SUITE) -> list[Source]:
    """Those of ``sources`` that are Debian's own archive of ``suite``: its suites there, nothing of third parties.

    An archive of somebody else never names its suites after Debian's with Debian's components.
    """
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    kept = []
    for source in sources:
        suites = tuple(each for each in source.suites if each in wanted or each == f"{suite}/updates")
        if suites and "main" in source.components:
            kept.append(Source(source.uri, suites, ("main",), source.options))
    return kept


def machine_sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """Debian's archives as this machine reaches them.

    Raises :class:`LabError` when the machine has none for the hosts' release.
    """
    sources: list[Source] = []
    if (etc / "sources.list").is_file():
        sources += parse_list((etc / "sources.list").read_text())
    for file in sorted((etc / "sources.list.d").glob("*")):
        if file.suffix == ".sources":
            sources += parse_deb822(file.read_text())
        elif file.suffix == ".list":
            sources += parse_list(file.read_text())
    found = of_debian(sources)
    if not any(SUITE in source.suites for source in found):
        raise LabError(
            f"no source of Debian {SUITE} in {etc}", hint=f"The lab's hosts are Debian {SUITE}: name a mirror there."
        )
    return found


def mirror(sources: list[Source]) -> str:
    """The archive that holds the release itself."""
    return next(source.uri for source in sources if SUITE in source.suites)


def machine_settings() -> str:
    """The machine's apt settings that say how to reach the archives, in apt.conf form."""
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True).stdout
    return settings(dump, os.environ)


def settings(dump: str, environment: Mapping[str, str]) -> str:
    """Of an ``apt-config dump`` the lines that a host needs, and the environment's proxies where apt has none."""
    kept = [line for line in dump.splitlines() if _KEPT.match(line) and not line.endswith(' "";')]
    for scheme in ("http", "https"):
        proxy = environment.get(f"{scheme}_proxy")
        if proxy and not any(line.lower().startswith(f"acquire::{scheme}::proxy ") for line in kept):
            kept.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return "".join(f"{line}\n" for line in kept)
