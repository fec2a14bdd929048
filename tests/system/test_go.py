"""Where modules come from: the environment first, then the file of `go env -w`; nothing else that is set there."""

from __future__ import annotations

from pathlib import Path

from pillarbox.system import go


def test_settings_are_those_of_the_environment_and_of_gos_own_file(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert go.settings(home) == {}
    file = tmp_path / ".config/go/env"
    file.parent.mkdir(parents=True)
    file.write_text("# own\nGOPROXY=https://a.example,direct\nGOFLAGS=-buildvcs=false\nGOSUMDB=off\n")
    assert go.settings(home) == {"GOPROXY": "https://a.example,direct", "GOSUMDB": "off"}
    assert go.settings({**home, "GOPROXY": "https://b.example"})["GOPROXY"] == "https://b.example"
    other = tmp_path / "other"
    other.write_text("GOPRIVATE=example.com\n")
    assert go.settings({**home, "GOENV": str(other)}) == {"GOPRIVATE": "example.com"}
    assert go.conf({"GOSUMDB": "off", "GOPROXY": "x"}) == "GOPROXY=x\nGOSUMDB=off\n"
