"""The machine's own way to packages: where its apt gets Debian from, through which proxies, with which checks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pillarbox.system.command import run
from pillarbox.system.errors import PillarboxError

# What decides how an archive is reached; where apt stores things and what it indexes is each system's own business.
_REACHING = re.compile(r"Acquire::(https?|ftp|Retries|Check-|AllowInsecure|AllowWeak|ForceIPv|Max-)", re.IGNORECASE)
# Names a program of the machine.
_DETECTED = re.compile(r"Proxy-?Auto-?Detect$", re.IGNORECASE)
# How apt and wget say that an archive, or the way there, is away; not that it lacks something.
_UNREACHABLE = re.compile(
    r"temporary failure (resolving|in name resolution)|could not connect to|cannot initiate the connection"
    r"|connection (timed out|failed|refused|reset)|network is unreachable|no route to host"
    r"|unable to resolve host address|50[234]:? +(bad gateway|service unavailable|gateway time)",
    re.IGNORECASE,
)


class AptError(PillarboxError):
    """The machine has no apt, or its apt has no source of what is asked for."""


@dataclass(frozen=True)
class Source:
    """One archive: where it is, which suites and components it is asked for, whether it is trusted unsigned, and
    whether it is ``dated``: a snapshot, whose indexes may have expired."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    trusted: bool = False
    dated: bool = False

    def stanza(self) -> str:
        """The entry in deb822 form."""
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {' '.join(self.suites)}"]
        if self.components:
            lines.append(f"Components: {' '.join(self.components)}")
        if self.trusted:
            lines.append("Trusted: yes")
        if self.dated:
            lines.append("Check-Valid-Until: no")
        return "\n".join(lines) + "\n"

    def lines(self) -> str:
        """The entry in one-line form, a line for each suite."""
        options = [*(["trusted=yes"] if self.trusted else []), *(["check-valid-until=no"] if self.dated else [])]
        option = f"[{' '.join(options)}] " if options else ""
        return "".join(f"deb {option}{self.uri} {suite} {' '.join(self.components)}\n" for suite in self.suites)


def sources(
    release: str, components: tuple[str, ...] = ("main",), *, etc: Path = Path("/etc/apt"), own: str | None = None
) -> tuple[Source, ...]:
    """Where this machine gets the Debian ``release`` from, with its updates and security updates.

    Its sources of that very release, where it has one; else those of its ``own`` release (by default what os-release
    says), asked for the other. Raises :class:`AptError` where it has neither.
    """
    found = _configured(etc)
    for have in dict.fromkeys((release, own or codename())):
        if kept := list(_of(found, have, release, components)):
            return tuple(kept)
    raise AptError(
        f"{etc} has no source of Debian {release} with component main",
        hint="Name a mirror there: deb <address of the mirror> <release> main",
    )


def codename() -> str:
    """The name of the release that this machine runs."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("VERSION_CODENAME", "").strip('"')


def mirror(found: Iterable[Source], release: str) -> Source:
    """Of ``found`` the archive that holds the release itself."""
    return replace(next(source for source in found if release in source.suites), suites=(release,))


def _of(found: list[Source], have: str, wanted: str, components: tuple[str, ...]) -> Iterable[Source]:
    # An archive of somebody else never names its suites after Debian's with Debian's components.
    suites = {have: wanted, f"{have}-updates": f"{wanted}-updates", f"{have}-security": f"{wanted}-security"}
    kept = [source for source in found if "main" in source.components]
    if any(have in source.suites for source in kept):
        for source in kept:
            if named := tuple(suites[suite] for suite in source.suites if suite in suites):
                yield Source(source.uri, named, components, source.trusted)


def _configured(etc: Path) -> list[Source]:
    # Not `apt-get indextargets`, which knows only what was updated before.
    found: list[Source] = []
    if (etc / "sources.list").is_file():
        found += parse_list((etc / "sources.list").read_text())
    for file in sorted((etc / "sources.list.d").glob("*")):
        if file.suffix == ".sources":
            found += parse_deb822(file.read_text())
        elif file.suffix == ".list":
            found += parse_list(file.read_text())
    return found


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
        suites, components = fields.get("suites", "").split(), fields.get("components", "").split()
        for uri in fields.get("uris", "").split():
            found.append(Source(uri, tuple(suites), tuple(components), _trusted(fields)))
    return found


def parse_list(text: str) -> list[Source]:
    """The binary sources of a ``sources.list`` file."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match:
            options = dict(each.split("=", 1) for each in (match[1] or "").split() if "=" in each)
            found.append(Source(match[2], (match[3],), tuple(match[4].split()), _trusted(options)))
    return found


def _trusted(options: Mapping[str, str]) -> bool:
    # Of the options only trust can matter in another system; keys are Debian's own, which it brings.
    return options.get("trusted", "").lower() == "yes"


def settings() -> dict[str, str]:
    """The machine's apt settings that say how to reach archives; proxies of the environment where apt has none."""
    return reaching(run(["apt-config", "dump", "--format", "%F %v%n"]), os.environ)


def reaching(dump: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Of the lines ``name value`` those that another system on this machine needs to reach what this one does."""
    pairs = (line.partition(" ")[::2] for line in dump.splitlines())
    kept = {name: value for name, value in pairs if value and _REACHING.match(name) and not _DETECTED.search(name)}
    named = {name.lower() for name in kept}
    for scheme in ("http", "https"):
        proxy = environment.get(f"{scheme}_proxy")
        if proxy and f"acquire::{scheme}::proxy" not in named:
            kept[f"Acquire::{scheme}::Proxy"] = proxy
    return kept


def conf(found: Mapping[str, str]) -> str:
    """Settings in the form of apt.conf."""
    return "".join(f'{name} "{value}";\n' for name, value in found.items())


def unreachable(text: str) -> bool:
    """Whether a program that fetches packages failed because an archive was away, as its output ``text`` says."""
    return bool(_UNREACHABLE.search(text))


def fetching() -> dict[str, str]:
    """The proxies of apt as programs that are not apt know them: in the environment."""
    found = {}
    for name, value in settings().items():
        scheme = name.lower().removeprefix("acquire::").removesuffix("::proxy")
        if scheme in ("http", "https") and value != "DIRECT":
            found[f"{scheme}_proxy"] = value
    return found
