"""The machine that the lab runs on: whether it can carry one, and how to leave it as it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from pillarbox.lab.errors import LabError
from pillarbox.lab.settings import LabSettings
from pillarbox.system import files

GIGABYTE = 1 << 30
MINIMUM_FREE = 15 * GIGABYTE
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/default/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/default/route_localnet",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/netfilter/nf_conntrack_max",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "vm/max_map_count",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "fs/inotify/max_user_instances",
    "fs/inotify/max_user_watches",
)
# What a lab with five hosts, each with systemd and containerd, needs; the kernel's 128 instances are gone with three.
_RAISED = {"fs/inotify/max_user_instances": 1024, "fs/inotify/max_user_watches": 524288}


def check(settings: LabSettings) -> None:
    """Raise :class:`LabError` for a machine that cannot carry a lab, and say what would help."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it starts a container engine and hosts", hint="Run `sudo make lab`.")
    for directory in (settings.root, settings.cache):
        directory.mkdir(parents=True, exist_ok=True)
    filesystems = Path("/proc/filesystems").read_text().split()
    if "overlay" not in filesystems and subprocess.run(["modprobe", "overlay"], capture_output=True).returncode != 0:
        raise LabError("the kernel has no overlay file system", hint="Use a kernel with CONFIG_OVERLAY_FS.")
    if not any(Path(f"/sys/fs/cgroup/{name}").exists() for name in ("cgroup.controllers", "memory", "pids")):
        raise LabError("no control groups under /sys/fs/cgroup", hint="Mount cgroup2 there.")


def check_space(settings: LabSettings) -> None:
    """Raise :class:`LabError` when a new lab would not fit. A lab that exists already has what it needs."""
    for directory in (settings.root, settings.cache):
        free = shutil.disk_usage(directory).free
        if free < MINIMUM_FREE:
            raise LabError(
                f"{free / GIGABYTE:.1f} GB are free under {directory}, a lab needs {MINIMUM_FREE // GIGABYTE} GB",
                hint="Make room, or set PILLARBOX_LAB_DIR and PILLARBOX_LAB_CACHE to directories elsewhere.",
            )


def record(settings: LabSettings) -> None:
    """Write down, once, the kernel settings of the machine that a lab changes."""
    file = settings.machine / "before.json"
    if file.is_file():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "sysctls": {name: value for name in _SYSCTLS if (value := _read(name)) is not None},
    }
    files.write_json(file, state, indent=2)


def prepare() -> None:
    """Let the machine pass on packets, and raise the kernel limits that hosts share with it where they are too low."""
    _write("net/ipv4/ip_forward", "1")
    for name, wanted in _RAISED.items():
        value = _read(name)
        if value is not None and int(value) < wanted:
            _write(name, str(wanted))


def restore(settings: LabSettings) -> list[str]:
    """Give the machine back what :func:`record` wrote down, forget it, and return what was changed back."""
    file = settings.machine / "before.json"
    if not file.is_file():
        return []
    state = json.loads(file.read_text())
    changed = []
    for name, before in state["sysctls"].items():
        now = _read(name)
        if now is not None and now != before:
            _write(name, before)
            changed.append(f"{name.replace('/', '.')}: {now} -> {before}")
    file.unlink()
    return changed


def _read(name: str) -> str | None:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return None


def _write(name: str, value: str) -> None:
    try:
        Path("/proc/sys", name).write_text(value)
    except OSError as error:
        raise LabError(f"kernel setting {name.replace('/', '.')} cannot be set to {value}: {error.strerror}") from error
