"""What hosts and builds take over of the machine's apt configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillarbox.system import apt

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
LIST = """
# deb http://old.example/debian bookworm main
deb [arch=amd64 trusted=yes] http://mirror.example/debian bookworm main contrib # ours
deb-src http://mirror.example/debian bookworm main
deb https://vendor.example/repo stable main
deb https://vendor.example/debian bookworm stable
"""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_deb822_of_debian(etc: Path) -> None:
    (etc / "sources.list.d" / "debian.sources").write_text(DEB822)
    found = apt.sources("bookworm", etc=etc, own="bookworm")
    assert [(each.uri, each.suites) for each in found] == [
        ("http://mirror.example/debian", ("bookworm", "bookworm-updates")),
        ("http://mirror.example/security", ("bookworm-security",)),
    ]
    assert apt.mirror(found, "bookworm") == apt.Source("http://mirror.example/debian", ("bookworm",), ("main",))
    assert apt.parse_deb822("\n".join(each.stanza() + "\n" for each in found)) == list(found)


def test_one_line_form_and_third_parties(etc: Path) -> None:
    (etc / "sources.list").write_text(LIST)
    found = apt.sources("bookworm", etc=etc, own="bookworm")
    assert found == (apt.Source("http://mirror.example/debian", ("bookworm",), ("main",), trusted=True),)
    assert apt.parse_list("".join(each.lines() for each in found)) == list(found)


def test_another_release_comes_from_where_the_machine_gets_its_own(etc: Path) -> None:
    (etc / "sources.list.d" / "debian.sources").write_text(DEB822)
    found = apt.sources("trixie", ("main", "contrib"), etc=etc, own="bookworm")
    assert [(each.uri, each.suites, each.components) for each in found] == [
        ("http://mirror.example/debian", ("trixie", "trixie-updates"), ("main", "contrib")),
        ("http://mirror.example/security", ("trixie-security",), ("main", "contrib")),
    ]


def test_a_source_of_the_release_itself_comes_before_that(etc: Path) -> None:
    (etc / "sources.list").write_text(f"{LIST}deb http://new.example/debian trixie main\n")
    assert [each.uri for each in apt.sources("trixie", etc=etc, own="bookworm")] == ["http://new.example/debian"]


def test_a_machine_without_debian_is_told_so(etc: Path) -> None:
    (etc / "sources.list").write_text("deb http://mirror.example/debian trixie main\n")
    with pytest.raises(apt.AptError, match="no source of Debian bookworm"):
        apt.sources("bookworm", etc=etc, own="noble")


def test_settings_that_reach_the_mirror_are_kept() -> None:
    dump = "\n".join(
        [
            "Acquire ",
            "Acquire::http ",
            "Acquire::http::Proxy http://proxy.example:3128",
            "Acquire::http::Proxy-Auto-Detect /usr/bin/of-this-machine",
            "Acquire::Check-Valid-Until false",
            "Acquire::Languages:: none",
            "Acquire::IndexTargets::deb::Packages::Optional 0",
        ]
    )
    environment = {"http_proxy": "http://other.example", "https_proxy": "http://secure.example"}
    assert apt.conf(apt.reaching(dump, environment)).splitlines() == [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::https::Proxy "http://secure.example";',
    ]


def test_the_machines_own_settings_and_proxies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "apt.conf"
    config.write_text('Acquire::http::Proxy "http://proxy.example:3128"; Acquire::https::Proxy "DIRECT";\n')
    monkeypatch.setenv("APT_CONFIG", str(config))
    assert apt.settings()["Acquire::http::Proxy"] == "http://proxy.example:3128"
    assert apt.fetching() == {"http_proxy": "http://proxy.example:3128"}


@pytest.mark.parametrize(
    ("text", "away"),
    [
        ("E: Failed to fetch http://x/InRelease  Could not connect to x:80. - connect (111: Connection refused)", True),
        ("E: Failed to fetch http://x/InRelease  Temporary failure resolving 'x'", True),
        ("wget: unable to resolve host address 'x'", True),
        ("Connecting to x... failed: Connection refused.", True),
        ("E: Failed to fetch http://x/a.deb  503  Service Unavailable [IP: 192.0.2.1 80]", True),
        ("E: Failed to fetch http://x/InRelease  502  Bad Gateway: http://x: no address [IP: ::1 3142]", True),
        ("ERROR 502: Bad Gateway: http://x/InRelease: no address.", True),
        ("E: Unable to locate package nothing", False),
        ("E: Failed to fetch http://x/InRelease  404  Not Found [IP: 192.0.2.1 80]", False),
        ("E: The repository 'http://x sid Release' is not signed.", False),
    ],
)
def test_an_archive_that_is_away_is_told_from_one_that_lacks_something(text: str, away: bool) -> None:
    assert apt.unreachable(text) is away
