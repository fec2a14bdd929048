"""Machines of a test: systemd on a network of their own, above the files of this machine, or a system of their own.

Above this machine's files, what is written on one is gone with it. It ends with the test, however that ends: who
started it waits for the end of a pipe that the test holds.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pillarbox.system.waiting import until

_NAMESPACES = ("net", "mount", "pid", "ipc", "uts", "cgroup")
_NUMBER = itertools.count()

# Outside of the machine: starts it in control groups, ends it, and takes both away.
_SUPERVISOR = """
for each in $CONTROL_GROUPS; do
  mkdir "$each"
  for file in cpuset.cpus cpuset.mems; do [ ! -e "$each/$file" ] || cat "$each/../$file" > "$each/$file"; done
done
sh -euc 'for each in $CONTROL_GROUPS; do echo $$ > "$each/cgroup.procs"; done; exec "$@"' sh "$@" &
echo $!
cat > /dev/null
kill -KILL $!
for each in $CONTROL_GROUPS; do
  until find "$each" -depth -type d -exec rmdir {} + 2> /dev/null; do sleep 0.1; done
done
"""

# Its first process, until that is systemd. Nothing of the kernel's but its own network can be changed by its boot, and
# no unit of this machine starts.
_BOOT = """
set -eu
mount -t tmpfs none "$FOLDER"
cd "$FOLDER"
mkdir upper work root
if [ -n "$TREE" ]; then
  mount --bind "$TREE" root
else
  [ -z "$LAYER" ] || cp -a "$LAYER/." upper
  mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
  rm -rf root/etc/systemd/system/* root/usr/lib/systemd/system/*.wants root/usr/sbin/policy-rc.d
  echo '[Unit]' > root/etc/systemd/system/default.target
fi
cd root
mount -t proc proc proc
mkdir "$FOLDER/net"
mount --bind proc/sys/net "$FOLDER/net"
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --move "$FOLDER/net" proc/sys/net
mount -t sysfs -o ro sysfs sys
if [ -z "$CONTROLLERS" ]; then
  mount -t cgroup2 none sys/fs/cgroup
else
  mount -t tmpfs none sys/fs/cgroup
  for each in $CONTROLLERS; do
    mkdir "sys/fs/cgroup/${each#*=}"
    mount -t cgroup -o "$each" none "sys/fs/cgroup/${each#*=}"
  done
fi
for each in run tmp dev; do mount -t tmpfs none $each; done
for each in null zero full random urandom tty; do touch dev/$each; mount --bind /dev/$each dev/$each; done
mkdir dev/shm
ln -s /proc/self/fd dev/fd
for each in $SHARED; do mkdir -p ".$each"; mount --bind "$each" ".$each"; done
: > etc/machine-id
echo "$NAME" > etc/hostname
hostname "$NAME"
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
pivot_root . mnt
cd /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c '
  umount -l /mnt
  exec /lib/systemd/systemd --show-status=no SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
'
"""

# Salt changes the process that it is imported into.
_SALT = """
import json, sys
import salt.client, salt.config
given = json.load(sys.stdin)
options = salt.config.minion_config(None)
options.update(given["options"])
print(json.dumps(salt.client.Caller(mopts=options).cmd("state.apply", ",".join(given["sls"]))), file=sys.__stdout__)
"""


class Machine:
    """A machine that runs. ``enter`` is what runs a command on it."""

    #: Its Python that has Salt, and where the formulas are.
    python, formulas = sys.executable, Path(__file__).resolve().parent.parent / "formulas"

    def __init__(self, name: str, pid: int) -> None:
        self.name, self.pid = name, pid
        self.enter = ["nsenter", f"--target={pid}", *(f"--{each}" for each in _NAMESPACES), "--root", "--wd"]

    def shell(self, script: str) -> list[str]:
        """The command that runs a shell script on it."""
        return [*self.enter, "sh", "-euc", script]

    def run(self, script: str, *, check: bool = True, text: str = "") -> str:
        """What a shell script prints that reads ``text``; it may fail with ``check=False``."""
        done = subprocess.run(self.shell(script), input=text, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{self.name}: {script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def succeeds(self, script: str) -> bool:
        """Whether a shell script does."""
        return subprocess.run(self.shell(script), capture_output=True).returncode == 0

    def start(self, name: str, script: str) -> None:
        """A unit of systemd with this name, which runs a shell script and writes what it prints to /run/<name>."""
        output = f"--property=StandardOutput=append:/run/{name}"
        self.run(f": >> /run/{name}; systemd-run --quiet --unit={name} {output} sh -euc {shlex.quote(script)}")

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.run(f"mkdir -p $(dirname {path}); cat > {path}", text=text)

    def link(self, interface: str, other: Machine, its: str) -> None:
        """Connect an interface of this machine with one of another."""
        command = ["nsenter", f"--target={self.pid}", "--net", "ip", "link", "add", interface, "up", "type", "veth"]
        subprocess.run([*command, "peer", "name", its, "netns", str(other.pid)], check=True)
        other.run(f"ip link set {its} up")

    def plug(self, interface: str, bridge: str, outside: str) -> None:
        """Connect an interface of this machine, which stays down, with a bridge where the tests run, at which its other
        end is ``outside``."""
        command = ["ip", "link", "add", outside, "up", "master", bridge, "type", "veth", "peer", "name", interface]
        subprocess.run([*command, "netns", str(self.pid)], check=True)

    def apply(self, states: Iterable[str], pillar: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """What Salt says of each state, in their order, having applied these with this pillar."""
        self.write("/run/pillar/top.sls", "base:\n  '*':\n  - data\n")
        self.write("/run/pillar/data.sls", "#!json\n" + json.dumps(pillar))
        options = {
            "id": self.name,
            "file_client": "local",
            "file_roots": {"base": [str(self.formulas)]},
            "pillar_roots": {"base": ["/run/pillar"]},
            "root_dir": "/run/salt",
            "cachedir": "/run/salt/cache",
            "log_file": "/run/salt.log",
            "pki_dir": "/run/salt/pki",
        }
        given = json.dumps({"options": options, "sls": list(states)})
        printed = self.run(f"{shlex.quote(self.python)} -c {shlex.quote(_SALT)}", text=given)
        found = json.loads(printed.splitlines()[-1])
        assert isinstance(found, dict), found
        return dict(sorted(found.items(), key=lambda item: item[1]["__run_num__"]))


@contextmanager
def machines(
    scratch: Path,
    *names: str,
    layer: Path | None = None,
    shared: Iterable[Path] = (),
    trees: Mapping[str, Path] | None = None,
) -> Iterator[list[Machine]]:
    """Machines by their names. ``layer`` is laid over this machine's files, and ``shared`` are directories that are a
    file system of their own here, or may be. One that ``trees`` names boots the system in that directory instead, which
    keeps what is written. Needs root."""
    with ExitStack() as stack:
        found = []
        for name in names:
            folder = scratch / f"machine-{name}"
            folder.mkdir()
            group = f"pillarbox-test-{os.getpid()}-{next(_NUMBER)}"
            unified, controllers = _control_groups()
            tree = (trees or {}).get(name)
            given = {
                "NAME": name,
                "FOLDER": str(folder),
                "LAYER": str(layer or ""),
                "TREE": str(tree or ""),
                "SHARED": "" if tree else " ".join(map(str, [*shared, sys.prefix])),
                "CONTROLLERS": " ".join(controllers.values()),
                "CONTROL_GROUPS": " ".join(f"{each}/{group}" for each in (unified, *controllers)),
            }
            unshare = ["unshare", *(f"--{each}" for each in _NAMESPACES), "--fork", "--kill-child", "--mount-proc"]
            supervisor = subprocess.Popen(
                ["sh", "-c", _SUPERVISOR, "sh", *unshare, "sh", "-c", _BOOT],
                env={**os.environ, **given},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                # Ctrl-C is for the test.
                start_new_session=True,
            )
            # Left, its input ends, and with that the machine.
            stack.enter_context(supervisor)
            assert supervisor.stdout
            outer = int(supervisor.stdout.readline())
            assert until(lambda outer=outer: _systemd(outer), f"{name} to boot", patience=60), f"{name} did not boot"
            machine = Machine(name, _systemd(outer) or 0)
            # A system of its own may wait for its network, which nobody has connected yet.
            if not tree:
                up(machine)
            found.append(machine)
        yield found


def up(machine: Machine, patience: float = 60, without: Iterable[str] = ()) -> None:
    """Wait until a machine has booted, with every unit as it should be but those that it is to go ``without``."""
    booted = "systemctl is-system-running | grep -qxE 'running|degraded'"
    assert until(lambda: machine.succeeds(booted), f"{machine.name} to boot", patience=patience), machine.name
    failed = {line.split()[0] for line in machine.run("systemctl --failed --plain --no-legend").splitlines()}
    assert failed <= {*without}, machine.run("systemctl --failed", check=False)


def _systemd(outer: int) -> int | None:
    """The process that is the child of ``outer``, once it is systemd."""
    try:
        child = int(Path(f"/proc/{outer}/task/{outer}/children").read_text())
        return child if Path(f"/proc/{child}/comm").read_text() == "systemd\n" else None
    except (OSError, ValueError):
        return None


def _control_groups() -> tuple[str, dict[str, str]]:
    """This process's own control group of version 2, and for each of version 1 how its hierarchy is mounted."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    controllers = {}
    for place, kind in mounts:
        if kind == "cgroup":
            name = place.rpartition("/")[2]
            name = "name=systemd" if name == "systemd" else name
            controllers[place + own[name].rstrip("/")] = f"none,{name}" if "=" in name else name
    return next(place for place, kind in mounts if kind == "cgroup2") + own[""].rstrip("/"), controllers
