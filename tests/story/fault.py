"""What a round of the campaign does to a lab: decided by the round's seed alone, so that it can be done again."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.story.test_story_rotation import KINDS

#: Services by the role of the host that has them.
SERVICES = {
    "master": ("salt-master", "salt-minion", "docker", "docker-registry"),
    "control": ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    "pool": ("kubelet", "kube-proxy", "containerd", "salt-minion"),
}
#: What is kept on a disk that can be full: records, the repository with all that is made of it, the builder's engine,
#: the registry, etcd. Not a node's: a kubelet that sees one full evicts its pods for minutes, as it must.
DISKS = {
    "master": ("/var/lib/pillarbox", "/srv/pillarbox", "/var/lib/docker", "/var/lib/docker-registry"),
    "control": ("/var/lib/etcd",),
}
#: Processes that a run consists of, each by a pattern that does not match itself.
PROCESSES = {
    "push": ("[p]ost-receive", "[s]alt-master.*Engine", "[s]alt-minion.*ProcessPayload"),
    "deploy": ("[s]alt-run.*orch.deploy",),
}
#: How each kind of fault strikes a host, and what undoes it after a while; ``$1`` is what it strikes there.
SCRIPTS = {
    # The main process alone: what a crash is. Containers outlive their engine's.
    "killed": ('systemctl kill --kill-whom=main --signal=KILL "$1"', ""),
    "stopped": ('systemctl stop "$1"', 'systemctl start "$1"'),
    "paused": ('systemctl kill --signal=STOP "$1"', 'systemctl kill --signal=CONT "$1"'),
    "run": ('pkill --signal KILL --full "$1" || systemctl kill --kill-whom=main --signal=KILL salt-master', ""),
    "network": tuple(
        f'ip route {what} blackhole "$(getent ahostsv4 "$1" | head -1 | cut -d" " -f1)"' for what in ("add", "del")
    ),
    # It takes all there is, and says that it could not have more.
    "disk": (
        'fallocate --length "$(df --output=avail -B1 "$1" | tail -1)" "$1/full" || test -s "$1/full"',
        'rm "$1/full"',
    ),
    # The host itself, as one without power: see Campaign.
    "off": ("", ""),
}
_OFTEN = ("killed", "killed", "stopped", "stopped", "paused", "paused", "run", "network", "disk", "disk", "off")
#: Whose hosts are struck: a push is the master's affair, mostly.
_ROLES = {"push": ("master", "master", "master", "control", "pool"), "deploy": ("master", "control", "pool")}
#: What a round pushes: an image, the state of a host, or a secret with a new value.
_CHANGES = ("image", "image", "image", "image", "image", "host", "host", "rotation")
#: Seconds that a push, and a deploy of each change, take undisturbed; faults strike within.
_SECONDS = {"push": 5.0, "image": 15.0, "host": 15.0, "rotation": 40.0}
#: Seconds that what is away stays away, at most.
_AWAY = 12.0
#: How many faults strike in one stage, at most; a host has one of them.
_AT_ONCE = 3


@dataclass(frozen=True)
class Fault:
    """A fault: in which stage and how many seconds after its begin, what it does to which host, and for how long."""

    stage: str
    moment: float
    kind: str
    host: str
    what: str
    away: float

    def __str__(self) -> str:
        lasting = "" if self.kind in ("killed", "run") else f" for {self.away:.0f} s"
        text = {
            "run": f"process {re.sub(r'[][]', '', self.what)} on {self.host} killed",
            "network": f"{self.host} does not reach {self.what}",
            "disk": f"no room in {self.what} on {self.host}",
            "off": f"{self.host} off",
        }.get(self.kind, f"{self.what} on {self.host} {self.kind}")
        return f"{self.stage} {self.moment:.1f} s: {text}{lasting}"


@dataclass(frozen=True)
class Plan:
    """What a round changes (``what`` of it: a host, a pattern of secrets), and the faults that strike meanwhile."""

    seed: int
    change: str
    what: str
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        return f"{' '.join((self.change, self.what)).strip()}; {'; '.join(map(str, self.faults))}"


def plan(seed: int, roles: Mapping[str, Sequence[str]]) -> Plan:
    """The round of ``seed`` on a lab with these hosts by role: some faults in the push, and some in the deploy."""
    dice = random.Random(seed)
    change = dice.choice(_CHANGES)
    hosts = sorted(host for each in roles.values() for host in each)
    what = {"image": "", "host": dice.choice(hosts), "rotation": dice.choice(KINDS)}[change]
    faults = []
    for stage in ("push", "deploy"):
        seconds = _SECONDS["push" if stage == "push" else change]
        number, struck = dice.randint(1, _AT_ONCE), dict[str, Fault]()
        while len(struck) < number:
            fault = _fault(dice, stage, seconds, roles)
            struck.setdefault(fault.host, fault)
        faults += struck.values()
    return Plan(seed, change, what, tuple(faults))


def _fault(dice: random.Random, stage: str, seconds: float, roles: Mapping[str, Sequence[str]]) -> Fault:
    moment, kind, away = dice.uniform(0, seconds), dice.choice(_OFTEN), dice.uniform(1, _AWAY)
    role, disk = (
        dice.choice(_ROLES[stage]),
        dice.choice([(role, each) for role, disks in DISKS.items() for each in disks]),
    )
    host = dice.choice(roles[{"run": "master", "disk": disk[0]}.get(kind, role)])
    others = sorted(other for each in roles.values() for other in each if other != host)
    whats = {"run": PROCESSES[stage], "network": others, "off": ("",), "disk": (disk[1],)}
    return Fault(stage, moment, kind, host, dice.choice(whats.get(kind, SERVICES[role])), away)
