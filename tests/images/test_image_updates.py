"""Which images have newer packages: a real registry, a real archive served on this machine, and this machine's apt."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.images.conftest import push

from pillarbox.cli import pillarbox
from pillarbox.images import updates
from pillarbox.system import apt, archive
from pillarbox.system import command as programs

DATABASE = """\
Package: libssl3
Status: install ok installed
Architecture: amd64
Version: 3.0.11-1~deb12u2

Package: memcached
Status: install ok installed
Architecture: amd64
Version: 1.6.18-1
Description: cache
 Version: 9

Package: tzdata
Status: install ok installed
Architecture: all
Version: 2024a-0+deb12u1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: pillarbox-left-out
Status: install ok installed
Architecture: all
Version: 1
"""
OFFERED = {
    "bookworm": {"libssl3": "3.0.11-1~deb12u2", "memcached": "1.6.18-1", "tzdata": "2025b-0+deb12u1", "gone": "2"},
    "bookworm-security": {"libssl3": "3.0.17-1~deb12u3", "memcached": "1.6.9-1"},
}

pytestmark = pytest.mark.skipif(shutil.which("apt-cache") is None, reason="needs apt")


def apt_architecture() -> str:
    return programs.run(["dpkg", "--print-architecture"]).strip()


class Silent(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing of it: what the command prints is looked at."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An archive of Debian 12 with its security updates, which this machine believes without a signature."""
    for suite, packages in OFFERED.items():
        index = "".join(
            f"Package: {name}\nArchitecture: {apt_architecture()}\nVersion: {version}\nSize: 1\nFilename: {name}.deb\n"
            f"SHA256: {'0' * 64}\n\n"
            for name, version in packages.items()
        ).encode()
        folder = tmp_path / "debian" / "dists" / suite
        name = f"main/binary-{apt_architecture()}/Packages"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(index)
        (folder / "Release").write_text(
            f"Suite: {suite}\nCodename: {suite}\nComponents: main\nArchitectures: {apt_architecture()}\n"
            # A snapshot of an archive has expired.
            "Date: Mon, 01 Jan 2024 00:00:00 UTC\nValid-Until: Mon, 08 Jan 2024 00:00:00 UTC\n"
            f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} {name}\n"
        )
    settings = tmp_path / "apt.conf"
    settings.write_text('Acquire::AllowInsecureRepositories "true";\n')
    monkeypatch.setenv("APT_CONFIG", str(settings))
    handler = functools.partial(Silent, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/debian"
        server.shutdown()


def layer(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(packed.getvalue())


@pytest.fixture
def toy(make_toy: Callable[..., Any], registry: str, mirror: str) -> Any:
    toy = make_toy(registry)
    toy.image["packages"] = {
        "suite": "bookworm", "components": ["main"], "mirror": mirror, "security_mirror": mirror, "state": "2024-01-01",
    }  # fmt: skip
    return toy


def in_registry(toy: Any) -> None:
    """The image of the toy, as a build pushes it: base, packages, configuration."""
    spec = toy.spec()
    layers = [
        layer({"var/lib/dpkg/status": "Package: base\nStatus: install ok installed\nVersion: 0\n"}),
        layer({"usr/bin/memcached": "", "var/lib/dpkg/status": DATABASE}),
        layer({"etc/toy/toy.conf": "x"}),
    ]
    push(spec.registry, spec.repository, spec.tag, {"config": {}}, layers=layers)


def run(toy: Any, *arguments: str) -> tuple[int, str]:
    command = ["--model", str(toy.path), "images", "updates", *arguments]
    done = CliRunner().invoke(pillarbox, command, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return int(done.return_value), done.output


def test_newer_packages_are_named_security_updates_first(toy: Any) -> None:
    in_registry(toy)
    code, output = run(toy)
    assert code == 1
    assert output.splitlines() == [
        "toy-server: 2 packages are newer, 1 of them for security",
        "  libssl3 3.0.11-1~deb12u2 -> 3.0.17-1~deb12u3  security",
        "  tzdata 2024a-0+deb12u1 -> 2025b-0+deb12u1",
    ]
    code, output = run(toy, "--security", "--format", "json", "toy-server")
    assert code == 1
    (image,) = json.loads(output)
    assert (image["image"], image["built"]) == ("toy-server", True)
    assert [each["package"] for each in image["packages"]] == ["libssl3"]


def test_an_image_that_is_not_built_is_not_up_to_date(toy: Any) -> None:
    toy.pillar["toy"]["server"]["limit"] = 31
    toy.spec()
    assert run(toy) == (1, "toy-server: not built\n")


def test_what_is_up_to_date_is(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.pillar["toy"]["server"]["limit"] = 32
    newest = DATABASE.replace("3.0.11-1~deb12u2", "3.0.17-1~deb12u3").replace("2024a", "2025b")
    spec = toy.spec()
    push(spec.registry, spec.repository, spec.tag, {"config": {}}, layers=[layer({"./var/lib/dpkg/status": newest})])
    assert run(toy) == (0, "toy-server: up to date\n")


def test_an_archive_that_is_away_is_no_archive_without_updates(toy: Any, tmp_path: Path) -> None:
    in_registry(toy)
    shutil.rmtree(tmp_path / "debian" / "dists" / "bookworm-security")
    with pytest.raises(apt.AptError, match="indexes cannot be fetched"):
        run(toy)


def test_versions_are_compared_as_dpkg_does() -> None:
    assert archive.newer("1:0.9", "2.0") and not archive.newer("1.0~rc1", "1.0")
    assert not archive.newer("1.0", "1.0")


def test_what_is_not_installed_is_not_looked_for() -> None:
    assert updates.installed(DATABASE) == {
        "libssl3": "3.0.11-1~deb12u2",
        "memcached": "1.6.18-1",
        "tzdata": "2024a-0+deb12u1",
        "pillarbox-left-out": "1",
    }
