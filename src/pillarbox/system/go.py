"""The machine's own way to Go modules: which proxies they come from, and which database their checksums are in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_REACHING = ("GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE")


def settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What is set on this machine: by ``environment``, else by ``go env -w``, whose file is read as Go reads it
    (https://pkg.go.dev/cmd/go#hdr-Environment_variables). Go itself need not be here."""
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/"), ".config"))
    file = Path(environment.get("GOENV") or home / "go" / "env")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    written = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    found = {name: environment.get(name) or written.get(name, "") for name in _REACHING}
    return {name: value for name, value in found.items() if value}


def conf(given: Mapping[str, str]) -> str:
    """The settings as the file that ``go env -w`` writes."""
    return "".join(f"{name}={value}\n" for name, value in sorted(given.items()))
