"""A kubeconfig that is none is an error of the person's, and shows nothing of what stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillarbox.rollout import Cluster, Unreachable


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe hunter2",
        b"[hunter2",
        b"hunter2",
        b"{}",
        b"contexts: hunter2",
        b"current-context: a\ncontexts: hunter2\nclusters: 1\nusers: 3\n",
        b"current-context: a\ncontexts: [{name: a, context: hunter2}]\nclusters: [1]\nusers: [{name: u}]\n",
    ],
)
def test_what_is_no_kubeconfig_is_said(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "kubeconfig"
    file.write_bytes(content)
    with pytest.raises(Unreachable, match="not a usable kubeconfig") as raised:
        Cluster(file)
    assert "hunter2" not in str(raised.value)
