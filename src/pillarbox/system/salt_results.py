"""What Salt says when it has applied states."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.system.command import tail

# "Executing state file.managed for [x]", as Salt logs at level info.
_EXECUTING = re.compile(r"Executing state (\S+) for \[(.*)\]$")
_REQUISITE = "One or more requisite failed"


@dataclass(frozen=True)
class FailedState:
    """A state that failed: its id, its SLS, its comment, and the end of what its command wrote."""

    id: str
    sls: str
    comment: str
    output: str = ""

    def __str__(self) -> str:
        return "\n".join(each for each in (self.comment, self.output) if each)


@dataclass(frozen=True)
class StateResults:
    """One host's states: how many there are, how many changed something, which failed, in the order they ran.

    States that did not run because another one failed count as ``skipped``; ``failed`` names them only where nothing
    else did. ``error`` is what Salt reported where it could not even begin.
    """

    total: int = 0
    changed: int = 0
    failed: tuple[FailedState, ...] = ()
    skipped: int = 0
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.error is None and not self.failed

    def summary(self) -> str:
        text = f"{self.total} states, {self.changed} changed"
        return f"{text}, {len(self.failed)} failed" if self.failed else text

    def failures(self) -> str:
        """Why not all is well, one paragraph each."""
        found = [f"{each.id}: {each}" for each in self.failed] if self.error is None else [self.error]
        return "\n".join("  " + text.replace("\n", "\n    ") for text in found)


def read(returned: object) -> StateResults:
    """Read what ``state.apply`` or ``state.highstate`` returned for one host.

    Anything but a mapping of states is Salt's way to say that it could not even begin.
    """
    if not isinstance(returned, Mapping):
        lines = returned if isinstance(returned, list) else [returned]
        return StateResults(error="\n".join(map(str, lines)))
    if not returned:
        return StateResults(error="there is no state to apply")
    if broken := [f"{key}: {state}" for key, state in returned.items() if not isinstance(state, Mapping)]:
        return StateResults(error="\n".join(broken))
    # Outside test mode nothing but true is a success.
    failed = {key: state for key, state in returned.items() if state.get("result") is not True}
    own = {key: state for key, state in failed.items() if not str(state.get("comment", "")).startswith(_REQUISITE)}
    changed = sum(1 for key, state in returned.items() if key not in failed and state.get("changes"))
    ordered = sorted((own or failed).items(), key=lambda item: item[1].get("__run_num__", 0))
    found = tuple(_failed(str(key), state) for key, state in ordered)
    return StateResults(len(returned), changed, found, len(failed) - len(found))


def parse(text: str, host: str) -> StateResults | None:
    """The results in the JSON that ``salt``, ``salt-run`` or ``salt-call`` printed, for ``host`` (or ``local``).

    Nothing where the text holds none: the program was cut off, or had something else to say.
    """
    start = text.find("{")
    try:
        document: Any = json.loads(text[start:]) if start >= 0 else None
    except json.JSONDecodeError:
        return None
    if not isinstance(document, Mapping) or not (host in document or "local" in document):
        return None
    returned = document.get(host, document.get("local"))
    if isinstance(returned, Mapping) and "ret" in returned and "retcode" in returned:
        returned = returned["ret"]
    return read(returned)


def executing(line: str) -> str | None:
    """``file.managed /etc/hosts`` of a log line that says so."""
    match = _EXECUTING.search(line)
    return f"{match[1]} {match[2]}" if match else None


def _failed(key: str, state: Mapping[str, Any]) -> FailedState:
    name, sls = str(state.get("__id__") or key), str(state.get("__sls__") or "?")
    return FailedState(name, sls, str(state.get("comment") or "").strip(), "\n".join(_output(state)))


def _output(state: Mapping[str, Any]) -> Iterator[str]:
    changes = state.get("changes")
    for name in ("stdout", "stderr"):
        if isinstance(changes, Mapping) and changes.get(name):
            yield tail(str(changes[name]))
