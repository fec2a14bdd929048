"""What comes out of a container."""

from __future__ import annotations

from pillarbox.system.execution import LineSplitter


def test_lines_come_whole_however_they_are_cut() -> None:
    said: list[str] = []
    lines = LineSplitter(said.append)
    for part in (b"a", b"b\nc", "ü".encode()[:1], "ü".encode()[1:], b"\r\n", b"end"):
        lines.feed(part)
    lines.close()
    assert said == ["ab", "cü", "end"]
    assert lines.data == "ab\ncü\r\nend".encode()
