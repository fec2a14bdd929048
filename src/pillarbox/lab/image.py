"""The image that every host starts from: a Debian with systemd and Salt's minion, and nothing that has a role."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from pillarbox.lab import digest, wheels
from pillarbox.lab.engine import LabEngine
from pillarbox.lab.errors import LabError
from pillarbox.lab.settings import LabSettings
from pillarbox.system import apt, debootstrap, files, go
from pillarbox.system.command import run, tail
from pillarbox.system.engine import Commit
from pillarbox.system.execution import owned_by_root

SUITE = "bookworm"
REPOSITORY = "pillarbox-lab/host"
BASE_REPOSITORY = "pillarbox-lab/debian"
INIT = "/usr/local/sbin/lab-init"
_LABEL = "pillarbox.lab.image"


def base_key(settings: LabSettings) -> str:
    """The key of the Debian tree: its packages, and where this machine gets Debian and Go modules from."""
    sources = "".join(source.stanza() for source in apt.sources(SUITE))
    reached = apt.conf(apt.settings()) + go.conf(go.settings())
    return digest.of_text("\n".join(_packages(settings)), sources, reached, "3")


def key(settings: LabSettings) -> str:
    """The key of the host image: the Debian tree, Salt's wheels, and the files that make a host of them.

    Not ci/bootstrap, which is brought to each host and run there when it changes.
    """
    host = [settings.checkout / "ci" / "host"]
    return digest.of_text(base_key(settings), wheels.key(settings), digest.of_files(settings.checkout, host))


def tag(settings: LabSettings) -> str:
    return f"{REPOSITORY}:{key(settings)}"


def exists(engine: LabEngine, reference: str) -> bool:
    return engine.image(reference) is not None


def debian(settings: LabSettings, say: Callable[[str], None]) -> Path:
    """The Debian tree as a tar file in the cache, made by debootstrap on first use."""
    archive = settings.cache / "debian" / f"{SUITE}-{base_key(settings)}.tar"
    if archive.is_file():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    for old in archive.parent.glob("*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    sources = apt.sources(SUITE)
    mirror = apt.mirror(sources, SUITE)
    with tempfile.TemporaryDirectory(prefix=files.NEW, dir=archive.parent, ignore_cleanup_errors=True) as scratch:
        root, packed = Path(scratch, "root"), Path(scratch, "tar")
        names = [0]
        say(f"Debian: fetching {SUITE} from {mirror.uri}")

        def follow(line: str) -> None:
            if line.startswith("I: Configuring"):
                names[0] += 1
                if names[0] % 40 == 0:
                    say(f"Debian: {line.removeprefix('I: ').strip(' .').lower()} ({names[0]} packages)")
            elif line.startswith("I: ") and line.split()[1] in ("Extracting", "Unpacking") and "the base" in line:
                say(f"Debian: {line.removeprefix('I: ').lower()}")

        log = settings.root / "debootstrap.log"
        debootstrap.bootstrap(root, mirror, _packages(settings), log=log, on_line=follow)
        configure(root, sources)
        say("Debian: packing")
        run(["tar", "--numeric-owner", "--one-file-system", "-C", root, "-cf", packed, "."])
        files.adopt(packed, archive)
    return archive


def build(settings: LabSettings, engine: LabEngine, archive: Path, wheelhouse: Path, say: Callable[[str], None]) -> str:
    """The host image in the engine, built if it is not there; returns its reference."""
    reference = tag(settings)
    if exists(engine, reference):
        return reference
    base = f"{BASE_REPOSITORY}:{base_key(settings)}"
    if not exists(engine, base):
        say("host image: importing Debian")
        with open(archive, "rb") as data:
            engine.load_root(iter(lambda: data.read(1 << 20), b""), BASE_REPOSITORY, base_key(settings), {})
    name = f"pillarbox-lab-image-{key(settings)}"
    engine.remove_container(name)
    # Everything comes from the wheelhouse: what the host image is made of does not depend on a network.
    with engine.container(base, name, {_LABEL: "build"}) as container:
        say("host image: installing Salt and Pillarbox's dependencies")
        _copy(engine, container, settings, wheelhouse)
        required = ["--no-index", "--find-links", "/opt/wheels", *wheels.requirements(settings.checkout)]
        done = engine.run(container, ["/usr/local/sbin/pillarbox-bootstrap", "install", *required])
        if done.code != 0:
            raise LabError(f"installing Salt into the host image failed:\n{tail(done.out + done.err)}")
        engine.run(container, ["rm", "-rf", "/opt/wheels", "/root/.cache"])
        say("host image: storing")
        engine.commit(container, REPOSITORY, key(settings), Commit({_LABEL: "host"}, (INIT,), ("container=docker",)))
    return reference


def remove(engine: LabEngine) -> None:
    """Delete the images of hosts, old ones too."""
    for container in engine.containers({_LABEL: "build"}, ""):
        engine.remove_container(container)
    for repository in (REPOSITORY, BASE_REPOSITORY):
        for name in engine.names(f"{repository}:"):
            engine.remove_image(name)


def _packages(settings: LabSettings) -> list[str]:
    lines = (settings.checkout / "ci" / "host" / "packages").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def configure(root: Path, sources: tuple[apt.Source, ...]) -> None:
    """Let a new Debian tree reach what this machine does: its mirrors, module proxy and authorities."""
    etc = root / "etc" / "apt"
    (etc / "sources.list").unlink(missing_ok=True)
    (etc / "sources.list.d" / "debian.sources").write_text("\n".join(source.stanza() for source in sources))
    (etc / "apt.conf.d" / "90machine").write_text(apt.conf(apt.settings()))
    if reached := go.settings():
        file = root / "root" / ".config" / "go" / "env"
        file.parent.mkdir(parents=True)
        file.write_text(go.conf(reached))
    shutil.rmtree(root / "var" / "cache" / "apt" / "archives", ignore_errors=True)
    for directory in (root / "var" / "lib" / "apt" / "lists", root / "var" / "cache" / "apt" / "archives"):
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "partial").mkdir(parents=True)
    # By this time Salt judges whether the package lists are fresh; these are empty.
    os.utime(root / "var" / "lib" / "apt" / "lists", (0, 0))
    # Each host makes its own at its first start.
    (root / "etc" / "machine-id").write_text("")
    (root / "etc" / "hostname").unlink(missing_ok=True)
    (root / "etc" / "resolv.conf").unlink(missing_ok=True)
    # The machine's additional authorities: its mirror may be signed by one.
    extra = Path("/usr/local/share/ca-certificates")
    found = sorted(extra.rglob("*.crt")) if extra.is_dir() else []
    if found:
        for file in found:
            shutil.copy2(file, root / "usr" / "local" / "share" / "ca-certificates" / file.name)
        subprocess.run(["chroot", str(root), "update-ca-certificates"], capture_output=True, check=False)


def _copy(engine: LabEngine, container: str, settings: LabSettings, wheelhouse: Path) -> None:
    ci = settings.checkout / "ci"
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(wheelhouse, "opt/wheels", filter=owned_by_root)
            archive.add(ci / "host" / "lab-init", INIT.lstrip("/"), filter=owned_by_root)
            archive.add(ci / "bootstrap", "usr/local/sbin/pillarbox-bootstrap", filter=owned_by_root)
        file.seek(0)
        engine.copy_in(container, "/", file)
