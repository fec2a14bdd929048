"""Builds spread over builder minions, by a real master and two real minions.

Only the building itself is the test's: a function of the minions that says what it is given, waits for as long as the
test wants it to, and returns. What really builds is tried with an engine in tests/pipeline/test_push.py.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from salt._logging import shutdown_temp_handler
from tests.pipeline.support import Deployment, Salt

from pillarbox.images import BaseSpec, ImageSpec
from pillarbox.images.plan import Results
from pillarbox.pipeline.errors import PipelineError
from pillarbox.revision import Revision
from pillarbox.salt import builders
from pillarbox.salt.builders import BuilderMinions
from pillarbox.system.progress import Progress

REVISION = "0" * 40

MODULE = """\
import pathlib, time

HOLD = pathlib.Path({root!r})

def build_images(shares, tree, source, revision, tag, parallel):
    mine = [spec["name"] for spec in shares.get(__opts__["id"], ())]
    if "nonsense" in mine:
        raise ValueError("nonsense cannot be built")
    for name in mine:
        __salt__["event.send"](tag, {{"line": name + " is built by " + __opts__["id"]}})
    while (HOLD / __opts__["id"]).exists():
        time.sleep(0.05)
    built = {{"reference": tree, "content_key": "k", "seconds": 1.0, "skipped": False, "size": 1, "pushed_size": 1}}
    return {{
        name: {{"error": "no such base"}} if name == "baseless" else {{"name": name, "digest": __opts__["id"], **built}}
        for name in mine
    }}
"""


class Builders:
    """The daemons, a model that has both minions build, and the lines that were heard."""

    def __init__(self, salt: Salt) -> None:
        self.salt = salt
        self.root = salt.deployment.root
        self.lines: list[str] = []
        self.building = BuilderMinions({"conf_file": str(salt.root / "master" / "master")}, parallel=3)
        for name in salt.minions:
            self.release(name)

    def start(self, *names: str) -> Future[Results]:
        """Build images of those names, in a thread."""
        specs = {name: spec(name) for name in names}
        revision = Revision.read(self.salt.deployment.places.published / REVISION, REVISION)
        pool = ThreadPoolExecutor(1)
        try:
            return pool.submit(self.building, specs, self.root / REVISION, revision, Progress(sink=self.lines.append))
        finally:
            pool.shutdown(wait=False)

    def hold(self, minion: str) -> None:
        """Have the minion's jobs wait until it is released."""
        (self.root / "hold" / minion).touch()

    def release(self, minion: str) -> None:
        (self.root / "hold" / minion).unlink(missing_ok=True)

    def heard(self, text: str) -> None:
        """Wait for a line."""
        wait(lambda: any(text in line for line in self.lines), f"{text!r} in {self.lines}")


def wait(ready: Callable[[], bool], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not ready():
        assert time.monotonic() < deadline, what
        pause.wait(0.05)


def spec(name: str) -> ImageSpec:
    return ImageSpec(
        name=name,
        node=f"images/{name}",
        service=name,
        role="server",
        version="1",
        registry="r:1",
        deploy_name="t",
        base=BaseSpec("b", "registry", {"image": "x"}, "k", "r"),
        formulas=(name,),
        packages={},
        pillar={"image": {}},
        dynamic=("A",),
        package_key="k",
        content_key="k",
    )


@pytest.fixture(scope="module")
def salt() -> Iterator[Salt]:
    # Salt's clients log here as if this were one of its commands, to whatever standard error was when it was loaded.
    shutdown_temp_handler()
    root = Path(tempfile.mkdtemp(prefix="pb-"))
    (root / "hold").mkdir()
    (root / "modules").mkdir()
    (root / "modules" / "pillarbox.py").write_text(MODULE.format(root=str(root / "hold")))
    deployment = Deployment(root)
    model = deployment.places.published / REVISION
    (model / "classes").mkdir(parents=True)
    (model / "nodes").mkdir()
    for name in ("m1", "m2"):
        node = {"parameters": {"salt": {"minion": {}}, "pillarbox": {"builder": {"enabled": True}}}}
        (model / "nodes" / f"{name}.yml").write_text(yaml.safe_dump(node))
    deployment.places.current.symlink_to(REVISION)
    daemons = Salt(deployment, ("m1", "m2"), timeout=4, gather_job_timeout=4, module_dirs=[str(root / "modules")])
    try:
        yield daemons.up()
    finally:
        daemons.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def running(salt: Salt) -> Builders:
    for name in ("master", *salt.minions):
        if name not in salt.processes:
            salt.start(name)
    salt.ready()
    return Builders(salt)


def test_each_builder_builds_its_share_and_its_lines_are_heard_meanwhile(running: Builders) -> None:
    running.hold("m1")
    running.hold("m2")
    result = running.start("a", "baseless", "c")
    running.heard("a is built by m1")
    running.heard("baseless is built by m2")
    running.heard("c is built by m1")
    assert not result.done()
    running.release("m1")
    running.release("m2")
    found = result.result(60)
    assert {name: built.digest for name, built in found.built.items()} == {"a": "m1", "c": "m1"}
    assert {name: str(error) for name, error in found.failed.items()} == {"baseless": "no such base"}


def test_a_job_that_raises_is_the_failure_of_its_images(running: Builders) -> None:
    found = running.start("a", "nonsense").result(60)
    assert set(found.built) == {"a"}
    assert "nonsense cannot be built" in str(found.failed["nonsense"])
    running.heard("m2: failed: ")


def test_what_a_dead_builder_had_is_built_by_another(running: Builders) -> None:
    running.hold("m1")
    result = running.start("a", "b", "c")
    running.heard("c is built by m1")
    running.salt.kill("m1", signal.SIGKILL)
    found = result.result(120)
    assert {name: built.digest for name, built in found.built.items()} == {"a": "m2", "b": "m2", "c": "m2"}
    assert not found.failed
    running.heard("a, c: m1 lost the build; starting it again")


def test_a_master_that_restarts_is_waited_for(running: Builders) -> None:
    running.hold("m1")
    result = running.start("a")
    running.heard("a is built by m1")
    running.salt.kill("master", signal.SIGTERM)
    running.salt.start("master")
    running.release("m1")
    assert result.result(120).built["a"].digest in ("m1", "m2")


def test_without_any_builder_there_is_an_error(running: Builders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "PATIENCE", 1)
    for name in ("m1", "m2"):
        running.salt.kill(name)
    with pytest.raises(PipelineError, match="no builder minion answers: m1, m2"):
        running.start("a").result(90)
