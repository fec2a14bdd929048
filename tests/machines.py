"""Machines of a test: each has a network, mounts and processes of its own, above the files of this one.

What runs on a machine ends with it, and it ends with the test, however that ends: its first process waits for the end of
a pipe that the test holds.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

# Packages that were unpacked have /lib as a directory, which it is not.
_FIRST = """
set -eu
mount -t tmpfs none {folder}
mkdir {folder}/upper {folder}/work {folder}/root
mount -t overlay overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {folder}/root
[ -z "{packages}" ] || tar -C "{packages}" -c . | tar -C {folder}/root -x --keep-directory-symlink
mount -t tmpfs none {folder}/root/run
mount -t tmpfs none {folder}/root/tmp
mount -t proc proc {folder}/root/proc
mount --bind /dev {folder}/root/dev
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
echo up
exec chroot {folder}/root cat
"""


class Machine:
    """A machine that runs."""

    def __init__(self, name: str, pid: int) -> None:
        self.name, self.pid = name, pid
        self._enter = ["nsenter", "--target", str(pid), "--net", "--mount", "--pid", "--root", "--wd"]

    def run(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell script, which may fail with ``check=False``."""
        done = subprocess.run([*self._enter, "sh", "-euc", script], capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{self.name}: {script}\n{done.stdout}{done.stderr}"
        return done

    def start(self, script: str, log: str) -> int:
        """Start a shell script that goes on, with its output in a file of this machine; its process there."""
        return int(self.run(f"exec 3>&1 > {log} 2>&1 < /dev/null; sh -euc {shlex.quote(script)} 3>&- & echo $! >&3").stdout)

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file."""
        command = [*self._enter, "sh", "-euc", 'mkdir -p "$(dirname "$1")"; cat > "$1"; chmod "$2" "$1"', "sh", path, mode]
        subprocess.run(command, input=text, text=True, check=True)

    def link(self, interface: str, other: Machine, its: str) -> None:
        """Connect an interface of this machine with one of another."""
        subprocess.run(
            ["nsenter", "--target", str(self.pid), "--net", "ip", "link", "add", interface, "up", "type", "veth"]
            + ["peer", "name", its, "netns", str(other.pid)],
            check=True,
        )
        other.run(f"ip link set {its} up")


@contextmanager
def machines(scratch: Path, *names: str, packages: Path | str = "") -> Iterator[list[Machine]]:
    """Machines by their names, where the files of ``packages`` are as if they were installed. Needs root."""
    with ExitStack() as stack:
        found = []
        for name in names:
            folder = scratch / name
            folder.mkdir()
            command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
            first = subprocess.Popen(
                [*command, "sh", "-c", _FIRST.format(folder=folder, packages=packages)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            # Left, its input ends, and it with that.
            stack.enter_context(first)
            assert first.stdout
            assert first.stdout.readline() == "up\n", f"{name} did not come up"
            children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text()
            found.append(Machine(name, int(children.split()[0])))
        yield found
