"""Minions and their keys: accepted only after the same key was read on both sides."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping

from docker.models.containers import Container

from pillarbox.lab import parallel, shell
from pillarbox.lab.errors import LabError
from pillarbox.lab.software import BOOTSTRAP
from pillarbox.system import waiting

_PKI = "/etc/salt/pki/master"
_MINION = "/etc/salt/pki/minion"
_WAIT_SECONDS = 90


def fingerprint(pem: str) -> str:
    """SHA-256 over the key itself, without the PEM file's marks and line ends; Salt strips those differently."""
    body = "".join(line.strip() for line in pem.splitlines() if line.strip() and not line.startswith("-----"))
    return hashlib.sha256(body.encode()).hexdigest()


def start(master: Container, containers: Mapping[str, Container], master_name: str) -> None:
    """Start every minion. Each knows the master's key beforehand, so it never trusts whoever answers first.

    Raises :class:`LabError` when the master has no key yet after a while.
    """
    key = _await(lambda: _read(master, f"{_PKI}/master.pub"), f"the key of the Salt master on {master_name}")

    def one(name: str) -> None:
        container = containers[name]
        known = _read(container, f"{_MINION}/minion_master.pub")
        if known is None or fingerprint(known) != fingerprint(key):
            shell.run(container, ["systemctl", "stop", "salt-minion"], check=False)
            shell.put(container, f"{_MINION}/minion_master.pub", key)
        shell.run(container, [BOOTSTRAP, "minion", name, master_name], what="starting the minion")

    parallel.each(one, containers)


def accept(master: Container, containers: Mapping[str, Container], say: Callable[[str], None]) -> None:
    """Accept the key of each minion that the master does not know, if it is the one that the minion has.

    A key under a host's name that is not that host's is deleted on the master: the minion offers its own again.
    Raises :class:`LabError` when a minion's own key never arrives.
    """
    for name, container in containers.items():
        read_own = functools.partial(_read, container, f"{_MINION}/minion.pub")
        wanted = fingerprint(_await(read_own, f"the key of the minion of {name}"))
        accepted = _read(master, f"{_PKI}/minions/{name}")
        if accepted is not None and fingerprint(accepted) == wanted:
            continue
        if accepted is not None:
            say(f"{name}: the master knows another key by this name; replacing it with the host's own")
            shell.run(master, ["salt-key", "--yes", f"--delete={name}"], what="salt-key")
            shell.run(container, ["systemctl", "restart", "salt-minion"])

        def offers_its_own(name: str = name, wanted: str = wanted) -> bool:
            offered = _read(master, f"{_PKI}/minions_pre/{name}")
            if offered is not None and fingerprint(offered) != wanted:
                say(f"{name}: somebody else offered a key by this name ({fingerprint(offered)[:16]}); deleted")
                shell.run(master, ["salt-key", "--yes", f"--delete={name}"], what="salt-key")
                return False
            return offered is not None

        if not waiting.until(offers_its_own, f"the key of minion {name}", patience=_WAIT_SECONDS, every=0.3):
            raise LabError(
                f"the minion of {name} did not offer its key to the master within {_WAIT_SECONDS}s",
                hint=f"`pillarbox lab exec {name} -- journalctl -u salt-minion` may say why.",
            )
        shell.run(master, ["salt-key", "--yes", f"--accept={name}"], what="salt-key")
        say(f"{name}: key {wanted[:16]} is the same on both sides, accepted")


def forget(master: Container, name: str) -> None:
    """Delete a minion's key on the master, so that nobody gets in with it any more."""
    shell.run(master, ["salt-key", "--yes", f"--delete={name}"], what="salt-key")


def settle(container: Container, host: str) -> None:
    """Wait until Salt's services on a host are up and no restart of them is due.

    The states that configure them restart them a few seconds after themselves; what is asked meanwhile gets lost.
    Raises :class:`LabError` when that takes too long.
    """
    script = (
        '[ -z "$(systemctl list-units --plain --no-legend "salt-*-restart.*")" ] || exit 1; '
        "for unit in salt-master salt-minion; do "
        "! systemctl is-enabled --quiet $unit 2>/dev/null || systemctl is-active --quiet $unit || exit 1; done"
    )

    def up() -> bool:
        return shell.run(container, ["sh", "-c", script], check=False).code == 0

    if not waiting.until(up, f"Salt on {host}", patience=_WAIT_SECONDS, every=0.5):
        raise LabError(
            f"Salt on {host} does not come up",
            hint=f"`pillarbox lab exec {host} -- journalctl -u salt-master -u salt-minion` may say why.",
        )


def await_answers(master: Container, names: list[str]) -> None:
    """Wait until every minion answers the master. Raises :class:`LabError` naming those that do not."""
    missing = set(names)

    def all_answer() -> bool:
        # A minion that has not subscribed yet hears nothing of this: it is asked again rather than waited for.
        target = [f"tgt={','.join(sorted(missing))}", "tgt_type=list", "timeout=5", "gather_job_timeout=5"]
        printed = shell.run(master, ["salt-run", "--out=json", "manage.up", *target], check=False).out
        try:
            missing.difference_update(json.loads(printed))
        except (ValueError, TypeError):
            return False
        return not missing

    if missing and not waiting.until(all_answer, "answers of all minions", patience=_WAIT_SECONDS):
        raise LabError(
            f"no answer from the minions of {', '.join(sorted(missing))}",
            hint="`pillarbox lab exec HOST -- journalctl -u salt-minion` may say why.",
        )


def _read(container: Container, path: str) -> str | None:
    result = shell.run(container, ["cat", path], check=False)
    return result.out if result.code == 0 and result.out.strip() else None


def _await(read: Callable[[], str | None], what: str) -> str:
    found = waiting.until(read, what, patience=_WAIT_SECONDS, every=0.3)
    if found is None:
        raise LabError(f"{what} was not made within {_WAIT_SECONDS}s")
    return found
