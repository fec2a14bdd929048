"""Building on the real engine: what is built, what is not built again, what is in a layer, and how builds end early."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from tests.images.conftest import serve_registry

from pillarbox.images import BuildError, builder, collection, stock
from pillarbox.images.builder import Built, build
from pillarbox.images.errors import RegistryUnavailable
from pillarbox.images.plan import build_all
from pillarbox.images.registry import Registry
from pillarbox.images.spec import key_tag
from pillarbox.images.stage import BUILD_LABEL, CONTAINER_PREFIX
from pillarbox.images.store import Store
from pillarbox.salt.modules.pillarbox import clear_images
from pillarbox.system.engine import Engine, EngineError
from pillarbox.system.errors import Interrupted
from pillarbox.system.progress import Progress

pytestmark = pytest.mark.engine

BUILD = """
import sys
from pathlib import Path
from pillarbox.images import image_specs
from pillarbox.images.builder import build
from pillarbox.system.engine import Engine
from pillarbox.images.store import Store
from pillarbox.model import Inventory
from pillarbox.system.errors import Interrupted
from pillarbox.system.progress import Progress
model, store = sys.argv[1:]
spec = image_specs(Inventory(model))["toy-server"]
built = build(spec, model, engine=Engine(), store=Store(store), progress=Progress())
print("skipped" if built.skipped else "built")
"""


class Shop:
    """Everything a test builds with; ``lines`` is what the last build said."""

    def __init__(self, engine: Engine, store: Store, toy: Any) -> None:
        self.engine = engine
        self.store = store
        self.toy = toy
        self.lines: list[str] = []

    def build(self, toy: Any = None) -> Built:
        self.lines = []
        toy = toy or self.toy
        progress = Progress(sink=self.lines.append)
        return build(toy.spec(), toy.path, engine=self.engine, store=self.store, progress=progress, revision="abc")

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def containers(self) -> tuple[str, ...]:
        return self.engine.containers({BUILD_LABEL: self.toy.spec().location}, CONTAINER_PREFIX)

    def running(self) -> list[str]:
        """Containers that hold more than a name: one that never started is left to the next build."""
        client = docker.from_env()
        found = client.containers.list(filters={"label": f"{BUILD_LABEL}={self.toy.spec().location}"})
        return [container.name for container in found]

    def process(self, toy: Any) -> subprocess.Popen[str]:
        """Build in a process of its own."""
        toy.spec()
        command = [sys.executable, "-c", BUILD, str(toy.path), str(self.store.path)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.05)


@pytest.fixture
def shop(engine: Engine, store: Store, registry: str, make_toy: Callable[..., Any]) -> Iterator[Shop]:
    shop = Shop(engine, store, make_toy(registry))
    yield shop
    assert shop.containers() == ()


@pytest.fixture(scope="module")
def client() -> docker.DockerClient:
    return docker.from_env()


def run(client: docker.DockerClient, reference: str, *command: str, **environment: str) -> tuple[int, str]:
    """Run a container as a manifest would: the command given, nothing of the image's own."""
    container = client.containers.create(reference, list(command), environment=environment)
    try:
        container.start()
        code = container.wait()["StatusCode"]
        return code, container.logs().decode()
    finally:
        container.remove(force=True)


def files_of_layers(client: docker.DockerClient, reference: str) -> Iterator[tuple[str, bytes | None]]:
    """Each entry of each layer: its path, and its content where it is a file."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(client.images.get(reference).save()))) as saved:
        manifest = json.load(saved.extractfile("manifest.json"))  # type: ignore[arg-type]
        for name in manifest[0]["Layers"]:
            with tarfile.open(fileobj=saved.extractfile(name)) as layer:
                for entry in layer:
                    content = layer.extractfile(entry).read() if entry.isreg() else None  # type: ignore[union-attr]
                    yield entry.name.removeprefix("./"), content


def test_end_to_end(shop: Shop, client: docker.DockerClient, registry: str) -> None:
    """From a model to a container that runs with values from its environment, and nothing built twice."""
    assert stock.take(shop.toy.specs()).missing == ("toy-server",)
    built = shop.build()
    assert not built.skipped
    assert built.reference == f"{registry}/toys/toy-server:zed"
    assert built.size and built.size > built.pushed_size > 0
    reader = Registry(registry)
    spec = shop.toy.spec()
    assert reader.digest("toys/toy-server", "zed") == reader.digest("toys/toy-server", spec.tag) == built.digest
    assert stock.take(shop.toy.specs()).digests == {"toy-server": built.digest}

    labels = reader.labels("toys/toy-server", "zed")
    assert labels["io.pillarbox.revision"] == "abc"
    assert labels["io.pillarbox.content-key"] == spec.content_key
    assert labels["io.pillarbox.dynamic"] == "DB_HOST DB_PASSWORD"
    assert labels["io.pillarbox.processes"] == "show"
    assert (labels["io.pillarbox.service"], labels["io.pillarbox.role"]) == ("toy", "server")
    config = client.images.get(built.reference).attrs["Config"]
    assert not config.get("Entrypoint")
    assert config["StopSignal"] == "SIGTERM"

    nasty = "p$DB_HOST'\"\\ %\n&"
    code, output = run(client, built.reference, "/entrypoint.sh", "show", DB_HOST="db", DB_PASSWORD=nasty)
    assert code == 0
    assert f"password = {nasty}\n" in output
    assert "url = mysql://toy:p%24DB_HOST%27%22%5C%20%25%0A%26@db/toy\n" in output
    assert "limit = 3\n" in output
    assert "other = $NOT_DECLARED" in output
    command = ("/entrypoint.sh", "show", "stat", "-c", "%a %U %G", "/etc/toy/toy.conf")
    assert run(client, built.reference, *command, DB_HOST="", DB_PASSWORD="") == (0, "640 root mail\n")
    command = ("/entrypoint.sh", "show", "sh", "-c", 'echo "$$ $DB_HOST"')
    assert run(client, built.reference, *command, DB_HOST="h", DB_PASSWORD="") == (0, "1 h\n")
    assert run(client, built.reference, "/entrypoint.sh", "show", DB_HOST="db")[0] == 78
    code, output = run(client, built.reference, "/entrypoint.sh", "nope", DB_HOST="db")
    assert (code, "show" in output) == (64, True)

    again = shop.build()
    assert (again.skipped, again.digest) == (True, built.digest)
    assert shop.said("nothing to build")

    shop.toy.pillar["toy"]["server"]["limit"] = 4
    assert stock.take(shop.toy.specs()).missing == ("toy-server",)
    changed = shop.build()
    assert shop.said("packages as before")
    assert not shop.said("debootstrap")
    old, new = (client.api.inspect_image(f"{registry}/toys/toy-server:{tag}") for tag in (spec.tag, "zed"))
    assert old["RootFS"]["Layers"][:2] == new["RootFS"]["Layers"][:2]
    assert old["RootFS"]["Layers"][2:] != new["RootFS"]["Layers"][2:]
    assert reader.digest("toys/toy-server", "zed") == changed.digest != built.digest

    shop.toy.pillar["toy"]["server"]["limit"] = 3
    back = shop.build()
    assert (back.skipped, back.digest) == (True, built.digest)
    assert reader.digest("toys/toy-server", "zed") == built.digest


def test_layers_hold_nothing_of_the_build(shop: Shop, client: docker.DockerClient) -> None:
    """No Salt, no pillar, no package lists, no logs, no identity in any layer, deleted later or not."""
    shop.toy.pillar["toy"]["server"]["unused"] = "a-value-that-no-file-has"
    built = shop.build()
    names = []
    for name, content in files_of_layers(client, built.reference):
        names.append(name)
        if content is not None and "/.wh." not in name:
            assert b"a-value-that-no-file-has" not in content, name
            assert b"pillar_roots" not in content, name
            emptied = ("var/lib/apt/lists/", "var/cache/", "var/log/", "usr/share/man/", "usr/share/doc/", "var/tmp/")
            assert not name.startswith(emptied), name
            assert name not in ("etc/machine-id", "etc/apt/sources.list")
    assert "entrypoint.sh" in names
    assert not [name for name in names if "salt" in name.lower().split("/")]
    assert not [name for name in names if name.startswith(("run/", "tmp/", "etc/ssh/ssh_host_"))]


def test_packages_are_shared_through_the_registry(shop: Shop, make_toy: Callable[..., Any], registry: str) -> None:
    """A builder whose engine has never seen the packages takes them from the registry."""
    shop.build()
    spec = shop.toy.spec()
    for name in shop.engine.names(f"{registry}/toys/packages:"):
        shop.engine.remove_image(name)
    for name in shop.engine.names(f"{registry}/toys/toy-server:"):
        shop.engine.remove_image(name)
    assert shop.engine.labelled({"io.pillarbox.package-key": spec.package_key}, spec.packages_tag) is None
    shop.toy.pillar["toy"]["server"]["limit"] = 5
    shop.build()
    assert shop.said("fetching toys/packages")
    assert shop.said("packages as before")


def test_a_base_comes_from_a_registry(
    shop: Shop, make_toy: Callable[..., Any], registry: str, client: docker.DockerClient
) -> None:
    """A base that somebody else made and pushed, named by its digest; the engine here has never seen it."""
    shop.build()
    made = shop.toy.spec().base
    manifest = Registry(registry).manifest(made.repository, key_tag(made.key))
    assert manifest is not None
    pinned = f"{registry}/{made.repository}@{manifest.digest}"
    for name in shop.engine.names(f"{registry}/"):
        shop.engine.remove_image(name)
    assert shop.engine.image(pinned) is None
    other = make_toy(registry, "pinned")
    other.image["base"] = {"name": "theirs", "engine": "registry", "image": pinned}
    built = shop.build(other)
    assert not built.skipped and not shop.said("debootstrap")
    assert run(client, built.reference, "hello")[0] == 0
    other.image["base"]["image"] = f"{registry}/{made.repository}@sha256:{'0' * 64}"
    with pytest.raises(BuildError, match="there is no"):
        shop.build(other)


LATER_FAILURE = "bad: {test.fail_without_changes: []}\nc:\n  test.nop:\n    - require: [bad]\n"
UNSEEN = "bad:\n  test.fail_without_changes:\n    - comment: {{ pillar.toy|default('unseen') }}\n"
MISSING = "no-such-package-anywhere"


@pytest.mark.parametrize(
    ("sls", "text", "message", "state"),
    [
        ("server", "bad:\n  cmd.run:\n    - name: echo it broke; exit 3\n", "it broke", "bad"),
        ("packages", f"bad:\n  pkg.installed:\n    - name: {MISSING}\n    - refresh: true\n", MISSING, "bad"),
        ("server", LATER_FAILURE, "bad", "bad"),
        ("server", "bad: {file.managed: [{name: /x}, {source: 'salt://none'}]}\n", "none", "bad"),
        ("server", "{{ pillar.absent.key }}", "absent", None),
        ("server", "a: [b: c", "does not render", None),
        ("server", "fine: {test.nop: []}\n", "made no process", None),
        ("packages", "bad:\n  cmd.run:\n    - name: test -e /run/pillarbox/formulas/toy/server.sls\n", "bad", "bad"),
        ("packages", UNSEEN, "unseen", "bad"),
    ],
)
def test_a_failing_state_is_named(shop: Shop, sls: str, text: str, message: str, state: str | None) -> None:
    shop.toy.write(f"formulas/toy/{sls}.sls", text)
    with pytest.raises(BuildError) as raised:
        shop.build()
    error = raised.value
    assert message in error.message
    assert (error.image, error.state) == ("toy-server", state)
    assert error.stage == ("packages" if sls == "packages" else "role")
    assert error.sls == f"toy.{sls}"
    assert Registry(shop.toy.spec().registry).digest("toys/toy-server", shop.toy.spec().tag) is None


def test_a_role_that_installs_packages_is_refused(shop: Shop) -> None:
    shop.toy.write("formulas/toy/server.sls", "x:\n  cmd.run:\n    - name: dpkg --purge hello\n")
    with pytest.raises(BuildError, match=r"toy\.server installed or removed packages"):
        shop.build()


def test_files_that_change_under_a_plan_are_noticed(shop: Shop) -> None:
    shop.toy.pillar["toy"]["server"]["limit"] = 99
    spec = shop.toy.spec()
    shop.toy.write("formulas/toy/files/toy.conf", "changed")
    with pytest.raises(BuildError, match="changed since the plan"):
        build(spec, shop.toy.path, engine=shop.engine, store=shop.store)


def test_a_long_build_says_that_it_goes_on_and_with_what(shop: Shop, tmp_path: Path) -> None:
    shop.toy.write("formulas/toy/packages.sls", f"# {tmp_path}\n" + SLOW.format(2))
    lines: list[str] = []
    progress = Progress(sink=lines.append, silence=0.3)
    build_all([shop.toy.spec()], shop.toy.path, engine=shop.engine, store=shop.store, progress=progress)
    assert any("still: toy-server: packages (for " in line for line in lines), lines


def test_a_build_that_hangs_is_ended_and_tells_which_stage_did(shop: Shop, tmp_path: Path) -> None:
    """A package's script, say, that waits for an answer: without a limit it would hold the pipeline for ever."""
    shop.build()
    shop.toy.image["timeout"] = 5
    shop.toy.write("formulas/toy/packages.sls", f"# {tmp_path}\n" + SLOW.format(3600))
    with pytest.raises(BuildError, match=r"image toy-server, stage packages: it was not done within 5 s") as ended:
        shop.build()
    assert "image:timeout" in (ended.value.hint or "") and not isinstance(ended.value, Interrupted)
    shop.until(lambda: not shop.running())
    # More time is no other content: what it takes decides nothing about what is in it.
    spec = shop.toy.spec()
    shop.toy.image["timeout"] = 3600
    assert shop.toy.spec().content_key == spec.content_key


def test_one_failure_does_not_stop_the_others(shop: Shop, make_toy: Callable[..., Any], registry: str) -> None:
    bad = make_toy(registry, "bad")
    bad.write("formulas/toy/packages.sls", "bad: {test.fail_without_changes: []}\n")
    bad.image["deploy_name"] = "bad"
    good, wrong = shop.toy.spec(), bad.spec()
    results = build_all([good], shop.toy.path, engine=shop.engine, store=shop.store)
    assert results.digests() == {"toy-server": results.built["toy-server"].digest}
    lines: list[str] = []
    results = build_all([wrong], bad.path, engine=shop.engine, store=shop.store, progress=Progress(sink=lines.append))
    assert list(results.failed) == ["toy-server"]
    assert any("toy-server: failed: image toy-server, stage packages" in line for line in lines)
    with pytest.raises(BuildError):
        results.raise_failures()


# The path of the test makes it another content each time: an engine may still have what an earlier run built.
SLOW = "slow:\n  cmd.run:\n    - name: sleep {}\n"


def test_two_builders_build_one_image_once(shop: Shop, tmp_path: Path) -> None:
    shop.toy.write("formulas/toy/packages.sls", f"# {tmp_path}\n" + SLOW.format(3))
    processes = [shop.process(shop.toy) for _ in range(2)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sorted(output.strip() for output, _ in outputs) == ["built", "skipped"]
    assert sum("waiting for another build" in said for _, said in outputs) == 1


def test_a_volume_with_salt_that_was_left_half_filled_is_made_anew(
    shop: Shop,
) -> None:
    shop.build()
    # The tests share a store, and some build on other bases.
    (marker,) = (shop.store.path / "salt").glob(f"*-{shop.toy.spec().base.key[:16]}.volume")
    name = marker.stem
    born = shop.engine.volume(name)
    shop.engine.remove_volume(name)
    shop.engine.make_volume(name)
    shop.toy.write("formulas/toy/files/toy.conf", "half = filled\n")
    assert not shop.build().skipped
    assert shop.engine.volume(name) not in (None, born)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_builder_leaves_nothing(shop: Shop, kill: signal.Signals, tmp_path: Path) -> None:
    """However a builder ends, its container goes with it, nothing is tagged, and the next build succeeds."""
    shop.toy.write("formulas/toy/packages.sls", f"# {tmp_path}\n" + SLOW.format(8))
    process = shop.process(shop.toy)
    shop.until(lambda: shop.running() or process.poll() is not None)
    process.send_signal(kill)
    process.communicate()
    assert process.returncode != 0
    shop.until(lambda: not shop.running())
    spec = shop.toy.spec()
    assert Registry(spec.registry).digest("toys/packages", spec.packages_tag) is None
    assert not shop.build().skipped


def test_leftovers_are_cleaned_at_the_next_build(shop: Shop, client: docker.DockerClient) -> None:
    shop.build()
    shop.toy.pillar["toy"]["server"]["limit"] = 77
    spec = shop.toy.spec()
    labels = {BUILD_LABEL: spec.location}
    left = client.containers.create(spec.reference, ["/bin/sh"], name=f"{CONTAINER_PREFIX}left-over", labels=labels)
    shop.build()
    with pytest.raises(docker.errors.NotFound):
        client.containers.get(left.id)


def test_an_interrupt_ends_running_builds(shop: Shop) -> None:
    """Ctrl-C in build_all: containers are gone when the interrupt comes out."""
    shop.toy.write("formulas/toy/packages.sls", SLOW.format(600))

    def interrupt() -> None:
        shop.until(shop.containers)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    specs = shop.toy.specs().values()
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        build_all(specs, shop.toy.path, engine=shop.engine, store=shop.store)
    thread.join()
    assert shop.containers() == ()


def test_a_registry_that_is_down_fails_before_anything_is_built(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "PATIENCE", 0.3)
    shop.toy.image["registry"] = "127.0.0.1:1"
    with pytest.raises(RegistryUnavailable, match=r"registry 127\.0\.0\.1:1 does not answer"):
        shop.build()
    assert [line.rpartition("; ")[2] for line in shop.lines] == ["waiting for up to 0.3 s"]


def test_an_engine_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="the container engine does not answer") as raised:
        Engine(f"unix://{tmp_path}/docker.sock")
    assert raised.value.hint


def test_a_registry_that_is_away_when_an_image_is_pushed_is_waited_for(
    engine: Engine, store: Store, make_toy: Callable[..., Any], tmp_path: Path
) -> None:
    lines: list[str] = []
    with contextlib.ExitStack() as running:
        registry = running.enter_context(serve_registry(tmp_path))
        toy = make_toy(registry)

        def say(line: str) -> None:
            lines.append(line)
            if line.endswith("toy-server: pushing"):
                running.close()
            elif "waiting for up to" in line:
                running.enter_context(serve_registry(tmp_path, int(registry.rpartition(":")[2])))

        try:
            built = build(toy.spec(), toy.path, engine=engine, store=store, progress=Progress(sink=say), revision="abc")
        finally:
            for name in engine.names(f"{registry}/"):
                engine.forget(name)
        assert Registry(registry).digest("toys/toy-server", built.digest) == built.digest
    assert sum("waiting for up to 60 s" in line for line in lines) == 1
    assert any("it answers again" in line for line in lines)


def test_an_engine_forgets_what_is_not_needed(
    shop: Shop, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILLARBOX_BUILD_CACHE", str(tmp_path))
    new, old = (Store(tmp_path).folder(f"base/{name}/root") for name in ("new", "old"))
    os.utime(old.parent, (0, 0))
    # Apart from those of other tests.
    shop.toy.image["deploy_name"] = "forgotten"
    spec = shop.toy.spec()
    shop.build()
    stays = collection.needed([spec])
    prefixes = [folder.prefix for folder in stays.folders]
    shop.engine.tag(f"{spec.location}:{spec.tag}", spec.location, "key-old")
    assert clear_images(sorted(stays.names), prefixes, dry_run=True) == [f"{spec.location}:key-old"]
    assert shop.engine.image(f"{spec.location}:key-old")
    assert clear_images(sorted(stays.names), prefixes) == [f"{spec.location}:key-old"]
    assert not shop.engine.image(f"{spec.location}:key-old") and shop.engine.image(f"{spec.location}:{spec.tag}")
    assert new.is_dir() and not old.parent.exists()
