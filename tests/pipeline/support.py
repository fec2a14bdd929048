"""A real Salt master and minion on loopback, a bare repository with hooks, and small models to push."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from tests.controlplane import free_port

from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import Run, Runs
from pillarbox.salt import ORCHESTRATIONS

ROOT = Path(__file__).resolve().parents[2]

# What the command `pillarbox hook` is: the room's functions, and an exit code.
HOOK = """#!{python}
import sys
from pathlib import Path
from pillarbox.pipeline.deployed import noted
from pillarbox.pipeline.post_receive import post_receive
from pillarbox.pipeline.pre_receive import pre_receive
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.update import updates
places = Places(root=Path({root!r}), state=Path({state!r}), repository=Path({repository!r}))
pushed = updates(sys.stdin.buffer)
if {name!r} == "pre-receive":
    errors = pre_receive(places.repository, pushed, lambda line: print(line, flush=True), deployed=noted(places))
    for error in errors:
        print(error, file=sys.stderr)
    sys.exit(1 if errors else 0)
post_receive(places, pushed, lambda line: print(line, flush=True), patience={patience})
"""


def git(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "GIT_AUTHOR_NAME": "Ann",
        "GIT_AUTHOR_EMAIL": "ann@example.org",
        "GIT_COMMITTER_NAME": "Ann",
        "GIT_COMMITTER_EMAIL": "ann@example.org",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, env=environment)
    assert not check or done.returncode == 0, done.stderr
    return done


class Deployment:
    """A bare repository with its hooks, a work tree to push from, and where a master keeps things."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places = Places(root=root / "srv", state=root / "state", repository=root / "model.git")
        (root / "work").mkdir(parents=True)
        self.work = root / "work"
        git("init", "-q", "--bare", "-b", "main", str(self.places.repository), cwd=root)
        git("init", "-q", "-b", "main", str(self.work), cwd=root)
        git("remote", "add", "origin", str(self.places.repository), cwd=self.work)
        self.hooks(patience=0.0)

    def hooks(self, patience: float) -> None:
        """(Re)write the hooks; ``patience`` is for how long the post-receive hook follows a silent build."""
        for name in ("pre-receive", "post-receive"):
            file = self.places.repository / "hooks" / name
            file.write_text(
                HOOK.format(
                    python=sys.executable,
                    root=str(self.places.root),
                    state=str(self.places.state),
                    repository=str(self.places.repository),
                    name=name,
                    patience=patience,
                )
            )
            file.chmod(0o755)

    def commit(self, files: dict[str, Any], message: str = "change") -> str:
        """Write files (data becomes YAML, ``None`` removes), commit, return the revision."""
        for name, content in files.items():
            file = self.work / name
            if content is None:
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        git("add", "-A", cwd=self.work)
        git("commit", "-q", "--allow-empty", "-m", message, cwd=self.work)
        return git("rev-parse", "HEAD", cwd=self.work).stdout.strip()

    def push(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return git("push", *options, "origin", "main", cwd=self.work, check=check)

    @property
    def runs(self) -> Runs:
        return Runs(self.places.runs)

    def finished(self, revision: str, kind: str = "build", seconds: float = 90) -> Run:
        """Wait until a run of ``revision`` has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            run = self.runs.last(kind, revision)
            if run and run.state in ("succeeded", "failed"):
                return run
            time.sleep(0.2)
        raise AssertionError(f"no finished {kind} of {revision}: {[(run.id, run.state) for run in self.runs]}")


MODEL: dict[str, Any] = {
    "classes/cloud.yml": {"parameters": {"_param": {"greeting": "hello"}}},
    "nodes/m1.yml": {
        "classes": ["cloud"],
        "applications": ["demo"],
        "parameters": {
            "salt": {"minion": {"enabled": True}},
            "pillarbox": {"builder": {"enabled": True}},
            "demo": {"text": "${_param:greeting}"},
        },
    },
    "nodes/control.yml": {
        "classes": ["cloud"],
        "parameters": {
            "kubernetes": {
                "control": {
                    "enabled": True,
                    "deploy_name": "t",
                    "version": "1.37.2",
                    "configmap": {"greeting": {"data": {"text": "${_param:greeting}"}}},
                }
            }
        },
    },
}


class Salt:
    """A master and minions, started and stopped at will; ``run`` is the command salt-run. ``options`` are further ones
    of both the master and the minions, ``jobs`` what the master schedules, ``minion_jobs`` what each minion does, and
    ``environments`` directories that the master serves as environments of their own."""

    def __init__(
        self,
        deployment: Deployment,
        minions: tuple[str, ...] = ("m1",),
        *,
        jobs: dict[str, Any] | None = None,
        minion_jobs: dict[str, Any] | None = None,
        environments: dict[str, Path] | None = None,
        **options: Any,
    ) -> None:
        self.deployment = deployment
        self.minions = minions
        self.root = deployment.root / "salt"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        places = deployment.places
        publish, answer = free_port(), free_port()
        common = {"user": getpass.getuser(), "log_level": "warning", "publish_port": publish, **options}
        master = {
            "timeout": 20,
            "gather_job_timeout": 10,
            **common,
            "root_dir": str(self.root / "m"),
            "interface": "127.0.0.1",
            "ret_port": answer,
            "auto_accept": True,
            "worker_threads": 3,
            "file_roots": {
                "base": [str(ORCHESTRATIONS), str(places.current / "formulas"), str(places.staging)],
                **{name: [str(directory)] for name, directory in (environments or {}).items()},
            },
            "fileserver_list_cache_time": 0,
            "ext_pillar": [{"pillarbox": {"model": str(places.current), "pki": str(self.root / "pki")}}],
            "master_tops": {"pillarbox": {"model": str(places.current)}},
            "engines": [{"pillarbox": {"interval": 0.3, "patience": 5}}],
            "pillarbox": {
                "root": str(places.root),
                "state": str(places.state),
                "repository": str(places.repository),
            },
        }
        if jobs:
            master["schedule"] = jobs
        minion = {
            **common,
            "master": "127.0.0.1",
            "master_port": answer,
            "acceptance_wait_time": 1,
            "auth_timeout": 5,
            "recon_default": 200,
            "recon_max": 500,
            "retry_dns": 0,
        }
        if minion_jobs:
            minion["schedule"] = minion_jobs
        self._configure("master", "master", master)
        for number, name in enumerate(minions):
            self._configure(name, "minion", {**minion, "id": name, "root_dir": str(self.root / f"n{number}")})

    def _configure(self, name: str, program: str, options: dict[str, Any]) -> None:
        (self.root / name).mkdir(parents=True)
        (self.root / name / program).write_text(yaml.safe_dump(options))

    def start(self, name: str, **environment: str) -> None:
        """Start the master, or a minion, with further variables in its environment."""
        program = "salt-master" if name == "master" else "salt-minion"
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [_command(program), "-c", str(self.root / name)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **environment},
            )

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a daemon with all its children, as a power cut (or, with SIGTERM, systemd) does."""
        process = self.processes.pop(name)
        os.killpg(process.pid, how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # A minion that finds the process of its pid file, be it on its way out, takes itself for running.
        deadline = time.monotonic() + 30
        while _alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.02)

    def up(self) -> Salt:
        for name in ("master", *self.minions):
            self.start(name)
        self.ready()
        return self

    def ready(self, seconds: float = 90) -> None:
        """Wait until every minion answers the master."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            done = self.command("salt", "-L", ",".join(self.minions), "test.ping", "--out=txt", check=False)
            if all(f"{name}: True" in done.stdout for name in self.minions):
                return
        raise AssertionError(f"{done.stdout}{done.stderr}{(self.root / 'master.log').read_text()[-3000:]}")

    def command(self, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [_command(name), "-c", str(self.root / "master"), *arguments], capture_output=True, text=True, timeout=300
        )
        assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.command("salt-run", *arguments, check=check)

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name, signal.SIGTERM)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _command(name: str) -> str:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else (shutil.which(name) or name)


def formulas(root: Path) -> dict[str, str]:
    """A formula of the test's, and an orchestration of the model's own, which must never be rendered."""
    return {
        "formulas/demo/init.sls": (
            f"demo:\n  file.managed:\n  - name: {root}/demo.txt\n  - contents_pillar: demo:text\n"
        ),
        "formulas/orch/deploy.sls": "{{ a_pushed_orchestration_is_rendered(\n",
    }


def image_files() -> dict[str, str]:
    """What every image needs of the project, as files of a model."""
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for path in sorted((ROOT / "images").rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
