"""What a person reads when a lab is up: what runs where, and what to try next."""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.lab.repository import LabRepository
from pillarbox.lab.settings import DEFAULT_NAME, LabSettings
from pillarbox.lab.status import Status


def text(status: Status) -> str:
    """Hosts, workloads, services and revisions, as plain lines."""
    rows = [("HOST", "ADDRESS", "STATE", "ROLES")]
    for host in status.hosts:
        state = host.system if host.container == "running" else f"container {host.container}"
        if host.failed:
            state += f" ({', '.join(host.failed)})"
        rows.append((host.name, host.address, state, " ".join(host.roles)))
    lines = _table(rows)
    if status.workloads:
        pods = [("WORKLOAD", "READY", "HOSTS")]
        pods += [(each.name, f"{each.ready}/{each.wanted}", " ".join(each.hosts)) for each in status.workloads]
        lines += ["", *_table(pods)]
    if status.services:
        lines += ["", *_table([("SERVICE", "ADDRESS"), *status.services])]
    revisions = [("pushed", status.pushed), ("built", status.built), ("served", status.served)]
    revisions.append(("deployed", status.deployed))
    lines += ["", "model: " + ", ".join(f"{name} {(value or 'nothing')[:12]}" for name, value in revisions)]
    return "\n".join(lines)


def next_steps(settings: LabSettings, repository: LabRepository) -> str:
    """The commands to go on with."""
    own = "" if settings.name == DEFAULT_NAME else f" --name {settings.name}"
    program = settings.checkout / ".venv" / "bin" / "pillarbox"
    command = f"{program if program.exists() else 'pillarbox'} lab{own}"
    clone = f"git clone -c core.sshCommand='ssh -F {settings.ssh / 'config'}' {repository.url} model"
    files = sorted(settings.credentials.glob("*")) if settings.credentials.is_dir() else []
    named = "\n".join(f"  {file}" for file in files) or "  none: the model has no pillarbox:credentials"
    return f"""\
Credentials, for root alone:
{named}

Try next:
  {clone}
  cd model                 # edit something: openstack_version in classes/cluster/lab/init.yml is the upgrade
  git commit -a && git push        # shows the plan, then the build
  {command} exec {repository.host} -- salt-run state.orchestrate orch.deploy
  {command} status         # what runs where
  {command} ssh {repository.host}      # a shell on the master: salt, kubectl, pillarbox
  make lab-clean           # removes all of it"""


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
