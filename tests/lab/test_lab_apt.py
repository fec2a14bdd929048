"""What hosts take over of the machine's apt configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillarbox.lab import apt
from pillarbox.lab.errors import LabError

DEB822 = """\
# a mirror
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
Enabled: no

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""


def test_deb822_of_debian() -> None:
    found = apt.of_debian(apt.parse_deb822(DEB822))
    assert [(each.uri, each.suites) for each in found] == [
        ("http://mirror.example/debian", ("bookworm", "bookworm-updates")),
        ("http://mirror.example/security", ("bookworm-security",)),
    ]
    assert apt.mirror(found) == "http://mirror.example/debian"
    assert apt.parse_deb822("\n".join(each.stanza() + "\n" for each in found)) == found


def test_one_line_form_and_third_parties() -> None:
    text = """
    # deb http://old.example/debian bookworm main
    deb [arch=amd64 trusted=yes] http://mirror.example/debian bookworm main contrib # ours
    deb-src http://mirror.example/debian bookworm main
    deb https://vendor.example/repo stable main
    deb https://vendor.example/debian bookworm stable
    """
    found = apt.of_debian(apt.parse_list(text))
    assert [each.uri for each in found] == ["http://mirror.example/debian"]
    assert found[0].options == (("Trusted", "yes"),)
    assert found[0].components == ("main",)


def test_a_machine_without_debian_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://mirror.example/debian trixie main\n")
    with pytest.raises(LabError, match="no source of Debian bookworm"):
        apt.machine_sources(tmp_path)


def test_settings_that_reach_the_mirror_are_kept() -> None:
    dump = "\n".join(
        [
            'Acquire "";',
            'Acquire::http "";',
            'Acquire::http::Proxy "http://proxy.example:3128";',
            'Acquire::Check-Valid-Until "false";',
            'Acquire::Languages:: "none";',
            'Acquire::IndexTargets::deb::Packages::Optional "0";',
        ]
    )
    environment = {"http_proxy": "http://other.example", "https_proxy": "http://secure.example"}
    assert apt.settings(dump, environment).splitlines() == [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::https::Proxy "http://secure.example";',
    ]
