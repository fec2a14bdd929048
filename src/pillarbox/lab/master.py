"""The first host: it gets its key, the model and, without a master to ask, its highstate; then it is the master."""

from __future__ import annotations

from collections.abc import Callable

from docker.models.containers import Container

from pillarbox.lab import copy, minions, shell
from pillarbox.lab.errors import LabError
from pillarbox.lab.following import following
from pillarbox.lab.settings import LabSettings
from pillarbox.lab.software import BOOTSTRAP
from pillarbox.system import git, salt_results
from pillarbox.system.command import tail
from pillarbox.system.salt_results import StateResults

_MODEL = "/var/lib/pillarbox-bootstrap/model"


def public_key(container: Container) -> str:
    """The public half of the key that opens the deployment's secrets; the key is made on the host and stays there."""
    return shell.run(container, [BOOTSTRAP, "key"], what="making the key for secrets").out


def answers(container: Container) -> bool:
    """Whether the host already is a Salt master that serves a model."""
    if shell.run(container, ["systemctl", "is-active", "--quiet", "salt-master"], check=False).code != 0:
        return False
    return shell.run(container, ["test", "-d", "/srv/pillarbox/published/current/nodes"], check=False).code == 0


def bootstrap(settings: LabSettings, container: Container, host: str, say: Callable[[str], None]) -> StateResults:
    """Apply the model's states on the host without a master. Raises :class:`LabError` with every state that failed."""
    shell.put_tree(container, _MODEL, settings.model, copy.files(settings.model))
    say(f"{host}: applying its states from revision {(git.head(settings.model) or '?')[:12]}, without a master")
    command = [BOOTSTRAP, "apply", host, _MODEL, "--out=json", "--out-indent=-1", "--log-level=info"]
    count = 0
    with following(say) as follow:

        def read(line: str) -> None:
            nonlocal count
            state = salt_results.executing(line)
            if state is not None:
                count += 1
                follow.note(f"{host}: state {count}: {state[:100]}")

        result = shell.run(container, command, on_err=read, check=False)
    results = salt_results.parse(result.out, "local")
    if results is None:
        raise LabError(f"the states of {host} gave no result:\n{tail(result.err or result.out)}")
    if not results.ok or result.code != 0:
        why = tail(result.err) if results.ok else results.failures()
        raise LabError(f"the states of {host} failed ({results.summary()}):\n{why}")
    minions.settle(container, host)
    shell.run(container, [BOOTSTRAP, "serve", _MODEL, git.head(settings.model) or ""], what="serving the model")
    return results
