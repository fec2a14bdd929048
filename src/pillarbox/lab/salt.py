"""What Salt says when it has applied states."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# "Running state [x] at time ..." and "Executing state file.managed for [x]", as Salt logs at level info.
_EXECUTING = re.compile(r"Executing state (\S+) for \[(.*)\]$")


@dataclass(frozen=True)
class Outcome:
    """A host's highstate: how many states it has, how many changed something, and what failed (state and comment)."""

    total: int
    changed: int
    failed: tuple[tuple[str, str], ...]

    @property
    def ok(self) -> bool:
        return not self.failed

    def summary(self) -> str:
        text = f"{self.total} states, {self.changed} changed"
        return f"{text}, {len(self.failed)} failed" if self.failed else text

    def told(self) -> str:
        """The failures, one paragraph each."""
        return "\n".join(f"  {state}: {_indent(comment)}" for state, comment in self.failed)


def outcome(returned: object) -> Outcome:
    """Read what ``state.apply`` or ``state.highstate`` returned for one host.

    Anything but a mapping of states is Salt's way to say that it could not even begin.
    """
    if not isinstance(returned, Mapping) or not returned:
        told = returned if isinstance(returned, list) else [returned]
        return Outcome(0, 0, (("highstate", "\n".join(str(each) for each in told)),))
    failed, changed = [], 0
    for key, state in returned.items():
        if not isinstance(state, Mapping):
            failed.append((str(key), str(state)))
            continue
        if state.get("result") is False and not _only_required(state):
            failed.append((_name(key, state), _comment(state)))
        elif state.get("changes"):
            changed += 1
    if not failed and any(isinstance(s, Mapping) and s.get("result") is False for s in returned.values()):
        failed = [(_name(k, s), _comment(s)) for k, s in returned.items() if s.get("result") is False]
    return Outcome(len(returned), changed, tuple(failed))


def parse(text: str, host: str) -> Outcome:
    """The outcome in the JSON that ``salt`` or ``salt-call`` printed, for ``host`` (or ``local``)."""
    start = text.find("{")
    try:
        document: Any = json.loads(text[start:]) if start >= 0 else text.strip()
    except json.JSONDecodeError:
        return Outcome(0, 0, (("highstate", text.strip()),))
    if isinstance(document, Mapping):
        document = document.get(host, document.get("local", document))
    if isinstance(document, Mapping) and "ret" in document and "retcode" in document:
        document = document["ret"]
    return outcome(document)


def executing(line: str) -> str | None:
    """``file.managed /etc/hosts`` of a log line that says so."""
    match = _EXECUTING.search(line)
    return f"{match[1]} {match[2]}" if match else None


def _name(key: object, state: Mapping[str, Any]) -> str:
    return str(state.get("__id__") or key)


def _comment(state: Mapping[str, Any]) -> str:
    comment = str(state.get("comment") or "").strip()
    changes = state.get("changes")
    if isinstance(changes, Mapping) and (changes.get("stderr") or changes.get("stdout")):
        comment += f"\n{changes.get('stderr') or changes.get('stdout')}"
    return comment


def _only_required(state: Mapping[str, Any]) -> bool:
    # Such a state did not run: what it required is listed with its own comment.
    return str(state.get("comment", "")).startswith("One or more requisite failed")


def _indent(text: str) -> str:
    return text.replace("\n", "\n    ")
