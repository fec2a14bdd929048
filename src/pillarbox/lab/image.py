"""The image that every host starts from: a Debian with systemd and Salt's minion, and nothing that has a role."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import docker
from docker.models.containers import Container

from pillarbox.lab import digest, wheels
from pillarbox.lab.engine import LabEngine
from pillarbox.lab.errors import LabError
from pillarbox.lab.settings import LabSettings
from pillarbox.system import apt, debootstrap
from pillarbox.system.command import run, tail

SUITE = "bookworm"
REPOSITORY = "pillarbox-lab/host"
BASE_REPOSITORY = "pillarbox-lab/debian"
INIT = "/usr/local/sbin/lab-init"
_LABEL = "pillarbox.lab.image"


def base_key(settings: LabSettings) -> str:
    """The key of the Debian tree: its packages and where this machine gets Debian from."""
    sources = "".join(source.stanza() for source in apt.sources(SUITE))
    return digest.of_text("\n".join(_packages(settings)), sources, apt.conf(apt.settings()), "2")


def key(settings: LabSettings) -> str:
    """The key of the host image: the Debian tree, Salt's wheels, and the files that make a host of them.

    Not ci/bootstrap, which is brought to each host and run there when it changes.
    """
    files = [settings.checkout / "ci" / "host"]
    return digest.of_text(base_key(settings), wheels.key(settings), digest.of_files(settings.checkout, files))


def tag(settings: LabSettings) -> str:
    return f"{REPOSITORY}:{key(settings)}"


def exists(engine: LabEngine, reference: str) -> bool:
    try:
        engine.client.images.get(reference)
    except docker.errors.ImageNotFound:
        return False
    return True


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
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=archive.parent))
    try:
        root = scratch / "root"
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
        _configure(root, sources)
        say("Debian: packing")
        run(["tar", "--numeric-owner", "--one-file-system", "-C", root, "-cf", scratch / "tar", "."])
        (scratch / "tar").rename(archive)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return archive


def build(settings: LabSettings, engine: LabEngine, archive: Path, wheelhouse: Path, say: Callable[[str], None]) -> str:
    """The host image in the engine, built if it is not there; returns its reference."""
    reference = tag(settings)
    if exists(engine, reference):
        return reference
    base = f"{BASE_REPOSITORY}:{base_key(settings)}"
    if not exists(engine, base):
        say("host image: importing Debian")
        engine.client.api.import_image_from_file(str(archive), repository=BASE_REPOSITORY, tag=base.split(":")[1])
    name = f"pillarbox-lab-image-{key(settings)}"
    _remove(engine, name)
    # Everything comes from the wheelhouse: what the host image is made of does not depend on a network.
    container = engine.client.containers.create(
        base, ["sleep", "3600"], name=name, network_mode="none", labels={_LABEL: "build"}, working_dir="/"
    )
    try:
        say("host image: installing Salt and Pillarbox's dependencies")
        container.start()
        _copy(container, settings, wheelhouse)
        required = ["--no-index", "--find-links", "/opt/wheels", *wheels.requirements(settings.checkout)]
        code, output = container.exec_run(["/usr/local/sbin/pillarbox-bootstrap", "install", *required])
        if code != 0:
            raise LabError(f"installing Salt into the host image failed:\n{tail(output.decode(errors='replace'))}")
        container.exec_run(["rm", "-rf", "/opt/wheels", "/root/.cache"])
        container.stop(timeout=0)
        say("host image: storing")
        changes = f'CMD ["{INIT}"]\nENV container=docker\nLABEL {_LABEL}=host'
        container.commit(repository=REPOSITORY, tag=reference.split(":")[1], changes=changes)
    except docker.errors.APIError as error:
        raise LabError(f"building the host image failed: {error.explanation or error}") from error
    finally:
        _remove(engine, name)
    return reference


def remove(engine: LabEngine) -> None:
    """Delete the images of hosts, old ones too."""
    for container in engine.client.containers.list(all=True, filters={"label": f"{_LABEL}=build"}):
        container.remove(force=True, v=True)
    for repository in (REPOSITORY, BASE_REPOSITORY):
        for image in engine.client.images.list(repository):
            for each in image.tags:
                if each.startswith(f"{repository}:"):
                    engine.client.images.remove(each, force=True)


def _packages(settings: LabSettings) -> list[str]:
    lines = (settings.checkout / "ci" / "host" / "packages").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _configure(root: Path, sources: tuple[apt.Source, ...]) -> None:
    etc = root / "etc" / "apt"
    (etc / "sources.list").unlink(missing_ok=True)
    (etc / "sources.list.d" / "debian.sources").write_text("\n".join(source.stanza() for source in sources))
    (etc / "apt.conf.d" / "90machine").write_text(apt.conf(apt.settings()))
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


def _copy(container: Container, settings: LabSettings, wheelhouse: Path) -> None:
    ci = settings.checkout / "ci"
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(wheelhouse, "opt/wheels", filter=_root)
            archive.add(ci / "host" / "lab-init", INIT.lstrip("/"), filter=_root)
            archive.add(ci / "bootstrap", "usr/local/sbin/pillarbox-bootstrap", filter=_root)
        file.seek(0)
        container.put_archive("/", file)


def _root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _remove(engine: LabEngine, name: str) -> None:
    with contextlib.suppress(docker.errors.NotFound):
        engine.client.containers.get(name).remove(force=True, v=True)
