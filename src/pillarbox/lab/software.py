"""Pillarbox itself on the hosts: the wheel of this checkout, beside the Salt that the host image brings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection
from pathlib import Path

from docker.models.containers import Container

from pillarbox.lab import shell

_STAMP = "/opt/salt/pillarbox-wheel"
# The pipeline's lock: absent where nothing ever ran.
_RUNNING = "/var/lib/pillarbox/pipeline.lock"
BOOTSTRAP = "/usr/local/sbin/pillarbox-bootstrap"


def install(container: Container, wheel: Path, wheelhouse: Path, bootstrap: Path, say: Callable[[str], None]) -> bool:
    """Bring ``wheel`` and the ``bootstrap`` script to a host unless it has them; whether anything was installed.

    What the wheel needs and the host's image did not bring comes from the directory ``wheelhouse``. Salt's services on
    the host are restarted with it.
    """
    content, script = wheel.read_bytes(), bootstrap.read_bytes()
    key = hashlib.sha256(content + script).hexdigest()
    found = shell.run(container, ["cat", _STAMP], check=False)
    if found.code == 0 and found.out.strip() == key:
        return False
    # Salt's services are restarted, which would cut off a build or a deploy that is going on.
    busy = shell.run(container, ["flock", "--nonblock", _RUNNING, "true"], check=False).code == 1
    if busy:
        say(f"waiting for the master's run to end before {wheel.name} is installed")
        shell.run(container, ["flock", "--timeout", "3600", _RUNNING, "true"], what="waiting for the master's run")
    directory = "/var/cache/pillarbox-wheel"
    shell.run(container, ["rm", "-rf", directory])
    shell.put(container, f"{directory}/{wheel.name}", content)
    shell.put(container, BOOTSTRAP, script, 0o755)
    command = [BOOTSTRAP, "install", "--no-index", "--no-deps", "--force-reinstall", f"{directory}/{wheel.name}"]
    shell.run(container, command, what="installing Pillarbox")
    # The host may be older than a requirement.
    listed = shell.run(container, ["/opt/salt/bin/pip", "list", "--format", "json", "--disable-pip-version-check"])
    if lacking := missing(wheelhouse, {(item["name"], item["version"]) for item in json.loads(listed.out)}):
        for file in lacking:
            shell.put(container, f"{directory}/{file.name}", file.read_bytes())
        command = [BOOTSTRAP, "install", "--no-index", "--find-links", directory, "pillarbox"]
        shell.run(container, command, what="installing what Pillarbox needs")
    shell.run(container, ["sh", "-ec", 'printf "%s\\n" "$1" > "$2.new"; mv "$2.new" "$2"', "sh", key, _STAMP])
    return True


def missing(wheelhouse: Path, installed: Collection[tuple[str, str]]) -> list[Path]:
    """The wheels of ``wheelhouse`` that are not among ``installed``, which are names with versions."""
    known = {(_normal(name), version) for name, version in installed}
    return [file for file in sorted(wheelhouse.glob("*.whl")) if _named(file) not in known]


def _named(wheel: Path) -> tuple[str, str]:
    name, version = wheel.name.split("-")[:2]
    return _normal(name), version


def _normal(name: str) -> str:
    # https://packaging.python.org/en/latest/specifications/name-normalization/
    return re.sub(r"[-_.]+", "-", name).lower()
