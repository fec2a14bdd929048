"""The container engine: the machine's own where one answers, otherwise a private one that belongs to the labs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from pillarbox.lab import machine
from pillarbox.lab.errors import LabError
from pillarbox.lab.settings import LabSettings
from pillarbox.system import waiting
from pillarbox.system.command import run, tail
from pillarbox.system.engine import Engine, EngineError

# The private engine's default bridge. No container is ever attached to it, so it needs an address that nobody routes.
_BRIDGE = "pillarbox0"
_BRIDGE_ADDRESS = "169.254.117.1/28"
_SYSTEM_SOCKET = Path("/var/run/docker.sock")
_START_SECONDS = 60
# An engine call may move an image of several hundred megabytes.
_CALL_SECONDS = 600


class LabEngine(Engine):
    """A running engine with its address (as DOCKER_HOST) and whether it is the labs' own.

    Raises :class:`~pillarbox.system.engine.EngineError` where none answers.
    """

    def __init__(self, address: str, *, private: bool) -> None:
        self.address, self.private = address, private
        # The variables that say how to reach the machine's engine hold for the machine's only.
        super().__init__(address if private else None, timeout=_CALL_SECONDS)


def find(settings: LabSettings) -> LabEngine | None:
    """The engine that this lab uses, if it runs: the private one where it was ever started or is asked for, else the
    one of DOCKER_HOST or the default socket."""
    if wants_private(settings):
        return _connect(f"unix://{socket(settings)}", private=True)
    return _connect(_system_address(), private=False)


def start(settings: LabSettings, say: Callable[[str], None]) -> LabEngine:
    """The engine that this lab uses, started when that is the lab's to do.

    Raises :class:`LabError` when the machine's engine was asked for and does not answer, and with the end of its log
    when the private one does not come up.
    """
    engine = find(settings)
    if engine is not None:
        return engine
    if settings.engine == "system" or (os.environ.get("DOCKER_HOST") and settings.engine == "auto"):
        raise LabError(
            f"no container engine answers at {_system_address()}",
            hint="Start it, or let the lab run its own: PILLARBOX_LAB_ENGINE=private.",
        )
    say("no container engine answers: starting a private one")
    return _start_private(settings)


def wants_private(settings: LabSettings) -> bool:
    """Whether this lab's engine is the private one: asked for, or chosen on an earlier run, or because no other is."""
    if settings.engine != "auto":
        return settings.engine == "private"
    if (settings.engine_dir / "data").is_dir():
        return True
    return not os.environ.get("DOCKER_HOST") and _connect(_system_address(), private=False) is None


def socket(settings: LabSettings) -> Path:
    return settings.engine_dir / "docker.sock"


def stop(settings: LabSettings) -> None:
    """End the private engine and its containerd, and wait until they are gone."""
    for name in ("dockerd", "containerd"):
        pid = _pid(settings, name)
        if pid is None:
            continue
        os.kill(pid, signal.SIGTERM)
        if not _gone(pid, 30):
            os.kill(pid, signal.SIGKILL)
            _gone(pid, 10)


def remove(settings: LabSettings) -> None:
    """Stop the private engine and delete all it stored."""
    stop(settings)
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        target = line.split()[1].replace("\\040", " ")
        if target.startswith(f"{settings.engine_dir}/"):
            subprocess.run(["umount", "--lazy", target], check=False, capture_output=True)
    if Path("/sys/class/net", _BRIDGE).exists():
        run(["ip", "link", "delete", _BRIDGE])
    if settings.engine_dir.exists():
        shutil.rmtree(settings.engine_dir)


def _system_address() -> str:
    return os.environ.get("DOCKER_HOST") or f"unix://{_SYSTEM_SOCKET}"


def _connect(address: str, *, private: bool) -> LabEngine | None:
    try:
        return LabEngine(address, private=private)
    except EngineError:
        return None


def _start_private(settings: LabSettings) -> LabEngine:
    # A starting engine turns settings of the machine on.
    machine.record(settings)
    base = settings.engine_dir
    for name in ("data", "exec", "containerd"):
        (base / name).mkdir(parents=True, exist_ok=True, mode=0o711)
    containerd_socket = base / "containerd.sock"
    if len(str(containerd_socket)) > 100:
        raise LabError(f"{base} is too long a path for a socket", hint="Set PILLARBOX_LAB_DIR to a shorter one.")
    # A containerd of its own: dockerd would otherwise move in with the machine's.
    config = base / "containerd.toml"
    config.write_text(
        f'version = 2\nroot = "{base}/containerd"\nstate = "{base}/exec/containerd"\n'
        # The second would make /opt/containerd.
        'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
        f'[grpc]\naddress = "{containerd_socket}"\n'
    )
    if _pid(settings, "containerd") is None:
        containerd_socket.unlink(missing_ok=True)
        process = _spawn(settings, "containerd", ["containerd", "--config", str(config)])
        _await(settings, "containerd", process, containerd_socket.is_socket)
    address = f"unix://{socket(settings)}"
    started: subprocess.Popen[bytes] | None = None
    if _pid(settings, "dockerd") is None:
        if not Path("/sys/class/net", _BRIDGE).exists():
            run(["ip", "link", "add", _BRIDGE, "type", "bridge"])
            run(["ip", "address", "add", _BRIDGE_ADDRESS, "dev", _BRIDGE])
        (base / "dockerd-own.pid").unlink(missing_ok=True)
        # The machine's /etc/docker/daemon.json is about another engine.
        (base / "dockerd.json").write_text("{}\n")
        arguments = [
            "dockerd",
            f"--host=unix://{socket(settings)}",
            f"--containerd={containerd_socket}",
            f"--data-root={base}/data",
            f"--exec-root={base}/exec",
            f"--pidfile={base}/dockerd-own.pid",
            # An interface docker0 may be another engine's: with no bridge asked for, this one would delete it.
            f"--bridge={_BRIDGE}",
            # At its start it would rebuild chains that another engine has rules in. See firewall.py.
            "--iptables=false",
            "--ip6tables=false",
            # Hosts stay up while the engine is restarted.
            "--live-restore",
            "--userland-proxy=false",
            f"--config-file={base}/dockerd.json",
            "--log-opt=max-size=10m",
        ]
        started = _spawn(settings, "dockerd", arguments)
    _await(settings, "dockerd", started, lambda: _connect(address, private=True) is not None)
    engine = _connect(address, private=True)
    assert engine is not None
    return engine


def _spawn(settings: LabSettings, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if shutil.which(arguments[0], path=path) is None:
        raise LabError(f"program {arguments[0]} is missing", hint="`make lab` installs what the lab needs.")
    with open(settings.engine_dir / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "PATH": path},
            # It outlives this command and its terminal.
            start_new_session=True,
        )
    (settings.engine_dir / f"{name}.pid").write_text(f"{process.pid}\n")
    return process


def _await(
    settings: LabSettings, name: str, process: subprocess.Popen[bytes] | None, ready: Callable[[], bool]
) -> None:
    """Wait for a program that was started just now (``process``) or by an earlier command to be ready."""

    def ended() -> bool:
        return process is not None and process.poll() is not None

    waiting.until(lambda: ended() or ready(), f"{name} to be ready", patience=_START_SECONDS)
    if ended() or not ready():
        log = settings.engine_dir / f"{name}.log"
        why = "ended" if ended() else f"was not ready after {_START_SECONDS}s"
        raise LabError(
            f"the private engine does not start: {name} {why}\n{tail(log.read_text(errors='replace'))}",
            hint=f"The whole log is {log}.",
        )


def _pid(settings: LabSettings, name: str) -> int | None:
    """The process that the pidfile names, if it still is that program."""
    try:
        pid = int((settings.engine_dir / f"{name}.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, ValueError, IndexError):
        return None
    # A number may have come round again; a child of ours that ended stays a zombie until we do.
    ours = Path(command[0].decode()).name == name and any(str(settings.engine_dir).encode() in each for each in command)
    return pid if ours and state != "Z" else None


def _gone(pid: int, seconds: float) -> bool:
    def ended() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (OSError, IndexError):
            return True

    return waiting.until(ended, f"process {pid} to end", patience=seconds, every=0.1)
