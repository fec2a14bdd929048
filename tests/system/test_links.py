"""Where links lead, against what the file system says of the same links."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.system import links

NAMES = st.sampled_from(["a", "b", "c"])
TARGETS = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=4).map("/".join)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), TARGETS | st.none(), max_size=8)


def lay(root: Path, tree: dict[str, str | None]) -> dict[str, str]:
    """Write what of ``tree`` fits on a disk: links, and files where there is no target; the links written."""
    written = {}
    for path, target in tree.items():
        parents = [root.joinpath(*path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)]
        file = root / path
        if any(parent.is_symlink() or parent.is_file() for parent in parents) or file.is_symlink() or file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        if target is None:
            file.write_text(path)
        else:
            file.symlink_to(target)
            written[path] = target
    return written


@given(TREES)
def test_links_lead_where_the_file_system_says(tree: dict[str, str | None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = (Path(folder) / "root").resolve()
        root.mkdir()
        known = lay(root, tree)
        for path in known:
            try:
                found = links.destination(path, known)
            except links.LeadsOut:
                assert not (root / path).exists() or not (root / path).resolve().is_relative_to(root)
            except links.LeadsNowhere:
                with pytest.raises((OSError, RuntimeError)):
                    (root / path).stat()
            else:
                try:
                    # Resolving alone lets `file/..` pass; the file system does not.
                    (root / path).stat()
                    expected = (root / path).resolve(strict=True)
                except OSError:
                    continue
                assert root / found == expected
                folders = {str(each.relative_to(root)) for each in root.rglob("*") if each.is_dir()}
                assert links.destination(path, known, folders) == found


@pytest.mark.parametrize("target", ["/", "/etc/passwd", "..", "a/../../x", "loop/../.."])
def test_what_leads_out_is_said(target: str) -> None:
    with pytest.raises(links.LeadsOut):
        links.destination("link", {"link": target})


def test_a_circle_is_said() -> None:
    with pytest.raises(links.LeadsNowhere):
        links.destination("a", {"a": "b", "b": "c/../a"})
