"""The model repository on the master: reaching it over ssh, and the first push."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.models.containers import Container

from pillarbox.lab import copy, shell
from pillarbox.lab.errors import LabError
from pillarbox.lab.layout import Layout
from pillarbox.lab.settings import LabSettings
from pillarbox.model import Inventory
from pillarbox.system import environment, git
from pillarbox.system.command import run


@dataclass(frozen=True)
class LabRepository:
    """Where the model's repository is on the master, who owns it, and which branch is deployed."""

    host: str
    directory: str
    user: str
    branch: str
    keys_file: str

    @property
    def url(self) -> str:
        """For git with the lab's ssh configuration."""
        return f"{self.host}:{self.directory}"


def read(inventory: Inventory, layout: Layout) -> LabRepository:
    """What the model says of the repository. Raises :class:`LabError` where it says nothing."""
    node = inventory.node(layout.master)
    parameters = node.parameters.get("pillarbox") or {}
    pillar: Mapping[str, Any] = parameters.get("repository") or {}
    if not pillar:
        raise LabError(f"node {node.name} has no pillarbox:repository, and the lab has no other", file=node.file)
    user = str(pillar.get("user", "git"))
    return LabRepository(
        layout.master,
        str(pillar.get("directory", "/srv/pillarbox/model.git")),
        user,
        str(pillar.get("branch", "main")),
        str(pillar.get("authorized_keys_file") or f"/etc/ssh/authorized_keys.d/{user}.local").replace("%u", user),
    )


def open_door(settings: LabSettings, layout: Layout, repository: LabRepository, master: Container) -> Path:
    """Make the lab's ssh key and configuration, and let the key in; returns the configuration.

    The host's key is read through the engine and pinned, so that ssh never asks whom to trust.
    """
    directory = settings.ssh
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = directory / "id_ed25519"
    if not (key.is_file() and key.with_suffix(".pub").is_file()):
        for old in (key, key.with_suffix(".pub")):
            old.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{settings.name}", "-f", key])
    address = layout.host(layout.master).address
    public = key.with_suffix(".pub").read_text().strip()
    if public not in shell.run(master, ["cat", repository.keys_file], check=False).out:
        # With the name, a push's report says who it was.
        line = f'restrict,environment="{environment.USER.name}={_user()}" {public}\n'
        shell.put(master, repository.keys_file, line)
    host_key = shell.run(master, ["cat", "/etc/ssh/ssh_host_ed25519_key.pub"], what="reading the host's ssh key").out
    known = directory / "known_hosts"
    known.write_text(f"{layout.master},{address} {' '.join(host_key.split()[:2])}\n")
    config = directory / "config"
    config.write_text(
        f"Host {layout.master}\n"
        f"    HostName {address}\n"
        f"    User {repository.user}\n"
        f"    IdentityFile {key}\n"
        "    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {known}\n"
        "    StrictHostKeyChecking yes\n"
        "    BatchMode yes\n"
        "    ConnectTimeout 15\n"
    )
    return config


def _user() -> str:
    name = os.environ.get("SUDO_USER") or os.environ.get("USER") or "root"
    return name if re.fullmatch(r"[\w.-]{1,64}", name) else "root"


def head(master: Container, repository: LabRepository) -> str | None:
    """The commit that was pushed last; nothing for a repository that is empty or does not exist."""
    command = git.command(repository.directory)
    found = shell.run(
        master, [*command, "rev-parse", "--verify", "--quiet", f"refs/heads/{repository.branch}"], check=False
    )
    return found.out.strip() or None if found.code == 0 else None


def follow(settings: LabSettings, repository: LabRepository, config: Path) -> None:
    """Make the lab's copy what was pushed: from the first push on, the repository is the truth."""
    settings.model.mkdir(parents=True, exist_ok=True)
    if not (settings.model / ".git" / "HEAD").is_file():
        git.run(settings.model, "init", "--quiet", "--initial-branch=main")
    (settings.model / ".git" / "index.lock").unlink(missing_ok=True)
    git.run(settings.model, "fetch", "--quiet", repository.url, repository.branch, ssh_config=config)
    git.run(settings.model, "reset", "--quiet", "--hard", "FETCH_HEAD")
    copy.followed(settings)


def push(settings: LabSettings, repository: LabRepository, config: Path, say: Callable[[str], None]) -> None:
    """Push the lab's copy, and pass on what the repository says while it plans and builds.

    Raises :class:`LabError` when the push is refused.
    """

    def tell(line: str) -> None:
        # git draws progress bars with carriage returns; what the hooks say comes after "remote:".
        for part in line.split("\r"):
            if part.startswith("remote: ") and part[8:].strip():
                say(part[8:].rstrip())

    url, branch = repository.url, repository.branch
    git.run(settings.model, "push", url, f"HEAD:refs/heads/{branch}", ssh_config=config, on_line=tell)
    copy.followed(settings)


def clone(settings: LabSettings, repository: LabRepository, directory: Path) -> None:
    """Clone the repository for a person to work in. Raises :class:`LabError` where something is in the way."""
    if directory.exists() and any(directory.iterdir()):
        raise LabError(f"{directory} is not empty")
    config = settings.ssh / "config"
    if not config.is_file():
        raise LabError("the lab has no repository yet", hint="`make lab` makes it.")
    git.clone(repository.url, directory, ssh_config=config, identity=(_user(), f"{_user()}@localhost"))


def differs(settings: LabSettings) -> list[str]:
    """Files of the lab's copy that are not what the source has; secrets, and so manifests, are always the lab's own."""
    wanted = {file.relative_to(settings.source): file for file in copy.files(settings.source)}
    present = {file.relative_to(settings.model): file for file in copy.files(settings.model)}
    return sorted(
        str(name)
        for name in wanted.keys() | present.keys()
        if name.name != "secrets.yml"
        and name.parts[0] != "manifests"
        and (name not in wanted or name not in present or wanted[name].read_bytes() != present[name].read_bytes())
    )
