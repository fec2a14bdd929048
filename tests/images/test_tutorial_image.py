"""The tutorial's service, built as an image and started: its static part, and its dynamic one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.docs.pages import DOCS, Command, Reader, environment, steps

from pillarbox.images import image_specs
from pillarbox.images.builder import build
from pillarbox.images.store import Store
from pillarbox.model import Inventory
from pillarbox.system.engine import Engine

pytestmark = pytest.mark.engine

FETCH = "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"


def test_the_front_page_of_the_tutorial(
    tmp_path: Path, repository: Path, engine: Engine, store: Store, registry: str
) -> None:
    model = tmp_path / "model"
    for part in ("classes", "nodes", "formulas", "images"):
        shutil.copytree(repository / part, model / part)
    reader = Reader(tmp_path, environment(tmp_path, repository))
    for step in steps(DOCS / "tutorial" / "own-service.md"):
        if isinstance(step, Command) and step.text.startswith("pillarbox check"):
            break
        reader.do(step)
    inventory = Inventory(model, cache=None)
    image = {**dict(inventory.node("frontpage-server").parameters["image"]), "registry": registry}
    node = model / "nodes" / "images" / "frontpage-server.yml"
    node.write_text(f"{node.read_text()}  image:\n    registry: {image['registry']}\n")
    spec = image_specs(Inventory(model, cache=None))["frontpage-server"]

    built = build(spec, model, engine=engine, store=store)

    container = engine.client.containers.run(
        built.pinned,
        ["/entrypoint.sh", "server"],
        detach=True,
        user="940:940",
        environment={"FRONTPAGE_CONTACT": "the desk next door"},
    )
    try:
        for _ in range(100):
            code, output = container.exec_run(["bash", "-c", FETCH])
            if code == 0:
                break
        page = output.decode()
        assert "<h1>The lab's cloud</h1>" in page
        assert "Questions go to the desk next door." in page
        assert container.exec_run(["cat", "/proc/1/comm"])[1].decode().strip() == "mini_httpd", "the process is exec'd"
    finally:
        container.remove(force=True)
