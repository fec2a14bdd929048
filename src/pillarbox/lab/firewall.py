"""Packets of a lab whose engine is private: in and out of its network, with rules that carry the lab's name.

The machine's own engine, where there is one, does this by itself. The private one must not: engines share their
chains' names, and each rebuilds them at its start.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable

from pillarbox.lab.settings import LabSettings
from pillarbox.system.command import run


def mark(settings: LabSettings) -> str:
    """The comment that the lab's rules carry."""
    return f"pillarbox lab {settings.name}"


def rules(settings: LabSettings, bridge: str, subnet: str) -> list[list[str]]:
    """The rules, as arguments of iptables after the command: hosts reach each other and the world, which may answer."""
    comment = ["-m", "comment", "--comment", mark(settings)]
    return [
        ["-t", "nat", "POSTROUTING", "-s", subnet, "!", "-o", bridge, *comment, "-j", "MASQUERADE"],
        ["-t", "filter", "FORWARD", "-i", bridge, *comment, "-j", "ACCEPT"],
        ["-t", "filter", "FORWARD", "-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", *comment,
         "-j", "ACCEPT"],
    ]  # fmt: skip


def open_for(settings: LabSettings, bridge: str, subnet: str) -> None:
    """Put the lab's rules in, before all others, unless they are there."""
    present = _saved()
    wanted = rules(settings, bridge, subnet)
    marked = removals(present, mark(settings))
    # A network that was made again has another bridge.
    if len(marked) == len(wanted) and all(bridge in rule for rule in marked):
        return
    close(settings)
    for table, name, chain, *rule in wanted:
        run(["iptables", "--wait", table, name, "--insert", chain, *rule])


def close(settings: LabSettings) -> None:
    """Take the lab's rules out again."""
    for arguments in removals(_saved(), mark(settings)):
        run(["iptables", "--wait", *arguments])


def removals(saved: Iterable[str], comment: str) -> list[list[str]]:
    """What takes every rule with ``comment`` out of an ``iptables-save``, as arguments of iptables."""
    found, table = [], ""
    for line in saved:
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith("-A "):
            words = shlex.split(line)
            if comment in words:
                found.append(["-t", table, "-D", *words[1:]])
    return found


def _saved() -> list[str]:
    try:
        return subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout.splitlines()
    except FileNotFoundError:
        return []
