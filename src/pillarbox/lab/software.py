"""Pillarbox itself on the hosts: the wheel of this checkout, beside the Salt that the host image brings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from docker.models.containers import Container

from pillarbox.lab import shell

_STAMP = "/opt/salt/pillarbox-wheel"
# The pipeline's lock: absent where nothing ever ran.
_RUNNING = "/var/lib/pillarbox/pipeline.lock"
BOOTSTRAP = "/usr/local/sbin/pillarbox-bootstrap"


def install(container: Container, wheel: Path, bootstrap: Path, say: Callable[[str], None]) -> bool:
    """Bring ``wheel`` and the ``bootstrap`` script to a host unless it has them; whether anything was installed.

    Salt's services on the host are restarted with it.
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
    shell.run(container, ["sh", "-ec", 'printf "%s\\n" "$1" > "$2.new"; mv "$2.new" "$2"', "sh", key, _STAMP])
    return True
