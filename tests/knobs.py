"""The reference model for a test of one's own: a copy of it, and its knobs."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = "classes/cluster/lab/init.yml"


def copy(model: Path, *parts: str) -> Path:
    """Copy these directories of the reference model to ``model``, which has none of them yet; that directory."""
    for part in parts:
        shutil.copytree(ROOT / part, model / part)
    return model


def turn(model: Path, line: str, other: str) -> None:
    """Put another line in the place of one, which the knobs of a copy of the reference model must have once."""
    file = model / FILE
    text = file.read_text()
    assert text.count(line) == 1
    file.write_text(text.replace(line, other))


def three_masters(model: Path) -> None:
    """Have a copy of the reference model three masters, as docs/how-to/topology.md says."""
    for name in ("kmst02", "kmst03"):
        shutil.copy2(model / "nodes/hosts/kmst01.yml", model / f"nodes/hosts/{name}.yml")
    turn(model, "kubernetes_masters: single", "kubernetes_masters: cluster")
