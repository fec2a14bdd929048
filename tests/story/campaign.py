"""Kill and cut at random while a lab is pushed to, builds, deploys and rotates secrets; look at its state after each.

    .venv/bin/python -m tests.story.campaign --faults 200 [--seed N] [--record FILE] [--name pillarbox-lab]

Each round changes one line of the model, pushes and deploys, and faults strike at random moments of both: a service of
a host is killed, stopped or paused, a process of the run dies, two hosts do not reach each other, a disk is full, a
host loses its power. Nothing is done by hand that an operator would not do anyway: a push that did not get in is
pushed again, a deploy that failed is asked for once more when the hosts run. The final state must be the right one:
what was pushed is built, deployed and as the model says, every host's services run, requests are answered, and nothing
is left of builds.

A round is decided by its seed, which is printed: ``--faults 1 --seed N`` does it again. Where the machine has other
work, ``--pace 3`` has faults strike three times as late. FILE gets a line of JSON for each fault, and the figures at
the end are of all that it holds; ``--faults 0`` prints them. The lab is one to be thrown away: directories of its hosts
get disks of their own. Hosts of a lab share the machine's clock, so clocks are not moved.
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import requests
from docker.errors import DockerException
from tests.story.fault import SCRIPTS, SERVICES, Fault, Plan, plan
from tests.story.lab import COMMAND, Lab, run
from tests.story.load import APIS
from tests.story.test_story_rotation import accounts, rotated_by

from pillarbox.lab import hosts, shell
from pillarbox.lab import settings as lab_settings
from pillarbox.lab import status as lab_status
from pillarbox.model import Inventory
from pillarbox.system.errors import PillarboxError
from pillarbox.system.execution import Completed

#: Seconds until the final state must be reached.
PATIENCE = 600.0
#: Seconds within which a fault must have struck: a host may be starting just then.
STRIKING = 60.0
#: The line that changes an image, and its rounds': a static parameter, so an image is built and rolls.
IMAGE, LINE = "classes/service/memcached/server/container.yml", re.compile(r"(memory: )(\d+)")
#: What changes a host: a directory that it has to have.
HOST = "  linux:\n    system:\n      directory:\n        /srv/campaign-"
#: Gives a directory of a host a disk of its own, with the services that use it stopped meanwhile: hosts share the
#: machine's, which must not be full. A container has no devices but those that somebody makes at each of its starts.
DISK = r"""
directory=$1 name=$(systemd-escape --path "$1") && shift
test ! -e "/var/lib/disk/$name" || exit 0
cat >/etc/systemd/system/disk@.service <<'END'
[Unit]
DefaultDependencies=no
Before=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-mknod /dev/loop-control c 10 237
ExecStart=-sh -c 'for n in $(seq 0 31); do test -e /dev/loop$n || mknod /dev/loop$n b 7 $n; done'
ExecStart=mount -o loop /var/lib/disk/%i /%I
[Install]
WantedBy=local-fs.target
END
systemctl daemon-reload
mkdir -p /var/lib/disk
truncate -s 20G "/var/lib/disk/$name"
mkfs.ext4 -q -m 0 "/var/lib/disk/$name"
systemctl stop "$@"
mount --bind --make-private "$directory" /mnt
systemctl enable --now "disk@$name"
chmod --reference=/mnt "$directory" && chown --reference=/mnt "$directory"
cp -ax /mnt/. "$directory"
umount /mnt
systemctl start "$@"
"""


class Campaign:
    """Rounds on a lab, with a clone of its model to push from."""

    def __init__(self, lab: Lab, clone: Path, pace: float = 1.0) -> None:
        self.lab = lab
        self.clone = clone
        self.pace = pace
        self.settings = lab_settings.load(lab.name)
        self.engine, shape = lab_status.connect(self.settings)
        self.master = shape.master
        self.names = [host.name for host in shape.hosts]
        nodes = {host.name: Inventory(clone).node(host.name).parameters.get("kubernetes", {}) for host in shape.hosts}
        self.roles = {
            "master": [shape.master],
            "control": [name for name, kubernetes in nodes.items() if "master" in kubernetes],
            "pool": [name for name, kubernetes in nodes.items() if "pool" in kubernetes],
        }
        self.key = clone.with_name("master.asc")
        self.key.write_text(self._run(self.master, "gpg --homedir /etc/salt/gpgkeys --armor --export").out)
        self.load, self.accounts = lab.load(), len(accounts(lab))

    def round(self, seed: int) -> tuple[Plan, list[dict[str, Any]]]:
        """One change, pushed and deployed, with its faults; a record of each that struck."""
        planned = plan(seed, self.roles)
        for fault in planned.faults:
            if fault.kind == "disk":
                self._own_disk(fault)
        self._commit(planned)
        records = self._stage(planned, "push", self._push, self._built)
        if all(record["right"] for record in records):
            records += self._stage(planned, "deploy", self._deploy, self._right)
        return planned, records

    def _stage(
        self, planned: Plan, stage: str, command: list[str], wrong: Callable[[Plan], Iterator[str]]
    ) -> list[dict[str, Any]]:
        """Run what the stage is about, strike meanwhile, and wait until nothing is ``wrong``."""
        faults = [fault for fault in planned.faults if fault.stage == stage]
        with self._background(command) as process, ThreadPoolExecutor() as pool:
            struck = list(pool.map(self._strike, faults))
        again, found = process.returncode != 0, [text for _, text in struck if text]
        deadline = time.monotonic() + PATIENCE
        if again and not found and not (found := _wait(self._unhealthy, deadline)):
            done = run(command, capture_output=True)
            if done.returncode:
                found = [f"the {stage} failed again: {(done.stdout + done.stderr)[-1500:]}"]
        found = found or _wait(lambda: wrong(planned), deadline)
        end = time.monotonic()
        outcome = {"again": again, "right": not found, "wrong": found}
        return [
            {
                "seed": planned.seed,
                "change": planned.change,
                **vars(fault),
                "seconds": round(end - moment, 1),
                **outcome,
            }
            for fault, (moment, _) in zip(faults, struck, strict=True)
        ]

    def _strike(self, fault: Fault) -> tuple[float, str]:
        """Do it, and undo it after a while; returns when it struck, and what kept it from that."""
        time.sleep(fault.moment * self.pace)
        text = self._do(fault, undo=False)
        struck = time.monotonic()
        if not text and (fault.kind == "off" or SCRIPTS[fault.kind][1]):
            time.sleep(fault.away)
            text = self._do(fault, undo=True)
        return struck, text

    def _do(self, fault: Fault, *, undo: bool) -> str:
        if fault.kind == "off":
            container = self.engine.client.containers.get(hosts.container_name(self.settings, fault.host))
            container.start() if undo else container.kill()
            return ""
        script, deadline = SCRIPTS[fault.kind][undo], time.monotonic() + STRIKING
        # A host that was off before may still be starting.
        while (done := self._run(fault.host, script, fault.what)).code and time.monotonic() < deadline:
            time.sleep(0.5)
        return f"{fault}: {script} exited {done.code}: {done.err}" if done.code else ""

    def _run(self, host: str, script: str, *arguments: str) -> Completed:
        """Run a script on a host; the code is -1 where the host does not run."""
        try:
            container = hosts.running(self.settings, self.engine, host)
            return shell.run(container, ["sh", "-ec", script, "sh", *arguments], check=False)
        except (PillarboxError, DockerException) as error:
            return Completed(-1, b"", str(error).encode())

    def _own_disk(self, fault: Fault) -> None:
        role = next(role for role, names in self.roles.items() if fault.host in names)
        done = self._run(fault.host, DISK, fault.what, *SERVICES[role])
        assert done.code == 0, f"{fault.what} on {fault.host} gets no disk of its own: {done.err}"
        assert not (wrong := _wait(self._unhealthy, time.monotonic() + PATIENCE)), wrong

    def _commit(self, planned: Plan) -> None:
        if planned.change == "image":
            file = self.clone / IMAGE
            text, found = LINE.subn(lambda match: f"{match[1]}{int(match[2]) % 1000 + 64}", file.read_text())
            assert found, f"{IMAGE} has no line to change"
            file.write_text(text)
        elif planned.change == "host":
            file = self.clone / "nodes/hosts" / f"{planned.what}.yml"
            kept = file.read_text().partition(HOST)[0]
            file.write_text(f"{kept}{HOST}{int(time.time())}: {{}}\n")
        else:
            names = rotated_by(self.clone, planned.what)
            command = [*COMMAND, "--model", str(self.clone), "secrets", "rotate", *names, "--public-key", str(self.key)]
            run(command, capture_output=True, check=True)
        identity = ["-c", "user.name=Campaign", "-c", "user.email=campaign@localhost"]
        message = f"Round {planned.seed}: {planned.change} {planned.what}"
        subprocess.run(["git", "-C", self.clone, *identity, "commit", "-qam", message], check=True)

    @property
    def _push(self) -> list[str]:
        return ["git", "-C", str(self.clone), "push"]

    @property
    def _deploy(self) -> list[str]:
        command = [*COMMAND, "--model", str(self.lab.model), "lab", "--name", self.lab.name]
        return [*command, "exec", self.master, "--", "salt-run", "state.orchestrate", "orch.deploy"]

    @contextmanager
    def _background(self, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command while the block lasts, and until it ends."""
        with tempfile.TemporaryFile() as printed:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed)
            try:
                yield process
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def _unhealthy(self) -> Iterator[str]:
        """The hosts whose services do not all run."""
        for host in self.names:
            state = self._run(host, "systemctl is-system-running || systemctl --failed --plain --no-legend")
            if state.out.split() != ["running"]:
                yield f"{host} is {' '.join(state.out.split()) or state.err or 'silent'}"

    def _built(self, planned: Plan) -> Iterator[str]:
        """What is wrong until the newest revision is built."""
        yield from self._runs("build")

    def _runs(self, kind: str) -> Iterator[str]:
        wanted = run(
            ["git", "-C", str(self.clone), "rev-parse", "HEAD"], capture_output=True, check=True
        ).stdout.strip()
        listed = self._run(self.master, "pillarbox report --list --format json")
        try:
            runs = json.loads(listed.out)
        except ValueError:
            yield f"no list of runs: {listed.err[-500:]}"
            return
        states = [each["state"] for each in runs if (each["kind"], each["revision"]) == (kind, wanted)]
        if states[-1:] != ["succeeded"]:
            yield f"{wanted[:12]} has no {kind} that succeeded last: {', '.join(states) or 'none at all'}"
        if any(each["state"] == "running" for each in runs):
            yield "a run is on record as running"

    def _right(self, planned: Plan) -> Iterator[str]:
        """What is wrong once the newest revision is deployed."""
        if wrong := [*self._unhealthy(), *self._runs("deploy")]:
            yield from wrong
            return
        status = self._run(self.master, "salt-run --out=json pillarbox.status")
        if status.code or not json.loads(status.out)["result"]:
            yield f"the cluster is not as the model says: {(status.out + status.err)[-1500:]}"
        nodes = self._run(self.master, "kubectl get nodes --no-headers")
        if nodes.code or [line.split()[1] for line in nodes.out.splitlines()] != ["Ready"] * len(self.roles["pool"]):
            yield f"nodes are not ready: {nodes.out + nodes.err}"
        left = self._run(self.master, "docker ps --all --quiet --filter name=pillarbox-build")
        if left.code or left.out.strip():
            yield f"a build left containers: {left.out + left.err}"
        try:
            if planned.change == "rotation":
                self.load = self.lab.load()
            for address in self.lab.addresses:
                token = self.load.token(address)
                for service in APIS:
                    self.load.ask(service, address, token)
            if planned.change == "rotation" and (found := len(accounts(self.lab))) != self.accounts:
                yield f"{found} accounts where there were {self.accounts}"
        except (AssertionError, requests.RequestException, KeyError, ValueError) as error:
            yield f"a request failed: {error}"


def _wait(wrong: Callable[[], Iterable[str]], deadline: float) -> list[str]:
    """What is still wrong at the deadline; nothing as soon as nothing is."""
    while (found := list(wrong())) and time.monotonic() < deadline:
        time.sleep(1)
    return found


def figures(records: list[Mapping[str, Any]]) -> Iterator[str]:
    """How the faults of each kind ended, as lines of a table."""
    kinds = sorted({(each["kind"], each["stage"]) for each in records})
    yield "| fault | during | number | right | seconds: median | worst |"
    yield "|---|---|---|---|---|---|"
    for kind, stage in [*kinds, ("all", "")]:
        found = [each for each in records if kind == "all" or (each["kind"], each["stage"]) == (kind, stage)]
        if seconds := [each["seconds"] for each in found if each["right"]]:
            right = f"{len(seconds)} | {median(seconds):.0f} | {max(seconds):.0f}"
        else:
            right = "0 | | "
        yield f"| {kind} | {stage} | {len(found)} | {right} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--record", type=Path, default=Path("/dev/null"))
    parser.add_argument("--pace", type=float, default=1.0, help="how many times longer a push and a deploy take here")
    parser.add_argument("--name", default=lab_settings.DEFAULT_NAME)
    given = parser.parse_args()
    lab = Lab(lab_settings.load(given.name).model, given.name)
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, given.record.open("a+") as file:
        clone = Path(folder) / "model"
        lab.command("clone", clone)
        campaign, seed = Campaign(lab, clone, given.pace), given.seed
        while len(records) < given.faults:
            planned, struck = campaign.round(seed)
            for record in struck:
                file.write(json.dumps(record) + "\n")
            file.flush()
            records += struck
            wrong = "; ".join(dict.fromkeys(text for record in struck for text in record["wrong"]))
            print(f"seed {seed}: {planned}: {wrong or 'right'}", file=sys.stderr, flush=True)
            seed += 1
        file.seek(0)
        print("\n".join(figures([json.loads(line) for line in file] or records)))
    return int(not all(record["right"] for record in records))


if __name__ == "__main__":
    sys.exit(main())
