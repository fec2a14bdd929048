"""Which capabilities a lab host gets: all that this machine can give."""

from __future__ import annotations

import re
from pathlib import Path

# By number, as linux/capability.h has them.
NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip

# With these a host could change the machine itself: load modules, set its clock, restart it.
_NEVER = frozenset({"SYS_MODULE", "SYS_TIME", "SYS_BOOT"})


def of_mask(mask: int) -> tuple[str, ...]:
    """The capabilities that a bounding set grants a host, by name."""
    return tuple(name for bit, name in enumerate(NAMES) if mask >> bit & 1 and name not in _NEVER)


def of_machine(status: Path = Path("/proc/self/status")) -> tuple[str, ...]:
    """What this process may hand on: its bounding set. ``--privileged`` fails where that set is not complete."""
    match = re.search(r"^CapBnd:\s*([0-9a-f]+)", status.read_text(), re.MULTILINE)
    return of_mask(int(match[1], 16)) if match else ()


def refused(message: str) -> str | None:
    """The capability that an engine's error message refuses, if that is what it says."""
    match = re.search(r'unknown capability: "?(?:CAP_)?([A-Z_]+)', message)
    return match[1] if match else None
