"""Kill and cut at random while a lab is pushed to, builds and deploys, and look at the final state after each.

    .venv/bin/python -m tests.story.campaign --faults 200 [--seed N] [--name pillarbox-lab]

Each round changes one line of the model, pushes and deploys, and strikes once at a random moment: a service of a host
is killed or away for seconds, the deploy's own process dies, two hosts do not reach each other, a disk is full. Then
nothing is done by hand that an operator would not do anyway: a push that did not get in is pushed again, a deploy that
was cut off is asked for again. The final state must be the right one: what was pushed is built, deployed and healthy,
every host's services run, requests are answered, and nothing is left of builds.

A round is decided by its seed, which is printed: ``--faults 1 --seed N`` does it again. The lab is one to be thrown
away. Hosts of a lab share the machine's clock, so clocks are not moved.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.story.lab import COMMAND, Lab, run

from pillarbox.lab import settings as lab_settings
from pillarbox.model import Inventory

#: The line that each round changes: a static parameter, so an image is built and rolls.
FILE, LINE = "classes/service/memcached/server/container.yml", re.compile(r"(memory: )(\d+)")
#: Seconds that a round's push and deploy take undisturbed; the fault strikes within.
PUSH_SECONDS, DEPLOY_SECONDS = 4.0, 15.0
#: Seconds until the final state must be reached.
PATIENCE = 600.0
#: Seconds that what is away stays away, at most.
AWAY = 20.0
#: What a master keeps on its disk, as far as a full one can be made of it.
DISKS = ("/var/lib/pillarbox", "/srv/pillarbox/published", "/srv/pillarbox/staging")
#: Services by the role of the host that has them.
SERVICES = {
    "master": ("salt-master", "salt-minion", "docker", "docker-registry"),
    "control": ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    "pool": ("kubelet", "kube-proxy", "containerd", "salt-minion"),
}


@dataclass(frozen=True)
class Fault:
    """What a round does to the lab; ``strike`` does it and returns what undoes it."""

    text: str
    strike: Callable[[], Callable[[], None]]


@dataclass(frozen=True)
class Round:
    """How a round ended: what was wrong at its end (nothing, mostly), and the seconds from the fault to it."""

    seed: int
    text: str
    wrong: tuple[str, ...]
    seconds: float


class Campaign:
    """Rounds on a lab, with a clone of its model to push from."""

    def __init__(self, lab: Lab, clone: Path) -> None:
        self.lab = lab
        self.clone = clone
        nodes = {node.name: node.parameters for node in Inventory(clone).all() if "lab" in node.parameters}
        self.addresses = {name: node["lab"]["host"]["address"] for name, node in nodes.items()}
        kubernetes = {name: node.get("kubernetes", {}) for name, node in nodes.items()}
        self.roles = {
            "master": [name for name, node in nodes.items() if "master" in node.get("salt", {})],
            "control": [name for name, node in kubernetes.items() if "master" in node],
            "pool": [name for name, node in kubernetes.items() if "pool" in node],
        }
        self.master = self.roles["master"][0]

    def round(self, seed: int) -> Round:
        """One change, pushed and deployed, and one fault meanwhile."""
        dice = random.Random(seed)
        fault, stage = self._fault(dice), dice.choice(("push", "deploy"))
        moment = dice.uniform(0, PUSH_SECONDS if stage == "push" else DEPLOY_SECONDS)
        away = dice.uniform(1, AWAY)
        self._commit(seed)
        start = time.monotonic()
        with self._background("push") as pushing:
            if stage == "push":
                start = self._strike(fault, moment, away)
        pushed = pushing.returncode
        if stage == "deploy":
            with self._background("deploy"):
                start = self._strike(fault, moment, away)
        wrong = tuple(self._settle(pushed))
        text = f"{stage} {moment:.1f} s: {fault.text}"
        return Round(seed, text, wrong, time.monotonic() - start)

    def _fault(self, dice: random.Random) -> Fault:
        kind = dice.choice(("kill", "kill", "stop", "process", "network", "disk"))
        role = dice.choice(sorted(SERVICES))
        host, service = dice.choice(self.roles[role]), dice.choice(SERVICES[role])
        one, other = dice.sample(sorted(self.addresses), 2)
        disk = dice.choice(DISKS)
        return {
            "kill": Fault(f"{service} on {host} is killed", lambda: self._kill(host, service)),
            "stop": Fault(f"{service} on {host} is stopped for a while", lambda: self._stop(host, service)),
            "process": Fault("the run's own process is killed", self._kill_run),
            "network": Fault(f"{one} does not reach {other} for a while", lambda: self._cut(one, other)),
            "disk": Fault(f"no room in {disk} for a while", lambda: self._fill(disk)),
        }[kind]

    def _kill(self, host: str, service: str) -> Callable[[], None]:
        # The main process alone: what a crash is. Containers outlive their engine's.
        self.lab.on(host, "systemctl", "kill", "--kill-whom=main", "--signal=SIGKILL", service, check=False)
        return lambda: None

    def _stop(self, host: str, service: str) -> Callable[[], None]:
        self.lab.on(host, "systemctl", "stop", service)
        return lambda: self._do(host, f"systemctl start {service}")

    def _kill_run(self) -> Callable[[], None]:
        script = "pkill --signal KILL --full '[s]alt-run.*orch.deploy' || systemctl kill --signal=SIGKILL salt-master"
        self._do(self.master, script)
        return lambda: None

    def _cut(self, one: str, other: str) -> Callable[[], None]:
        address = self.addresses[other]
        self._do(one, f"ip route add blackhole {address}/32")
        return lambda: self._do(one, f"ip route del blackhole {address}/32")

    def _fill(self, directory: str) -> Callable[[], None]:
        # The hosts share the machine's disk; a small one of its own is what can be full.
        self._do(
            self.master,
            f"""size=$(($(du -sk {directory} | cut -f1) + 256))
            if mountpoint -q {directory}; then mount -o remount,size=${{size}}k {directory}; exit; fi
            mkdir -p /run/disk && mount -t tmpfs -o size=${{size}}k,mode=700 disk /run/disk
            cp -a {directory}/. /run/disk/ && chmod --reference={directory} /run/disk
            mount --bind /run/disk {directory} && umount /run/disk""",
        )
        return lambda: self._do(self.master, f"mount -o remount,size=4g {directory}")

    def _do(self, host: str, script: str) -> None:
        self.lab.on(host, "sh", "-ec", script)

    def _strike(self, fault: Fault, moment: float, away: float) -> float:
        time.sleep(moment)
        undo = fault.strike()
        struck = time.monotonic()
        try:
            time.sleep(away)
        finally:
            undo()
        return struck

    def _commit(self, seed: int) -> None:
        file = self.clone / FILE
        text, found = LINE.subn(lambda match: f"{match[1]}{int(match[2]) % 1000 + 64}", file.read_text())
        assert found, f"{FILE} has no line to change"
        file.write_text(text)
        identity = ["-c", "user.name=Campaign", "-c", "user.email=campaign@localhost"]
        subprocess.run(["git", "-C", self.clone, *identity, "commit", "-qam", f"Round {seed}"], check=True)

    @contextmanager
    def _background(self, what: str) -> Iterator[subprocess.Popen[bytes]]:
        """Push or deploy while the block lasts, and until it ends."""
        command = ["git", "-C", str(self.clone), "push"]
        if what == "deploy":
            command = [*COMMAND, "--model", str(self.lab.model), "lab", "--name", self.lab.name]
            command += ["exec", self.master, "--", "salt-run", "state.orchestrate", "orch.deploy"]
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            try:
                yield process
                process.wait(PATIENCE)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def _settle(self, pushed: int) -> Iterator[str]:
        """Wait until all is as it must be; yields what is not, in the end."""
        deadline = time.monotonic() + PATIENCE
        if wrong := _wait(self._unhealthy_hosts, deadline):
            yield from wrong
            return
        if pushed:
            run(["git", "-C", str(self.clone), "push"], capture_output=True)
        if wrong := _wait(self._not_built, deadline):
            yield from wrong
            return
        deployed = self.lab.deploy(check=False)
        if deployed.returncode:
            yield f"the deploy failed: {(deployed.stdout + deployed.stderr)[-1500:]}"
        yield from _wait(self._not_right, deadline)

    def _unhealthy_hosts(self) -> Iterator[str]:
        status = self.lab.command("status", "--format", "json", check=False)
        try:
            hosts = json.loads(status.stdout)["hosts"]
        except (ValueError, KeyError):
            yield f"no status of the lab: {status.stderr[-500:]}"
            return
        for host in hosts:
            if host["system"] != "running":
                yield f"{host['name']} is {host['system'] or 'silent'}: {', '.join(host['failed'])}"

    def _not_built(self) -> Iterator[str]:
        wanted = subprocess.run(
            ["git", "-C", self.clone, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        listed = self.lab.on(self.master, "pillarbox", "report", "--list", "--format", "json", check=False)
        try:
            builds = [each for each in json.loads(listed.stdout) if each["revision"] == wanted]
        except ValueError:
            yield f"no list of runs: {listed.stderr[-500:]}"
            return
        if not any(each["kind"] == "build" and each["state"] == "succeeded" for each in builds):
            yield f"{wanted[:12]} is not built: {', '.join(each['state'] for each in builds) or 'no run of it'}"

    def _not_right(self) -> Iterator[str]:
        """What is wrong once a deploy succeeded."""
        status = self.lab.on(self.master, "salt-run", "--out=json", "pillarbox.status", check=False)
        if status.returncode:
            yield f"the cluster is not as the model says: {status.stdout[-1500:]}"
        left = self.lab.on(self.master, "docker", "ps", "--all", "--quiet", "--filter", "name=pillarbox-build")
        if left.stdout.strip():
            yield f"a build left containers: {left.stdout.split()}"
        with self.lab.load() as load:
            time.sleep(5)
        for name, tally in load.tallies.items():
            if tally.failures or not tally.sent:
                yield f"{name}: {len(tally.failures)} of {tally.sent} requests failed: {tally.failures[:2]}"


def _wait(wrong: Callable[[], Iterator[str]], deadline: float) -> list[str]:
    """What is still wrong at the deadline; nothing as soon as nothing is."""
    while (found := list(wrong())) and time.monotonic() < deadline:
        time.sleep(2)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--name", default=lab_settings.DEFAULT_NAME)
    given = parser.parse_args()
    lab = Lab(lab_settings.load(given.name).model, given.name)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "model"
        lab.command("clone", clone)
        campaign = Campaign(lab, clone)
        for seed in range(given.seed, given.seed + given.faults):
            done = campaign.round(seed)
            failed += bool(done.wrong)
            state = "; ".join(done.wrong) or "right"
            print(f"seed {done.seed}: {done.text}: {state} after {done.seconds:.0f} s", file=sys.stderr, flush=True)
    print(f"{given.faults} faults, {given.faults - failed} ended in the right state, {failed} did not", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
