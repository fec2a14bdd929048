"""Networks, settings, following, output of hosts."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from pillarbox.lab import digest, minions, network, parallel, settings, software
from pillarbox.lab.errors import LabError
from pillarbox.lab.following import Following


def test_collision_names_the_route() -> None:
    subnet = ipaddress.IPv4Network("172.30.20.0/24")
    assert network.colliding(subnet, ["default", "0.0.0.0/0", "10.0.0.0/8", "172.30.21.0/24"]) is None
    assert network.colliding(subnet, ["10.0.0.0/8", "172.16.0.0/12"]) == "172.16.0.0/12"
    assert network.colliding(subnet, ["172.30.20.128/25"]) == "172.30.20.128/25"
    assert network.colliding(subnet, ["172.30.20.7"]) == "172.30.20.7"


@pytest.mark.parametrize("name", ["", "-x", "x-", "UPPER", "a" * 40, "a/b", "a b"])
def test_names_no_container_can_have(name: str) -> None:
    if name:
        with pytest.raises(LabError, match="lab name"):
            settings.load(name)


def test_environment_decides_where_things_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PILLARBOX_LAB_DIR", str(tmp_path / "d"))
    monkeypatch.setenv("PILLARBOX_LAB_CACHE", str(tmp_path / "c"))
    found = settings.load("mine")
    assert found.state == tmp_path / "d" / "labs" / "mine"
    assert found.cache == tmp_path / "c"
    monkeypatch.setenv("PILLARBOX_LAB_ENGINE", "podman")
    with pytest.raises(LabError, match="auto, private, system"):
        settings.load("mine")


def test_parallel_waits_for_all_and_raises_together() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        if number % 2:
            raise LabError(f"odd {number}")
        return number

    assert parallel.each(work, [2, 4]) == [2, 4]
    with pytest.raises(LabError, match="odd 3"):
        parallel.each(work, [2, 3])
    with pytest.raises(Exception, match="odd 1\nodd 3"):
        parallel.each(work, [1, 2, 3])
    assert sorted(done) == [1, 2, 2, 2, 3, 3, 4]


def test_following_says_the_latest_and_does_not_flood() -> None:
    said: list[str] = []
    follow = Following(said.append, every=1000)
    for number in range(100):
        follow.note(str(number))
    assert said == []
    eager = Following(said.append, every=0, silence=0)
    eager.note("now")
    eager.tick()
    assert said[0] == "now" and said[1].startswith("now (for ")


def test_digest_of_files_tells_names_contents_and_modes_apart(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    keys = {digest.of_files(tmp_path, [file])}
    file.chmod(0o755)
    keys.add(digest.of_files(tmp_path, [file]))
    file.write_text("2")
    keys.add(digest.of_files(tmp_path, [file]))
    other = file.rename(tmp_path / "b")
    keys.add(digest.of_files(tmp_path, [other]))
    assert len(keys) == 4
    assert digest.of_text("ab", "c") != digest.of_text("a", "bc")


def test_fingerprint_ignores_how_a_key_file_is_written() -> None:
    key = "-----BEGIN PUBLIC KEY-----\nAAAA\nBBBB\n-----END PUBLIC KEY-----"
    assert minions.fingerprint(key) == minions.fingerprint(key.replace("\n", "\r\n") + "\n\n")
    assert minions.fingerprint(key) != minions.fingerprint(key.replace("BBBB", "BBBC"))


def test_wheels_that_a_host_lacks_are_found_by_name_and_version(tmp_path: Path) -> None:
    for name in ("salt-3008.4-py3-none-any.whl", "zope.interface-7.2-cp311-linux.whl", "tenacity-9.1-py3-none-any.whl"):
        (tmp_path / name).touch()
    installed = {("salt", "3008.3"), ("Zope_Interface", "7.2")}
    found = [file.name for file in software.missing(tmp_path, installed)]
    assert found == ["salt-3008.4-py3-none-any.whl", "tenacity-9.1-py3-none-any.whl"]
